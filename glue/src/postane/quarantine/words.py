"""All words that an owner of quarantined mail reads, in each language; a test holds the languages equal.

`{…}` are values. A key that ends in `.one` is for one message, in `.many` for any other number.
"""

from __future__ import annotations

import time
from typing import Literal

Language = Literal["en", "tr"]

LANGUAGES: tuple[Language, ...] = ("en", "tr")

WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "time": "%Y-%m-%d %H:%M",
        "digest.from": "Quarantine",
        "digest.subject.one": "1 message waits in your quarantine",
        "digest.subject.many": "{count} messages wait in your quarantine",
        "digest.intro.one": "One message for {mailbox} looked suspicious and was kept out of your mailbox.",
        "digest.intro.many": "{count} messages for {mailbox} looked suspicious and were kept out of your mailbox.",
        "digest.todo": "If all of it is unwanted you need not do anything: each message is deleted after {days} days.",
        "digest.links": "Each link works without a login, for this one message only. Do not forward this mail.",
        "digest.more.one": "One older message is not listed here.",
        "digest.more.many": "{count} older messages are not listed here.",
        "digest.why": "You get this mail because mail for {mailbox} is filtered on {host}.",
        "item.from": "From",
        "item.subject": "Subject",
        "item.received": "Received",
        "item.size": "Size",
        "item.mailbox": "For",
        "item.no_subject": "(no subject)",
        "item.no_author": "(no sender)",
        "item.dangerous": "It may be dangerous: only your postmaster can let it out.",
        "act.release": "Deliver it to me",
        "act.delete": "Delete",
        "act.list": "See all that waits",
        "page.nav": "Message",
        "page.brand": "Quarantine",
        "page.list.title.one": "1 message waits for {mailbox}",
        "page.list.title.many": "{count} messages wait for {mailbox}",
        "page.list.note": "Each of them is deleted when its time is over, if you do nothing.",
        "page.release.title": "Deliver this message to your mailbox?",
        "page.release.note": "Open it with care: links and attachments in suspicious mail may do harm.",
        "page.release.learn": "This is no spam: teach the filter so",
        "page.delete.title": "Delete this message?",
        "page.delete.note": "You will not be able to read it.",
        "page.released.title": "The message is on its way to your mailbox",
        "page.released.note": "It should be there within a minute.",
        "page.deleted.title": "The message is deleted",
        "page.deleted.note": "If that was a mistake, your postmaster can still restore it for a while.",
        "page.already_released.title": "This message was already delivered",
        "page.already_released.note": "It was delivered on {time}. Look into your mailbox.",
        "page.already_deleted.title": "This message was already deleted",
        "page.already_deleted.note": "It was deleted on {time}. Your postmaster can still restore it for a while.",
        "page.dangerous.title": "Only your postmaster can let this message out",
        "page.dangerous.note": "It may be dangerous. If you expect it, ask your postmaster and name this message.",
        "page.gone.title": "This message is no longer here",
        "page.gone.note": "Its time in quarantine is over, and it was deleted.",
        "page.expired.title": "This link has expired",
        "page.expired.note": "Use a link from a newer mail, or ask your postmaster.",
        "page.forged.title": "This link is not valid",
        "page.forged.note": "It may have been cut off. Copy the whole link from the mail, or open it there again.",
        "page.too_many.title": "Too many wrong links",
        "page.too_many.note": "Wait a few minutes, then open the link from the mail again.",
        "page.failed.title": "That did not work",
        "page.failed.note": "Nothing has changed. Try again in a few minutes; if it fails again, ask your postmaster.",
    },
    "tr": {
        "time": "%d.%m.%Y %H:%M",
        "digest.from": "Karantina",
        "digest.subject.one": "Karantinanızda 1 ileti bekliyor",
        "digest.subject.many": "Karantinanızda {count} ileti bekliyor",
        "digest.intro.one": "{mailbox} adresine gelen bir ileti şüpheli görüldü ve posta kutunuza konmadı.",
        "digest.intro.many": "{mailbox} adresine gelen {count} ileti şüpheli görüldü ve posta kutunuza konmadı.",
        "digest.todo": "Hepsi istenmeyen ileti ise bir şey yapmanız gerekmez: her ileti {days} gün sonra silinir.",
        "digest.links": "Bağlantılar oturum açmadan, yalnızca o ileti için çalışır. Bu iletiyi başkasına iletmeyin.",
        "digest.more.one": "Daha eski bir ileti burada gösterilmedi.",
        "digest.more.many": "Daha eski {count} ileti burada gösterilmedi.",
        "digest.why": "Bu iletiyi, {mailbox} adresinin postası {host} üzerinde süzüldüğü için alıyorsunuz.",
        "item.from": "Gönderen",
        "item.subject": "Konu",
        "item.received": "Geliş",
        "item.size": "Boyut",
        "item.mailbox": "Alıcı",
        "item.no_subject": "(konusuz)",
        "item.no_author": "(gönderen yok)",
        "item.dangerous": "Tehlikeli olabilir: yalnızca posta yöneticiniz teslim edebilir.",
        "act.release": "Posta kutuma teslim et",
        "act.delete": "Sil",
        "act.list": "Bekleyenlerin tümünü gör",
        "page.nav": "İleti",
        "page.brand": "Karantina",
        "page.list.title.one": "{mailbox} için 1 ileti bekliyor",
        "page.list.title.many": "{mailbox} için {count} ileti bekliyor",
        "page.list.note": "Bir şey yapmazsanız her biri süresi dolunca silinir.",
        "page.release.title": "Bu ileti posta kutunuza teslim edilsin mi?",
        "page.release.note": "Dikkatle açın: şüpheli iletilerdeki bağlantılar ve ekler zarar verebilir.",
        "page.release.learn": "Bu istenmeyen ileti değil: süzgece öğret",
        "page.delete.title": "Bu ileti silinsin mi?",
        "page.delete.note": "İletiyi artık okuyamazsınız.",
        "page.released.title": "İleti posta kutunuza gönderildi",
        "page.released.note": "Bir dakika içinde orada olmalı.",
        "page.deleted.title": "İleti silindi",
        "page.deleted.note": "Yanlışlıkla olduysa posta yöneticiniz bir süre daha geri getirebilir.",
        "page.already_released.title": "Bu ileti zaten teslim edildi",
        "page.already_released.note": "{time} tarihinde teslim edildi. Posta kutunuza bakın.",
        "page.already_deleted.title": "Bu ileti zaten silindi",
        "page.already_deleted.note": "{time} tarihinde silindi. Posta yöneticiniz bir süre daha geri getirebilir.",
        "page.dangerous.title": "Bu iletiyi yalnızca posta yöneticiniz teslim edebilir",
        "page.dangerous.note": "Tehlikeli olabilir. Beklediğiniz bir ileti ise posta yöneticinize bildirin.",
        "page.gone.title": "Bu ileti artık burada değil",
        "page.gone.note": "Karantinadaki süresi doldu ve silindi.",
        "page.expired.title": "Bu bağlantının süresi doldu",
        "page.expired.note": "Daha yeni bir iletideki bağlantıyı kullanın ya da posta yöneticinize sorun.",
        "page.forged.title": "Bu bağlantı geçerli değil",
        "page.forged.note": "Eksik kopyalanmış olabilir. Bağlantının tamamını kopyalayın ya da iletiden yeniden açın.",
        "page.too_many.title": "Çok fazla yanlış bağlantı",
        "page.too_many.note": "Birkaç dakika bekleyin, sonra iletideki bağlantıyı yeniden açın.",
        "page.failed.title": "İşlem yapılamadı",
        "page.failed.note": "Bir şey değişmedi. Birkaç dakika sonra yeniden deneyin; olmazsa posta yöneticinize sorun.",
    },
}


class Words:
    """The words of one language, for templates: `words("key", count=3)`."""

    def __init__(self, language: str) -> None:
        self.language: Language = next((one for one in LANGUAGES if one == language), LANGUAGES[0])
        self._words = WORDS[self.language]

    def __call__(self, key: str, **values: object) -> str:
        if "count" in values and key not in self._words:
            key = f"{key}.{'one' if values['count'] == 1 else 'many'}"
        return self._words[key].format(**values)

    def time(self, at: float) -> str:
        return time.strftime(self._words["time"], time.localtime(at))

    def size(self, octets: int) -> str:
        """Rounded up, with the language's decimal sign."""
        kib = max(1, -(-octets // 1024))
        if kib < 1024:
            return f"{kib} KiB"
        number = f"{octets / 1024 / 1024:.1f}"
        return f"{number.replace('.', ',') if self.language == 'tr' else number} MiB"


def choose(accepted: str) -> Language:
    """The language that a browser likes best (Accept-Language, RFC 9110 section 12.5.4); else the first."""
    best: tuple[float, Language] | None = None
    for part in accepted[:1000].split(","):
        tag, _, rest = part.strip().partition(";")
        primary = tag.strip().lower().partition("-")[0]
        try:
            weight = float(rest.strip().removeprefix("q=")) if rest else 1.0
        except ValueError:
            weight = 0.0
        for language in LANGUAGES:
            if primary == language and weight > 0 and (best is None or weight > best[0]):
                best = (weight, language)
    return best[1] if best else LANGUAGES[0]
