"""Checks SPF (RFC 7208) for what comes from outside: after MAIL by policy, and as a header in the message.

It is evaluated once for all phases, and for all filters that go by it. What fails in the DNS is a result
(`temperror`), no failure of the filter.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from msgspec import Meta

from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base
from postane.filters.auth.checked import client, spf
from postane.filters.auth.spf import Checked
from postane.filters.auth.spf_received import NAME, received_spf
from postane.filters.auth.spf_record import Result
from postane.observe.log import get_logger

log = get_logger("filters")

_LINE = 490  # characters of a reply line beside its codes: 512 with them (RFC 5321 section 4.5.3.1.5)


class Options(base.Options, frozen=True):
    """Sender Policy Framework: may this client send for that domain?"""

    timeout: Annotated[float, Meta(gt=0, le=60, description="Seconds for one call.")] = 25.0
    seconds: Annotated[
        float, Meta(gt=0, le=60, description="For all questions of one check; then the result is temperror.")
    ] = 20.0
    fail: Annotated[
        Literal["mark", "reject"], Meta(description="What a fail brings: a header, or 550 5.7.23 after MAIL.")
    ] = "mark"
    temperror: Annotated[
        Literal["mark", "defer"], Meta(description="What a temperror brings: a header, or 451 4.7.24 after MAIL.")
    ] = "mark"
    permerror: Annotated[
        Literal["mark", "reject"], Meta(description="What a permerror brings: a header, or 550 5.7.24 after MAIL.")
    ] = "mark"
    header: Annotated[bool, Meta(description="Put the result into Received-SPF.")] = True
    at_once: Annotated[
        bool, Meta(description="Refuse at MAIL; else at RCPT, where the recipient's own policy counts.")
    ] = False
    trusted_peers: Annotated[
        tuple[str, ...],
        Meta(description="Networks that are not checked: the host's programs, your own forwarders and backup MX."),
    ] = ("127.0.0.0/8", "::1/128")

    def __post_init__(self) -> None:
        for network in self.trusted_peers:
            ip_network(network)


class Spf(base.Filter[Options]):
    name = "spf"
    options_type = Options
    host = frozenset({"timeout", "seconds"})

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._ask = tools.resolver()
        self._own = [ip_network(network) for network in options.trusted_peers]

    async def mail(self, peer: Peer, sender: str) -> Verdict:
        if self._is_trusted(peer):
            return ACCEPT
        checked = await spf(self.tools, self._ask, peer, sender, self.options.seconds)
        decision, reply = self._policy(checked)
        if reply is not None and self.options.at_once:
            log.info("refused", client_ip=peer.ip, sender=sender, reply=str(reply), reason=_why(checked))
        return Verdict(decision, _why(checked), reply, opinion=True, at_once=self.options.at_once)

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        if not self.options.header or self._is_trusted(peer):
            return ACCEPT
        checked = await spf(self.tools, self._ask, peer, envelope.sender, self.options.seconds)
        header = received_spf(checked, client(self.tools, peer, envelope.sender))
        return Verdict(why=_why(checked), headers=((NAME, header),), opinion=True)

    def _is_trusted(self, peer: Peer) -> bool:
        """Who has logged in is known better than by an address."""
        if peer.login:
            return True
        address = ip_address(peer.ip)
        return any(address in network for network in self._own)

    def _policy(self, checked: Checked) -> tuple[Decision, Reply | None]:
        """The codes are those of RFC 7372 section 3.2."""
        domain = checked.domain
        if checked.result is Result.FAIL and self.options.fail == "reject":
            # RFC 7208 section 6.2: it has to be clear whose words these are.
            says = f"\n{domain} explains: {checked.explanation}"[:_LINE] if checked.explanation else ""
            return Decision.REJECT, Reply(550, "5.7.23", f"SPF: {domain} does not let this client send for it{says}")
        if checked.result is Result.TEMPERROR and self.options.temperror == "defer":
            return Decision.DEFER, Reply(451, "4.7.24", f"SPF: {domain} cannot be asked now; try again later")
        if checked.result is Result.PERMERROR and self.options.permerror == "reject":
            return Decision.REJECT, Reply(550, "5.7.24", f"SPF: the record of {domain} is in error")
        return Decision.ACCEPT, None


def _why(checked: Checked) -> str:
    about = checked.problem or checked.mechanism
    return f"SPF: {checked.result} for {checked.domain}{f': {about}' if about else ''}"
