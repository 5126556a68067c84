"""kill -9 while suspect mail comes in, is released and told of: nothing is lost, and nothing comes twice.

Without room on the disk suspect mail waits, and other mail goes on.
"""

from __future__ import annotations

import email
import email.policy
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from postane.admin import quarantine, queue
from postane.config.load import load
from postane.core.errors import PostaneError
from postane.quarantine.token import KEY, unseal
from postane.storage.secret import secret
from support.dev import Dev
from support.disk import Image
from support.load import Senders, wait_until_delivered
from support.quarantine import items, suspect, wait_for
from support.tuned import Tuned

ROUNDS = int(os.environ.get("POSTANE_CRASH_ROUNDS", "6"))
SEED = int(os.environ.get("POSTANE_CRASH_SEED", "1"))
_MAILBOX = "user0@demo.test"
_TEXT = b"From: x@far.test\r\nSubject: number %d\r\nX-Spam: Yes\r\n\r\n" + b"body\r\n" * 50


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    dev = Dev(tmp_path / "dev", workers=1)
    dev.start()
    yield dev
    dev.close()


class Again:
    """Does something again and again beside the test; what fails because the daemon is down is nothing."""

    def __init__(self, work: Callable[[], object], pause: float) -> None:
        self._work, self._pause = work, pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.error: BaseException | None = None
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(self._pause):
            try:
                self._work()
            except (PostaneError, OSError):
                pass
            except BaseException as error:
                self.error = error
                return

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        assert self.error is None, self.error


def _mails(folder: Path, name: str) -> list[EmailMessage]:
    paths = (folder / "vmail/demo.test" / name / "Maildir/new").glob("*")
    read: list[Any] = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]
    return read


def test_kill_everything_while_mail_comes_in_and_goes_out(dev: Dev) -> None:
    chance = random.Random(SEED)
    config = load(dev.folder / "postane.yml")
    sent: list[str] = []

    def come() -> None:
        if len(sent) > 4000:
            return  # a mailbox has a bound
        texts = [_TEXT % (len(sent) + number) for number in range(8)]
        sent.extend(suspect(dev.folder / "spool", texts, _MAILBOX))

    def go() -> None:
        ids = chance.sample(sent, min(len(sent), 6))
        quarantine.release(config, quarantine.selection(ids), by="test")

    helpers = [
        Again(come, 0.02),
        Again(go, 0.01),
        Again(lambda: quarantine.digest(config, _MAILBOX), 0.05),
    ]
    try:
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.2, 0.8))
            dev.kill()
            dev.start()
        time.sleep(0.3)
    finally:
        for helper in helpers:
            helper.stop()
    wait_for(lambda: len(items(dev.folder)) == len(sent), 30)
    assert quarantine.digest(config, _MAILBOX) is not None
    wait_for(lambda: queue.stats(Path(config.runtime), queue.Filter()).messages == 0, 30)

    kept = items(dev.folder)
    assert Counter(item.spool_id for item in kept) == Counter(sent)
    released = {item.subject for item in kept if item.state == "released"}
    mails = _mails(dev.folder, "user0")
    let_go = Counter(str(mail["Subject"]) for mail in mails if mail["X-Postane-Released"])
    assert let_go == Counter(released)
    told: Counter[int] = Counter()
    for mail in mails:
        if mail["Auto-Submitted"] == "auto-generated":
            text: Any = mail.get_body(("plain",))
            tokens = re.findall(r"/q/(\S+)", text.get_content())
            opened = [unseal(secret(dev.folder, KEY), token, 0) for token in tokens]
            told.update({token.item for token in opened if token.action != "list"})
    assert len(told) > 0
    assert set(told.values()) == {1}
    assert released
    print(f"{ROUNDS} kills, {len(sent)} came in, {len(released)} released, {len(told)} told of: 0 lost, 0 doubled")


def test_without_room_it_waits_and_other_mail_goes_on(tmp_path: Path) -> None:
    # As root, the tests may write into what a file system keeps back for root.
    with Image(tmp_path, "ext4", 64 << 20, make=("-m", "0")) as image:
        (tmp_path / "dev").mkdir()
        (tmp_path / "dev" / "quarantine").symlink_to(image.inside)
        soon = {"local_retry_first": 0.5, "local_retry_most": 1.0}
        dev = Tuned(tmp_path / "dev", {"spool": {"reserve": 0}, "queue": soon}, workers=1, before=image.enter)
        dev.start()
        try:
            config = load(dev.config)
            ballast = image.fill()
            ids = suspect(dev.folder / "spool", [_TEXT % number for number in range(30)], _MAILBOX)

            def waiting() -> list[str]:
                found = queue.every(Path(config.runtime), queue.Filter(destination="quarantine")).messages
                return [recipient.reply for message in found for recipient in message.recipients if recipient.attempts]

            wait_for(lambda: len(waiting()) == len(ids))
            assert {reply[:9] for reply in waiting()} == {"452 4.3.1"}
            senders = Senders(dev, 1, pause=0.02)
            time.sleep(0.5)
            senders.stop()
            wait_until_delivered(dev, senders.kept)
            assert len(senders.kept) > 5
            ballast.unlink()
            wait_for(lambda: not waiting())
            store = image.place
            assert len(list(store.glob("texts/*/*"))) == len(ids)
            assert not list(store.glob("texts/*/.*"))
            assert dev.stop() == 0
        finally:
            dev.close()
