"""Which real parts stand behind the ports of an SMTP worker: where directory, filters and signer meet."""

from __future__ import annotations

import time
from pathlib import Path

from postane.config.model import Config
from postane.daemon.smtpd import Parts
from postane.directory.lookup import Lookup
from postane.dns.shared import shared
from postane.filters.auth.dkim_sign import DkimSigner, SigningKey
from postane.filters.base import Tools
from postane.filters.policies import Policies
from postane.filters.store.make import make_store
from postane.observe.metrics import Metrics
from postane.storage.place import url_of
from postane.storage.reader import open_reader


def smtp_parts(config: Config, metrics: Metrics) -> Parts:
    """For an SMTP worker, made in it."""
    lookup = make_lookup(config)
    signer = None
    if config.dkim.sign:

        def keys(domain: str) -> list[SigningKey]:
            return [SigningKey(key.selector, key.algorithm, key.path) for key in lookup.signing_keys(domain)]

        signer = DkimSigner(keys, time.time)
    tools = Tools(
        config.host,
        config.dns,
        time.time,
        shared(config.dns),
        metrics,
        Path(config.state),
        make_store(config, metrics),
        config.smtp.tag_separator,
    )
    return Parts(lookup, Policies(config.filters, tools), signer)


def make_lookup(config: Config) -> Lookup:
    return Lookup(
        open_reader(url_of(config)), config.directory, config.host.lower(), config.state, config.smtp.tag_separator
    )
