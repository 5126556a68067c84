"""The modules postane_*, over the real verbs and a directory of their own."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from postane.cli.main import main

ANSIBLE = Path(__file__).parents[3] / "ansible"
Run = Callable[..., dict[str, Any]]


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def postane(config: Path, *words: str, stdin: str = "") -> tuple[int, str, str]:
    """The command itself, in this process: exit code, output, errors."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8"))
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(config), *words])
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture
def calls() -> list[str]:
    """The verbs that were asked, in order."""
    return []


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], calls: list[str]) -> Run:
    """Runs a module as Ansible would and returns what it answers."""
    config = tmp_path / "postane.yml"
    nowhere = 'dns: {nameservers: ["127.0.0.1:1"], timeout: 0.1}\ndomains: {look_timeout: 0.2}'
    config.write_text(f"host: mail.example.org\nstate: {tmp_path}\n{nowhere}\n")

    def command(self: object, line: list[str], data: str | None = None, cwd: str = "") -> tuple[int, str, str]:
        words = line[line.index("--") + 2 :] if line[0] == "runuser" else line[1:]
        calls.append(" ".join(words[:2]))
        return postane(config, *words, stdin=data or "")

    monkeypatch.setattr(AnsibleModule, "run_command", command)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shared = "ansible.module_utils.postane_command"
    monkeypatch.setitem(sys.modules, shared, load(shared, ANSIBLE / "module_utils" / "postane_command.py"))
    assert postane(config, "directory", "upgrade")[0] == 0

    def module(name: str, /, *, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {"command": sys.executable, **options, "_ansible_check_mode": check}
        if name == "postane_account":
            arguments.setdefault("password_store", str(tmp_path / "passwords"))
        loaded = load(name, ANSIBLE / "modules" / f"{name}.py")
        capsys.readouterr()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            loaded.main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return module


def test_domain_is_added_once(run: Run) -> None:
    first = run("postane_domain", name="müze.example")
    assert first["changed"]
    assert first["domain"] == {"name": "xn--mze-hoa.example", "tenant": "default", "active": True, "state": "cutover"}
    assert first["diff"]["before"] == ""
    assert not run("postane_domain", name="müze.example")["changed"]


def test_domain_goes_to_another_tenant(run: Run) -> None:
    run("postane_domain", name="example.org", tenant="bakery")
    assert not run("postane_domain", name="example.org")["changed"]
    assert run("postane_domain", name="example.org", tenant="library")["domain"]["tenant"] == "library"


def test_domain_is_removed_once(run: Run) -> None:
    run("postane_domain", name="example.org")
    assert run("postane_domain", name="example.org", state="absent")["changed"]
    assert not run("postane_domain", name="example.org", state="absent")["changed"]


def test_refusal_is_told_in_the_commands_words(run: Run) -> None:
    answer = run("postane_domain", name="example")
    assert answer["failed"]
    assert "no domain that can have mail" in answer["msg"]


def test_dry_run_foresees_and_touches_nothing(run: Run, calls: list[str], tmp_path: Path) -> None:
    run("postane_domain", name="example.org")
    calls.clear()
    answers = [
        run("postane_domain", check=True, name="example.net"),
        run("postane_domain", check=True, name="example.org", state="absent"),
        run("postane_account", check=True, address="ayse@example.org", quota="1G"),
        run("postane_alias", check=True, address="info@example.org", targets=["ayse@example.org"]),
    ]
    assert [answer["changed"] for answer in answers] == [True] * 4
    assert answers[2]["account"]["quota_bytes"] == 1024**3
    assert {call.split()[1] for call in calls} == {"show", "import"}
    assert not (tmp_path / "passwords").exists()
    assert run("postane_domain", check=True, name="example.net")["diff"]["before"] == ""


def test_dry_run_before_anything_is_installed(run: Run, calls: list[str]) -> None:
    assert run("postane_domain", check=True, name="example.org", command="/nowhere/postane")["changed"]
    assert calls == []


def test_missing_command_is_told(run: Run) -> None:
    answer = run("postane_domain", name="example.org", command="/nowhere/postane")
    assert answer["failed"]
    assert "install Postane first" in answer["msg"]


def test_account_takes_the_password_it_is_given(run: Run, tmp_path: Path) -> None:
    run("postane_domain", name="example.org")
    made = run("postane_account", address="ayse@example.org", password="correct horse", quota="5 GiB")
    assert made["changed"]
    assert made["account"]["quota_bytes"] == 5 * 1024**3
    assert "password_file" not in made
    assert "correct horse" not in json.dumps(made)
    assert not (tmp_path / "passwords").exists()
    again = run("postane_account", address="ayse@example.org", password="correct horse", quota="5 GiB")
    assert not again["changed"]


def test_password_stays_unless_always_is_said(run: Run, calls: list[str]) -> None:
    run("postane_domain", name="example.org")
    run("postane_account", address="ayse@example.org", password="correct horse")
    calls.clear()
    assert not run("postane_account", address="ayse@example.org", password="battery staple")["changed"]
    assert calls == ["account show"]
    always = {"address": "ayse@example.org", "password": "battery staple", "update_password": "always"}
    assert run("postane_account", check=True, **always)["changed"]
    assert run("postane_account", **always)["changed"]
    assert not run("postane_account", **always)["changed"]


def test_account_without_password_gets_one_of_its_own(run: Run, tmp_path: Path) -> None:
    run("postane_domain", name="example.org")
    made = run("postane_account", address="çiğdem@example.org")
    path = tmp_path / "passwords" / "çiğdem@example.org"
    assert made["password_file"] == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    password = path.read_text().strip()
    assert password not in json.dumps(made)
    again = {"address": "çiğdem@example.org", "password": password, "update_password": "always"}
    assert not run("postane_account", **again)["changed"]


def test_password_of_an_interrupted_run_is_taken_up(run: Run, tmp_path: Path) -> None:
    run("postane_domain", name="example.org")
    (tmp_path / "passwords").mkdir(mode=0o700)
    (tmp_path / "passwords" / "ayse@example.org").write_text("left from before\n")
    run("postane_account", address="ayse@example.org")
    kept = {"address": "ayse@example.org", "password": "left from before", "update_password": "always"}
    assert not run("postane_account", **kept)["changed"]


def test_account_settings_follow_and_others_stay(run: Run) -> None:
    run("postane_domain", name="example.org")
    run("postane_account", address="ayse@example.org", quota="1G", display_name="Ayşe")
    changed = run("postane_account", address="ayse@example.org", quota="2G")
    assert changed["changed"]
    assert changed["account"]["display_name"] == "Ayşe"
    assert "quota_bytes: 1073741824" in changed["diff"]["before"]
    assert "quota_bytes: 2147483648" in changed["diff"]["after"]
    assert not run("postane_account", address="ayse@example.org")["changed"]


def test_quota_that_is_no_size_is_refused(run: Run) -> None:
    run("postane_domain", name="example.org")
    answer = run("postane_account", check=True, address="ayse@example.org", quota="much")
    assert answer["failed"]
    assert "'much' is no size" in answer["msg"]


def test_account_is_removed_once(run: Run) -> None:
    run("postane_domain", name="example.org")
    run("postane_account", address="ayse@example.org")
    assert run("postane_account", address="ayse@example.org", state="absent")["changed"]
    assert not run("postane_account", address="ayse@example.org", state="absent")["changed"]


def test_alias_has_just_its_targets(run: Run) -> None:
    run("postane_domain", name="müze.example")
    targets = ["Ayse@Example.org", "çiğdem@MÜZE.example"]
    assert run("postane_alias", address="info@müze.example", targets=targets)["changed"]
    assert not run("postane_alias", address="INFO@müze.example", targets=targets)["changed"]
    assert not run("postane_alias", check=True, address="info@müze.example", targets=targets)["changed"]
    fewer = run("postane_alias", address="info@müze.example", targets=targets[1:])
    assert fewer["alias"]["targets"] == ["çiğdem@xn--mze-hoa.example"]
    assert run("postane_alias", address="info@müze.example", state="absent")["alias"] is None


def test_catch_all(run: Run) -> None:
    run("postane_domain", name="example.org")
    assert run("postane_alias", address="*@example.org", targets=["ayse@example.org"])["changed"]
    assert not run("postane_alias", address="*@example.org", targets=["ayse@example.org"])["changed"]


@pytest.mark.parametrize(
    ("address", "name"), [("a/b@example.org", "a%2Fb@example.org"), ("50%@example.org", "50%25@example.org")]
)
def test_file_name_holds_no_slash(run: Run, address: str, name: str) -> None:
    assert load("postane_account", ANSIBLE / "modules" / "postane_account.py").file_name(address) == name


def test_domain_has_what_is_said_of_it(run: Run) -> None:
    wishes = {"name": "example.org", "start": "move", "plan": "small", "dmarc": "reject", "keep": ["spf", "dkim"]}
    dry = run("postane_domain", check=True, **wishes)
    first = run("postane_domain", **wishes)
    assert first["domain"]["state"] == "verified"
    assert dry["diff"] == first["diff"]
    assert 'dmarc: "reject"' in first["diff"]["after"]
    assert 'keep: "dkim spf"' in first["diff"]["after"]
    assert not run("postane_domain", **wishes)["changed"]
    assert not run("postane_domain", check=True, **wishes)["changed"]
    changed = run("postane_domain", check=True, name="example.org", dmarc="-")
    assert changed["changed"]
    assert not run("postane_domain", name="example.org", start="host")["changed"]


def test_a_claim_to_anothers_domain_moves_nothing(run: Run) -> None:
    run("postane_domain", name="example.org", tenant="bakery")
    answer = run("postane_domain", name="example.org", tenant="thief", start="claim")
    assert answer["failed"]
    assert "_postane-challenge.example.org TXT" in answer["msg"]
    assert run("postane_domain", name="example.org")["domain"]["tenant"] == "bakery"


def test_domain_is_led_on_as_far_as_nothing_holds_it(run: Run, calls: list[str]) -> None:
    run("postane_domain", name="example.org", start="move")
    held = run("postane_domain", name="example.org", up_to="shadow")
    assert (held["changed"], held["steps"], held["domain"]["state"]) == (False, [], "verified")
    assert "account" in held["holds"]
    run("postane_account", address="ayse@example.org")
    calls.clear()
    dry = run("postane_domain", check=True, name="example.org", up_to="shadow")
    assert (dry["changed"], dry["steps"], dry["domain"]["state"]) == (True, ["shadow"], "shadow")
    assert run("postane_domain", name="example.org")["domain"]["state"] == "verified"
    short = run("postane_domain", name="example.org", up_to="verified")
    assert (short["changed"], short["holds"]) == (False, "nothing holds it but your word: it would be shadow")
    led = run("postane_domain", name="example.org", up_to="hardened")
    assert (led["changed"], led["steps"], led["domain"]["state"]) == (True, ["shadow"], "shadow")
    assert led["holds"]
    assert not run("postane_domain", name="example.org", up_to="hardened")["changed"]


def test_one_that_leaves_is_never_led_to_its_end(run: Run) -> None:
    module = load("postane_domain", ANSIBLE / "modules" / "postane_domain.py")
    told: list[str] = []

    class Ready:
        """A host where nothing holds a domain that leaves."""

        installed = True

        def ask(self, *words: str) -> dict[str, Any]:
            told.append(" ".join(words))
            return {"changed": True, "item": {"state": "removed", "stepped": True, "holds": ""}}

    class Live:
        check_mode = False

    found = module.lead(Live(), Ready(), "example.org", "hardened")
    assert (found["changed"], found["steps"]) == (False, [])
    assert told == ["domain advance --dry-run --json -- example.org"]


ROWS = [
    {"domain": "müze.example", "tenant": "museum", "admin": "info", "start": "move", "line": 2},
    {"domain": "example.org", "keep": ["mx", "spf"], "ttl": 300},
]


def test_table_is_brought_in_once(run: Run, calls: list[str], tmp_path: Path) -> None:
    dry = run("postane_domain_table", check=True, rows=ROWS)
    assert (dry["changed"], dry["states"]) == (True, {"made": 2})
    assert "xn--mze-hoa.example: taken in while its mail is elsewhere" in dry["diff"]["after"]
    assert not (tmp_path / "initial-passwords").exists()
    calls.clear()
    made = run("postane_domain_table", rows=ROWS)
    assert calls == ["domain import"]
    assert (made["changed"], made["states"], made["domains"]) == (True, {"made": 2}, dry["domains"])
    [file] = made["password_files"].values()
    assert Path(file).read_text().strip() not in json.dumps(made)
    again = run("postane_domain_table", rows=ROWS)
    assert (again["changed"], again["states"], again["diff"]["after"]) == (False, {"unchanged": 2}, "")


def test_table_with_a_bad_row(run: Run) -> None:
    run("postane_domain", name="example.org", tenant="bakery")
    rows = [{"domain": "example.org", "tenant": "thief"}, {"domain": "example.net"}]
    answer = run("postane_domain_table", rows=rows)
    assert answer["failed"]
    assert answer["msg"].startswith("1 of 2 domains failed, the first: example.org: example.org is bakery's here")
    assert answer["states"] == {"failed": 1, "made": 1}
    refused = run("postane_domain_table", rows=[{"domain": "co.uk"}])
    assert "standard input:2: column domain: 'co.uk' is a public suffix" in refused["msg"]


def test_records_that_a_person_puts_in_are_told(run: Run, calls: list[str]) -> None:
    assert run("postane_dns_plan", names=[])["states"] == {}
    run("postane_domain", name="example.org", start="claim", tenant="bakery")
    calls.clear()
    for check in (False, True):
        answer = run("postane_dns_plan", check=check, names=["example.org"])
        assert not answer["changed"]
        assert "is not known" in answer["left"]["example.org"][0]
    assert calls == ["domain apply"] * 2


def test_records_of_a_domain_that_is_not_hosted(run: Run) -> None:
    answer = run("postane_dns_plan", names=["example.org"])
    assert answer["failed"]
    assert "example.org is not hosted here" in answer["msg"]


def test_records_are_shown_as_a_difference(run: Run) -> None:
    module = load("postane_dns_plan", ANSIBLE / "modules" / "postane_dns_plan.py")
    record = {"name": "example.org", "ttl": 3600, "type": "MX", "data": "10 mail.example.org."}
    base = {"domain": "example.org", "added": [record], "removed": [], "left": [], "error": ""}
    found = [
        {**base, "state": "would change"},
        {**base, "state": "manual", "domain": "b.example", "left": ["two SPF records"]},
        {**base, "state": "failed", "domain": "c.example", "error": "the API is down"},
    ]
    answer = module.summed_up(found)
    assert answer["changed"]
    assert answer["states"] == {"would change": 1, "manual": 1, "failed": 1}
    assert answer["failed_domains"] == {"c.example": "the API is down"}
    assert answer["left"]["b.example"] == [
        "two SPF records",
        "its records are put in by hand: postane domain letter b.example",
    ]
    assert module.lines(found, "added") == "example.org 3600 MX 10 mail.example.org.\n"


def test_what_a_command_says_beside_its_progress(run: Run) -> None:
    shared = sys.modules["ansible.module_utils.postane_command"]
    assert shared.PROGRESS.fullmatch("bringing in: 100 of 1000 domains")
    assert not shared.PROGRESS.fullmatch("postane: 3 of the domains are not hosted")
    rows = [{"domain": "a.example", "keep": ["mx"], "ttl": None}, {"domain": "b.example", "x": 'a "b", c'}]
    assert shared.table(rows) == 'domain,keep,ttl,x\na.example,mx,,\nb.example,,,"a ""b"", c"\n'
