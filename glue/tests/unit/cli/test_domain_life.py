"""`postane domain claim` and what follows, as its user types it; the world is silent here (no name server answers)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from postane.cli.main import main


class Shell:
    """Runs `postane` in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.config = folder / "postane.yml"
        # A port that nobody listens at: an answer is not to be had, and that is known at once.
        self.config.write_text(
            f"host: mail.host.test\nstate: {folder}\nruntime: {folder}\n"
            "dns: {nameservers: ['127.0.0.1:9'], timeout: 0.5}\ndomains: {look_timeout: 2}\n"
        )
        self._capsys = capsys
        self._patch = patch

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._patch.setattr("sys.stdin", io.StringIO(""))
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.config), *words])
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def json(self, *words: str) -> Any:
        code, out, err = self(*words, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    made = Shell(tmp_path, capsys, monkeypatch)
    assert made("directory", "upgrade")[0] == 0
    monkeypatch.setenv("SUDO_USER", "ebru")
    return made


def test_a_claim_says_what_proves_it(shell: Shell) -> None:
    code, out, _ = shell("domain", "claim", "Müze.example", "--tenant", "museum")
    assert code == 0
    first, record, then = out.splitlines()
    assert "müze.example is claimed by museum" in first
    assert record.startswith('_postane-challenge.xn--mze-hoa.example. TXT "postane-verification=')
    assert then == "Then: postane domain verify müze.example"
    again = shell.json("domain", "claim", "xn--mze-hoa.example", "--tenant", "museum")
    assert (again["changed"], again["item"]["record"]) == (False, record.split('"')[1])
    code, out, _ = shell("domain", "verify", "müze.example")
    assert code == 1
    assert out.startswith("unchanged: müze.example: claimed since ")
    assert "whether its owner has proved it cannot be known now: the servers of" in out


@pytest.mark.parametrize("verb", [("claim", "--tenant", "x"), ("add",)])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("co.uk", "public suffix"),
        ("com.tr", "public suffix"),
        ("example", "needs two labels"),
        ("192.0.2.1", "needs two labels"),
        ("a..example", "is not a domain name"),
        ("under_score.example", "needs two labels"),
        ("*.shop.example", "is not a domain name"),
        (f"{'a' * 64}.example", "is not a domain name"),
        ("xn--zz-zz.example", "is not a domain name"),
        ("\u202ea.example", "is not a domain name"),
    ],
)
def test_names_that_nobody_can_have(shell: Shell, verb: tuple[str, ...], name: str, says: str) -> None:
    first, *more = verb
    code, _, err = shell("domain", first, name, *more)
    assert code == 65
    assert says in err


def test_another_tenants_domain_is_not_to_be_had_by_a_word(shell: Shell) -> None:
    shell("domain", "add", "demo.test", "--tenant", "bakery")
    code, _, err = shell("domain", "claim", "demo.test", "--tenant", "thief")
    assert code == 65
    assert "demo.test is another tenant's here: it is thief's once" in err
    assert "bakery" not in err
    assert "_postane-challenge.demo.test TXT" in err
    assert shell.json("domain", "show", "demo.test")["tenant"] == "bakery"
    code, _, err = shell("domain", "verify", "demo.test", "--tenant", "thief")
    assert (code, "stays another tenant's" in err) == (65, True)
    code, _, err = shell("domain", "verify", "demo.test", "--tenant", "nobody")
    assert (code, "nobody does not claim demo.test" in err) == (65, True)
    code, _, err = shell("domain", "verify", "far.test")
    assert (code, "nobody claims far.test" in err) == (65, True)


def test_the_operators_word(shell: Shell) -> None:
    shell("domain", "claim", "demo.test", "--tenant", "bakery")
    assert shell.json("domain", "show", "demo.test")["state"] == "claimed"
    assert shell.json("domain", "dkim", "demo.test") == []
    assert shell.json("domain", "add", "demo.test")["changed"] is True
    shown = shell.json("domain", "show", "demo.test")
    assert (shown["state"], shown["proof"], shown["tenant"]) == ("verified", "operator", "bakery")
    assert len(shell.json("domain", "dkim", "demo.test")) == 2
    assert shell.json("domain", "add", "demo.test")["changed"] is False
    shell("domain", "add", "new.test")
    new = shell.json("domain", "show", "new.test")
    assert (new["state"], new["proof"]) == ("cutover", "operator")


def test_on_and_back_with_everything_in_the_audit_log(shell: Shell) -> None:
    shell("domain", "add", "demo.test")
    shell("account", "add", "ayse@demo.test", "--generate")
    assert shell("domain", "rollback", "demo.test", "--why", "too early")[0] == 0
    assert shell.json("domain", "rollback", "demo.test")["item"]["state"] == "verified"
    would = shell.json("domain", "advance", "demo.test", "--dry-run")
    assert (would["changed"], would["item"]["state"]) == (True, "shadow")
    assert shell.json("domain", "show", "demo.test")["state"] == "verified"
    assert shell.json("domain", "advance", "demo.test")["item"]["actions"] == ["publish"]
    code, out, _ = shell("domain", "advance", "demo.test")
    assert (code, "shadow since" in out, "where its mail goes cannot be known" in out) == (1, True, True)
    code, out, _ = shell("domain", "suspend", "demo.test", "--refusal", "5xx", "--why", "unpaid")
    assert (code, "demo.test: suspended (5xx) since" in out) == (0, True)
    assert shell.json("domain", "suspend", "demo.test", "--refusal", "5xx")["changed"] is False
    assert shell("domain", "suspend", "demo.test", "--refusal", "6xx")[0] == 64
    assert shell.json("domain", "resume", "demo.test")["item"]["state"] == "shadow"
    assert shell.json("domain", "resume", "demo.test")["changed"] is False
    assert shell.json("domain", "leave", "demo.test")["item"]["state"] == "leaving"
    assert shell.json("domain", "rollback", "demo.test")["item"]["state"] == "shadow"
    assert shell("domain", "disable", "demo.test")[0] == 0
    assert shell("domain", "disable", "demo.test")[0] == 0
    assert shell("domain", "remove", "demo.test", "--force")[0] == 0

    told = shell.json("audit", "list", "--scope", "demo.test")
    assert [(one["verb"].removeprefix("domain "), one["detail"].get("state")) for one in told] == [
        ("add", None),
        ("rollback", "shadow"),
        ("rollback", "verified"),
        ("advance", "shadow"),
        ("suspend", "suspended"),
        ("resume", "shadow"),
        ("leave", "leaving"),
        ("rollback", "shadow"),
        ("disable", None),
        ("remove", "shadow"),
    ]
    assert {one["who"] for one in told} == {"ebru"}
    assert [one["detail"].get("why") for one in told if "why" in one["detail"]] == ["too early", "unpaid"]
    assert shell.json("audit", "list", "--since", "1h", "--limit", "2") == told[-2:]
    assert shell.json("audit", "list", "--scope", "far.test") == []
    assert shell("audit", "list", "--since", "2999-01-01")[1] == "nothing\n"
    assert "ebru  domain suspend demo.test  state=suspended before=shadow why=unpaid" in shell("audit", "list")[1]


def test_there_is_no_step_back_from_a_claim(shell: Shell) -> None:
    shell("domain", "claim", "demo.test", "--tenant", "bakery")
    for verb in ("rollback", "suspend", "leave"):
        assert shell("domain", verb, "demo.test")[0] == 65
    assert shell("domain", "remove", "demo.test")[0] == 0


def test_a_domain_taken_back_to_its_claim_is_proved_anew(shell: Shell) -> None:
    shell("domain", "add", "demo.test")
    for _ in range(3):
        assert shell("domain", "rollback", "demo.test")[0] == 0
    claimed = shell.json("domain", "claim", "demo.test", "--tenant", "default")
    assert (claimed["changed"], claimed["item"]["state"]) == (False, "claimed")
    assert len(claimed["item"]["record"]) == len("postane-verification=") + 32
