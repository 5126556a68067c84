"""One message, several recipients, each with a policy of its own: over the wire, through the spool, to the mailboxes.

A filter of a package of the test's refuses, suspects or accepts by a word in the text, as its options say.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from support.dev import POSTANE, Dev
from support.filtered import Session

_FILTER = '''
from typing import Annotated, Literal
from msgspec import Meta
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base

class Options(base.Options, frozen=True):
    """Looks for words."""
    wanted: Annotated[dict[str, Literal["REJECT", "QUARANTINE", "DEFER"]], Meta(description="What each means.")] = {}

class Words(base.Filter[Options]):
    name = "words"
    options_type = Options

    async def data(self, peer, envelope, body):
        for word, decision in self.options.wanted.items():
            if word.encode() in body.bytes():
                no, later = Reply(550, "5.7.1", f"No {word}"), Reply(451, "4.7.1", "Later")
                reply = {"REJECT": no, "DEFER": later}.get(decision)
                return Verdict(Decision[decision], f"it says {word}", reply, score=7.0)
        return ACCEPT
'''


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("policies")
    told = folder / "packages" / "words-1.0.dist-info"
    told.mkdir(parents=True)
    (folder / "packages" / "words.py").write_text(_FILTER)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: words\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[postane.filters]\nwords = words:Words\n")
    (folder / "filters.yml").write_text("filters:\n  use: [words, lists]\n")
    server = Dev(
        folder / "dev",
        workers=1,
        more=[f"--filters-file={folder / 'filters.yml'}"],
        environment={"PYTHONPATH": str(folder / "packages")},
    )
    server.start()
    yield server
    server.close()


def postane(dev: Dev, *words: str) -> str:
    command = [str(POSTANE), f"--config={dev.folder / 'postane.yml'}", *words]
    environment = {"PYTHONPATH": str(dev.folder.parent / "packages"), "PATH": "/usr/bin:/bin", "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def choose(dev: Dev, **policies: tuple[str, str]) -> None:
    """Account and its policy; waits until the worker has seen it."""
    for account, (key, value) in policies.items():
        postane(dev, "policy", "set", f"{account}@demo.test", key, value)
    time.sleep(0.4)


def send(dev: Dev, *to: str, text: str) -> tuple[list[str], str]:
    """The replies to RCPT, and the one to the text."""
    session = Session(dev)
    session("MAIL FROM:<s@far.test>")
    told = [session(f"RCPT TO:<{name}@demo.test>") for name in to]
    session("DATA")
    said = session(f"Subject: x\r\n\r\n{text}\r\n.")
    session.close()
    return told, said


def mailbox(dev: Dev, name: str, text: str, seconds: float = 10.0) -> str:
    """The mail with that text, header and all; "" if it is not there in time."""
    folder = dev.folder / "vmail" / "demo.test" / name / "Maildir" / "new"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path in folder.glob("*"):
            if text in (whole := path.read_text()):
                return whole
        time.sleep(0.05)
    return ""


def test_each_gets_what_its_own_policy_says_of_one_message(dev: Dev) -> None:
    choose(
        dev,
        user0=("filters.options.words.wanted", "{casino: QUARANTINE}"),
        user1=("filters.options.words.wanted", "{casino: REJECT}"),
    )
    _, said = send(dev, "user0", "user1", "user2", text="casino one")
    assert said.startswith("250 2.0.0 OK")
    assert "X-Spam: Yes\n" in mailbox(dev, "user0", "casino one").replace("\r\n", "\n")
    clean = mailbox(dev, "user2", "casino one")
    assert clean
    assert "X-Spam" not in clean
    assert mailbox(dev, "user1", "casino one", 0.5) == ""
    (held,) = json.loads(postane(dev, "quarantine", "list", "--account", "user1@demo.test", "--json"))
    assert held["reason"] == "it says casino"


def test_it_is_refused_where_nobody_is_left_who_wants_it(dev: Dev) -> None:
    choose(dev, user1=("filters.options.words.wanted", "{lottery: REJECT}"))
    assert send(dev, "user1", text="lottery")[1] == "550 5.7.1 No lottery"


def test_one_who_has_to_wait_makes_all_wait(dev: Dev) -> None:
    choose(dev, user1=("filters.options.words.wanted", "{slow: DEFER}"))
    assert send(dev, "user0", "user1", text="slow one")[1] == "451 4.7.1 Later"
    assert mailbox(dev, "user0", "slow one", 0.5) == ""


def test_what_is_suspect_goes_where_the_account_wants_it(dev: Dev) -> None:
    choose(dev, user0=("filters.options.words.wanted", "{roulette: QUARANTINE}"))
    choose(dev, user0=("filters.suspect", "quarantine"))
    assert send(dev, "user0", text="roulette one")[1].startswith("250")
    end = time.monotonic() + 10
    while not (held := json.loads(postane(dev, "quarantine", "list", "--account", "user0@demo.test", "--json"))):
        assert time.monotonic() < end
    postane(dev, "quarantine", "release", str(held[0]["id"]))
    released = mailbox(dev, "user0", "roulette one")
    assert "X-Postane-Released" in released
    assert "X-Spam" not in released
    postane(dev, "policy", "unset", "user0@demo.test", "filters.suspect")


def test_a_sender_whom_one_blocks_another_may_hear(dev: Dev) -> None:
    choose(dev, user1=("filters.options.lists.block", "[s@far.test]"))
    told, said = send(dev, "user0", "user1", text="hello all")
    assert [reply[:3] for reply in told] == ["250", "550"]
    assert said.startswith("250")
    assert mailbox(dev, "user0", "hello all")
    postane(dev, "policy", "unset", "user1@demo.test", "filters.options.lists")
