"""What a finding says to an operator, and what can be done about it, in each language; a test holds them equal.

`{subject}` and `{data}` are those of the finding, `{domain}` is as people write it.
"""

from __future__ import annotations

from typing import Literal

from postane.domains.drift import Drift
from postane.domains.drift_cases import MOST_REPAIRS, Case

Language = Literal["en", "tr"]

_WHAT: dict[Language, dict[Drift, str]] = {
    "en": {
        Drift.MISSING: "{subject} is gone",
        Drift.CHANGED: "{subject} is another now: {data}",
        Drift.MX_GONE: "it has no MX any more: nobody can send to it",
        Drift.MX_FOREIGN: "its mail goes elsewhere: MX {data}",
        Drift.SPF_TWO: "it has more than one SPF record, and receivers take none of them: {data}",
        Drift.SPF_OVER: "its SPF record asks for more than receivers do: {data}",
        Drift.CNAME_REMOVED: "{subject}, which led into our zone, is gone or leads elsewhere",
        Drift.LAME: "{subject}, which its parent names as its server, does not serve it: {data}",
        Drift.SILENT: "{subject}, one of its name servers, does not answer",
        Drift.UNREACHABLE: "none of its name servers answers: {data}",
        Drift.TARGET_AWAY: "where its records are put cannot be asked: {data}",
        Drift.ELSEWHERE: "the world asks other name servers than ours: {data}",
        Drift.EXPIRED: "its parent knows it no more: it has run out, or was given up",
        Drift.DNSSEC_BROKEN: "validating resolvers refuse it: {data}",
        Drift.CERTIFICATE_ENDING: "the certificate {subject} ends in {data} days",
        Drift.REVERSE_WRONG: "the reverse name of {subject} is not this host's: {data}",
    },
    "tr": {
        Drift.MISSING: "{subject} kaydı yok olmuş",
        Drift.CHANGED: "{subject} kaydı artık başka: {data}",
        Drift.MX_GONE: "MX kaydı kalmamış: kimse bu alan adına ileti gönderemez",
        Drift.MX_FOREIGN: "postası başka yere gidiyor: MX {data}",
        Drift.SPF_TWO: "birden çok SPF kaydı var, alıcılar hiçbirini saymaz: {data}",
        Drift.SPF_OVER: "SPF kaydı, alıcıların yaptığından çok sorgu istiyor: {data}",
        Drift.CNAME_REMOVED: "bizim bölgemize götüren {subject} kaydı silinmiş ya da başka yere gidiyor",
        Drift.LAME: "üst bölgenin sunucu olarak gösterdiği {subject} bu alan adına hizmet vermiyor: {data}",
        Drift.SILENT: "ad sunucularından {subject} yanıt vermiyor",
        Drift.UNREACHABLE: "ad sunucularının hiçbiri yanıt vermiyor: {data}",
        Drift.TARGET_AWAY: "kayıtların konduğu yere ulaşılamıyor: {data}",
        Drift.ELSEWHERE: "dünya bizim ad sunucularımıza değil, başkalarına soruyor: {data}",
        Drift.EXPIRED: "üst bölge bu alan adını artık tanımıyor: süresi dolmuş ya da bırakılmış",
        Drift.DNSSEC_BROKEN: "doğrulayan çözümleyiciler bu alan adını reddediyor: {data}",
        Drift.CERTIFICATE_ENDING: "{subject} sertifikasının bitmesine {data} gün kaldı",
        Drift.REVERSE_WRONG: "{subject} adresinin ters adı bu sunucununki değil: {data}",
    },
}

_TODO: dict[Language, dict[Drift | str, str]] = {
    "en": {
        "mend": "put it back: postane domain drift {domain} --repair",
        "fight": "somebody takes it away again and again: ask its DNS keeper, or let it go (domain dns --keep)",
        Drift.MISSING: "have it put back; what and where says: postane domain letter {domain}",
        Drift.CHANGED: "postane domain plan {domain} shows what should stand; have it put right, or say --take",
        Drift.MX_GONE: "have it put back: postane domain letter {domain}",
        Drift.MX_FOREIGN: "if its mail is to leave: postane domain leave {domain}; else postane domain plan {domain}",
        Drift.SPF_TWO: "have one made of both; where one is ours: postane domain drift {domain} --repair",
        Drift.SPF_OVER: "which term costs what shows: postane domain plan {domain}; or name us by --spf ip",
        Drift.CNAME_REMOVED: "have it set again: postane domain letter {domain}",
        Drift.LAME: "have the server repaired, or taken out at the registrar",
        Drift.SILENT: "have the server looked at, or taken out at the registrar",
        Drift.UNREACHABLE: "ask its DNS keeper; mail for it waits with the senders meanwhile",
        Drift.TARGET_AWAY: "look at dns.targets, and at the server or the service that it names",
        Drift.ELSEWHERE: "have the delegation changed back at the registrar, or: postane domain dns {domain} --target",
        Drift.EXPIRED: "have its owner renew it; if it is given up: postane domain leave {domain}",
        Drift.DNSSEC_BROKEN: "have the DS record at the registrar changed to the keys in use, or taken out",
        Drift.CERTIFICATE_ENDING: "postane certificate show {domain} says why it was not renewed",
        Drift.REVERSE_WRONG: "ask whoever gave you the address for it",
    },
    "tr": {
        "mend": "geri koymak için: postane domain drift {domain} --repair",
        "fight": "biri kaydı sürekli siliyor: DNS yöneticisine sorun ya da tutulmamasını söyleyin (domain dns --keep)",
        Drift.MISSING: "geri konmasını isteyin; ne, nereye: postane domain letter {domain} --language tr",
        Drift.CHANGED: "olması gerekeni postane domain plan {domain} gösterir; düzelttirin ya da --take deyin",
        Drift.MX_GONE: "geri konmasını isteyin: postane domain letter {domain} --language tr",
        Drift.MX_FOREIGN: "postası ayrılacaksa: postane domain leave {domain}; değilse postane domain plan {domain}",
        Drift.SPF_TWO: "ikisinden bir kayıt yaptırın; biri bizimse: postane domain drift {domain} --repair",
        Drift.SPF_OVER: "hangi terimin ne istediğini postane domain plan {domain} gösterir; ya da --spf ip kullanın",
        Drift.CNAME_REMOVED: "yeniden kurulmasını isteyin: postane domain letter {domain} --language tr",
        Drift.LAME: "sunucuyu onartın ya da kayıt kuruluşunda listeden çıkarttırın",
        Drift.SILENT: "sunucuya baktırın ya da kayıt kuruluşunda listeden çıkarttırın",
        Drift.UNREACHABLE: "DNS yöneticisine sorun; iletiler bu sürede gönderenlerde bekler",
        Drift.TARGET_AWAY: "dns.targets ayarına ve gösterdiği sunucuya ya da hizmete bakın",
        Drift.ELSEWHERE: "kayıt kuruluşunda yetkiyi geri aldırın ya da: postane domain dns {domain} --target",
        Drift.EXPIRED: "sahibine yenilettirin; bırakıldıysa: postane domain leave {domain}",
        Drift.DNSSEC_BROKEN: "kayıt kuruluşundaki DS kaydını kullanılan anahtara göre değiştirtin ya da sildirin",
        Drift.CERTIFICATE_ENDING: "neden yenilenmediğini postane certificate show {domain} söyler",
        Drift.REVERSE_WRONG: "adresi kimden aldıysanız ondan isteyin",
    },
}


def what(case: Case, language: Language = "en") -> str:
    """A sentence, without the domain's name."""
    text = _WHAT[language][case.kind].format(subject=case.subject, data=case.data or "–")
    return text.removesuffix(": –")


def todo(case: Case, domain: str, language: Language = "en") -> str:
    """`domain` is as people write it; this host's name for what is about the host."""
    key: Drift | str = case.kind
    if case.ours:
        key = "mend" if case.repairs < MOST_REPAIRS else "fight"
    return _TODO[language][key].format(domain=domain)
