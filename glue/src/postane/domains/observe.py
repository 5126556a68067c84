"""What a domain's life is decided by, asked of its own servers and of resolvers: the proof and the MX.

Raises nothing: what nobody answers is not known (None), and why stands in the observation.
"""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass

from postane.core.question import Answer, Ask, Question
from postane.delivery.mailbox_name import mailbox_name
from postane.dns.records import Record, text_data, text_of
from postane.domains.desired import VERIFICATION_NAME, VERIFICATION_TAG
from postane.domains.life import Observation, Proof
from postane.domains.snapshot import Finding, Snapshot
from postane.domains.world import World


@dataclass(frozen=True, slots=True)
class Asked:
    """`token`: the proof that is waited for, "" for none; `ours`: names of our MX; `delegation` as in Facts."""

    domain: str
    token: str
    ours: frozenset[str]
    delegation: str = ""


def challenge(domain: str, token: str) -> Record:
    """The record that proves a domain."""
    return Record(f"{VERIFICATION_NAME}.{domain}", "TXT", text_data(f"{VERIFICATION_TAG}{token}"))


async def observe(world: World, resolvers: Sequence[Ask], asked: Asked) -> Observation:
    """A look at the world; accounts and all else that it does not know are left as in Observation()."""
    record = challenge(asked.domain, asked.token)
    names = [(asked.domain, "MX"), *([(record.name, "TXT")] if asked.token else [])]
    found = await world.look(asked.domain, names)
    missing = {(one.name, one.type): one.why for one in found.unanswered}
    fatal = _trouble(found, Finding.SUFFIX, Finding.UNREGISTERED)
    proof = None if fatal or (record.name, "TXT") in missing or not asked.token else _proof(found, record, asked)
    standing = None if (asked.domain, "MX") in missing else _standing(found, asked.domain)
    hosts = None if standing is None else tuple(host for _, host in standing)
    ttls = [one.ttl for one in found.at(asked.domain, "MX")]

    agree, answered = 0, 0
    if proof:
        wanted = text_of(record.data)
        answers = await _ask(resolvers, Question(record.name, "TXT", fresh=True))
        # What an alias leads to is no text: of a delegation only the domain's own servers can tell.
        answers = answers if proof is Proof.TXT else []
        answered = len(answers)
        agree = sum(wanted in answer.records for answer in answers)
    mx = [] if hosts is None else await _ask(resolvers, Question(asked.domain, "MX", fresh=True))
    # Ours there: where the domain's servers name only us, that and nothing else; otherwise any trace of us.
    only = bool(hosts) and set(hosts or ()) <= asked.ours
    at = sum(_names_us(answer.records, asked.ours, only=only) for answer in mx)
    return Observation(
        proof=proof,
        resolvers=answered,
        resolvers_agree=agree,
        mx=hosts,
        mx_data=tuple(f"{preference} {host}." for preference, host in standing or ()),
        mx_ours=None if hosts is None else only,
        mx_ttl=max(ttls, default=None),
        mx_asked=len(mx),
        mx_ours_at=at,
        trouble=fatal or _trouble(found, Finding.APEX_ALIAS) or next(iter(missing.values()), ""),
    )


def _trouble(found: Snapshot, *kinds: Finding) -> str:
    return next((one.text for one in found.trouble if one.finding in kinds), "")


def _proof(found: Snapshot, record: Record, asked: Asked) -> Proof:
    for one in found.at(record.name):
        if one.type == "TXT" and text_of(one.data) == text_of(record.data):
            return Proof.TXT
        alias = one.data.rstrip(".").lower()
        # The token makes the alias the tenant's own: those of the services are the same for whoever claims the domain.
        if one.type == "CNAME" and asked.delegation and alias == f"{asked.token}.{asked.delegation}".lower():
            return Proof.DELEGATION
    return Proof.NONE


def _standing(found: Snapshot, domain: str) -> list[tuple[int, str]]:
    """The MX, preference and name, the preferred first."""
    ranked = []
    for one in found.at(domain, "MX"):
        preference, _, host = one.data.partition(" ")
        ranked.append((int(preference), host.strip().rstrip(".").lower()))
    return sorted(ranked)


def _names_us(records: Collection[str], ours: frozenset[str], *, only: bool) -> bool:
    names = {one.lower() for one in records}
    return bool(names) and names <= ours if only else bool(names & ours)


async def _ask(resolvers: Sequence[Ask], question: Question) -> list[Answer]:
    """Those that answered; one that is down says nothing about the domain."""
    answers = await asyncio.gather(*(ask(question) for ask in resolvers))
    return [one for one in answers if not one.failed]


def try_path(host: str, port: int, address: str, seconds: float = 10.0, *, store: str = "") -> tuple[bool, str]:
    """Whether a mail for an account would come into its mailbox, and if not, who said what. Nothing is sent.

    Our own door is asked as a stranger asks, then the store of mailboxes, by LMTP, at `store` ("" for none).
    """
    taken, words = _asked(f"{host}:{port}", lambda: smtplib.SMTP(host, port, timeout=seconds), address)
    if not taken or not store:
        return taken, words
    place, _, number = ("", "", "") if store.startswith("/") else store.rpartition(":")

    def open_store() -> smtplib.SMTP:
        # A path is a socket of this host.
        return smtplib.LMTP(place.strip("[]") or store, int(number or 0), timeout=seconds)

    return _asked(f"the store at {store}", open_store, mailbox_name(address))


def _asked(who: str, connect: Callable[[], smtplib.SMTP], address: str) -> tuple[bool, str]:
    try:
        with closing(connect()) as door:  # what it says at parting does not matter
            door.ehlo()
            utf8 = not address.isascii()
            if utf8:
                door.command_encoding = "utf-8"
            door.docmd("MAIL", "FROM:<>" + (" SMTPUTF8" if utf8 else ""))
            code, words = door.docmd("RCPT", f"TO:<{address}>")
            door.docmd("QUIT")
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        return False, f"{who}: {error}"
    return 200 <= code < 300, f"{code} {words.decode('utf-8', 'replace')}"
