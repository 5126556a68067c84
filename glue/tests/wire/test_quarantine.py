"""Suspect mail in a running daemon: kept apart, told of, let go by verb and by link; nothing lost, nothing twice."""

from __future__ import annotations

import email
import email.policy
import re
import time
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import pytest
from litestar.testing import TestClient

from postane.admin import quarantine
from postane.admin.site import Site
from postane.config.load import load
from postane.config.model import Config
from postane.core.errors import NotFoundError, PermanentError
from postane.quarantine.items import Selection
from postane.web.app import make_app
from support.dev import Dev
from support.quarantine import items, suspect, wait_for

TURKISH = (
    b"From: =?iso-8859-9?Q?Ay=FEe_=C7i=E7ek?= <ayse@far.test>\r\n"
    b"Subject: =?utf-8?B?xLDFnsSeIMO2emVs?= %d\r\n"
    b"X-Spam: Yes\r\n"
    b"\r\n"
    b"<script>alert(1)</script> merhaba\r\n"
)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    service = Dev(tmp_path_factory.mktemp("quarantine") / "dev", workers=1)
    service.start()
    yield service
    service.close()


@pytest.fixture
def config(dev: Dev) -> Config:
    return load(dev.folder / "postane.yml")


def mails(dev: Dev, name: str) -> list[EmailMessage]:
    """What lies in a mailbox."""
    folder = dev.folder / "vmail/demo.test" / name / "Maildir/new"
    read = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in folder.glob("*")]
    return [mail for mail in read if isinstance(mail, EmailMessage)]


def put(dev: Dev, number: int, *names: str, age: float = 0) -> int:
    """One message into the quarantine of these accounts; its number for the first of them."""
    (spool_id,) = suspect(dev.folder / "spool", [TURKISH % number], *(f"{name}@demo.test" for name in names), age=age)
    wait_for(lambda: len(items(dev.folder, Selection(ids=(spool_id,)))) == len(names))
    return items(dev.folder, Selection(ids=(spool_id,), account=f"{names[0]}@demo.test"))[0].id


def test_kept_apart_shown_and_released_once(dev: Dev, config: Config) -> None:
    number = put(dev, 1, "user0", "user1")
    assert not mails(dev, "user0")
    view = quarantine.show(config, str(number))
    assert (view.item.author, view.item.subject) == ("Ayşe Çiçek <ayse@far.test>", "İŞĞ özel 1")
    assert (view.item.score, view.item.filter, view.item.tenant) == (7.5, "rspamd", "demo")
    assert "merhaba" in view.preview
    wanted = quarantine.selection([str(number)])
    assert quarantine.release(config, wanted, by="ali", dry_run=True).count == 1
    assert quarantine.release(config, wanted, by="ali").count == 1
    wait_for(lambda: len(mails(dev, "user0")) == 1)
    (mail,) = mails(dev, "user0")
    assert mail["X-Postane-Released"].endswith("; by=ali")
    assert mail["X-Spam"] is None
    assert mail["Return-Path"] == "<bob@far.test>"
    assert mail["Subject"] == "İŞĞ özel 1"
    with pytest.raises(NotFoundError, match=f"{number} is released"):
        quarantine.release(config, wanted, by="ali")
    time.sleep(0.3)
    assert len(mails(dev, "user0")) == 1
    assert not mails(dev, "user1")


def test_deleted_and_restored_and_sent_elsewhere(dev: Dev, config: Config) -> None:
    number = put(dev, 2, "user1")
    wanted = quarantine.selection([str(number)])
    assert quarantine.delete(config, wanted, by="ali", now=time.time).count == 1
    with pytest.raises(NotFoundError):
        quarantine.release(config, wanted, by="ali")
    assert quarantine.restore(config, wanted, by="ali", now=time.time).count == 1
    assert quarantine.release(config, wanted, by="ali", to="user2@demo.test").count == 1
    wait_for(lambda: len(mails(dev, "user2")) == 1)
    assert not mails(dev, "user1")
    with pytest.raises(PermanentError, match=r"nobody@demo\.test"):
        quarantine.release(config, wanted, by="ali", to="nobody@demo.test")


def test_digest_and_its_links(dev: Dev, config: Config) -> None:
    first, second = put(dev, 3, "user2"), put(dev, 4, "user2")
    before = len(mails(dev, "user2"))
    assert [view.messages for view in quarantine.digest(config, "user2@demo.test", dry_run=True)] == [2]
    assert [view.messages for view in quarantine.digest(config, "user2@demo.test")] == [2]
    assert quarantine.digest(config, "user2@demo.test") == ()  # nothing new
    wait_for(lambda: len(mails(dev, "user2")) == before + 1)
    (mail,) = [one for one in mails(dev, "user2") if one["Auto-Submitted"] == "auto-generated"]
    assert mail["Subject"] == "2 messages wait in your quarantine"
    text: Any = mail.get_body(("plain",))
    links = re.findall(r"https://panel\.demo\.test/q/\S+", text.get_content())
    assert len(links) == 5
    html: Any = mail.get_body(("html",))
    assert all(link in html.get_content() for link in links)

    # Newest first, release before delete.
    release, delete = urlsplit(links[0]).path, urlsplit(links[3]).path
    with TestClient(make_app(Site(config))) as client:
        for _ in range(3):  # a scanner of links does nothing
            assert client.get(release).status_code == 200
        assert items(dev.folder, Selection(ids=(str(second),)))[0].state == "held"
        answer = client.post(release, headers={"Accept-Language": "tr-TR,tr;q=0.9"})
        assert answer.status_code == 200
        assert "posta kutunuza gönderildi" in answer.text
        assert client.post(release).status_code == 409
        assert client.post(delete).status_code == 200
        assert client.post(delete).status_code == 409
    wait_for(lambda: len(mails(dev, "user2")) == before + 2)
    assert items(dev.folder, Selection(ids=(str(first),)))[0].state == "deleted"
    assert items(dev.folder, Selection(ids=(str(second),)))[0].changed_by == "link"
    released = [one for one in mails(dev, "user2") if str(one["X-Postane-Released"] or "").endswith("by=link")]
    assert [one["Subject"] for one in released] == ["İŞĞ özel 4"]


def test_kill_in_the_middle_loses_nothing_and_doubles_nothing(dev: Dev, config: Config) -> None:
    ids: list[str] = []
    for round_ in range(2):
        texts = [TURKISH % (1000 * (round_ + 1) + number) for number in range(40)]
        ids += suspect(dev.folder / "spool", texts, "user0@demo.test")
        time.sleep(0.02 * round_)
        dev.kill()
        dev.start()
    wait_for(lambda: len(items(dev.folder, Selection(ids=tuple(ids)))) == len(ids))
    before = {mail["Subject"] for mail in mails(dev, "user0")}
    done = 0
    for _ in range(3):
        try:
            done += quarantine.release(config, quarantine.selection(ids[:60]), by="ali").count
        except NotFoundError:
            break
        dev.kill()
        dev.start()
    wait_for(lambda: len({mail["Subject"] for mail in mails(dev, "user0")} - before) == 60)
    time.sleep(0.5)
    subjects = [mail["Subject"] for mail in mails(dev, "user0")]
    assert len(subjects) == len(set(subjects))
    assert len(items(dev.folder, Selection(ids=tuple(ids), state="held"))) == len(ids) - 60
