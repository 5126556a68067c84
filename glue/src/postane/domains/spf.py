"""One SPF record for a domain: our word put into what stands there, and what the whole of it costs a receiver.

Pure: `merge` and `count` yield questions and are sent the answers (core.question).
Every foreign word is kept, in its place: the qualifier of `all`, `redirect=`, `exp=`, macros and unknown modifiers.
Our word goes in front of whatever could decide before it. What would break the record is refused with the ways out:
RFC 7208 allows ten terms that ask the DNS and two empty answers (section 4.6.4), and one record (section 4.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from postane.core.question import Evaluation, Question
from postane.filters.auth import spf_record
from postane.filters.auth.spf import MAX_LOOKUPS, MAX_NAMES, MAX_VOID_LOOKUPS
from postane.filters.auth.spf_macro import MacroString, SyntaxProblem
from postane.filters.auth.spf_record import Mechanism, Record, Result

VERSION = "v=spf1"
LONG = 450  # octets that fit with the rest into an answer of 512, RFC 7208 section 3.4
MAX_QUESTIONS = 40  # of one count: a record that needs more is broken whatever they say
_NEEDS_QUESTION = ("include", "a", "mx", "ptr", "exists")

Standing = Literal["new", "keeps", "merged", "conflict"]


@dataclass(frozen=True, slots=True)
class Count:
    """What a receiver has to ask where no term matches: the worst case.

    `by_term`: each term of the domain's own record that asks, with all that it brings in.
    `void_lookups` as a client with an IPv4 address sees them. `broken` says why any receiver gives up; `unsure` why
    the figures are a lower bound (macros), `failed` what could not be asked now.
    """

    lookups: int
    void_lookups: int
    by_term: tuple[tuple[str, int], ...] = ()
    broken: str = ""
    unsure: str = ""
    failed: str = ""

    @property
    def passes(self) -> bool:
        return not self.broken and self.lookups <= MAX_LOOKUPS and self.void_lookups <= MAX_VOID_LOOKUPS

    def __str__(self) -> str:
        least = "at least " if self.unsure or self.failed else ""
        return (
            f"{least}{self.lookups} of {MAX_LOOKUPS} look-ups, {self.void_lookups} of {MAX_VOID_LOOKUPS} empty answers"
        )


@dataclass(frozen=True, slots=True)
class Ours:
    """`term` is what we put in ("mx", "a:mail.host.example", "ip4:192.0.2.1 ip4:192.0.2.2"); each of `equal` does too.

    `cheap` are terms that say the same without a question, for whoever is at the limit. `end` closes a new record.
    """

    term: str
    equal: tuple[str, ...] = ()
    cheap: tuple[str, ...] = ()
    end: str = "-all"

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.term.split(" "))


@dataclass(frozen=True, slots=True)
class Merged:
    """`text` is the record that should stand; with "conflict" what would have, or "" where nothing can be said.

    `words` are the terms of it that are ours: they alone are taken out again.
    """

    standing: Standing
    text: str
    words: tuple[str, ...] = ()
    count: Count | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""
    ways_out: tuple[str, ...] = ()


def merge(domain: str, texts: Iterable[str], ours: Ours) -> Evaluation[Merged]:
    """The one record of `domain` (A-labels), which has `texts` now; counted."""
    put = put_in(domain, texts, ours)
    if not put.text:
        return put
    count = yield from counted(domain, put.text)
    return judged(domain, put, ours, count)


def is_record(text: str) -> bool:
    """True for an SPF record, a broken one too."""
    return bool(spf_record.select([text]))


def put_in(domain: str, texts: Iterable[str], ours: Ours) -> Merged:
    """As `merge`, but not counted: what can be said without a question."""
    records = spf_record.select(texts)
    if not records:
        return Merged("new", f"{VERSION} {ours.term} {ours.end}", ours.words)
    if len(records) > 1:
        return Merged(
            "conflict",
            "",
            problem=f"{domain} has {len(records)} SPF records: every receiver gives up (RFC 7208 section 4.5)",
            ways_out=(
                "keep one of them and remove the others at your DNS provider, then plan again",
                f"or put this in place of all of them: {_united(domain, records, ours)}",
            ),
        )
    text = records[0]
    try:
        record = spf_record.parse(text)
    except SyntaxProblem as problem:
        return Merged(
            "conflict",
            "",
            problem=f"the SPF record of {domain} cannot be read: {problem}",
            ways_out=(_repair(text), f"or put this in its place: {VERSION} {ours.term} {ours.end}"),
        )
    notes = _notes(record)
    if (there := _there(domain, record, ours)) is not None:
        return Merged("keeps", text, (there,), notes=notes)
    return Merged("merged", _inserted(text, record, ours.term), ours.words, notes=notes)


def judged(domain: str, put: Merged, ours: Ours, count: Count) -> Merged:
    """What `put_in` said, once it is counted: refused where a receiver would give up."""
    notes = put.notes
    if len(put.text) > LONG:
        notes += (f"{len(put.text)} octets: an answer may need TCP (RFC 7208 section 3.4 asks for {LONG})",)
    if count.unsure:
        notes += (count.unsure,)
    if count.passes and not count.failed:
        return Merged(put.standing, put.text, put.words, count, notes)
    if put.standing == "keeps" and count.failed and count.passes:
        return Merged("keeps", put.text, put.words, count, (*notes, f"not counted to the end: {count.failed}"))
    return Merged(
        "conflict", put.text, put.words, count, notes, _refusal(domain, count), _ways_out(domain, put, ours, count)
    )


def without(domain: str, text: str, words: Iterable[str]) -> str:
    """The record after our `words` have gone, once each; every other stays in its place."""
    parts = text.split(" ")
    for word in words:
        forms = [_form(domain, part) if part else "" for part in parts]
        if (form := _form(domain, word)) in forms:
            del parts[forms.index(form)]
    return " ".join(parts)


def counted(domain: str, text: str) -> Evaluation[Count]:
    """What the record `text` of `domain` costs, everything it brings in included; nothing is raised."""
    walk = _Walk()
    try:
        yield from walk.own(domain, text)
    except _StopError as stop:
        walk.broken = str(stop)
    return Count(walk.lookups, walk.void_lookups, tuple(walk.by_term), walk.broken, "; ".join(walk.unsure), walk.failed)


class _StopError(Exception):
    """Any receiver gives up here."""


class _Walk:
    """Every term of a record and of all that it names, as for a client that none of them matches."""

    def __init__(self) -> None:
        self.lookups = 0
        self.void_lookups = 0
        self.by_term: list[tuple[str, int]] = []
        self.broken = ""
        self.failed = ""
        self.unsure: list[str] = []
        self._questions = 0

    def own(self, domain: str, text: str) -> Evaluation[None]:
        for term, mechanism in _asking(_read(domain, text)):
            before = self.lookups
            try:
                yield from self._term(domain, mechanism, term, (domain,))
            finally:
                self.by_term.append((term, self.lookups - before))

    def _term(self, domain: str, mechanism: Mechanism | None, term: str, above: tuple[str, ...]) -> Evaluation[None]:
        """One term that asks; `mechanism` None is redirect=."""
        self.lookups += 1
        parts = mechanism.target if mechanism else _redirect_target(domain, term)
        target = domain if parts is None else _plain(parts)
        name = mechanism.name if mechanism else "redirect"
        if target is None:
            if name in ("include", "redirect"):
                self.unsure.append(f"{term} depends on the mail: what it brings in is not counted")
            return
        if name in ("include", "redirect"):
            yield from self._brought_in(target.lower(), term, above)
        elif name != "ptr":  # whose questions go to the client's own zone
            yield from self._mail_hosts(target) if name == "mx" else self._asked(target, "A")

    def _mail_hosts(self, target: str) -> Evaluation[None]:
        """Empty answers about the hosts count too; the questions themselves do not."""
        hosts = (yield from self._asked(target, "MX")) or ()
        if len(hosts) > MAX_NAMES:
            raise _StopError(f"{target} has more than {MAX_NAMES} MX records")
        for host in filter(None, hosts):
            yield from self._asked(host, "A")

    def _brought_in(self, target: str, term: str, above: tuple[str, ...]) -> Evaluation[None]:
        if target in above:
            raise _StopError(f"{term} leads back to itself")
        texts = yield from self._asked(target, "TXT")
        if texts is None:
            return
        records = spf_record.select(texts)
        if len(records) != 1:
            raise _StopError(f"{term} leads to {'no SPF record' if not records else f'{len(records)} SPF records'}")
        for below, mechanism in _asking(_read(target, records[0])):
            yield from self._term(target, mechanism, below, (*above, target))

    def _asked(self, name: str, kind: Literal["TXT", "MX", "A"]) -> Evaluation[Sequence[str] | None]:
        """None: it cannot be known now."""
        self._questions += 1
        if self._questions > MAX_QUESTIONS:
            raise _StopError(f"it needs more than {MAX_QUESTIONS} questions")
        answer = yield Question(name, kind)
        if answer.failed:
            self.failed = self.failed or answer.failed
            return None
        self.void_lookups += answer.void
        return answer.records


def _read(domain: str, text: str) -> Record:
    try:
        return spf_record.parse(text)
    except SyntaxProblem as problem:
        raise _StopError(f"the SPF record of {domain} cannot be read: {problem}") from problem


def _asking(record: Record) -> list[tuple[str, Mechanism | None]]:
    """The terms that ask, in the order of their evaluation; what stands behind `all` is never reached."""
    found: list[tuple[str, Mechanism | None]] = []
    for mechanism in record.mechanisms:
        if mechanism.name == "all":
            return found
        if mechanism.name in _NEEDS_QUESTION:
            found.append((mechanism.text, mechanism))
    if record.redirect is not None:
        found.append((record.redirect.text, None))
    return found


def _redirect_target(domain: str, term: str) -> MacroString:
    modifier = _read(domain, f"{VERSION} {term}").redirect
    assert modifier is not None
    return modifier.target


def _plain(parts: MacroString) -> str | None:
    """The name; None if only a mail can tell."""
    return "".join(map(str, parts)).removesuffix(".") if all(isinstance(part, str) for part in parts) else None


def _form(domain: str, term: str) -> str:
    """The same text for terms that say the same of `domain`: "+MX", "mx:example.org." and "mx"."""
    form = term.lower().removeprefix("+")
    name, colon, target = form.partition(":")
    if name in ("a", "mx", "ptr", "include", "exists") and colon:
        host, slash, prefix = target.partition("/")
        host = host.removesuffix(".")
        form = f"{name}{slash}{prefix}" if host == domain and name != "include" else f"{name}:{host}{slash}{prefix}"
    elif name in ("ip4", "ip6"):
        try:
            form = f"{name}:{spf_record.parse(f'{VERSION} {form}').mechanisms[0].network}"
        except SyntaxProblem:
            return form
    return form


def _there(domain: str, record: Record, ours: Ours) -> str | None:
    """The term that already says what ours would, and is reached before anything can decide otherwise."""
    wanted = {_form(domain, term) for term in (ours.term, *ours.equal) if " " not in term}
    cheap = {_form(domain, term) for term in ours.cheap}
    for mechanism in record.mechanisms:
        if mechanism.result is not Result.PASS or mechanism.name == "all":
            return None
        form = _form(domain, mechanism.text)
        if form in wanted:
            return mechanism.text
        cheap.discard(form)
        if ours.cheap and not cheap:
            return mechanism.text
    return None


def _inserted(text: str, record: Record, term: str) -> str:
    """`term` before the first mechanism that could decide otherwise, else behind the last; modifiers stay."""
    parts = text.split(" ")
    mechanisms = [mechanism.text for mechanism in record.mechanisms]
    stop = next(
        (one.text for one in record.mechanisms if one.result is not Result.PASS or one.name == "all"),
        None,
    )
    if stop is not None:
        at = parts.index(stop)
    elif mechanisms:
        at = len(parts) - parts[::-1].index(mechanisms[-1])
    else:
        at = 1
    return " ".join([*parts[:at], term, *parts[at:]])


def _notes(record: Record) -> tuple[str, ...]:
    end = next((one for one in record.mechanisms if one.name == "all"), None)
    notes: list[str] = []
    if end is not None and record.mechanisms[0] is end and end.result is Result.FAIL:
        notes.append("it said that this domain sends no mail")
    if end is not None and end.result is Result.PASS:
        notes.append(f"{end.text} lets everybody send for this domain: that is the owner's to change")
    if end is not None and record.redirect is not None:
        notes.append(f"{record.redirect.text} has no effect beside {end.text} (RFC 7208 section 6.1)")
    if any(one.name == "ptr" for one in record.mechanisms):
        notes.append("ptr should not be used (RFC 7208 section 5.5)")
    return tuple(notes)


def _united(domain: str, records: Sequence[str], ours: Ours) -> str:
    """A suggestion: the words of all records once each, the end of the first that has one."""
    words: list[str] = []
    ends: list[str] = []
    for record in records:
        for word in record.split(" ")[1:]:
            if word.lower().lstrip("+-~?") == "all" or word.lower().startswith("redirect="):
                ends.append(word)
            elif word and _form(domain, word) not in {_form(domain, one) for one in words}:
                words.append(word)
    wanted = {_form(domain, term) for term in (*ours.words, *ours.equal)}
    if not any(_form(domain, word) in wanted for word in words):
        words.append(ours.term)
    return " ".join([VERSION, *words, *(ends[:1] or [ours.end])])


def _repair(text: str) -> str:
    if not text.isascii():
        return "write the letters outside ASCII as A-labels (RFC 8616), then plan again"
    return "repair it at your DNS provider, then plan again"


def _refusal(domain: str, count: Count) -> str:
    if count.broken:
        return f"receivers give up on the SPF record of {domain}: {count.broken}"
    if count.lookups > MAX_LOOKUPS or count.void_lookups > MAX_VOID_LOOKUPS:
        return f"receivers would give up on the SPF record of {domain}: {count}"
    return f"the SPF record of {domain} cannot be counted now: {count.failed}"


def _ways_out(domain: str, put: Merged, ours: Ours, count: Count) -> tuple[str, ...]:
    if count.broken:
        return ("take the term out, or repair what it leads to, then plan again",)
    if count.passes:
        return ("plan again when the DNS answers",)
    ways: list[str] = []
    own = next((brought for term, brought in count.by_term if term in put.words), 0)
    if ours.cheap and ours.words != ours.cheap and count.lookups - own <= MAX_LOOKUPS:
        cheap = " ".join(ours.cheap)
        ways.append(f"spend no look-up on us: {put.text.replace(ours.term, cheap, 1)} (setting spf: ip)")
    heavy = sorted(((brought, term) for term, brought in count.by_term if term not in put.words), reverse=True)
    ways += [f"remove {term} if nobody sends by it any more: it takes {brought}" for brought, term in heavy[:3]]
    if count.void_lookups > MAX_VOID_LOOKUPS:
        ways.append("remove the terms whose names have no records")
    return (*ways, "send by a subdomain of its own what another service sends")
