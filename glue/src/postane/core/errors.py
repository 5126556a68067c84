"""Two families of error, temporary and permanent, and the exit code that hangs on each.

A PostaneError carries one sentence for the operator; what a mail peer reads is a Reply and made elsewhere.
Exit codes follow sysexits(3).
"""

from __future__ import annotations


class PostaneError(Exception):
    """Something that a person can act on; printed as one line, never as a traceback."""

    exit_code = 70
    hint: str = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class TemporaryError(PostaneError):
    """May go well later: the peer hears 4xx, the command exits 75."""

    exit_code = 75


class PermanentError(PostaneError):
    """Will not go well by waiting: the peer hears 5xx, the command exits 65."""

    exit_code = 65


class UsageError(PermanentError):
    """The command line is wrong."""

    exit_code = 64


class AddressError(PermanentError):
    """Text that is no mail address or no domain name."""


class NotFoundError(PermanentError):
    """No such domain, account, alias, message."""


class ConflictError(PermanentError):
    """The name is taken or reserved."""


class NotAllowedError(PermanentError):
    """The user who asks may not."""

    exit_code = 77


class ConfigError(PermanentError):
    """A configuration that is refused; the message starts with `file:line:`."""

    exit_code = 78


class ServiceMissingError(TemporaryError):
    """A service that is needed does not answer (Dovecot, Knot, the database)."""

    exit_code = 69


class SpoolFullError(TemporaryError):
    """No space to keep a message: 452, RFC 5321 section 4.2.3."""


class CorruptSpoolError(PermanentError):
    """A spool file that breaks its own checksum."""
