"""scripts/containers gives hosts that a playbook can trust: one of each release, driven as a user drives it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.containers

SCRIPT = Path(__file__).parents[3] / "scripts" / "containers"
DROPPED = {"sys_module": 16, "sys_rawio": 17, "sys_boot": 22, "sys_time": 25}  # linux/capability.h


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=600, check=False)


def facts(*arguments: str) -> dict[str, object]:
    done = call(*arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Host:
    def __init__(self, release: str) -> None:
        self.name = f"t-pytest-{release}"
        self.port = free_port()
        self.wanted = ["--release", release, "--hostname", f"mail.{release}.test"]
        self.wanted += ["--publish", f"127.0.0.1:{self.port}:22"]
        self.facts = facts("up", self.name, *self.wanted)

    def says(self, line: str) -> str:
        done = call("ssh", self.name, "--", line)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def banner(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as door:
            return door.recv(8)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    call("down", f"t-pytest-{request.param}")
    up = Host(request.param)
    yield up
    assert call("down", up.name).returncode == 0


def test_is_the_release_and_has_the_name_that_was_asked_for(host: Host) -> None:
    assert host.says("systemctl is-system-running; hostname; hostname -f").split("\n") == [
        "running",
        host.facts["hostname"],
        host.facts["hostname"],
    ]
    assert f"VERSION_CODENAME={host.facts['release']}" in host.says("cat /etc/os-release")


def test_has_both_addresses_and_resolves_debians_mirror(host: Host) -> None:
    addresses = host.says("ip -o address show dev eth0 scope global")
    assert f" {host.facts['ip']}/24 " in addresses
    assert f" {host.facts['ip6']}/64 " in addresses
    assert host.says("getent hosts deb.debian.org")


def test_a_second_up_says_the_same(host: Host) -> None:
    assert facts("up", host.name, *host.wanted) == host.facts
    assert facts("up", host.name) == facts("info", host.name) == host.facts


def test_other_settings_are_refused(host: Host) -> None:
    refused = call("up", host.name, "--hostname", "other.test")
    assert refused.returncode == 1
    assert f"scripts/containers down {host.name}" in refused.stderr


def test_what_it_runs_can_change_neither_clock_nor_kernel(host: Host) -> None:
    for where in ("/proc/1/status", "/proc/self/status"):
        bounding, inheritable = (
            int(host.says(f"awk '/^Cap{kind}/ {{print $2}}' {where}"), 16) for kind in ("Bnd", "Inh")
        )
        assert not inheritable
        assert not [name for name, bit in DROPPED.items() if bounding >> bit & 1]
    # The time it already has: harmless should the lock ever fail.
    assert host.says("date -s @$(date +%s) >/dev/null 2>&1 && echo set || echo refused") == "refused"
    service = "systemd-run -q --wait --pipe sh -c 'date -s @$(date +%s) >/dev/null 2>&1 && echo set || echo refused'"
    assert host.says(service) == "refused"
    assert host.says("test -w /proc/sys/kernel/panic && echo open || echo closed") == "closed"


def test_services_get_their_credentials(host: Host) -> None:
    assert host.says("systemd-run -q --wait --pipe -p SetCredential=word:hello systemd-creds cat word") == "hello"


def test_a_reboot_keeps_addresses_ports_and_files(host: Host) -> None:
    before = host.says("systemctl show --property UserspaceTimestampMonotonic; echo nameserver ::1 > /etc/resolv.conf")
    assert facts("reboot", host.name) == host.facts
    assert host.says("systemctl show --property UserspaceTimestampMonotonic") != before
    assert host.says("cat /etc/resolv.conf") == "nameserver ::1"
    assert host.banner() == b"SSH-2.0-"


def test_a_taken_port_is_named_and_nothing_is_left_behind(host: Host) -> None:
    refused = call("up", "t-pytest-second", "--publish", f"127.0.0.1:{host.port}:25")
    assert refused.returncode == 1
    assert f"127.0.0.1:{host.port}/tcp is taken by the container {host.name}" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert call("info", "t-pytest-second").returncode == 1


def test_down_is_quiet_about_what_is_not_there() -> None:
    done = call("down", "t-pytest-never")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "wrong", [["up"], ["up", "Name"], ["up", "t-x", "--publish", "25"], ["up", "t-x", "--ip", "9.9.9.9"]]
)
def test_wrong_usage_is_64(wrong: list[str]) -> None:
    assert call(*wrong).returncode == 64
