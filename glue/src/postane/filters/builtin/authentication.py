"""Authenticates mail from outside: SPF, DKIM, ARC and DMARC, their results in one Authentication-Results header.

What the author's domain asks for mail that fails DMARC is done, unless a chain of trusted sealers (ARC) vouches that
the message passed when it came to the first of them. Header fields that claim to be our results are made unreadable,
in mail of our own users too: they are what a mail program believes.

What can fail: the DNS gives no answer that decides. Then `on_temperror` says what becomes of the message; the
failure policy is for accidents.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from msgspec import Meta

from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import Decision, Verdict
from postane.filters import base
from postane.filters.auth import results
from postane.filters.auth.arc import Chain
from postane.filters.auth.authenticate import Authentication as Found
from postane.filters.auth.canonical import Piece
from postane.filters.auth.checked import authenticated
from postane.filters.auth.dkim_key import Result
from postane.filters.auth.dmarc import Evaluation
from postane.filters.auth.message import MAX_HEAD, MAX_LINES, too_long
from postane.observe.log import get_logger

log = get_logger("filters")

UNCLEAR = Reply(550, "5.7.1", "The message must have exactly one clear address in From")
FALSE_NAME = Reply(550, "5.7.1", "The name in From shows an address of another domain")

FALSE_NAME_MARK = "X-Postane-False-Name"

_SHARE = 0.8  # of the time that a call has, for questions to the DNS


class Options(base.Options, frozen=True):
    """SPF, DKIM, ARC and DMARC of mail from outside."""

    timeout: Annotated[float, Meta(gt=0, le=60, description="Seconds for one call.")] = 20.0
    authserv_id: Annotated[str, Meta(description="Our name in Authentication-Results; empty: the host's.")] = ""
    organization: Annotated[
        Literal["tree_walk", "public_suffix_list"],
        Meta(description="How DMARC finds the organisational domain: RFC 9989, or as RFC 7489 did."),
    ] = "tree_walk"
    on_reject: Annotated[
        Literal["reject", "quarantine", "mark"], Meta(description="What is done where DMARC asks for reject.")
    ] = "reject"
    on_quarantine: Annotated[
        Literal["quarantine", "mark"], Meta(description="What is done where DMARC asks for quarantine.")
    ] = "quarantine"
    on_permerror: Annotated[
        Literal["reject", "quarantine", "mark"],
        Meta(description="What is done with a message that has no one clear address in From."),
    ] = "quarantine"
    on_temperror: Annotated[
        Literal["defer", "mark"], Meta(description="What is done where the DNS gives no answer that decides DMARC.")
    ] = "defer"
    on_false_name: Annotated[
        Literal["accept", "score", "quarantine", "reject"],
        Meta(description="What is done where From shows an address of another domain beside the author's."),
    ] = "score"
    false_name_score: Annotated[
        float, Meta(ge=0, description="The score of such a message, unless it is accepted.")
    ] = 2.0
    trusted_sealers: Annotated[
        tuple[str, ...], Meta(description="Domains whose ARC seals are believed: mailing lists, forwarders.")
    ] = ()
    trusted_peers: Annotated[
        tuple[str, ...], Meta(description="Networks whose mail is our own and not judged, as the host's programs.")
    ] = ("127.0.0.0/8", "::1/128")

    def __post_init__(self) -> None:
        for network in self.trusted_peers:
            ip_network(network)


@dataclass(frozen=True, slots=True)
class _Opinion:
    """The decision, why, and what the peer reads."""

    decision: Decision = Decision.ACCEPT
    why: str = ""
    reply: Reply | None = None


class Authentication(base.Filter[Options]):
    name = "authentication"
    members = True
    options_type = Options
    host = frozenset({"authserv_id", "timeout"})
    owner = frozenset({"on_false_name", "false_name_score"})

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._own = [ip_network(network) for network in options.trusted_peers]
        self._id = options.authserv_id or tools.host
        self._sealers = {domain.lower() for domain in options.trusted_sealers}
        self._ask = tools.resolver()

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        head = _head(body)
        if head is None:
            limit = f"{MAX_HEAD} octets or {MAX_LINES} lines"
            reply = Reply(550, "5.6.0", f"The message has a header of over {limit}")
            return Verdict(Decision.REJECT, f"the header has over {limit}", reply)
        patches = tuple(results.blanked(head, self._id))
        address = ip_address(peer.ip)
        if peer.own or envelope.login or any(address in network for network in self._own):
            return Verdict(patches=patches)
        seconds = self.options.timeout * _SHARE
        by_list = self.options.organization == "public_suffix_list"
        found = await authenticated(self.tools, self._ask, peer, envelope, body, seconds, suffix_list=by_list)
        said = sorted((self._judge(found), self._name(found)), key=lambda one: -one.decision)
        opinion, why = said[0], "; ".join(one.why for one in said if one.why)
        headers = [("Authentication-Results", self._results(found, peer, envelope))]
        if found.shown and self.options.on_false_name != "accept":
            headers.append((FALSE_NAME_MARK, found.shown.encode("ascii", "replace").decode()[:200]))
        log.info(
            "authenticated",
            trace_id=envelope.id,
            author=found.dmarc.domain,
            spf=str(found.spf.result),
            dkim=[f"{one.domain}:{one.result}" for one in found.dkim],
            arc=str(found.arc.cv),
            dmarc=str(found.dmarc.result),
            policy=found.dmarc.policy,
            shown=found.shown,
            decision=opinion.decision.name.lower(),
            reason=why,
        )
        score = self.options.false_name_score if found.shown and self.options.on_false_name != "accept" else 0.0
        return Verdict(opinion.decision, why, opinion.reply, tuple(headers), score, patches, opinion=True)

    def _results(self, found: Found, peer: Peer, envelope: Envelope) -> str:
        return results.compose(
            self._id,
            [
                results.spf(found.spf.result, mail_from=envelope.sender, helo=peer.helo, reason=found.spf.problem),
                *results.dkim(found.dkim),
                results.arc(found.arc),
                results.dmarc(found.dmarc),
                results.iprev(found.iprev, peer.ip),
            ],
        )

    def _name(self, found: Found) -> _Opinion:
        """What From shows beside the author's address."""
        wanted = self.options.on_false_name
        if not found.shown or wanted == "accept":
            return _Opinion()
        return _done(wanted, f"From shows {found.shown}, which is not of the author's domain", FALSE_NAME)

    def _judge(self, found: Found) -> _Opinion:
        """What DMARC says."""
        dmarc = found.dmarc
        if dmarc.result is Result.PERMERROR:
            why = f"DMARC: {dmarc.reason}"
            return _done(self.options.on_permerror, why, UNCLEAR)
        if dmarc.result is Result.TEMPERROR:
            why = f"DMARC: {dmarc.reason}"
            later = Reply(451, "4.7.1", f"DMARC of {dmarc.domain} cannot be checked now; try again later")
            return _done(self.options.on_temperror, why, later)
        if dmarc.disposition == "none":
            return _Opinion()
        why = f"DMARC: {dmarc.record_at} asks for {dmarc.disposition}: {dmarc.reason}"
        sealer = self._vouched(found.arc, dmarc)
        if sealer:
            return _Opinion(why=f"{why}; overridden: {sealer} vouches by ARC that it passed there")
        refused = Reply(550, "5.7.1", f"Refused by the DMARC policy of {dmarc.record_at}")
        wanted = self.options.on_reject if dmarc.disposition == "reject" else self.options.on_quarantine
        return _done(wanted, why, refused)

    def _vouched(self, chain: Chain, dmarc: Evaluation) -> str:
        """The sealer that saw DMARC pass, if every sealer is one that is trusted; else ""."""
        if chain.cv is not Result.PASS or not self._sealers.issuperset(chain.sealers):
            return ""
        for sealer, said in zip(chain.sealers, chain.results, strict=True):
            if results.says_dmarc_pass(said, dmarc.domain):
                return sealer
        return ""


def _done(wanted: str, why: str, reply: Reply) -> _Opinion:
    decision = {"reject": Decision.REJECT, "defer": Decision.DEFER, "quarantine": Decision.QUARANTINE}.get(wanted)
    if decision is None:
        return _Opinion(why=why)
    return _Opinion(decision, why, None if decision is Decision.QUARANTINE else reply)


def _head(body: Body) -> bytes | None:
    """The header as it came, without the empty line; None if it is too long."""
    head = bytearray()
    for chunk in body.chunks():
        view: Piece = memoryview(chunk)[: MAX_HEAD + 4 - len(head)]
        searched = max(0, len(head) - 3)
        head += view
        if head.startswith(b"\r\n"):
            return b""
        end = head.find(b"\r\n\r\n", searched)
        if end >= 0:
            del head[end:]
            break
        if len(head) > MAX_HEAD:
            return None
    return None if too_long(head) else bytes(head)
