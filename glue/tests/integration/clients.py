"""Mail clients for the tests of running services: what a person's programs do, on the standard library alone.

Every client connects to `Host.address` and expects the certificate of the name it was told, so that the same
tests ask a container by its address, the demo at 127.0.0.1, and a host on the net.
A refused login raises `LoginRefusedError` in every protocol.
"""

from __future__ import annotations

import base64
import email.policy
import email.utils
import http.client
import imaplib
import json
import poplib
import re
import smtplib
import socket
import ssl
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from html import unescape
from pathlib import Path

STANDARD_PORTS = {
    "smtp": 25,
    "submission": 587,
    "submissions": 465,
    "imap": 143,
    "imaps": 993,
    "pop3": 110,
    "pop3s": 995,
    "sieve": 4190,
    "http": 80,
    "https": 443,
    "dns": 53,
}
TIMEOUT = 20.0  # seconds for any one answer


class LoginRefusedError(Exception):
    """The service knows no such name and password; the text is the service's own."""


@dataclass(frozen=True, slots=True)
class Host:
    """Where the services are: the address to connect to, the name in the certificate, and who vouches for it."""

    address: str
    name: str
    ca: Path | None = None
    ports: Mapping[str, int] = field(default_factory=lambda: STANDARD_PORTS)

    @classmethod
    def from_access(cls, path: Path) -> Host:
        """Reads `.demo/access.json`; `ca` there is relative to the repository."""
        access = json.loads(path.read_text())
        ca = path.resolve().parents[1] / access["ca"] if access.get("ca") else None
        return cls("127.0.0.1", access["host"], ca, access["ports"])

    def connect(self, service: str) -> socket.socket:
        return socket.create_connection((self.address, self.ports[service]), TIMEOUT)

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca) if self.ca else None)


def _plain(login: str, password: str) -> str:
    """The initial response of SASL PLAIN (RFC 4616): UTF-8, which the standard library's logins are not."""
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode("ascii")


def message(sender: str, to: Sequence[str], subject: str, body: str = "Hello.\n") -> EmailMessage:
    made = EmailMessage(policy=email.policy.SMTP)
    made["From"], made["To"], made["Subject"] = sender, ", ".join(to), subject
    made["Date"] = email.utils.localtime()
    made["Message-ID"] = email.utils.make_msgid(domain=sender.rpartition("@")[2])
    made.set_content(body)
    return made


# -- SMTP and LMTP ------------------------------------------------------------------------------------------------


class Smtp(smtplib.SMTP):
    """`transcript` is what was said, as `C: …` and `S: …`: logins hidden, message text left out."""

    def __init__(self, host: Host, service: str) -> None:
        self._door = host, service
        self.transcript: list[str] = []
        super().__init__(host.name, host.ports[service], timeout=TIMEOUT)
        self.ehlo_or_helo_if_needed()

    def _get_socket(self, *_: object) -> socket.socket:
        host, service = self._door
        made = host.connect(service)
        return host.tls().wrap_socket(made, server_hostname=host.name) if service == "submissions" else made

    def putcmd(self, cmd: str, args: str = "") -> None:
        self.transcript.append("C: " + re.sub(r"^(AUTH \w+) .*", r"\1 …", f"{cmd} {args}".strip(), flags=re.I))
        super().putcmd(cmd, args)

    def getreply(self) -> tuple[int, bytes]:
        code, text = super().getreply()
        lines = text.decode(errors="replace").split("\n")
        for number, line in enumerate(lines):
            self.transcript.append(f"S: {code}{'-' if number < len(lines) - 1 else ' '}{line}")
        return code, text


@contextmanager
def smtp(host: Host, service: str = "smtp") -> Iterator[Smtp]:
    """A session after EHLO, in TLS except on port 25."""
    with Smtp(host, service) as session:
        if service == "submission":
            session.starttls(context=host.tls())
            session.ehlo()
        yield session


def submit(
    host: Host, login: str, password: str, mail: EmailMessage, to: Sequence[str], *, service: str = "submission"
) -> list[str]:
    """Sends as a mail program does; returns the transcript. Raises LoginRefusedError, or smtplib's exceptions."""
    with smtp(host, service) as session:
        code, text = session.docmd("AUTH", f"PLAIN {_plain(login, password)}")
        if code != 235:
            raise LoginRefusedError(f"{code} {text.decode()}")
        utf8 = not all(address.isascii() for address in (login, *to))
        policy = email.policy.SMTPUTF8 if utf8 else email.policy.SMTP
        options = ["SMTPUTF8", "BODY=8BITMIME"] if utf8 else []
        session.sendmail(login, to, mail.as_bytes(policy=policy), mail_options=options)
    return session.transcript


def deliver(path: Path, mail: EmailMessage, to: Sequence[str], sender: str = "") -> dict[str, tuple[int, str]]:
    """One LMTP transaction on a unix socket (RFC 2033): the answer for each recipient.

    Addresses in UTF-8 go as they are, without the parameter SMTPUTF8, as the daemon sends them.
    """
    answers: dict[str, tuple[int, str]] = {}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(path))
        stream = connection.makefile("rwb")

        def reply() -> tuple[int, str]:
            lines = []
            while True:
                line = stream.readline().decode()
                if not line:
                    raise ConnectionError("LMTP: closed in the dialogue")
                lines.append(line[4:].rstrip())
                if line[3:4] != "-":
                    return int(line[:3]), "\n".join(lines)

        def ask(command: str) -> tuple[int, str]:
            stream.write(f"{command}\r\n".encode())
            stream.flush()
            return reply()

        reply()
        ask("LHLO tests.invalid")
        ask(f"MAIL FROM:<{sender}>")
        accepted = []
        for address in to:
            answers[address] = ask(f"RCPT TO:<{address}>")
            if answers[address][0] < 300:
                accepted.append(address)
        if accepted:
            ask("DATA")
            stream.write(re.sub(rb"(?m)^\.", b"..", mail.as_bytes(policy=email.policy.SMTPUTF8)) + b".\r\n")
            stream.flush()
            for address in accepted:
                answers[address] = reply()
        ask("QUIT")
    return answers


# -- IMAP ---------------------------------------------------------------------------------------------------------


class _Imap(imaplib.IMAP4):
    def __init__(self, host: Host) -> None:
        self._door = host
        super().__init__(host.name, host.ports["imap"], TIMEOUT)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return self._door.connect("imap")


class _Imaps(imaplib.IMAP4_SSL):
    def __init__(self, host: Host) -> None:
        self._door = host
        super().__init__(host.name, host.ports["imaps"], ssl_context=host.tls(), timeout=TIMEOUT)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return self._door.tls().wrap_socket(self._door.connect("imaps"), server_hostname=self._door.name)


@contextmanager
def imap(host: Host, login: str, password: str, *, service: str = "imap") -> Iterator[imaplib.IMAP4]:
    """A session that is logged in, by STARTTLS (`imap`) or TLS (`imaps`)."""
    session: imaplib.IMAP4
    if service == "imaps":
        session = _Imaps(host)
    else:
        session = _Imap(host)
        session.starttls(host.tls())
    try:
        try:
            session.authenticate("PLAIN", lambda _: f"\0{login}\0{password}".encode())
        except imaplib.IMAP4.error as error:
            raise LoginRefusedError(str(error)) from error
        yield session
    finally:
        with suppress(imaplib.IMAP4.error, OSError):
            session.logout()


def imap_messages(
    host: Host, login: str, password: str, *, mailbox: str = "INBOX", service: str = "imap"
) -> list[EmailMessage]:
    """All messages of a mailbox, oldest first; they stay unread."""
    with imap(host, login, password, service=service) as session:
        kind, answer = session.select(f'"{mailbox}"', readonly=True)
        if kind != "OK":
            raise LookupError(f"IMAP: SELECT {mailbox}: {answer!r}")
        if answer[0] in (None, b"0"):
            return []
        _, parts = session.fetch("1:*", "(BODY.PEEK[])")
    parse = email.message_from_bytes
    return [parse(part[1], policy=email.policy.default) for part in parts if isinstance(part, tuple)]


def imap_wait(
    host: Host, login: str, password: str, subject: str, *, mailbox: str = "INBOX", seconds: float = 30
) -> EmailMessage:
    """The message with that subject, as soon as it is there. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while True:
        with suppress(LookupError):
            for mail in imap_messages(host, login, password, mailbox=mailbox):
                if mail["Subject"] == subject:
                    return mail
        if time.monotonic() > end:
            raise TimeoutError(f"no message {subject!r} in {mailbox} of {login} within {seconds:.0f} s")
        time.sleep(0.3)


# -- POP3 ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pop3Session:
    """What was fetched, and what was said: `C: …` and `S: …`, the login's answer hidden, message text left out."""

    messages: list[EmailMessage]
    transcript: list[str]


class _Pop3(poplib.POP3):
    def __init__(self, host: Host, service: str) -> None:
        self._door = host, service
        self.transcript: list[str] = []
        super().__init__(host.name, host.ports[service], TIMEOUT)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        host, service = self._door
        made = host.connect(service)
        return host.tls().wrap_socket(made, server_hostname=host.name) if service == "pop3s" else made

    def _putcmd(self, line: str) -> None:
        hidden = re.sub(r"^(AUTH PLAIN|PASS) .*", r"\1 …", line)
        self.transcript.append(f"C: {hidden}")
        super()._putcmd(line)  # type: ignore[misc]

    def _getresp(self) -> bytes:
        answer: bytes = super()._getresp()  # type: ignore[misc]
        self.transcript.append(f"S: {answer.decode(errors='replace')}")
        return answer


def pop3(host: Host, login: str, password: str, *, service: str = "pop3") -> Pop3Session:
    """Fetches all messages and deletes none, by STLS (`pop3`) or TLS (`pop3s`)."""
    session = _Pop3(host, service)
    try:
        if service == "pop3":
            session.stls(host.tls())
        try:
            session._shortcmd(f"AUTH PLAIN {_plain(login, password)}")  # type: ignore[attr-defined]
        except poplib.error_proto as error:
            raise LoginRefusedError(str(error)) from error
        count, _ = session.stat()
        texts = [b"\r\n".join(session.retr(number)[1]) for number in range(1, count + 1)]
    finally:
        with suppress(poplib.error_proto, OSError):
            session.quit()
    messages = [email.message_from_bytes(text, policy=email.policy.default) for text in texts]
    return Pop3Session(messages, session.transcript)


# -- ManageSieve --------------------------------------------------------------------------------------------------


class ManageSieve:
    """RFC 5804, as much as a mail program needs. Opened logged in; use it in `with`.

    A command the server says NO to raises ValueError with its text.
    """

    def __init__(self, host: Host, login: str, password: str) -> None:
        self._socket = host.connect("sieve")
        self._stream = self._socket.makefile("rwb")
        try:
            self.capabilities = self._answer()
            self.command("STARTTLS")
            self._socket = host.tls().wrap_socket(self._socket, server_hostname=host.name)
            self._stream = self._socket.makefile("rwb")
            self.capabilities = self._answer()
            try:
                self.command(f'AUTHENTICATE "PLAIN" "{_plain(login, password)}"')
            except ValueError as error:
                raise LoginRefusedError(str(error)) from error
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> ManageSieve:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, ValueError):
            self.command("LOGOUT")
        self._socket.close()

    def command(self, text: str, literal: str | None = None) -> list[str]:
        if literal is not None:
            octets = literal.encode()
            text = f"{text} {{{len(octets)}+}}\r\n{literal}"
        self._stream.write(f"{text}\r\n".encode())
        self._stream.flush()
        return self._answer()

    def put(self, name: str, script: str) -> None:
        self.command(f'PUTSCRIPT "{name}"', script)

    def activate(self, name: str) -> None:
        """An empty name: no script is active."""
        self.command(f'SETACTIVE "{name}"')

    def scripts(self) -> dict[str, bool]:
        """Name → whether it is the active one."""
        found = (re.fullmatch(r'"(.*)"( ACTIVE)?', line) for line in self.command("LISTSCRIPTS"))
        return {match[1]: bool(match[2]) for match in found if match}

    def _answer(self) -> list[str]:
        lines: list[str] = []
        while True:
            line = self._stream.readline().decode()
            if not line:
                raise ConnectionError("ManageSieve: closed in the dialogue")
            while literal := re.search(r"\{(\d+)\}\r\n$", line):
                line = line[: literal.start()] + self._stream.read(int(literal[1])).decode()
                line += self._stream.readline().decode()
            line = line.rstrip()
            if line.startswith("OK"):
                return lines
            if line.startswith(("NO", "BYE")):
                raise ValueError(line)
            lines.append(line)


# -- the web ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    headers: http.client.HTTPMessage
    text: str


class Browser:
    """One site over HTTPS (or HTTP), with cookies; redirects are shown, not followed."""

    def __init__(self, host: Host, site: str, *, service: str = "https", language: str = "en") -> None:
        self.host, self.site, self.service, self.language = host, site, service, language
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> Page:
        return self._request("GET", path, None, headers)

    def post(self, path: str, form: Mapping[str, str], **headers: str) -> Page:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return self._request("POST", path, urllib.parse.urlencode(form), headers)

    def _request(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Page:
        connection = http.client.HTTPConnection(self.site, self.host.ports[self.service], timeout=TIMEOUT)
        made = self.host.connect(self.service)
        secure = self.service == "https"
        connection.sock = self.host.tls().wrap_socket(made, server_hostname=self.site) if secure else made
        # The published port is no part of the site's name.
        sent = {"Host": self.site, "Accept-Language": self.language, **headers}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name.strip()] = value
        return Page(answer.status, answer.headers, text)


class Webmail:
    """Roundcube, as a browser drives it. Opened logged in."""

    def __init__(self, host: Host, site: str, login: str, password: str, *, language: str = "en") -> None:
        self.browser = Browser(host, site, language=language)
        self.login_page = self.browser.get("/")
        token = re.search(r'name="_token" value="([^"]+)"', self.login_page.text)
        if self.login_page.status != 200 or not token:
            raise ValueError(f"web mail: no login form, status {self.login_page.status}")
        form = {"_task": "login", "_action": "login", "_timezone": "UTC", "_url": "", "_token": token[1]}
        answer = self.browser.post("/?_task=login", {**form, "_user": login, "_pass": password})
        if answer.status != 302:
            said = re.search(r'display_message\("([^"]*)"', answer.text)
            raise LoginRefusedError(f"{answer.status} {said[1] if said else ''}".strip())

    def subjects(self, mailbox: str = "INBOX") -> list[str]:
        """Subjects on the first page of a mailbox, as the list shows them."""
        query = urllib.parse.urlencode({"_task": "mail", "_action": "list", "_mbox": mailbox, "_remote": "1"})
        page = self.browser.get(f"/?{query}", **{"X-Requested-With": "XMLHttpRequest"})
        script = json.loads(page.text)["exec"]
        return [unescape(json.loads(found)) for found in re.findall(r'"subject":("(?:[^"\\]|\\.)*")', script)]
