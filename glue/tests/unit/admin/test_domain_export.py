"""A domain's data in a folder: all of it, once, and again only what has changed."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from postane.admin import account, alias, audit, domain, domain_export, policy
from postane.admin.domain_life import Desk
from postane.admin.site import Site, hosted_domain
from postane.config.model import Config, Delivery
from postane.core.errors import ConflictError, NotFoundError, UsageError

WORD = "password-1"
PEOPLE = ("ayse", "çiğdem", "mehmet")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(
        Config(
            host="h.test",
            state=str(tmp_path / "state"),
            delivery=Delivery(local="maildir", maildir=str(tmp_path / "vmail")),
        )
    )
    made.database.upgrade()
    domain.add(made, "demo.test", "bakery")
    for name in PEOPLE:
        account.add(made, f"{name}@demo.test", WORD, quota=1 << 30)
    alias.put(made, "info@demo.test", ["ayse@demo.test", "x@far.test"])
    policy.set_key(made, policy.Scope.parse("ayse@demo.test"), "filters.options.lists.from", ["a@far.test"])
    return made


def put(root: Path, name: str, text: str, local: str = "ayse") -> Path:
    file = root / "vmail/demo.test" / local / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def fill(root: Path) -> None:
    put(root, "Maildir/new/1.a.h", "first")
    put(root, "Maildir/cur/2.b.h:2,S", "second")
    put(root, "Maildir/.Sent/cur/3.c.h:2,S", "third")
    put(root, "Maildir/tmp/4.d.h", "half of a mess")
    put(root, "Maildir/dovecot.index.cache", "cache")
    put(root, "Maildir/dovecot-uidlist", "3 V1 N3")
    put(root, "sieve/mine.sieve", "keep;")
    (root / "vmail/demo.test/ayse/.dovecot.sieve").symlink_to("sieve/mine.sieve")
    put(root, "Maildir/new/5.e.h", "hers", "çiğdem")


def taken(to: Path, address: str = "ayse@demo.test") -> dict[str, str]:
    found = {}
    with tarfile.open(to / "mail" / f"{address}.tar") as archive:
        for one in archive:
            file = archive.extractfile(one) if one.isfile() else None
            found[one.name] = file.read().decode() if file else f"-> {one.linkname}"
            assert (one.uid, one.uname) == (0, "")
    return found


def test_everything_is_there_and_for_its_owner_alone(site: Site, tmp_path: Path) -> None:
    fill(tmp_path)
    to = tmp_path / "out"
    done = domain_export.export(site, "demo.test", to, who="op")
    assert (done.accounts, done.written, done.missing, done.messages) == (3, 3, 1, 4)
    assert taken(to) == {
        "Maildir/new/1.a.h": "first",
        "Maildir/cur/2.b.h:2,S": "second",
        "Maildir/.Sent/cur/3.c.h:2,S": "third",
        "Maildir/dovecot-uidlist": "3 V1 N3",
        "sieve/mine.sieve": "keep;",
        ".dovecot.sieve": "-> sieve/mine.sieve",
    }
    assert taken(to, "çiğdem@demo.test") == {"Maildir/new/5.e.h": "hers"}
    assert taken(to, "mehmet@demo.test") == {}
    told = json.loads((to / "domain.json").read_text())
    assert (told["domain"], told["tenant"]) == ("demo.test", "bakery")
    assert [one["address"] for one in told["accounts"]] == [
        f"{name}@demo.test" for name in ("ayse", "mehmet", "çiğdem")
    ]
    assert told["aliases"] == [{"address": "info@demo.test", "targets": ["ayse@demo.test", "x@far.test"]}]
    assert [one["of"] for one in told["policies"]] == ["ayse@demo.test"]
    assert "credentials" not in told["accounts"][0]
    assert not (to / "keys").exists()
    for path in (to, *to.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    check = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=to, capture_output=True, text=True)
    assert (check.returncode, check.stdout) == (0, "")
    last = audit.every(site, "demo.test")[-1]
    assert (last.verb, last.who, last.detail["accounts"]) == ("domain export", "op", 3)


def test_secrets_on_wish_alone(site: Site, tmp_path: Path) -> None:
    domain_export.export(site, "demo.test", tmp_path / "out", secrets=True)
    told = json.loads((tmp_path / "out/domain.json").read_text())
    assert told["accounts"][0]["credentials"][0]["hash"].startswith("{ARGON2ID}")
    keys = sorted((tmp_path / "out/keys").iterdir())
    assert len(keys) == 2
    assert all(one.stat().st_mode & 0o777 == 0o600 and "PRIVATE KEY" in one.read_text() for one in keys)


def test_again_only_what_has_changed_is_taken(site: Site, tmp_path: Path) -> None:
    fill(tmp_path)
    to = tmp_path / "out"
    domain_export.export(site, "demo.test", to)
    seen: list[tuple[str, bool]] = []
    more = domain_export.export(site, "demo.test", to, told=lambda _d, _o, who, octets: seen.append((who, octets >= 0)))
    assert more.written == 0
    assert [one for _, one in seen] == [False] * 3
    put(tmp_path, "Maildir/new/6.f.h", "late")
    assert domain_export.export(site, "demo.test", to).written == 1
    assert taken(to)["Maildir/new/6.f.h"] == "late"
    (to / "mail/çiğdem@demo.test.tar").unlink()  # what somebody took away is made again
    assert domain_export.export(site, "demo.test", to).written == 1


def test_stopped_it_goes_on_where_it_was(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    to = tmp_path / "out"
    real = domain_export._add

    class KilledError(BaseException):
        pass

    def killed(archive: tarfile.TarFile, folder: Path, name: str) -> bool:
        if "5.e.h" in name:
            raise KilledError
        return real(archive, folder, name)

    with monkeypatch.context() as patched:
        patched.setattr(domain_export, "_add", killed)
        with pytest.raises(KilledError):
            domain_export.export(site, "demo.test", to)
    assert not (to / "mail/çiğdem@demo.test.tar").exists()
    with site.database.session() as session:
        assert hosted_domain(session, "demo.test").exported_at is None
    assert domain_export.export(site, "demo.test", to).written == 1
    assert not list(to.rglob("*.part"))
    assert taken(to, "çiğdem@demo.test") == {"Maildir/new/5.e.h": "hers"}


def test_a_mail_that_is_read_meanwhile_is_taken_under_its_new_name(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    real = domain_export._files

    def then_read(folder: Path):  # type: ignore[no-untyped-def]
        yield from list(real(folder))
        if folder.name == "ayse":
            box = folder / "Maildir"
            (box / "new/1.a.h").rename(box / "cur/1.a.h:2,S")
            (box / "cur/2.b.h:2,S").unlink()

    monkeypatch.setattr(domain_export, "_files", then_read)
    domain_export.export(site, "demo.test", tmp_path / "out")
    found = taken(tmp_path / "out")
    assert found["Maildir/cur/1.a.h:2,S"] == "first"
    assert not any("2.b.h" in name for name in found)


def test_no_link_leads_out_of_a_mailbox(site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of another")
    box = tmp_path / "vmail/demo.test/ayse/Maildir/cur"
    box.mkdir(parents=True)
    (box / "1.x.h:2,S").symlink_to(tmp_path / "secret")
    (tmp_path / "vmail/demo.test/mehmet").symlink_to(tmp_path)
    domain_export.export(site, "demo.test", tmp_path / "out")
    assert "of another" not in str(taken(tmp_path / "out"))
    assert taken(tmp_path / "out", "mehmet@demo.test") == {}


def test_a_folder_with_something_else_is_left_alone(site: Site, tmp_path: Path) -> None:
    to = tmp_path / "out"
    to.mkdir()
    (to / "mine").write_text("x")
    with pytest.raises(ConflictError, match="not empty"):
        domain_export.export(site, "demo.test", to)
    with pytest.raises(UsageError):
        domain_export.export(site, "demo.test", to / "mine")
    domain.add(site, "other.test")
    domain_export.export(site, "other.test", tmp_path / "theirs")
    with pytest.raises(ConflictError, match=r"of other\.test"):
        domain_export.export(site, "demo.test", tmp_path / "theirs")
    with pytest.raises(NotFoundError):
        domain_export.export(site, "nobody.test", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert os.listdir(to) == ["mine"]  # noqa: PTH208


def test_one_that_leaves_waits_for_an_export_since(site: Site, tmp_path: Path) -> None:
    def exported() -> bool:
        desk = Desk(site)
        known = desk._looker.known("demo.test")
        return known.exported_at is not None and known.exported_at >= known.life.since

    domain_export.export(site, "demo.test", tmp_path / "out")
    Desk(site).leave("demo.test")
    assert not exported()
    domain_export.export(site, "demo.test", tmp_path / "out")
    assert exported()
