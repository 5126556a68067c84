"""PACC: one JSON document for all programs of a domain, and its digest for the DNS. Pure.

The DNS vouches for the octets, so they must follow from the settings alone: keys are sorted, nothing is dated.
Source: draft-ietf-mailmaint-pacc (03); services have the standard ports, TLS from the first octet.
"""

from __future__ import annotations

import base64
import hashlib
import json

from postane.clients.model import Security, Setup

LABEL = "ua-auto-config"
PATH = "/.well-known/user-agent-configuration.json"

# 02 called submission "smtp", 03 calls it "submit"; programs pass over what they do not know.
_KEYS = {"imap": ("imap",), "pop3": ("pop3",), "smtp": ("submit", "smtp")}
_MOST_NAME, _MOST_SHORT = 60, 20


def document(setup: Setup) -> bytes:
    """JSON in UTF-8. ManageSieve is left out: it has no port with TLS from the first octet."""
    info: dict[str, object] = {
        "provider": {"name": setup.provider[:_MOST_NAME].strip(), "shortName": setup.short_name[:_MOST_SHORT].strip()}
    }
    if setup.help:
        info["help"] = {"documentation": setup.help}
    made = {
        "protocols": {
            key: {"host": service.host}
            for service in setup.services
            if service.security is Security.TLS
            for key in _KEYS.get(service.protocol, ())
        },
        "authentication": {"password": True},
        "info": info,
    }
    return json.dumps(made, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digest_text(setup: Setup) -> str:
    """The text of the TXT record at `_ua-auto-config`."""
    return f"v=UAAC1; a=sha256; d={base64.b64encode(hashlib.sha256(document(setup)).digest()).decode()}"
