from __future__ import annotations

from postane.core.question import NO_SUCH_NAME, Answer


def test_void() -> None:
    assert NO_SUCH_NAME.void
    assert Answer().void
    assert not Answer(("192.0.2.1",)).void
    assert not Answer(failed="SERVFAIL").void
