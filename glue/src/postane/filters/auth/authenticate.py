"""All of a message's authentication in one go: SPF, DKIM, ARC, DMARC and iprev, their questions asked side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from postane.core.errors import TemporaryError
from postane.core.question import Ask
from postane.filters.auth import arc, dialogue, dkim, dmarc
from postane.filters.auth.dkim_key import Result
from postane.filters.auth.dmarc_walk import Discovery, Suffixes
from postane.filters.auth.from_header import FromError, author
from postane.filters.auth.iprev import Reverse, iprev
from postane.filters.auth.message import Message
from postane.filters.auth.questions import within
from postane.filters.auth.shown_name import foreign
from postane.filters.auth.spf import Checked, Client, check_host

NAME_SECONDS = 5.0  # reverse zones are often silent, and nothing is decided by them


@dataclass(frozen=True, slots=True)
class Authentication:
    """What each method found. `shown` is an address of another domain than the author's that From shows, or ""."""

    spf: Checked
    dkim: tuple[dkim.Signed, ...]
    arc: arc.Chain
    dmarc: dmarc.Evaluation
    iprev: Reverse
    shown: str = ""


async def authenticate(
    message: Message,
    client: Client,
    ask: Ask,
    seconds: float,
    suffixes: Suffixes | None = None,
    spf: Awaitable[Checked] | None = None,
    name: Awaitable[Reverse] | None = None,
) -> Authentication:
    """`client.now` is the time that signatures are judged by; `seconds` the time for all questions together.

    `spf` and `name` are the results for the client and its address, where somebody has them.
    """
    ask = within(ask, seconds)
    discovery = Discovery(ask, suffixes)
    try:
        who, problem = author(message), ""
    except FromError as error:
        who, problem = None, str(error)
    domain = who.domain if who else ""
    checked, signed, chain, reverse, _ = await asyncio.gather(
        spf or dialogue.run(check_host(client), ask, seconds),
        dkim.verify(message, ask, lambda: client.now),
        arc.verify(message, ask, lambda: client.now),
        name or dialogue.run(iprev(client.ip), ask, min(seconds, NAME_SECONDS)),
        _ahead(discovery, domain),
    )
    if problem:
        evaluation = dmarc.Evaluation(Result.PERMERROR, reason=problem)
    else:
        identifiers = [dmarc.Identifier(one.domain, one.result) for one in signed]
        evaluation = await dmarc.judge(domain, [_identifier(checked)], identifiers, discovery)
    shown = foreign(message.fields, who, evaluation.organizational_domain) if who else ""
    return Authentication(checked, tuple(signed), chain, evaluation, reverse, shown)


async def _ahead(discovery: Discovery, domain: str) -> None:
    """Asks for the policy while the others ask for keys and records; the discovery remembers."""
    try:
        if domain:
            await discovery.policy(domain)
    except TemporaryError:
        pass  # it will say so again when it matters


def _identifier(checked: Checked) -> dmarc.Identifier:
    """SPF's words that are not DKIM's (softfail) prove as little as fail."""
    known = checked.result.value in ("pass", "temperror")
    return dmarc.Identifier(checked.domain, Result(checked.result.value) if known else Result.FAIL)
