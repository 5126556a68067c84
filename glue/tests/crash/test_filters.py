"""Every built-in filter under mail that is made to hurt, and under services that go and come: the worker is the same
one at the end, its memory is bounded, the next mail is answered, and nothing passes unmarked.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import clamd
from support.dev import Dev
from support.filtered import Services, Session, figures, mailbox, worker
from support.hostile import MAILS, MiB

CLEAN = (
    b"From: Somebody <somebody@far.test>\r\nTo: user0@demo.test\r\nSubject: clean %d\r\nMessage-ID: <%d@far.test>\r\n"
    b"Date: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nbody\r\n"
)
MEMORY = 150 * MiB  # of its own that a worker may take at any moment
UNSEEN = {"zip bomb", "many files", "wide", "deep", "messages in messages"}  # nobody looks at all of these
LATE = 2.0  # seconds that another session may wait for an answer meanwhile


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with ExitStack() as ends:
        found = Services(tmp_path_factory.mktemp("services"))
        for name in found.names:
            ends.callback(found.stop, name)
            found.start(name)
        print(f"\nservices: {', '.join(found.names)}; not here: {', '.join(found.missing) or 'none'}")
        yield found


def _memory(pid: int) -> int:
    """Octets that are the process's own; what it maps of a file in the spool is not."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


class Bystander:
    """Another session of the same worker, which says NOOP and measures how long the answer takes; it also watches the
    worker's memory.
    """

    def __init__(self, dev: Dev, pid: int) -> None:
        self.longest = 0.0
        self.memory = 0
        self._pid = pid
        self._session = Session(dev)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends.wait(0.1):
            begun = time.monotonic()
            assert self._session("NOOP").startswith("250")
            self.longest = max(self.longest, time.monotonic() - begun)
            self.memory = max(self.memory, _memory(self._pid))

    def __enter__(self) -> Bystander:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()


def test_mail_that_is_made_to_hurt(services: Services, tmp_path: Path) -> None:
    # What is not here has failed: it is skipped, and what it has not seen says so.
    skip = {name: {"on_failure": "skip"} for name in ({"clamd": "clamav"}.get(one, one) for one in services.missing)}
    dev = services.dev(tmp_path / "dev", services.settings(**skip), message_size=150 * MiB, idle_commands=100_000)
    dev.start()
    try:
        pid = worker(dev)
        ids: dict[str, str] = {}
        print()
        for number, (name, make) in enumerate(MAILS.items()):
            with Bystander(dev, pid) as bystander:
                session, begun = Session(dev, seconds=120), time.monotonic()
                _, said = session.mail(f"somebody{number}@far.test", *make())
                took = time.monotonic() - begun
                session.close()
            waited, memory = bystander.longest, bystander.memory >> 20
            print(f"{name:23} {took:5.1f} s, others waited {waited:4.2f} s, {memory} MiB: {said}")
            assert said[:3] in ("250", "451", "452", "550", "552", "554"), name
            if said.startswith("250"):
                ids[name] = said.split()[-1]
            session = Session(dev)
            assert session.mail("somebody@far.test", CLEAN % (number, number))[1].startswith("250"), name
            session.close()
            assert bystander.longest < LATE, name
            assert bystander.memory < MEMORY, name
            assert worker(dev) == pid, name
        assert "loop_blocked" not in dev.log.read_text()
        mails = mailbox(dev, len(MAILS))
        for name in UNSEEN & set(ids):  # where a bound was met the mail says so
            (mail,) = [mail for mail in mails if ids[name].encode() in mail[:4096]]
            assert b"\r\nX-Postane-Unchecked: attachments\r\n" in mail[:8192], name
        huge = [mail for mail in mails if len(mail) > clamd.STREAM_MAX]
        assert huge
        assert all(b"X-Postane-Unchecked: clamav\r\n" in mail for mail in huge)
        for missing in skip:
            assert all(f"X-Postane-Unchecked: {missing}\r\n".encode() in mail for mail in mails)
    finally:
        dev.close()


class Stream:
    """Clean mail without end, over a few sessions. `answers`: when a transaction began and ended, and how."""

    def __init__(self, dev: Dev, sessions: int = 3) -> None:
        self.answers: list[tuple[float, float, str]] = []
        self._dev = dev
        self._numbers = itertools.count()
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(f"127.0.0.{10 + n}",)) for n in range(sessions)]
        for thread in self._threads:
            thread.start()

    def _run(self, source: str) -> None:
        session = Session(self._dev, source)
        while not self._ends.wait(0.03):
            number, begun = next(self._numbers), time.monotonic()
            _, said = session.mail("somebody@far.test", CLEAN % (number, number))
            self.answers.append((begun, time.monotonic(), said))
        session.close()

    def stop(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def codes(self, since: float, until: float) -> Counter[str]:
        """Of the transactions that lie wholly between."""
        return Counter(said[:3] for begun, ended, said in self.answers if begun >= since and ended <= until)

    def wait_for(self, code: str, seconds: float = 20) -> float:
        """How long until that is answered again."""
        begun = time.monotonic()
        while not any(at > begun and said.startswith(code) for at, _, said in self.answers[-50:]):
            assert time.monotonic() - begun < seconds, f"no {code} within {seconds:.0f} s: {self.answers[-3:]}"
            time.sleep(0.05)
        return time.monotonic() - begun


def _counted(dev: Dev, name: str) -> bool:
    """Whether the metrics tell of a failure of this filter, soon."""
    end = time.monotonic() + 10
    while not figures(dev, "postane_filter_failures", "filter").get((name,)) and time.monotonic() < end:
        time.sleep(0.2)
    return figures(dev, "postane_filter_failures", "filter").get((name,), 0) >= 1


# What is said of mail while a service is away: those who decide by it defer, whom it only tells something go on.
AWAY = {"rspamd": {"451"}, "clamd": {"451"}, "redis": {"451"}, "dns": {"250", "451"}}
FAILS = {"rspamd": "rspamd", "clamd": "clamav", "redis": "rates"}


def test_services_that_go_and_come_under_load(tmp_path: Path) -> None:
    with ExitStack() as ends:
        services = Services(tmp_path, redis=True)
        for name in services.names:
            ends.callback(services.stop, name)
            services.start(name)
        skip = {name: {"on_failure": "skip"} for name in (FAILS[one] for one in services.missing)}
        dev = services.dev(tmp_path / "dev", services.settings(**skip))
        ends.callback(dev.close)
        dev.start()
        pid = worker(dev)
        stream = Stream(dev)
        ends.callback(stream.stop)
        print()
        for name in services.names:
            stream.wait_for("250")
            services.stop(name)
            since = time.monotonic()
            time.sleep(2.5)
            until = time.monotonic()
            services.start(name)
            took = stream.wait_for("250")
            codes = stream.codes(since, until)
            print(f"without {name:7} {dict(codes)}; 250 again after {took:.1f} s")
            assert codes.total()
            assert set(codes) <= AWAY[name]
            if name in FAILS:
                assert _counted(dev, FAILS[name])
        stream.stop()
        assert {said[:3] for _, _, said in stream.answers} == {"250", "451"}
        accepted = sum(said.startswith("250") for _, _, said in stream.answers)
        mails = mailbox(dev, accepted)
        assert len(mails) == accepted
        if "rspamd" not in services.missing:
            assert all(b"\r\nX-Spamd-Result: " in mail for mail in mails)  # each was looked at
            assert not any(b"X-Postane-Unchecked" in mail for mail in mails)
        assert worker(dev) == pid
        assert "loop_blocked" not in dev.log.read_text()
