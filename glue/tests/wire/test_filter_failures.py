"""Filters of somebody else's that do all they should not: mail is deferred, or what on_failure says, and nobody else
notices. No mail passes unmarked, no worker ends, no reply or header is forged, and every failure is counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from support.dev import Dev
from support.filtered import Session, figures, mailbox, worker
from support.troubles import BLOCKS, DEEDS, connect_address, install

REFUSED = "451 4.7.1 A check could not be made; try again later"
SLOW = ("hangs", "deaf")
TEXT = b"Subject: x\r\n\r\nbody\r\n"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("troubles")
    packages = install(folder)
    server = Dev(
        folder / "dev",
        workers=1,
        accounts=1,
        more=[f"--filters-file={folder / 'filters.yml'}"],
        environment={"PYTHONPATH": str(packages)},
    )
    server.start()
    first = worker(server)
    yield server
    try:
        assert worker(server) == first  # through all of it
        assert server.process is not None
        assert server.process.poll() is None
        begun = time.monotonic()
        assert server.stop() == 0  # tasks that let nobody cancel them are left behind
        assert time.monotonic() - begun < 20
        assert [word for word in ("left_behind", "filter_not_closed") if word not in server.log.read_text()] == []
        assert "drain_timeout" not in server.log.read_text()
    finally:
        server.close()


def failures(dev: Dev) -> dict[tuple[str, ...], float]:
    return figures(dev, "postane_filter_failures", "filter", "phase")


def test_whatever_a_filter_does_mail_is_deferred_and_the_worker_lives(dev: Dev) -> None:
    before = failures(dev)
    answers: dict[tuple[str, str], tuple[str, str]] = {}

    def tries(phase: str, deed: str) -> None:
        session = Session(dev, connect_address(deed) if phase == "connect" else "127.0.0.1")
        sender = "clean@far.test" if phase == "connect" else f"{phase}-{deed}@far.test"
        answers[phase, deed] = session.mail(sender, TEXT)
        session.close()

    cases = [(phase, deed) for phase in ("connect", "mail", "rcpt", "data") for deed in DEEDS]
    slow = [threading.Thread(target=tries, args=case) for case in cases if case[1] in SLOW]
    for thread in slow:
        thread.start()
    for case in cases:
        if case[1] not in SLOW:
            tries(*case)
    for thread in slow:
        thread.join(20)
    assert {case: said for case, (_, said) in answers.items()} == dict.fromkeys(cases, REFUSED)
    assert {phase: {where for (of, _), (where, _) in answers.items() if of == phase} for phase, _ in cases} == {
        "connect": {"rcpt"},  # a refusal before the recipients is said to them
        "mail": {"rcpt"},
        "rcpt": {"rcpt"},
        "data": {"text"},
    }

    session = Session(dev)
    assert session.mail("clean@far.test", TEXT)[1].startswith("250")
    session.close()
    (mail,) = mailbox(dev, 1)
    assert b"Unchecked" not in mail

    end = time.monotonic() + 10
    wanted = {("trouble", phase): float(len(DEEDS)) for phase in ("connect", "mail", "rcpt", "data")}
    while (now := failures(dev)) != wanted and time.monotonic() < end:
        time.sleep(0.2)
    assert not before
    assert now == wanted


def test_skipped_failures_leave_a_mark_and_rejected_ones_refuse(dev: Dev) -> None:
    already = len(mailbox(dev, 0))
    deeds = [deed for deed in DEEDS if deed not in SLOW]
    for deed in deeds:
        session = Session(dev)
        assert session.mail(f"rejected-{deed}@far.test", TEXT)[1] == "554 5.7.1 A check could not be made"
        assert session.mail(f"skipped-{deed}@far.test", TEXT)[1].startswith("250")
        session.close()
    mails = mailbox(dev, already + len(deeds))
    marked = [
        mail for mail in mails if b"\r\nX-Postane-Unchecked: trouble_skipped\r\n" in mail.partition(b"\r\n\r\n")[0]
    ]
    assert len(marked) == len(deeds)
    assert not any(b"Evil" in mail or b"X-Log" in mail for mail in mails)


def test_a_filter_that_blocks_is_interrupted(dev: Dev) -> None:
    session, begun = Session(dev), time.monotonic()
    assert session.mail(f"data-{BLOCKS}@far.test", TEXT) == ("text", REFUSED)
    assert time.monotonic() - begun < 15
    session.close()
    assert "loop_blocked" in dev.log.read_text()
    assert "troubles.py" in dev.log.read_text()
    end = time.monotonic() + 10
    while not (blocked := figures(dev, "postane_loop_blocked")).get(()) and time.monotonic() < end:
        time.sleep(0.2)
    assert blocked == {(): 1}
