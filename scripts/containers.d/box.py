"""A container of ours: found, created, waited for. What was asked for is kept in its labels, nowhere else."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import image
from machine import (
    KEY,
    NETWORK,
    ROOT,
    STATE,
    SUBNET4,
    SUBNET6,
    TRY_AGAIN,
    UNAVAILABLE,
    ContainersError,
    ask,
    has_controller,
    has_namespace,
    needs_namespace,
    note,
    podman,
    run,
)

BOOT_TIMEOUT = 120.0  # seconds from start to systemd's "running"; 2 to 5 are usual
DEFAULT_RELEASE = "trixie"


@dataclasses.dataclass(frozen=True, slots=True)
class Publish:
    """One port of the container at one address of this machine."""

    host: str
    port: int
    inner: int
    protocol: str

    @classmethod
    def parse(cls, text: str) -> Publish:
        found = re.fullmatch(r"(?:(\[[0-9a-fA-F:]+\]|[0-9.]+):)?(\d{1,5}):(\d{1,5})(?:/(tcp|udp))?", text)
        if not found or not all(0 < int(port) < 65536 for port in found.group(2, 3)):
            raise argparse.ArgumentTypeError(f"{text!r}: write [ADDRESS:]PORT:CONTAINER_PORT[/udp]")
        host, port, inner, protocol = found.groups()
        return cls((host or "127.0.0.1").strip("[]"), int(port), int(inner), protocol or "tcp")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}:{self.inner}/{self.protocol}"

    def obstacle(self) -> str | None:
        """Why this machine cannot lend the port now."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        kind = socket.SOCK_DGRAM if self.protocol == "udp" else socket.SOCK_STREAM
        with socket.socket(family, kind) as probe:
            if self.protocol == "tcp":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                taken = error.errno == errno.EADDRINUSE
                return f"is taken{self.holder()}" if taken else f"cannot be used: {error.strerror}"
        return None

    def holder(self) -> str:
        """` by …` if that is cheaply known."""
        for box in every():
            theirs = [Publish.parse(text) for text in box.settings["publish"]]
            if box.running and any((p.port, p.protocol) == (self.port, self.protocol) for p in theirs):
                return f" by the container {box.name}"
        with contextlib.suppress(ContainersError):
            kind = "-u" if self.protocol == "udp" else "-t"
            found = re.search(r'\("([^"]+)",pid=(\d+)', ask(["ss", "-Hlnp", kind, f"sport = :{self.port}"]).stdout)
            return f" by {found[1]} (process {found[2]})" if found else ""
        return ""


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """One container as podman knows it; `settings` as `create` made them."""

    name: str
    status: str
    settings: dict[str, Any]

    @classmethod
    def from_inspect(cls, inspected: dict[str, Any]) -> Box:
        labels: dict[str, str] = inspected["Config"].get("Labels") or {}
        name = inspected["Name"]
        if labels.get("postane.network") != NETWORK:
            raise ContainersError(f"the container {name} was not made by this script for the network {NETWORK}")
        return cls(name, inspected["State"]["Status"], json.loads(labels["postane.settings"]))

    @property
    def running(self) -> bool:
        return self.status == "running"

    def facts(self) -> dict[str, Any]:
        """Where it is and how to log in."""
        port = self.settings["ssh_port"]
        host, port = ("127.0.0.1", port) if port else (self.settings["ip"], 22)
        known = {key: self.settings[key] for key in ("hostname", "release", "ip", "ip6")}
        ssh = {"ssh_host": host, "ssh_port": port, "ssh_user": "root", "ssh_key": str(KEY)}
        return {"name": self.name, **known, **ssh}

    def ssh(self, *remote: str, wait: int = 10) -> list[str]:
        """The command that logs in. Names and addresses are used again, so a host key proves nothing here."""
        facts = self.facts()
        choices = {
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
            "ConnectTimeout": str(wait),
        }
        login = ["ssh", "-F", "none", "-i", str(KEY), "-p", str(facts["ssh_port"]), "-l", "root"]
        return [*login, *(f"-o{key}={value}" for key, value in choices.items()), facts["ssh_host"], *remote]


def find(name: str) -> Box | None:
    if needs_namespace() and not has_namespace():
        return None
    done = ask(podman("container", "inspect", "--format", "json", name))
    if done.returncode == 0:
        return Box.from_inspect(json.loads(done.stdout)[0])
    if "no such container" in done.stderr.lower():
        return None
    raise ContainersError(f"podman: {(done.stderr.strip().splitlines() or ['silent'])[-1]}", UNAVAILABLE)


def every() -> list[Box]:
    names = run(podman("ps", "--all", "--quiet", "--filter", f"label=postane.network={NETWORK}"), "podman ps").split()
    if not names:
        return []
    inspected = json.loads(run(podman("container", "inspect", "--format", "json", *names), "podman inspect"))
    return sorted(map(Box.from_inspect, inspected), key=lambda box: box.name)


def required(name: str) -> Box:
    box = find(name)
    if box is None or not box.running:
        raise ContainersError(f"{name} does not {'run' if box else 'exist'}: `scripts/containers up {name}`")
    return box


def public_key() -> str:
    return KEY.with_suffix(".pub").read_text().strip()


def refuse_changes(box: Box, options: argparse.Namespace) -> None:
    """A container is never changed. An option that is not given means: as it is."""
    asked = {key: getattr(options, key) for key in ("release", "hostname", "ip", "memory")}
    asked["publish"] = sorted(map(str, options.publish)) or None
    for key, value in {**asked, "key": public_key()}.items():
        have = box.settings[key]
        if value is not None and value != have:
            texts = [", ".join(side) if isinstance(side, list) else side for side in (have, value)]
            differs = "another SSH key" if key == "key" else f"{key} {texts[0] or 'none'}, not {texts[1]}"
            raise ContainersError(f"{box.name} exists with {differs}: first `scripts/containers down {box.name}`")


def refuse_obstacles(name: str, wanted: Sequence[Publish]) -> None:
    for publish in wanted:
        if obstacle := publish.obstacle():
            raise ContainersError(f"{name}: port {publish.host}:{publish.port}/{publish.protocol} {obstacle}")


def create(options: argparse.Namespace) -> None:
    """Starts a new container, or leaves nothing behind. The caller holds the lock `create`."""
    name: str = options.name
    refuse_obstacles(name, options.publish)
    number = choose_number(options.ip)
    settings = {
        "release": options.release or DEFAULT_RELEASE,
        "hostname": options.hostname or f"{name}.test",
        "ip": str(SUBNET4[number]),
        "ip6": f"{SUBNET6.network_address}{number}",
        "publish": sorted(map(str, options.publish)),
        "memory": options.memory,
        "ssh_port": None if ROOT else free_port(),
        "key": public_key(),
    }
    command = ["run", "--detach", "--name", name, "--hostname", settings["hostname"], "--no-hosts"]
    command += ["--privileged", "--systemd=always", "--stop-timeout=20", "--pull=never"]
    # The hardware address follows the IP: else neighbours speak to a predecessor's for some seconds.
    mac = "02:00:" + SUBNET4[number].packed.hex(":")
    command += ["--network", f"{NETWORK}:ip={settings['ip']},ip6={settings['ip6']},mac={mac}"]
    command += [f"--env=SSH_KEY={settings['key']}"]
    command += [f"--label={label}" for label in options.label]
    command += [f"--label=postane.network={NETWORK}", f"--label=postane.settings={json.dumps(settings)}"]
    command += [f"--publish={publish}" for publish in options.publish]
    command += [f"--publish=127.0.0.1:{settings['ssh_port']}:22"] if settings["ssh_port"] else []
    command += limits(options.memory)
    try:
        run(podman(*command, image.name_of(settings["release"])), f"starting {name}")
    except BaseException:
        remove([name])
        raise


def limits(memory: str | None) -> list[str]:
    """Limits need cgroup controllers, which not every machine can lend; podman's own on processes is taken off."""
    if memory and not has_controller("memory"):
        note("this machine cannot limit a container's memory: --memory is ignored")
        memory = None
    return ["--pids-limit=0", *([f"--memory={memory}"] if memory else [])]


def choose_number(asked: str | None) -> int:
    """The last number of both addresses: 2 to 99 are for --ip, 100 to 254 are given out."""
    used = {box.settings["ip"]: box.name for box in every()}
    if asked in used:
        raise ContainersError(f"the address {asked} belongs to the container {used[asked]}")
    if asked:
        return int(asked.rsplit(".", 1)[1])
    for number in range(100, 255):
        if str(SUBNET4[number]) not in used:
            return number
    raise ContainersError(f"no address is free in {SUBNET4}", TRY_AGAIN)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(box: Box) -> None:
    refuse_obstacles(box.name, [Publish.parse(text) for text in box.settings["publish"]])
    run(podman("start", box.name), f"starting {box.name}")


def remove(names: Sequence[str]) -> None:
    if names:
        run(podman("rm", "--force", "--ignore", "--time=0", "--volumes", *names), "removing")


def wait_until_running(box: Box, fresh: bool) -> None:
    """Asked over SSH: so systemd has finished, and Ansible can log in.

    Failed units are an error where nothing but systemd is to blame (`fresh`), and else worth a note.
    """
    deadline = time.monotonic() + BOOT_TIMEOUT
    question = box.ssh("systemctl is-system-running --wait; systemctl --failed --plain --no-legend", wait=2)
    state = "silent"
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            answer, *failed = ask(question, timeout=left).stdout.splitlines() or [""]
            state = answer or state
            units = ", ".join(line.split()[0] for line in failed)
            if state == "running":
                return
            if state == "degraded" and not fresh:
                note(f"{box.name} runs, but these units failed: {units}")
                return
            if state == "degraded":
                state = f"degraded: {units} failed"
                break
        now = find(box.name)
        if now is None or not now.running:
            state = "stopped"
            break
        time.sleep(0.2)
    raise ContainersError(f"{box.name} does not come up ({state}), its log is {keep_log(box)}", TRY_AGAIN)


def keep_log(box: Box) -> Path:
    """Saves what the container says and shows the end of it."""
    log = STATE / f"{box.name}.log"
    with log.open("w") as output:
        for command in (podman("logs", box.name), box.ssh("journalctl --no-pager", wait=2)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(command, stdout=output, stderr=output, timeout=20, check=False)
    for line in log.read_text(errors="replace").splitlines()[-10:]:
        print(line, file=sys.stderr)
    return log
