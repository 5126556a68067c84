"""What the operator asks about filters: which there are, which run, and what each says of a message on the desk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from postane.config.load import WrongValueError
from postane.config.model import Config
from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.peer import Peer, Service
from postane.core.ports import Resolved
from postane.core.verdict import Verdict
from postane.dns.shared import shared
from postane.filters import registry
from postane.filters.base import Tools
from postane.filters.pipeline import Judged
from postane.filters.policies import Policies
from postane.filters.store.make import make_store
from postane.spool.draft import Draft


@dataclass(frozen=True, slots=True)
class Listed:
    """A filter that is installed. `place` is its `module:Class`."""

    name: str
    used: bool
    phases: tuple[str, ...]
    place: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one filter said in one phase."""

    phase: str
    filter: str
    decision: str
    milliseconds: float
    why: str
    reply: str
    headers: tuple[str, ...]
    score: float


def listed(config: Config) -> list[Listed]:
    """Those in use first, in their order; then the others by name."""
    places = registry.known()
    used = list(config.filters.use)
    found = []
    for name in [*used, *sorted(set(places) - set(used))]:
        try:
            kind = registry.filter_class(name)
        except WrongValueError as error:  # somebody's package is broken: that is what has to be seen
            found.append(Listed(name, name in used, (), places.get(name, ""), error.message))
            continue
        purpose = (kind.options_type.__doc__ or "").strip().partition("\n")[0]
        found.append(Listed(name, name in used, kind.phases(), places[name], purpose))
    return found


async def try_message(
    config: Config,
    message: bytes,
    peer: Peer,
    sender: str,
    recipients: Sequence[str],
    wishes: Mapping[str, tuple[str, ...]],
) -> list[Opinion]:
    """Every filter's opinion in every phase, as if `peer` sent `message` (CRLF or LF) from `sender`; keeps nothing.

    `wishes` are the policies of recipients, and of the one who logged in, by address (see admin.policy.wishes_of).
    """
    text = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    targets = [Address.parse(recipient) for recipient in recipients]
    envelope = Envelope(
        "0" * 26,
        sender,
        tuple(Recipient(target.key, str(target)) for target in targets),
        time.time(),
        client_ip=peer.ip,
        helo=peer.helo,
    )
    store = make_store(config, keep=False)
    tools = Tools(
        config.host,
        config.dns,
        time.time,
        shared(config.dns),
        state=Path(config.state),
        store=store,
        tag_separator=config.smtp.tag_separator,
    )
    policies = Policies(config.filters, tools)
    case = policies.open()
    with TemporaryDirectory() as folder:
        body = Draft(Path(folder), "message", config.spool.large_message)
        body.append(text)
        try:
            await case.connect(peer)
            await case.mail(peer, sender, wishes.get(peer.login, ()))
            for target in targets:
                recipient = Recipient(target.key, str(target))
                await case.rcpt(peer, sender, target, Resolved(True, (recipient,), policies=wishes))
            await case.data(peer, envelope, body)
        finally:
            await policies.close()
            body.discard()
    return [_opinion(one) for one in case.judged]


def desk_peer(ip: str, helo: str, login: str = "") -> Peer:
    service = Service.SUBMISSION if login else Service.SMTP
    return Peer(service, ip, 0, helo, True, "", login, own=bool(login))


def _opinion(one: Judged) -> Opinion:
    verdict: Verdict = one.verdict
    return Opinion(
        one.phase,
        one.filter,
        verdict.decision.name.lower(),
        round(one.seconds * 1000, 1),
        verdict.why,
        str(verdict.reply or ""),
        tuple(f"{name}: {value}" for name, value in verdict.headers),
        verdict.score,
    )
