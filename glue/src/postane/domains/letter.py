"""One page for whoever keeps a customer's DNS: what to put in, change and take out, and what to look out for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from postane.core.address import shown_domain
from postane.dns.records import Record, text_of
from postane.domains.kinds import Kind
from postane.domains.plan import Action, Line, Plan


@dataclass(frozen=True, slots=True)
class _Words:
    subject: str
    greeting: str
    opening: str
    add: str
    change: str
    remove: str
    conflict: str
    nothing: str
    name: str
    type: str
    value: str
    now: str
    hints: tuple[str, ...]
    spf: str
    closing: str
    ends: str


_WORDS: dict[str, _Words] = {
    "en": _Words(
        subject="DNS records of {domain}",
        greeting="Dear keeper of the DNS of {domain},",
        opening="mail for {domain} is being set up at {host}. Please make these changes in its DNS zone.",
        add="Please add:",
        change="Please change:",
        remove="Please remove:",
        conflict="Please decide with us; nothing has to be done yet:",
        nothing="Everything stands as it should: there is nothing to do.",
        name="name",
        type="type",
        value="value",
        now="now",
        hints=(
            'Names are relative to {domain}; "@" is the domain itself.',
            "A long text may have to be put in in strings of at most 255 characters; its letters stay the same.",
            "All other records stay as they are.",
        ),
        spf="A domain has one SPF record: please change the one that is there, and do not add a second.",
        closing="Nobody needs to be told when it is done: we look by ourselves.",
        ends="Kind regards",
    ),
    "tr": _Words(
        subject="{domain} alan adının DNS kayıtları",
        greeting="{domain} alan adının DNS yöneticisinin dikkatine,",
        opening="{domain} alan adının e-postası {host} üzerinde hazırlanıyor. "
        "Lütfen DNS bölgesinde aşağıdaki değişiklikleri yapın.",
        add="Lütfen ekleyin:",
        change="Lütfen değiştirin:",
        remove="Lütfen silin:",
        conflict="Lütfen bizimle birlikte karar verin; şimdilik bir şey yapmanız gerekmiyor:",
        nothing="Her şey olması gerektiği gibi: yapılacak bir şey yok.",
        name="ad",
        type="tür",
        value="değer",
        now="şimdiki",
        hints=(
            'Adlar {domain} alan adına göredir; "@" alan adının kendisidir.',
            "Uzun bir metnin en çok 255 karakterlik parçalar hâlinde girilmesi gerekebilir; harfleri değişmez.",
            "Diğer bütün kayıtlar olduğu gibi kalır.",
        ),
        spf="Bir alan adının tek bir SPF kaydı olur: lütfen var olan kaydı değiştirin, ikincisini eklemeyin.",
        closing="Bittiğinde haber vermeniz gerekmez: kendimiz bakarız.",
        ends="Saygılarımızla",
    ),
}

LANGUAGES = tuple(_WORDS)


def letter(plan: Plan, host: str, sender: str, language: str = "en") -> str:
    """Plain text, lines as long as their records. `language` is one of LANGUAGES."""
    words = _WORDS[language]
    names = {"domain": shown_domain(plan.domain), "host": host}
    parts = [words.subject, "", words.greeting, "", words.opening]
    for action, heading in (
        (Action.ADD, words.add),
        (Action.CHANGE, words.change),
        (Action.REMOVE, words.remove),
        (Action.CONFLICT, words.conflict),
    ):
        lines = [line for line in plan.of(action) if line.record or line.replaces]
        if lines:
            parts += ["", heading, *(text for line in lines for text in _line(plan.domain, line, words))]
    if not plan.changes and not plan.of(Action.CONFLICT):
        parts += ["", words.nothing]
    hints = list(words.hints)
    if any(line.kind is Kind.SPF for line in plan.of(Action.CHANGE)):
        hints.insert(0, words.spf)
    text = "\n".join([*parts, "", *(f"* {hint}" for hint in hints), "", words.closing, "", words.ends, sender, ""])
    for key, value in names.items():
        text = text.replace(f"{{{key}}}", value)
    return text


def _line(domain: str, line: Line, words: _Words) -> Iterable[str]:
    record = line.record if line.action is not Action.REMOVE else line.replaces[0]
    yield ""
    if record is not None:
        yield f"  {words.name}:  {_relative(domain, record.name)}"
        yield f"  {words.type}:  {record.type}    TTL: {record.ttl}"
        yield f"  {words.value}:  {value_of(record)}"
    for old in line.replaces if line.action in (Action.CHANGE, Action.CONFLICT) else ():
        yield f"  {words.now}:  {old.type} {value_of(old)}"


def value_of(record: Record) -> str:
    """As the forms of DNS providers want it: a text without its quotes."""
    return text_of(record.data) if record.type == "TXT" else record.data


def _relative(domain: str, name: str) -> str:
    return "@" if name == domain else name.removesuffix(f".{domain}")
