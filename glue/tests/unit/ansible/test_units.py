"""The units' text: containers do not enforce all of it, so that only the text can tell what a real host would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROLE = Path(__file__).parents[4] / "roles" / "postane"
UNITS = ROLE / "templates" / "etc" / "systemd" / "system"
SERVICES = ("smtpd", "queue", "api")
TIMED = ("suffixes", "watch", "drift", "certificates")

HARDENED = """\
User=postane
Group=postane
UMask=0027
CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/var/lib/postane
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
""".splitlines()

STEADY = """\
Type=notify
NotifyAccess=main
KillMode=mixed
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec=30
Restart=always
TimeoutStopSec=40
LimitNOFILE=65536
RuntimeDirectory=postane
RuntimeDirectoryPreserve=yes
LogRateLimitIntervalSec=0
""".splitlines()

Sections = dict[str, list[str]]


def knobs(**changes: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    internals = {"__postane_config_file": "/etc/postane/postane.yml", "ansible_managed": "Ansible managed"}
    return {**defaults, **internals, **changes}


def unit(template: str, **changes: Any) -> Sections:
    """The unit as Ansible renders it, its lines by section; comments left out."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(UNITS), trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    sections: Sections = {}
    for line in environment.get_template(template).render(knobs(**changes)).splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            assert line.partition("=")[0].isidentifier(), line
            current.append(line)
    return sections


def socket(name: str, service: str, listen: list[str]) -> Sections:
    item = {"key": name, "value": {"service": service, "listen": listen, "what": "a door"}}
    return unit("postane.socket.j2", item=item)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("line", [*HARDENED, *STEADY])
def test_service_says(service: str, line: str) -> None:
    assert unit(f"postane-{service}.service.j2")["Service"].count(line) == 1


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("line", HARDENED)
def test_what_runs_now_and_then_is_confined_too(name: str, line: str) -> None:
    assert unit(f"postane-{name}.service.j2")["Service"].count(line) == 1


@pytest.mark.parametrize("name", TIMED)
def test_what_runs_now_and_then_ends_by_itself_and_has_a_timer(name: str) -> None:
    lines = unit(f"postane-{name}.service.j2")["Service"]
    assert "Type=oneshot" in lines
    assert any(line.startswith("TimeoutStartSec=") for line in lines)
    timer = unit(f"postane-{name}.timer.j2")
    assert [line for line in timer["Timer"] if line.startswith("OnCalendar=")]
    assert timer["Install"] == ["WantedBy=timers.target"]


def test_a_finding_is_no_failure_of_the_unit_that_looks_for_it() -> None:
    lines = unit("postane-drift.service.j2")["Service"]
    assert "SuccessExitStatus=1 75" in lines
    assert any(line.endswith("domain drift --due") for line in lines)
    # What it counts is shown by the services, whose folder must not go with it.
    assert {"RuntimeDirectory=postane", "RuntimeDirectoryPreserve=yes"} <= set(lines)


def test_an_authority_that_refuses_is_no_failure_of_the_unit_that_asks_it() -> None:
    lines = unit("postane-certificates.service.j2")["Service"]
    assert "SuccessExitStatus=1 69 75" in lines
    assert any(line.endswith("certificate renew") for line in lines)
    assert "RandomizedDelaySec=50min" in unit("postane-certificates.timer.j2")["Timer"]


@pytest.mark.parametrize("service", SERVICES)
def test_service_never_gives_up(service: str) -> None:
    assert "StartLimitIntervalSec=0" in unit(f"postane-{service}.service.j2")["Unit"]


@pytest.mark.parametrize("service", SERVICES)
def test_service_runs_the_current_version_with_the_checked_configuration(service: str) -> None:
    command = f"ExecStart=/opt/postane/current/bin/postane --config /etc/postane/postane.yml daemon {service}"
    assert command in unit(f"postane-{service}.service.j2")["Service"]


@pytest.mark.parametrize("service", ["smtpd", "queue"])
def test_keys_are_read_only_where_mail_is_handled(service: str) -> None:
    lines = unit(f"postane-{service}.service.j2")["Service"]
    assert "ReadOnlyPaths=/var/lib/postane/keys -/var/lib/postane/tls" in lines


def test_state_elsewhere_is_opened_instead() -> None:
    lines = unit("postane-queue.service.j2", postane_state="/srv/postane")["Service"]
    assert "ReadWritePaths=/srv/postane" in lines
    assert not any("/var/lib/postane" in line for line in lines)


def test_smtpd_inherits_its_three_doors() -> None:
    sections = unit("postane-smtpd.service.j2")
    doors = "postane-smtp.socket postane-submission.socket postane-submissions.socket"
    assert f"Sockets={doors}" in sections["Service"]
    assert {f"Requires={doors}", f"After={doors}"} <= set(sections["Unit"])


def test_socket_is_named_and_waits_long() -> None:
    lines = socket("submissions", "smtpd", ["465"])["Socket"]
    assert {"FileDescriptorName=submissions", "Service=postane-smtpd.service", "ListenStream=465"} <= set(lines)
    assert {"BindIPv6Only=both", "Backlog=4096"} <= set(lines)


def test_socket_listens_on_each_address() -> None:
    lines = socket("smtp", "smtpd", ["192.0.2.1:25", "[2001:db8::1]:25"])["Socket"]
    assert [line for line in lines if line.startswith("ListenStream=")] == [
        "ListenStream=192.0.2.1:25",
        "ListenStream=[2001:db8::1]:25",
    ]


def test_groups_are_joined_only_where_asked() -> None:
    assert not [line for line in unit("postane-queue.service.j2")["Service"] if line.startswith("SupplementaryGroups")]
    joined = unit("postane-queue.service.j2", postane_supplementary_groups=["dovecot", "knot"])["Service"]
    assert "SupplementaryGroups=dovecot knot" in joined
