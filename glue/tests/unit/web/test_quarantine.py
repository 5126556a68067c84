"""The pages behind the links of a digest: what they show, what they do, and who may not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from postane.admin import quarantine
from postane.admin.site import Site
from postane.config.model import Config, Quarantine
from postane.core.errors import ServiceMissingError
from postane.quarantine.items import Selection
from postane.quarantine.store import FOLDER, Store
from postane.quarantine.token import KEY, Action, Token, seal, unseal
from postane.storage.secret import secret
from postane.web.app import make_app
from postane.web.quarantine import _WRONG, Wrong
from support.quarantine import make_fresh

LATER = 4_000_000_000.0


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / FOLDER)
        self.store.index.add(
            [
                make_fresh(1, subject="<b>Kârlı</b> & iyi", author='"x" <x@far.test>'),
                make_fresh(2, "ali@demo.test"),
            ],
            most_octets=1 << 40,
            most_items=100,
        )
        self.config = Config(
            host="mail.demo.test",
            state=str(folder),
            runtime=str(folder),
            quarantine=Quarantine(learn_url="http://127.0.0.1:1"),
        )
        self.client: Any = None

    def link(
        self, action: Action = "release", item: int = 1, mailbox: str = "ayse@demo.test", at: float = LATER
    ) -> str:
        return f"/q/{seal(secret(self.folder, KEY), Token(action, item, mailbox, at))}"

    def state(self, item: int = 1) -> str:
        found = self.store.index.get(item)
        assert found is not None
        return found.state


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with TestClient(make_app(Site(made.config))) as client:
        made.client = client
        yield made
    made.store.close()


def test_looking_changes_nothing_and_shows_the_facts(world: World) -> None:
    answer = world.client.get(world.link())
    assert answer.status_code == 200
    page = answer.text
    assert "&lt;b&gt;Kârlı&lt;/b&gt; &amp; iyi" in page
    assert "<b>" not in page
    assert page.count("<h1>") == 1
    assert "<nav" in page
    assert '<button type="submit">Deliver it to me</button>' in page
    assert 'name="learn"' in page
    assert world.state() == "held"
    delete = world.client.get(world.link("delete")).text
    assert '<button type="submit">Delete</button>' in delete
    assert 'name="learn"' not in delete


def test_pages_hold_no_script_and_load_nothing(world: World) -> None:
    for path in (world.link(), "/q/forged"):
        answer = world.client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "noindex" in answer.headers["x-robots-tag"]
        assert not re.search(r"<(script|img|link|iframe)|url\(|https?://|\son\w+=|\sstyle=", answer.text)


def test_the_style_is_the_one_that_the_policy_names(world: World) -> None:
    import base64
    import hashlib

    answer = world.client.get(world.link())
    style = answer.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "prefers-color-scheme: dark" in style


@pytest.mark.parametrize(
    ("language", "words"),
    [("tr-TR,tr;q=0.9", "Bu ileti posta kutunuza teslim edilsin mi?"), ("de", "Deliver this message to your mailbox?")],
)
def test_the_page_is_in_the_readers_language(world: World, language: str, words: str) -> None:
    answer = world.client.get(world.link(), headers={"Accept-Language": language})
    assert words in answer.text
    assert f'<html lang="{language[:2] if language[:2] == "tr" else "en"}">' in answer.text


def test_delete_once(world: World) -> None:
    link = world.link("delete")
    answer = world.client.post(link)
    assert (answer.status_code, world.state()) == (200, "deleted")
    assert "The message is deleted" in answer.text
    again = world.client.post(link)
    assert again.status_code == 409
    assert "already deleted" in again.text
    assert world.client.get(link).status_code == 200
    assert world.client.post(world.link("release")).status_code == 409
    assert world.state(2) == "held"


def test_a_page_with_all_that_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store.index.add([make_fresh(3, filter="clamav"), make_fresh(4)], most_octets=1 << 40, most_items=100)
    world.store.index.add([make_fresh(5, received_at=1_800_000_000.0)], most_octets=1 << 40, most_items=100)
    link = world.link("list", 1_799_999_999)  # the last one came later
    page = world.client.get(link)
    assert page.status_code == 200
    assert "3 messages wait for ayse@demo.test" in page.text
    assert page.text.count("<article>") == 3
    found = re.findall(r'href="([^"]+)"', page.text)
    meant = [(t.item, t.action, t.mailbox, t.expires) for t in (unseal(secret(world.folder, KEY), f, 0) for f in found)]
    assert [(item, action) for item, action, _, _ in meant] == [
        (4, "release"),
        (4, "delete"),
        (3, "delete"),  # only the operator lets it out
        (1, "release"),
        (1, "delete"),
    ]
    assert {(mailbox, expires) for _, _, mailbox, expires in meant} == {("ayse@demo.test", LATER)}
    assert world.client.post(f"/q/{found[1]}").status_code == 200
    assert world.client.post(link).text.count("<article>") == 2  # it does nothing else
    monkeypatch.setattr("postane.web.quarantine._LISTED", 1)
    turkish = world.client.get(link, headers={"Accept-Language": "tr"}).text
    assert turkish.count("<article>") == 1
    assert "Daha eski bir ileti" in turkish


def test_a_virus_is_let_out_by_nobodys_link(world: World) -> None:
    world.store.index.add([make_fresh(3, filter="clamav")], most_octets=1 << 40, most_items=100)
    for ask in (world.client.get, world.client.post):
        answer = ask(world.link("release", 3))
        assert (answer.status_code, "Only your postmaster" in answer.text) == (403, True)
        assert "<button" not in answer.text
    assert world.client.get(world.link("delete", 3)).status_code == 200
    assert world.client.post(world.link("delete", 3)).status_code == 200


def test_release_asks_the_queue_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Selection, str, bool]] = []

    def release(config: Config, wanted: Selection, *, by: str, teach: bool) -> quarantine.Done:
        asked.append((wanted, by, teach))
        return quarantine.Done(1)

    monkeypatch.setattr(quarantine, "release", release)
    assert "on its way" in world.client.post(world.link()).text
    world.client.post(world.link(), content="learn=1", headers={"Content-Type": "application/x-www-form-urlencoded"})
    meant = Selection(ids=("1",), account="ayse@demo.test")
    assert asked == [(meant, "link", False), (meant, "link", True)]


def test_what_cannot_be_done_now_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = world.client.post(world.link())  # no queue process runs here
    assert answer.status_code == 503
    assert "Nothing has changed" in answer.text
    assert world.state() == "held"

    def away(config: Config) -> Store:
        raise ServiceMissingError("away")

    monkeypatch.setattr(quarantine, "open_store", away)
    assert world.client.get(world.link()).status_code == 503


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_link_that_is_too_old_or_of_another_host_does_nothing(world: World, method: str) -> None:
    ask = getattr(world.client, method)
    expired = ask(world.link(at=1.0))
    assert (expired.status_code, "expired" in expired.text) == (410, True)
    other = seal(bytes(32), Token("delete", 1, "ayse@demo.test", LATER))
    for wrong in (other, "x", "A" * 100, world.link()[3:-1], "a" * 2000):
        answer = ask(f"/q/{wrong}")
        assert (answer.status_code, "not valid" in answer.text) == (403, True)
    assert world.state() == "held"


@pytest.mark.parametrize(("item", "mailbox"), [(99, "ayse@demo.test"), (2, "ayse@demo.test"), (1, "ali@demo.test")])
def test_a_link_is_for_one_message_of_one_mailbox(world: World, item: int, mailbox: str) -> None:
    link = world.link("delete", item, mailbox)
    assert [world.client.get(link).status_code, world.client.post(link).status_code] == [410, 410]
    assert (world.state(1), world.state(2)) == ("held", "held")


def test_guessing_ends_soon(world: World) -> None:
    codes = [world.client.get(f"/q/guess{number}").status_code for number in range(_WRONG + 3)]
    assert codes == [403] * _WRONG + [429] * 3
    answer = world.client.post(world.link())
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "600")


def test_a_large_form_is_not_read(world: World) -> None:
    assert world.client.post(world.link("delete"), content=b"x" * 5000).status_code == 413
    assert world.state() == "held"


def test_wrong_links_are_counted_by_network_for_a_time() -> None:
    now = [0.0]
    wrong = Wrong(lambda: now[0])
    for number in range(_WRONG):
        assert not wrong.too_many("2001:db8::1")
        wrong.note(f"2001:db8::{number:x}")
    assert wrong.too_many("2001:db8::ffff")
    assert not wrong.too_many("2001:db8:0:1::1")
    assert not wrong.too_many("192.0.2.1")
    now[0] = 601
    assert not wrong.too_many("2001:db8::1")
    for number in range(20_000):
        wrong.note(f"10.{number >> 8}.{number & 255}.1")
    assert len(wrong._counts) <= 10_000
