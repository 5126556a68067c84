"""Mail of this host to its operator: written straight into the spool, so that it needs no door that could be shut."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from postane.config.model import Config
from postane.core.address import Address
from postane.core.envelope import Envelope, Notify, Recipient
from postane.core.errors import NotFoundError
from postane.directory.lookup import Lookup
from postane.domains.drift_cases import Case
from postane.domains.drift_mail import Alarm, build
from postane.quarantine.release import Pieces
from postane.spool.writer import SpoolWriter
from postane.storage.place import url_of
from postane.storage.reader import open_reader


def send(config: Config, untold: Sequence[tuple[str, Case]], old: int, now: float) -> str:
    """Tells `domains.alarm_to`; returns the spool id once the mail is synced. `untold` and `old` as Alarm has them.

    Raises NotFoundError, AddressError for an address that nobody has, TemporaryError, OSError.
    """
    return asyncio.run(_send(config, untold, old, now))


async def _send(config: Config, untold: Sequence[tuple[str, Case]], old: int, now: float) -> str:
    to = Address.parse(config.domains.alarm_to)
    recipients = await _recipients(config, to)
    spool = SpoolWriter(Path(config.state) / "spool", config.spool)
    try:
        spool_id = spool.new_id()
        text = build(Alarm(config.host, spool_id, str(to), untold, old, config.domains.alarm_language, now))
        utf8 = not to.is_ascii
        envelope = Envelope(spool_id, "", recipients, now, smtputf8=utf8, body_8bit=utf8, extra={"sent": "drift"})
        await spool.put(envelope, b"", Pieces([text]))
    finally:
        await spool.close()
    return spool_id


async def _recipients(config: Config, to: Address) -> tuple[Recipient, ...]:
    reader = open_reader(url_of(config))
    lookup = Lookup(reader, config.directory, config.host.lower(), config.state, config.smtp.tag_separator)
    try:
        found = await lookup.resolve(to)
    finally:
        lookup.close()
    if not found.known_domain:
        return (Recipient(str(to), str(to), "remote", (Notify.NEVER,)),)
    if not found.targets:
        raise NotFoundError(f"domains.alarm_to: nobody has the address {to}")
    return tuple(
        Recipient(one.address, str(to), one.kind, (Notify.NEVER,), mailbox=one.mailbox) for one in found.targets
    )
