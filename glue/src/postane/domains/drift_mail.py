"""The mail that tells the operator what has become of hosted domains. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate

from postane.domains.drift_cases import Case
from postane.domains.drift_words import Language, todo, what

MOST = 200  # findings that one mail tells; the others are counted

_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "from": "Postane",
        "subject": "Domains on {host}: {open} not right, {repaired} repaired, {over} right again",
        "open": "Not right:",
        "repaired": "Postane has put back what was taken away:",
        "over": "Right again:",
        "old": "Told before, and not right yet: {count}",
        "more": "… and {count} more",
        "since": "since {time}",
        "end": "All of it, as it stands now: postane domain drift",
        "time": "%Y-%m-%d %H:%M",
    },
    "tr": {
        "from": "Postane",
        "subject": "{host} alan adları: {open} sorun, {repaired} onarım, {over} düzelen",
        "open": "Doğru olmayanlar:",
        "repaired": "Postane silinen kayıtları geri koydu:",
        "over": "Yeniden doğru olanlar:",
        "old": "Daha önce bildirilen ve hâlâ doğru olmayan: {count}",
        "more": "… ve {count} tane daha",
        "since": "{time} tarihinden beri",
        "end": "Şu andaki durumun tümü: postane domain drift",
        "time": "%d.%m.%Y %H:%M",
    },
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """`untold`: cases, each with the name of its domain as people write it; `old`: open ones that were told before."""

    host: str
    id: str
    to: str
    untold: Sequence[tuple[str, Case]]
    old: int
    language: Language
    now: float


def build(alarm: Alarm) -> bytes:
    """The whole mail, with CRLF line ends."""
    words = _WORDS[alarm.language]
    opened = [one for one in alarm.untold if one[1].open]
    repaired = [one for one in alarm.untold if not one[1].open and one[1].repaired_at == one[1].ended_at]
    over = [one for one in alarm.untold if one not in opened and one not in repaired]
    local, _, domain = alarm.to.rpartition("@")
    mail = EmailMessage(policy=policy.SMTP if alarm.to.isascii() else policy.SMTPUTF8)
    mail["Date"] = formatdate(alarm.now, localtime=True)
    mail["From"] = Address(words["from"], "postmaster", alarm.host)
    mail["To"] = Address("", local, domain)
    mail["Subject"] = words["subject"].format(host=alarm.host, open=len(opened), repaired=len(repaired), over=len(over))
    mail["Message-ID"] = f"<{alarm.id}@{alarm.host}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5
    mail["X-Auto-Response-Suppress"] = "All"
    lines: list[str] = []
    for key, cases in (("open", opened), ("repaired", repaired), ("over", over)):
        if cases:
            lines += [words[key], "", *_told(alarm, cases, with_todo=key == "open"), ""]
    if alarm.old:
        lines += [words["old"].format(count=alarm.old), ""]
    lines.append(words["end"])
    mail.set_content("\n".join(lines) + "\n", cte="quoted-printable")
    return mail.as_bytes()


def _told(alarm: Alarm, cases: Sequence[tuple[str, Case]], *, with_todo: bool) -> Iterable[str]:
    words = _WORDS[alarm.language]
    for name, case in sorted(cases, key=lambda one: (one[0], one[1].kind, one[1].subject))[:MOST]:
        since = words["since"].format(time=time.strftime(words["time"], time.localtime(case.first_seen)))
        yield f"* {name}: {what(case, alarm.language)} ({since})"
        if with_todo:
            yield f"  → {todo(case, name, alarm.language)}"
    if len(cases) > MOST:
        yield words["more"].format(count=len(cases) - MOST)
