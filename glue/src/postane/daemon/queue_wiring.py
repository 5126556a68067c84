"""Which real parts stand behind the ports of the queue: where directory, delivery, DNS and bounces meet.

Loaded in the queue's own process: of what delivery needs, nothing takes memory in the SMTP workers.
"""

from __future__ import annotations

import time
from pathlib import Path
from random import SystemRandom

import msgspec

from postane.bounce.notices import DsnNotices
from postane.config.model import Config
from postane.core.ports import Transport
from postane.daemon import queue
from postane.daemon.queue import Ways
from postane.daemon.supervisor import Pipes
from postane.daemon.wiring import make_lookup
from postane.delivery.lmtp import REMOTE as LMTP
from postane.delivery.lmtp import LmtpTransport
from postane.delivery.maildir import MaildirTransport
from postane.delivery.mx import OwnHost
from postane.delivery.old_hosts import OldHosts
from postane.delivery.owner import OwnersOnly
from postane.delivery.router import Router
from postane.delivery.smtp import SmtpTransport
from postane.dns.resolver import Resolver
from postane.quarantine.service import Service, effective
from postane.quarantine.store import FOLDER, Store
from postane.quarantine.token import KEY
from postane.quarantine.transport import QuarantineTransport, Settling
from postane.storage.secret import secret


def work(config: Config, pipes: Pipes) -> None:
    """The queue process's whole life."""
    queue.job(config, queue_ways).run(pipes)


def queue_ways(config: Config) -> Ways:
    """For the queue process, made in it."""
    lookup = make_lookup(config)
    ours = OwnHost(names={config.host.lower()}, addresses=set(config.dns.addresses))
    resolver = Resolver(config.dns)
    remote = SmtpTransport(config.delivery, config.host, resolver, ours, SystemRandom())
    # A smarthost would look up where the domain's mail goes now: here.
    direct = msgspec.structs.replace(config.delivery, smarthost="")
    elsewhere = SmtpTransport(direct, config.host, OldHosts(resolver, lookup.old_hosts, ours), ours, SystemRandom())
    local: Transport
    if config.delivery.local == "maildir":
        local = MaildirTransport(Path(config.delivery.maildir), config.host, lookup.mailbox)
    else:
        local = OwnersOnly(LmtpTransport(config.delivery, config.host), lookup.mailbox, LMTP)
    state = Path(config.state)
    store = Store(state / FOLDER, config.spool.reserve)
    quarantine = Service(
        store,
        lookup,
        config.quarantine,
        config.host,
        lambda: secret(state, KEY),
        settings_of=lambda mailbox: effective(config.quarantine, lookup.policy(mailbox, "quarantine")),
    )
    router = Router(
        Settling(local, store),
        Settling(remote, store),
        config.delivery.smarthost,
        QuarantineTransport(store, config.quarantine),
        elsewhere,
    )
    return Ways(router, DsnNotices(config.host, lookup.resolve, lookup.mailbox, time.time), quarantine)
