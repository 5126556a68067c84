"""What a server said, as a Reply. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from postane.core.reply import Reply


def reply_of(code: int, lines: Sequence[str]) -> Reply:
    """Several lines carry the enhanced code each (RFC 2034 section 4): it is kept once."""
    first = Reply.parse(code, lines[0] if lines else "")
    if len(lines) < 2:
        return first
    prefix = first.enhanced + " " if first.enhanced else ""
    return Reply(code, first.enhanced, "\n".join([first.text, *(line.removeprefix(prefix) for line in lines[1:])]))


def silence(error: BaseException, words: str) -> str:
    """The reason of a broken connection in words; `words` for a TimeoutError, which has none of its own."""
    if isinstance(error, TimeoutError) and not str(error):
        return words
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
