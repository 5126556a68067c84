"""The doors that people's programs use: each logged in, and a mail read by it."""

from __future__ import annotations

from contextlib import suppress

from postane.acceptance.inbox import Inbox
from postane.acceptance.net import Net
from postane.acceptance.result import Case, FailedError, SkippedError
from postane.acceptance.subject import ARRIVE, Subject
from postane.acceptance.talk import Imap, Pop3, Sieve
from postane.clients.model import Service

_SCRIPT = "postane-acceptance"


class Programs:
    """The checks of programs; they read whatever mail of the run came first."""

    def __init__(self, subject: Subject, net: Net, inbox: Inbox) -> None:
        self._subject = subject
        self._net = net
        self._inbox = inbox

    async def imap(self, case: Case, port: int, security: str) -> None:
        host = self._host("imap", security)
        await self._some_mail()

        def does(session: Imap) -> None:
            session.login(self._subject.account, self._subject.password, security)
            uids = session.uids("INBOX")
            if not uids or not session.message(uids[-1]):
                raise FailedError("no_mail")
            session.ask("LOGOUT")

        await self._net.talk(Imap, case, host, await self._there(host, port, security), does)

    async def pop3(self, case: Case, port: int, security: str) -> None:
        host = self._host("pop3", security)
        await self._some_mail()

        def does(session: Pop3) -> None:
            session.login(self._subject.account, self._subject.password, security)
            count = session.count()
            if not count or not session.message(count):
                raise FailedError("no_mail")
            session.ask("QUIT")

        await self._net.talk(Pop3, case, host, await self._there(host, port, security), does)

    async def sieve(self, case: Case) -> None:
        """A script is put, listed, made the active one, and removed."""
        service = self._service("sieve")

        def does(session: Sieve) -> None:
            session.login(self._subject.account, self._subject.password)
            session.put(_SCRIPT, "keep;\r\n")
            session.ask(f'SETACTIVE "{_SCRIPT}"')
            if not any(_SCRIPT in line and "ACTIVE" in line for line in session.ask("LISTSCRIPTS")):
                raise FailedError("said", said="LISTSCRIPTS does not show the script as the active one")
            session.ask('SETACTIVE ""')
            session.ask(f'DELETESCRIPT "{_SCRIPT}"')
            session.ask("LOGOUT")

        await self._net.talk(Sieve, case, service.host, service.port, does)

    async def webmail(self, case: Case) -> None:
        """Its page answers with a form to log in by."""
        if not self._subject.setup.webmail:
            raise SkippedError("not_offered")
        page = await self._net.fetch(case, self._subject.setup.webmail, follow=True)
        text = page.octets.decode("utf-8", "replace").lower()
        if page.status != 200 or 'type="password"' not in text:
            raise FailedError("no_page", status=page.status, url=page.url)

    def _host(self, protocol: str, security: str) -> str:
        """A door with STARTTLS is told to nobody, and is asked beside the one that is."""
        return self._service(f"{protocol}s" if security in ("tls", "starttls") else protocol).host

    def _service(self, name: str) -> Service:
        for one in self._subject.setup.services:
            if one.name == name:
                return one
        raise SkippedError("not_offered")

    async def _there(self, host: str, port: int, security: str) -> int:
        """Nobody is told of the doors with STARTTLS: where there is none, none is missing."""
        if security == "starttls":
            try:
                (await self._net.connect(host, port)).close()
            except FailedError as error:
                raise SkippedError("not_offered") from error
        return port

    async def _some_mail(self) -> None:
        """There is one to read, or there will be none: which the program has to find out by itself."""
        with suppress(FailedError):
            await self._inbox.wait("", ARRIVE)
