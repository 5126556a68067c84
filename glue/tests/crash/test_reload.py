"""Reload, restart and a killed worker, while clients come and go: nobody is refused, no mail is lost."""

from __future__ import annotations

import itertools
import os
import signal
import smtplib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dev import Dev, delivered, message
from support.service import Site, Threads


class Mail:
    """What the clients of a test send, and what of it got its 250."""

    def __init__(self, port: int, people: list[str]) -> None:
        self._port = port
        self._people = people
        self._numbers = itertools.count()  # its next() is atomic
        self.kept: list[str] = []

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self._port, timeout=20)

    def send(self, session: smtplib.SMTP) -> None:
        number = next(self._numbers)
        mark, text = message(number, 2_000)
        session.sendmail("sender@far.test", [f"{self._people[number % len(self._people)]}@demo.test"], text)
        self.kept.append(mark)

    def one(self) -> None:
        """A connection for one mail."""
        with self.connect() as session:
            self.send(session)

    def talk(self) -> None:
        """A connection for ten, with pauses."""
        with self.connect() as session:
            for _ in range(10):
                self.send(session)
                time.sleep(0.03)

    def all_delivered(self, folder: Path, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        found: Counter[str] = Counter()
        while time.monotonic() < end:
            found = delivered(folder)
            if all(mark in found for mark in self.kept):
                break
            time.sleep(0.2)
        assert [mark for mark in self.kept if mark not in found] == []
        assert [mark for mark, count in found.items() if count > 1 or mark.startswith("altered")] == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "site")
    made.smtpd.start()
    made.queue.start()
    yield made
    made.close()


def _banner(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), 10) as one:
        return one.recv(1000).decode().strip()


def _certificate(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as session:
        session.starttls(context=context)
        assert isinstance(session.sock, ssl.SSLSocket)
        return session.sock.getpeercert(binary_form=True) or b""


def test_a_reload_drops_nobody(site: Site) -> None:
    mail = Mail(site.smtp, site.people)
    waiting = mail.connect()  # open before the reloads, silent during them
    waiting.ehlo("client.test")
    clients = Threads()
    clients.run(mail.one, 3)
    clients.run(mail.talk, 2)
    first = _certificate(site.smtp)
    try:
        for number in range(3):
            time.sleep(0.3)
            site.edit(lambda values, number=number: values["smtp"].update(banner=f"Number {number}"))  # type: ignore[misc]
            site.renew_certificate()
            site.smtpd.reload()
            site.queue.reload()
            assert _banner(site.smtp) == f"220 mail.demo.test Number {number}"
        renewed = _certificate(site.smtp)
        time.sleep(0.5)
    finally:
        clients.stop()
    assert clients.failures == []
    assert renewed != first
    mail.send(waiting)  # by a worker that retired three reloads ago
    waiting.quit()
    assert len(mail.kept) > 50
    mail.all_delivered(site.folder)
    end = time.monotonic() + 10
    while len(site.smtpd.children()) > 2:  # whose sessions are over goes
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_reload_with_a_bad_configuration_or_certificate_changes_nothing(site: Site) -> None:
    banner, certificate, workers = _banner(site.smtp), _certificate(site.smtp), site.smtpd.children()
    good = site.config.read_text("utf-8")
    site.edit(lambda values: values["smtp"].update(bannner="a slip"))
    site.smtpd.reload()
    site.config.write_text(good, "utf-8")
    site.edit(lambda values: values["tls"].update(certificate="/nowhere.pem"))
    site.smtpd.reload()
    assert site.smtpd.children() == workers
    assert (_banner(site.smtp), _certificate(site.smtp)) == (banner, certificate)
    said = site.smtpd.log.read_text()
    assert said.count("reload_refused") == 2
    assert "bannner" in said
    assert "/nowhere.pem" in said


def test_an_upgrade_by_restart_refuses_nobody(site: Site) -> None:
    """The sockets are systemd's: who comes while nobody listens waits for a moment."""
    mail = Mail(site.smtp, site.people)
    told_to_come_again: list[smtplib.SMTPResponseException] = []

    def one() -> None:
        try:
            mail.one()
        except smtplib.SMTPResponseException as error:  # what RFC 5321 section 3.8 has for a server that goes down
            if error.smtp_code != 421:
                raise
            told_to_come_again.append(error)

    clients = Threads()
    clients.run(one, 4)
    longest = 0.0
    try:
        for version in ("2", "3", "4"):
            time.sleep(0.3)
            site.switch(version)
            for service in (site.smtpd, site.queue):
                begun = time.monotonic()
                assert service.stop() == 0
                service.start()
                longest = max(longest, time.monotonic() - begun)
        time.sleep(0.3)
    finally:
        clients.stop()
    assert clients.failures == []
    assert len(mail.kept) > 50
    mail.all_delivered(site.folder)
    print(f"{len(mail.kept)} sent, {len(told_to_come_again)} told to come again, longest restart {longest:.2f} s")


def test_a_session_in_full_swing_ends_by_itself_at_a_stop_and_a_silent_one_is_told(site: Site) -> None:
    mail = Mail(site.smtp, site.people)
    silent, busy = mail.connect(), mail.connect()
    silent.ehlo("client.test")
    mail.send(busy)
    stopper = threading.Thread(target=site.smtpd.stop, daemon=True)
    stopper.start()
    for _ in range(10):
        mail.send(busy)
        time.sleep(0.05)
    busy.quit()
    stopper.join(20)
    assert not stopper.is_alive()
    assert silent.sock is not None
    assert silent.getreply()[0] == 421
    mail.all_delivered(site.folder)


def test_after_a_killed_worker_the_next_mail_is_taken_at_once(tmp_path: Path) -> None:
    """With a single worker: nobody else answers meanwhile."""
    dev = Dev(tmp_path / "dev", workers=1)
    dev.start()
    mail = Mail(dev.smtp, dev.people)
    queue = dev.children()[-1]  # the last that was forked
    slowest = 0.0
    try:
        for _ in range(5):
            for _ in range(20):
                mail.one()
            (worker,) = set(dev.children()) - {queue}
            os.kill(worker, signal.SIGKILL)
            begun = time.monotonic()
            while True:
                try:
                    mail.one()
                    break
                except (OSError, smtplib.SMTPException):
                    time.sleep(0.005)
            slowest = max(slowest, time.monotonic() - begun)
    finally:
        assert dev.stop() == 0
    print(f"slowest 250 after a kill: {slowest:.3f} s")
    assert slowest < 0.5
    mail.all_delivered(dev.folder)
