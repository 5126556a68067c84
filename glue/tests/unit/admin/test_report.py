"""Reports taken in: each once, of domains that are here, summed up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from postane.admin import domain, report
from postane.admin.domain_life import Desk
from postane.admin.site import Site, hosted_domain
from postane.config.model import Config
from postane.core.errors import NotFoundError

DAY = 86_400
NOW = int(time.time()) // DAY * DAY
RECORD = """<record><row><source_ip>{}</source_ip><count>{}</count><policy_evaluated><dkim>{}</dkim><spf>fail</spf>
</policy_evaluated></row></record>"""


def file(day: int, *rows: tuple[str, int, str], name: str = "demo.test", number: str = "") -> tuple[str, bytes]:
    begin = NOW - day * DAY
    text = f"""<feedback><report_metadata><org_name>far.test</org_name><report_id>{number or day}</report_id>
<date_range><begin>{begin}</begin><end>{begin + DAY - 1}</end></date_range></report_metadata>
<policy_published><domain>{name}</domain></policy_published>{"".join(RECORD.format(*row) for row in rows)}</feedback>"""
    return f"{day}.xml", text.encode()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(Config(host="h.test", state=str(tmp_path)))
    made.database.upgrade()
    domain.add(made, "demo.test")
    return made


def states(site: Site, *files: tuple[str, bytes]) -> list[str]:
    return [one.state for one in report.take_in(site, files)]


def test_each_counts_once_and_what_is_foreign_or_broken_is_told(site: Site) -> None:
    Desk(site).claim("claimed.test", "shop")
    one = file(1, ("192.0.2.1", 90, "pass"), ("192.0.2.9", 10, "fail"))
    rest = [file(1, name="far.test"), file(1, name="claimed.test"), ("x", b"rubbish")]
    assert states(site, one, *rest) == ["taken", "foreign", "foreign", "refused"]
    assert states(site, one, file(2, ("192.0.2.1", 10, "pass"))) == ["known", "taken"]
    shown = report.show(site, "demo.test", "dmarc", 0.0)
    assert (shown.days, shown.passed, shown.failed) == (2, 100, 10)
    assert [(one.source, one.passed, one.failed) for one in shown.sources] == [
        ("192.0.2.9", 0, 10),
        ("192.0.2.1", 100, 0),
    ]
    assert report.show(site, "demo.test", "tls", 0.0).days == 0
    assert report.show(site, "demo.test", "dmarc", NOW - 1.5 * DAY).passed == 90
    with pytest.raises(NotFoundError):
        report.show(site, "far.test", "dmarc", 0.0)


def test_the_sum_is_of_what_came_since(site: Site) -> None:
    states(site, file(9, ("192.0.2.1", 1, "fail")), *(file(day, ("192.0.2.1", 33, "pass")) for day in (1, 2, 3)))
    states(site, file(3, ("192.0.2.1", 1, "fail"), number="another of that day"))

    def summed(since: float) -> report.Summary:
        with site.database.session() as session:
            return report.summary(session, hosted_domain(session, "demo.test").id, since)

    assert summed(0.0) == report.Summary(99 / 101, 4)
    assert summed(NOW - 4 * DAY) == report.Summary(0.99, 3)
    assert summed(NOW) == report.NONE


def test_what_is_too_old_is_forgotten(site: Site) -> None:
    states(site, file(500, ("192.0.2.1", 1, "pass")), file(1, ("192.0.2.1", 1, "pass")))
    assert report.show(site, "demo.test", "dmarc", 0.0).days == 1
