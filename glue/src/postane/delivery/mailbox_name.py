"""How a mailbox is named in LMTP: in ASCII always. Pure.

Dovecot 2.3 refuses RCPT in UTF-8, and no Dovecot offers SMTPUTF8 in LMTP. So a local part beyond ASCII is written as
`utf8-` and its octets in hexadecimal; the role dovecot's userdb query reads the same form back.
A tag in ASCII stays behind its `+`; another is left out.
"""

from __future__ import annotations

from postane.core.address import normal_domain, normal_local


def mailbox_name(address: str) -> str:
    """`çiğdem+list@demo.test` → `utf8-c3a769c49f64656d+list@demo.test`; ASCII stays as it is."""
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        name, plus, tag = local.partition("+")
        if not name.isascii():
            name = f"utf8-{normal_local(name).encode().hex()}"
        local = f"{name}{plus}{tag}" if tag.isascii() else name
    return f"{local}@{normal_domain(domain)}"
