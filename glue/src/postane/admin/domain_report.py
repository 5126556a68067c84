"""What is where, and why: all hosted domains in one table, as a spreadsheet (CSV) or as a page (HTML), EN and TR.

Nothing is asked of the world here: where a domain stands is what the last look at it has found.
"""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from html import escape

from sqlalchemy import func, select

from postane.admin.dns_targets import default_name
from postane.admin.domain_facts import own_of, target_of
from postane.admin.domain_plan import Planned
from postane.admin.domain_stage import counts
from postane.admin.site import Site
from postane.core.address import shown_domain
from postane.domains.life import State
from postane.domains.plan import Action
from postane.storage.schema import Account, Alias, Domain, OwnedRecord, Tenant

LANGUAGES = ("en", "tr")
FORMATS = ("csv", "html")


@dataclass(frozen=True, slots=True)
class Line:
    """A domain. `holds` says what held it at the last look, `dns_target` where its records are put, `records` how many
    of them are ours; `dns` what is left to somebody, of those whose records were planned just now. Times are seconds
    since the epoch, None: never.
    """

    domain: str
    name: str
    tenant: str
    plan: str
    state: str
    since: float
    holds: str
    proof: str
    accounts: int
    aliases: int
    dns_target: str
    records: int
    dns: str
    checked_at: float | None
    active: bool


def lines(site: Site, tenant: str | None = None, planned: Sequence[Planned] = ()) -> list[Line]:
    """All domains, or those of a tenant, by name. `planned`: plans of some of them, made just now."""
    query = select(Domain).order_by(Domain.name)
    if tenant is not None:
        query = query.join(Tenant).where(Tenant.name == tenant)
    left = _left(planned)
    with site.database.session() as session:
        accounts, aliases = counts(session, Account), counts(session, Alias)
        rows = session.execute(select(OwnedRecord.domain_id, func.count()).group_by(OwnedRecord.domain_id))
        records = {row[0]: row[1] for row in rows}
        found = []
        for row in session.scalars(query):
            own = own_of(row)
            found.append(
                Line(
                    domain=shown_domain(row.name),
                    name=row.name,
                    tenant=row.tenant.name,
                    plan=own.settings.plan,
                    state=row.state,
                    since=row.state_since,
                    holds=row.holds,
                    proof=row.proof,
                    accounts=accounts.get(row.id, 0),
                    aliases=aliases.get(row.id, 0),
                    dns_target=target_of(row) or default_name(site),
                    records=records.get(row.id, 0),
                    dns=left.get(row.name, ""),
                    checked_at=row.checked_at,
                    active=row.active,
                )
            )
    return found


def as_csv(found: Sequence[Line], language: str = "en") -> str:
    """With a byte order mark, without which some spreadsheets read UTF-8 as something else."""
    words = _WORDS[language]
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow([words[field.name] for field in fields(Line)])
    for line in found:
        table.writerow([_harmless(_cell(line, field.name, words)) for field in fields(Line)])
    return f"\ufeff{out.getvalue()}"


def as_html(found: Sequence[Line], host: str, now: float, language: str = "en") -> str:
    """One page that needs nothing else: how many stand where, and why each that is not where it should be is not."""
    words = _WORDS[language]
    states = Counter(line.state for line in found)
    summary = "".join(
        f"<li><b>{states[state]}</b> {escape(words.get(state, state))}</li>" for state in State if states[state]
    )
    head = "".join(f'<th scope="col">{escape(words[name])}</th>' for name in _SHOWN)
    body = "\n".join(_row(line, words) for line in found)
    title = escape(words["title"].format(host=host))
    return _PAGE.format(
        language=language,
        title=title,
        made=escape(words["made"].format(when=_moment(now), count=len(found))),
        summary=summary,
        head=head,
        body=body,
    )


def _row(line: Line, words: dict[str, str]) -> str:
    cells = []
    for name in _SHOWN:
        text = escape(_cell(line, name, words))
        cells.append(f'<th scope="row">{text}</th>' if name == "domain" else f"<td>{text}</td>")
    return f'<tr class="{escape(line.state)}{"" if line.active else " off"}">{"".join(cells)}</tr>'


def _left(planned: Sequence[Planned]) -> dict[str, str]:
    """What somebody has to do about a domain's records, as the plans say."""
    found: dict[str, list[str]] = {}
    for one in planned:
        texts = found.setdefault(one.domain, [])
        if one.plan is None:
            texts.append(str(one.error))
            continue
        texts += [line.reason for line in one.plan.of(Action.CONFLICT)]
        if one.plan.changes:
            texts.append(str(one.plan))
    return {domain: "; ".join(dict.fromkeys(texts)) for domain, texts in found.items()}


def _cell(line: Line, name: str, words: dict[str, str]) -> str:
    value = getattr(line, name)
    if name in ("since", "checked_at"):
        return _moment(value) if value else "–"
    if name == "active":
        return words["yes" if value else "no"]
    if name in ("state", "proof"):
        return words.get(str(value), str(value)) or "–"
    return str(value)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds)) + " UTC"


def _harmless(text: str) -> str:
    """A spreadsheet takes a cell that begins so for a formula, and a domain's owner chooses some of the words."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


_SHOWN = ("domain", "tenant", "plan", "state", "since", "holds", "accounts", "aliases", "dns_target", "records", "dns")
_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Domains of {host}",
        "made": "{count} domains, as known on {when}",
        "domain": "domain",
        "name": "A-labels",
        "tenant": "tenant",
        "plan": "plan",
        "state": "state",
        "since": "since",
        "holds": "what holds it there",
        "proof": "proved by",
        "accounts": "accounts",
        "aliases": "aliases",
        "dns_target": "DNS target",
        "records": "records of ours",
        "dns": "left to do in the DNS",
        "checked_at": "last look",
        "active": "switched on",
        "yes": "yes",
        "no": "no",
    },
    "tr": {
        "title": "{host} alan adları",
        "made": "{count} alan adı, {when} tarihinde bilinen durum",
        "domain": "alan adı",
        "name": "A-etiketleri",
        "tenant": "kiracı",
        "plan": "paket",
        "state": "durum",
        "since": "başlangıç",
        "holds": "onu orada tutan",
        "proof": "kanıt",
        "accounts": "hesaplar",
        "aliases": "takma adlar",
        "dns_target": "DNS hedefi",
        "records": "bizim kayıtlarımız",
        "dns": "DNS'te yapılacak",
        "checked_at": "son bakış",
        "active": "açık",
        "yes": "evet",
        "no": "hayır",
        "claimed": "talep edildi",
        "verified": "doğrulandı",
        "shadow": "gölgede",
        "cutover": "geçişte",
        "hardened": "sıkılaştırıldı",
        "suspended": "askıda",
        "leaving": "ayrılıyor",
        "operator": "işletmeci",
        "delegation": "yetki devri",
    },
}
_PAGE = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem; }}
ul {{ display: flex; flex-wrap: wrap; gap: 1.5rem; list-style: none; padding: 0; }}
li b {{ font-size: 1.4rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid #8884; padding: .35rem .6rem; text-align: left; vertical-align: top; }}
thead th {{ background: Canvas; position: sticky; top: 0; }}
tr.suspended, tr.off {{ opacity: .6; }}
tr.claimed th, tr.leaving th {{ border-left: 3px solid #d80; }}
tr.hardened th {{ border-left: 3px solid #2a2; }}
</style>
<h1>{title}</h1>
<p>{made}</p>
<ul>{summary}</ul>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</html>
"""
