"""What the DNS says of the domain and its host: MX, SPF, DMARC, reverse names."""

from __future__ import annotations

import time
from ipaddress import ip_address

from postane.acceptance.net import Net
from postane.acceptance.result import Case, FailedError, SkippedError
from postane.acceptance.subject import Subject
from postane.domains.kinds import Kind
from postane.filters.auth import dialogue
from postane.filters.auth.spf import Client, check_host

_SPF_SECONDS = 15.0


class Names:
    """The checks of records."""

    def __init__(self, subject: Subject, net: Net) -> None:
        self._subject = subject
        self._net = net

    async def mx(self, case: Case) -> None:
        """Mail for the domain is led here, and nowhere else."""
        subject = self._subject
        found = await self._net.resolver.mail_hosts(subject.domain)
        case.note(*[f"{subject.domain} MX {one.preference} {one.name}." for one in found])
        if not subject.led_here:
            raise SkippedError("not_yet")
        if not found:
            raise FailedError("no_record", name=f"{subject.domain} MX")
        others = [one.name for one in found if one.name != subject.host]
        if others:
            raise FailedError("mx_elsewhere", names=", ".join(others))

    async def spf(self, case: Case) -> None:
        """Each address that the host sends from may send for the domain."""
        subject = self._subject
        for address in subject.addresses or await self._net.addresses(subject.host):
            client = Client(ip_address(address), subject.host, subject.account, subject.host, time.time())
            found = await dialogue.run(check_host(client), self._net.resolver.ask, _SPF_SECONDS)
            case.note(f"{address}: {found.result.value} {found.mechanism}, {found.lookups} look-ups".rstrip())
            if found.result.value != "pass":
                raise FailedError("spf", address=address, result=found.result.value, said=found.problem or "-")

    async def dmarc(self, case: Case) -> None:
        """There is one policy."""
        subject = self._subject
        name = f"_dmarc.{subject.domain}"
        texts = [one for one in await self._net.texts(name) if one.startswith("v=DMARC1")]
        case.note(*[f"{name} TXT {one}" for one in texts])
        if not texts and (Kind.DMARC not in subject.kinds or not subject.led_here):
            raise SkippedError("not_kept")
        if not texts:
            raise FailedError("no_record", name=name)
        if len(texts) > 1:
            raise FailedError("two_records", name=name)

    async def reverse(self, case: Case) -> None:
        """The host's addresses have its name, and it leads back to them."""
        subject = self._subject
        addresses = subject.addresses or await self._net.addresses(subject.host)
        forward = await self._net.addresses(subject.host)
        private = 0
        for address in addresses:
            names = await self._net.resolver.names(address)
            case.note(f"{address}: {', '.join(names) or '-'}")
            if not names and ip_address(address).is_private:
                private += 1
            elif not names:
                raise FailedError("no_reverse", address=address)
            elif subject.host not in names:
                raise FailedError("other_reverse", address=address, names=", ".join(names), name=subject.host)
            elif address not in forward:
                raise FailedError("not_forward", address=address, name=subject.host)
        if private == len(addresses):
            raise SkippedError("private")
