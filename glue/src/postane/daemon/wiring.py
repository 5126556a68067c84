"""Which real parts stand behind the ports: the one place where directory, filters, delivery and bounces meet."""

from __future__ import annotations

import time
from pathlib import Path
from random import SystemRandom

from postane.bounce.notices import DsnNotices
from postane.config.model import Config
from postane.core.ports import Transport
from postane.daemon.queue import Ways
from postane.daemon.smtpd import Parts
from postane.delivery.lmtp import LmtpTransport
from postane.delivery.maildir import MaildirTransport
from postane.delivery.mx import OwnHost
from postane.delivery.router import Router
from postane.delivery.smtp import SmtpTransport
from postane.directory.lookup import Lookup
from postane.dns.resolver import Resolver
from postane.filters.dkim_sign import DkimSigner, SigningKey
from postane.filters.pipeline import Pipeline
from postane.storage.place import url_of
from postane.storage.reader import open_reader


def smtp_parts(config: Config) -> Parts:
    """For an SMTP worker, made in it."""
    lookup = _lookup(config)
    signer = None
    if config.dkim.sign:

        def keys(domain: str) -> list[SigningKey]:
            return [SigningKey(key.selector, key.algorithm, key.path) for key in lookup.signing_keys(domain)]

        signer = DkimSigner(keys, time.time)
    return Parts(lookup, Pipeline(), signer)


def queue_ways(config: Config) -> Ways:
    """For the queue process, made in it."""
    lookup = _lookup(config)
    ours = OwnHost(names={config.host.lower()}, addresses=set(config.dns.addresses))
    remote = SmtpTransport(config.delivery, config.host, Resolver(config.dns), ours, SystemRandom())
    local: Transport
    if config.delivery.local == "maildir":
        local = MaildirTransport(Path(config.delivery.maildir), config.host, lookup.has_mailbox, time.time)
    else:
        local = LmtpTransport(config.delivery, config.host)
    router = Router(local, remote, config.delivery.smarthost)
    return Ways(router, DsnNotices(config.host, lookup.resolve, time.time))


def _lookup(config: Config) -> Lookup:
    return Lookup(
        open_reader(url_of(config)), config.directory, config.host.lower(), config.state, config.smtp.tag_separator
    )
