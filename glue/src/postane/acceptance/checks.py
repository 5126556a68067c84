"""All checks of a run by name, in the order of the page; the part before the dot is the group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

from postane.acceptance.inbox import Inbox, Reader
from postane.acceptance.mail import Mail
from postane.acceptance.names import Names
from postane.acceptance.net import Net
from postane.acceptance.programs import Programs
from postane.acceptance.result import Case, Result, SkippedError
from postane.acceptance.run import Check, run
from postane.acceptance.subject import Sent, Subject
from postane.acceptance.told import Settings
from postane.acceptance.transport import Transport
from postane.clients.model import Security

EACH = 170.0  # seconds for one check: an answer from outside, or a stranger who is asked to come again
TOTAL = 240.0  # and for all of them

NAMES = (
    "mail.in",
    "mail.alias",
    "mail.forward",
    "mail.submission",
    "mail.submissions",
    "mail.signed",
    "mail.aligned",
    "mail.bounce",
    "mail.unknown",
    "mail.relay",
    "mail.sender",
    "mail.spam",
    "mail.peer",
    "mail.echo",
    "program.imaps",
    "program.imap",
    "program.pop3s",
    "program.pop3",
    "program.sieve",
    "program.webmail",
    "tls.mx",
    "tls.submissions",
    "tls.submission",
    "tls.imaps",
    "tls.pop3s",
    "tls.sieve",
    "tls.webmail",
    "tls.settings",
    "tls.dane",
    "tls.mta_sts",
    "name.mx",
    "name.spf",
    "name.dmarc",
    "name.reverse",
    "told.autoconfig",
    "told.autodiscover",
    "told.mobileconfig",
    "told.srv",
)


async def accept(
    subject: Subject,
    net: Net,
    reader: Reader,
    told: Callable[[Result], None],
    *,
    each: float = EACH,
    total: float = TOTAL,
) -> list[Result]:
    """Runs all of them. The mailbox is empty afterwards if it can be."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(len(NAMES), "acceptance"))
    inbox = Inbox(reader)
    watch = asyncio.create_task(inbox.watch())
    try:
        return await run(_checks(subject, net, inbox), each=each, total=total, told=told)
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await inbox.empty()
        inbox.close()


def _checks(subject: Subject, net: Net, inbox: Inbox) -> dict[str, Check]:
    services = {one.name: one for one in subject.setup.services}
    submissions = [name for name in ("submission", "submissions") if name in services]
    sent = Sent(len(submissions))
    mail, programs = Mail(subject, net, inbox, sent), Programs(subject, net, inbox)
    transport, names, settings = Transport(subject, net), Names(subject, net), Settings(subject, net)
    webmail, asked = urlsplit(subject.setup.webmail), subject.setup.url_host
    made: dict[str, Check] = {
        "mail.in": mail.arrives,
        "mail.alias": mail.by_alias,
        "mail.forward": mail.is_forwarded,
        **{f"mail.{name}": _not_offered for name in ("submission", "submissions")},
        **{f"mail.{name}": partial(mail.goes_out, service=services[name]) for name in submissions},
        "mail.signed": mail.is_signed,
        "mail.aligned": mail.is_aligned,
        "mail.bounce": mail.bounces,
        "mail.unknown": mail.unknown_is_refused,
        "mail.relay": mail.relay_is_refused,
        "mail.sender": mail.sender_is_held,
        "mail.spam": mail.spam_is_kept_out,
        "mail.peer": mail.by_peer,
        "mail.echo": mail.comes_back,
        "program.imaps": partial(programs.imap, port=993, security="tls"),
        "program.imap": partial(programs.imap, port=143, security="starttls"),
        "program.pop3s": partial(programs.pop3, port=995, security="tls"),
        "program.pop3": partial(programs.pop3, port=110, security="starttls"),
        "program.sieve": programs.sieve,
        "program.webmail": programs.webmail,
        "tls.mx": transport.mail_servers,
        "tls.webmail": partial(transport.certificate, host=webmail.hostname or "", port=webmail.port or 443),
        "tls.settings": partial(transport.certificate, host=asked[0], port=asked[1]),
        "tls.dane": transport.dane,
        "tls.mta_sts": transport.mta_sts,
        "name.mx": names.mx,
        "name.spf": names.spf,
        "name.dmarc": names.dmarc,
        "name.reverse": names.reverse,
        "told.autoconfig": settings.autoconfig,
        "told.autodiscover": settings.autodiscover,
        "told.mobileconfig": settings.mobileconfig,
        "told.srv": settings.srv,
    }
    for name in ("submissions", "submission", "imaps", "pop3s", "sieve"):
        one = services.get(name)
        made[f"tls.{name}"] = (
            _not_offered
            if one is None
            else partial(
                transport.certificate,
                host=one.host,
                port=one.port,
                before=one.protocol if one.security is Security.STARTTLS else "",
            )
        )
    return {name: made[name] for name in NAMES}


async def _not_offered(_: Case) -> None:
    raise SkippedError("not_offered")
