"""`postane report`, `mailbox` and `domain split` and `export`, as their user types them."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from postane.cli.main import main

REPORT = """<feedback><report_metadata><org_name>far.test</org_name><report_id>1</report_id>
<date_range><begin>{begin}</begin><end>{end}</end></date_range></report_metadata>
<policy_published><domain>demo.test</domain></policy_published>
<record><row><source_ip>192.0.2.1</source_ip><count>9</count><policy_evaluated><dkim>pass</dkim></policy_evaluated></row>
</record><record><row><source_ip>192.0.2.2</source_ip><count>1</count></row></record></feedback>"""


class Shell:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.config = folder / "postane.yml"
        self.config.write_text(
            f"host: mail.host.test\nstate: {folder}\nruntime: {folder}\n"
            f"delivery: {{local: maildir, maildir: {folder}/vmail}}\n"
        )
        self._capsys = capsys
        self._patch = patch

    def __call__(self, *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
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
    assert made("domain", "add", "demo.test")[0] == 0
    assert made("account", "add", "ayse@demo.test", "--password-stdin", stdin=b"password-a\n")[0] == 0
    return made


def test_reports_are_taken_in_and_shown(shell: Shell, tmp_path: Path) -> None:
    now = int(time.time())
    text = REPORT.format(begin=now - 86400, end=now).encode()
    assert shell("report", "dmarc", "demo.test") == (0, "demo.test: no reports\n", "")
    (tmp_path / "bad.xml").write_bytes(b"rubbish")
    code, out, _ = shell("report", "import", str(tmp_path / "bad.xml"), "-", stdin=text)
    assert code == 1
    bad, good = out.splitlines()
    assert "bad.xml: refused: there is no report in it" in bad
    assert good == "-: taken: dmarc report of far.test about demo.test"
    code, out, _ = shell("report", "dmarc", "demo.test")
    assert out.splitlines() == [
        "demo.test: 90.0% of 10 messages authentic, in reports of 1 days",
        "192.0.2.2\t0\t1\tfar.test",
        "192.0.2.1\t9\t0\tfar.test",
    ]
    assert shell.json("report", "tls", "demo.test")["days"] == 0
    assert shell("report", "import", str(tmp_path / "none.xml"))[0] == 64
    assert shell("report", "dmarc", "far.test")[0] != 0


def test_what_is_left_of_an_account_is_shown_and_purged(shell: Shell, tmp_path: Path) -> None:
    box = tmp_path / "vmail/demo.test/ayse/Maildir/new"
    box.mkdir(parents=True)
    assert shell("mailbox", "list")[1] == "nothing is left\n"
    shell("account", "remove", "ayse@demo.test")
    line = shell("mailbox", "list", "demo.test")[1].rstrip("\n").split("\t")
    assert (line[0], line[1], line[3]) == ("ayse@demo.test", "default", str(tmp_path / "vmail/demo.test/ayse"))
    assert shell("mailbox", "purge", "demo.test", "--dry-run")[1].endswith("1 would be deleted\n")
    assert box.exists()
    assert shell("mailbox", "purge")[0] == shell("mailbox", "purge", "demo.test", "--all")[0] == 64
    assert shell.json("mailbox", "purge", "--all")["changed"]
    assert not box.exists()
    assert shell("mailbox", "purge", "demo.test")[0] != 0


def test_data_is_taken_out(shell: Shell, tmp_path: Path) -> None:
    code, out, err = shell("domain", "export", "demo.test", "--to", str(tmp_path / "out"))
    assert (code, err) == (0, "1 of 1: ayse@demo.test: 0.0 MB\n")
    assert out == f"demo.test: 0 messages of 1 accounts, 0.0 MB in {tmp_path}/out\n"
    assert shell("domain", "export", "demo.test", "--to", str(tmp_path / "out"))[2].endswith("as before\n")
    assert shell.json("domain", "export", "demo.test", "--to", str(tmp_path / "out"))["item"]["written"] == 0


def test_addresses_that_are_elsewhere_come_from_a_file(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# not moved yet\na@demo.test\n\nb@demo.test\n")
    code, _, err = shell("domain", "split", "demo.test", "--file", str(tmp_path / "list"))
    assert (code, "no earlier MX" in err) == (65, True)
    assert shell("domain", "split", "demo.test")[1] == "demo.test: 0 addresses at a host that is not known\n"
    assert shell("domain", "split", "demo.test", "--file", str(tmp_path / "nothing"))[0] == 64
