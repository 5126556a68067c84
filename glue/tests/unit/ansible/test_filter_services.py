"""What the roles of the filters' services promise that a running host shows badly, or not at all in a container."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROOT = Path(__file__).parents[4]
ROLES = ROOT / "roles"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")


def rendered(role: str, path: str, **changes: Any) -> str:
    """A template as Ansible renders it, with the role's defaults; `changes` are laid over them."""
    knobs: dict[str, Any] = {}
    for file in ("defaults", "vars"):
        place = ROLES / role / file / "main.yml"
        knobs.update((yaml.safe_load(place.read_text()) or {}) if place.exists() else {})
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLES / role / "templates"),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters["to_json"] = json.dumps
    environment.filters["dirname"] = os.path.dirname
    environment.filters["basename"] = os.path.basename
    return environment.get_template(path).render({**knobs, "ansible_managed": "Ansible managed", **changes})


# -- units --------------------------------------------------------------------------------------------------------

STRICT = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
""".splitlines()


@pytest.mark.parametrize(("role", "unit"), [("rspamd", "rspamd"), ("clamav", "clamav-daemon")])
def test_what_reads_strangers_mail_is_locked_up_and_bounded(role: str, unit: str) -> None:
    lines = rendered(role, f"etc/systemd/system/{unit}.service.d/postane.conf.j2").splitlines()
    assert [line for line in STRICT if line not in lines] == []
    assert [line for line in lines if line.startswith("MemoryMax=")] in (["MemoryMax=1G"], ["MemoryMax=3G"])
    assert "StartLimitIntervalSec=0" in lines


def test_clamd_reaches_no_network_and_starts_with_any_signatures() -> None:
    lines = rendered("clamav", "etc/systemd/system/clamav-daemon.service.d/postane.conf.j2").splitlines()
    assert {"PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX"} <= set(lines)
    # An empty one first, else Debian's conditions, which want both official sets, still hold.
    conditions = [line for line in lines if line.startswith("ConditionPathExistsGlob=")]
    assert conditions[0] == "ConditionPathExistsGlob="
    assert all(line.startswith("ConditionPathExistsGlob=|") for line in conditions[1:])


def test_redis_has_no_port_until_one_is_asked_for() -> None:
    assert "port 0" in rendered("redis", "etc/redis/redis.conf.j2").splitlines()
    opened = rendered("redis", "etc/redis/redis.conf.j2", redis_listen=["192.0.2.1"]).splitlines()
    assert {"bind 192.0.2.1", "port 6379", "protected-mode yes"} <= set(opened)


def test_the_test_signature_finds_eicar_and_is_no_virus_itself() -> None:
    text = yaml.safe_load((ROLES / "clamav/vars/main.yml").read_text())["__clamav_test_signature"].replace(" ", "")
    name, kind, offset, found = text.split(":")
    assert (name, kind, offset) == ("Eicar-Test-Signature", "0", "*")
    assert len(bytes.fromhex(found)) == 68
    assert bytes.fromhex(found).endswith(b"$H+H*")


# -- which filters are on -----------------------------------------------------------------------------------------


def test_a_host_asks_what_it_has(tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {
        "bare": {},
        "full": {
            "postane_rspamd_socket": "/run/rspamd/scan.sock",
            "postane_clamav_socket": "/run/clamav/clamd.ctl",
            "postane_dnsbl": [{"zone": "bl.example", "weight": 5}],
            "postane_greylist": True,
            "postane_filters": ["mine", "attachments", "authentication"],
        },
    }
    tasks = [
        {
            "ansible.builtin.copy": {
                "content": "{{ __postane_config_base.filters | to_json }}",
                "dest": str(tmp_path / name),
            },
            "vars": knobs,
        }
        for name, knobs in cases.items()
    ]
    files = [str(ROLES / "postane" / part / "main.yml") for part in ("defaults", "vars")]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars_files": files, "tasks": tasks}
    # Knobs of the defaults that another play would hand over.
    play["vars"] = {"role_path": str(ROLES / "postane")}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [PLAYBOOK, tmp_path / "play.yml", "--inventory", "localhost,"],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    bare, full = (json.loads((tmp_path / name).read_text()) for name in cases)
    assert bare["options"] == {}
    assert not {"rspamd", "clamav", "dnsbl", "greylist"}.intersection(bare["use"])
    # In the order of the reference; a package's own filter comes last.
    assert full["use"] == ["dnsbl", "greylist", "authentication", "rspamd", "clamav", "attachments", "mine"]
    assert full["options"]["rspamd"] == {"url": "/run/rspamd/scan.sock"}
    assert full["options"]["clamav"]["address"] == "/run/clamav/clamd.ctl"
    assert full["options"]["dnsbl"] == {"lists": [{"zone": "bl.example", "weight": 5}]}


# -- the program that teaches Rspamd ------------------------------------------------------------------------------


class Controller(socketserver.UnixStreamServer):
    """Stands for Rspamd's controller: keeps what it is sent."""

    def __init__(self, path: str) -> None:
        self.taught: list[tuple[str, str, bytes]] = []
        self.answer = 200
        super().__init__(path, _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Controller

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taught.append((self.path, self.headers.get("Deliver-To", ""), body))
        self.send_response(self.server.answer)
        self.end_headers()

    def address_string(self) -> str:
        return "a socket"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    with Controller(str(tmp_path / "learn.sock")) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        yield server
        server.shutdown()
        serving.join()


def teach(folder: Path, *words: str, message: bytes = b"Subject: x\r\n\r\nx\r\n") -> int:
    program = folder / "postane-learn"
    program.write_text(
        rendered("dovecot", "usr/local/libexec/postane-learn.j2", dovecot_learn_socket=str(folder / "learn.sock"))
    )
    return subprocess.run([sys.executable, "-I", program, *words], input=message, check=False, timeout=20).returncode


def test_it_hands_on_the_message_and_whose_it_is(tmp_path: Path, controller: Controller) -> None:
    assert teach(tmp_path, "spam", "ayse@example.org", message=b"one") == 0
    assert teach(tmp_path, "ham", "çiğdem@example.org", message=b"two") == 0
    assert controller.taught == [("/learnspam", "ayse@example.org", b"one"), ("/learnham", "", b"two")]


def test_it_knows_two_words_only(tmp_path: Path, controller: Controller) -> None:
    assert teach(tmp_path, "../stat", "ayse@example.org") == 0
    assert controller.taught == []


def test_it_never_holds_up_the_move(tmp_path: Path, controller: Controller) -> None:
    controller.answer = 500
    assert teach(tmp_path, "spam", "ayse@example.org") == 0
    (tmp_path / "learn.sock").unlink()
    assert teach(tmp_path, "spam", "ayse@example.org") == 0
