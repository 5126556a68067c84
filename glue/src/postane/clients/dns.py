"""The records by which mail programs find all this. Pure: a domain's plan takes them as they are.

Sources: RFC 6186 and RFC 8314 section 5.1 (SRV of mail), RFC 5804 section 1.8 (SRV of ManageSieve), RFC 8461 section
3.1, draft-ietf-mailmaint-pacc.
"""

from __future__ import annotations

from postane.clients import mta_sts, pacc
from postane.clients.asked import LABELS
from postane.clients.model import Setup
from postane.dns.records import TTL, Record, text_data

_NONE = "0 0 0 ."  # decidedly not there, RFC 6186 section 3.4


def srv_records(setup: Setup, ttl: int = TTL) -> list[Record]:
    """Of each service of the model, and of those that are not there; Outlook's leads to `Setup.url`."""
    found = [
        Record(f"_{one.name}._tcp.{setup.domain}", "SRV", f"{one.priority} {one.weight} {one.port} {one.host}.", ttl)
        for one in setup.services
    ]
    found += [Record(f"_{name}._tcp.{setup.domain}", "SRV", _NONE, ttl) for name in setup.missing]
    name, port = setup.url_host
    return [*found, Record(f"_autodiscover._tcp.{setup.domain}", "SRV", f"0 1 {port} {name}.", ttl)]


def name_records(setup: Setup, ttl: int = TTL) -> list[Record]:
    """The names under which programs look, all leading to the host."""
    return [Record(f"{label}.{setup.domain}", "CNAME", f"{setup.host}.", ttl) for label in LABELS]


def text_records(setup: Setup, ttl: int = TTL) -> list[Record]:
    """What vouches for documents, or says that they have changed."""
    found = [Record(f"_{pacc.LABEL}.{setup.domain}", "TXT", text_data(pacc.digest_text(setup)), ttl)]
    if setup.mta_sts is not None:
        text = f"v=STSv1; id={mta_sts.policy_id(setup.mta_sts)};"
        found.append(Record(f"_{mta_sts.LABEL}.{setup.domain}", "TXT", text_data(text), ttl))
    return found
