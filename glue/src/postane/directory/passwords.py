"""Password hashes that both Dovecot 2.3 and 2.4 read: `{ARGON2ID}$argon2id$…` (RFC 9106), made by libpass.

Memory 19 MiB, two passes, one lane: what OWASP names as the least, so that a small host stands many logins at once.
"""

from __future__ import annotations

import secrets

from passlib.hash import argon2

_PREFIX = "{ARGON2ID}"
# The backend is chosen now and once: chosen lazily, two threads at their first use would race for it.
argon2.set_backend()
# A hash of no password at all, for names that are not there: it costs what a real one costs, and is never true.
NOBODY = _PREFIX + "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
_scheme = argon2.using(type="ID", memory_cost=19_456, time_cost=2, parallelism=1)


def hash_password(password: str) -> str:
    """A new hash with its scheme prefix. Takes some 20 ms by design."""
    return _PREFIX + str(_scheme.hash(password))


def verify_password(password: str, stored: str) -> bool:
    """False for a wrong password and for a hash of a scheme that is not ours."""
    if not stored.startswith(_PREFIX):
        return False
    try:
        return bool(_scheme.verify(password, stored.removeprefix(_PREFIX)))
    except ValueError:
        return False


def needs_rehash(stored: str) -> bool:
    """True if the hash was made with other costs than today's."""
    return not stored.startswith(_PREFIX) or bool(_scheme.needs_update(stored.removeprefix(_PREFIX)))


def generate_password() -> str:
    """20 characters that can be read over the phone: about 99 bits."""
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(5)) for _ in range(4))
