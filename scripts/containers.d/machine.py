"""What this machine must have before containers start: packages, a place for cgroup v2, a network, an SSH key.

Fails with ContainersError only. On machines with cgroup v1 every podman call enters one lasting mount namespace
that shows a cgroup v2 tree; nothing outside of it changes. The clock and kernel settings are never touched, except
that Podman itself switches IP forwarding on, as every container engine does.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

NETWORK = os.environ.get("POSTANE_NETWORK", "postane")
SUBNET4 = ipaddress.IPv4Network(os.environ.get("POSTANE_SUBNET4", "10.89.79.0/24"))
SUBNET6 = ipaddress.IPv6Network(os.environ.get("POSTANE_SUBNET6", "fd00:89:79::/64"))
STATE = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "postane-containers"
NAMESPACE = STATE / "namespace" / "mnt"
KEY = STATE / "id_ed25519"
ROOT = os.geteuid() == 0

USAGE, UNAVAILABLE, TRY_AGAIN = 64, 69, 75  # exit codes, as in sysexits

PROGRAMS = {  # program or file -> Debian package
    "podman": "podman",
    "crun": "crun",
    "/usr/lib/podman/netavark": "netavark",
    "/usr/lib/podman/aardvark-dns": "aardvark-dns",
    "mmdebstrap": "mmdebstrap",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "nft": "nftables",
    "iptables": "iptables",
    "ssh": "openssh-client",
}
# Where cgroup controllers and CAP_SYS_RESOURCE are missing, limits cannot be raised: state those that hold.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
"""


class ContainersError(Exception):
    """What the caller reads, in one line, and the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def note(text: str) -> None:
    print(f"containers: {text}", file=sys.stderr, flush=True)


def ask(command: Sequence[str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Runs quietly, whatever comes of it."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout, check=False
        )
    except FileNotFoundError:
        raise ContainersError(f"{command[0]} is missing: run `scripts/containers setup`", UNAVAILABLE) from None


def run(command: Sequence[str], what: str, code: int = 1) -> str:
    """Runs quietly; a failure becomes one line: `what`, and the last line that the command said."""
    done = ask(command)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()[-1]
        raise ContainersError(f"{what}: {said}", code)
    return done.stdout


def succeeds(command: Sequence[str]) -> bool:
    return ask(command).returncode == 0


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """One at a time among all callers on this machine; the kernel releases a killed caller's lock."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (STATE / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def mounts() -> dict[str, str]:
    """Mount point -> file system type; of several at one place the topmost."""
    table = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        table[left.split()[4]] = right.split()[0]
    return table


def needs_namespace() -> bool:
    return ROOT and mounts().get("/sys/fs/cgroup") != "cgroup2"


def has_namespace() -> bool:
    return mounts().get(str(NAMESPACE)) == "nsfs"


def has_controller(name: str) -> bool:
    """Whether cgroup v2 can limit it; in our namespace it has none, they belong to cgroup v1."""
    listed = Path("/sys/fs/cgroup/cgroup.controllers")
    return listed.exists() and name in listed.read_text().split()


def podman(*arguments: str) -> list[str]:
    if not needs_namespace():
        return ["podman", *arguments]
    settings = [f"CONTAINERS_CONF={STATE / 'containers.conf'}", "BUILDAH_ISOLATION=chroot"]
    return ["nsenter", f"--mount={NAMESPACE}", f"--wd={STATE}", "env", *settings, "podman", *arguments]


def setup() -> None:
    """Adds what is missing."""
    install_packages()
    with lock("setup"):
        if needs_namespace() and not has_namespace():
            make_namespace()
        if not KEY.exists():
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "postane-containers", "-f", str(KEY)]
            run(keygen, "SSH key")
        if not succeeds(podman("network", "exists", NETWORK)):
            subnets = ["--subnet", str(SUBNET4), "--ipv6", "--subnet", str(SUBNET6)]
            run(podman("network", "create", *subnets, NETWORK), f"network {NETWORK}", UNAVAILABLE)


def install_packages() -> None:
    """As root by apt. Without root, Podman is the owner's business: its image can come from a registry."""
    programs = PROGRAMS if ROOT else {"podman": "podman", "ssh": "openssh-client"}
    missing = [
        package for program, package in programs.items() if not (shutil.which(program) or Path("/", program).is_file())
    ]
    if not missing:
        return
    packages = " ".join(missing)
    if not ROOT or not shutil.which("apt-get"):
        raise ContainersError(f"missing here: {packages}. On Debian: `sudo apt install {packages}`", UNAVAILABLE)
    with lock("apt"):
        note(f"installing {packages}")
        apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
        run([*apt, "update"], "apt-get update", TRY_AGAIN)
        run([*apt, "install", "--no-install-recommends", *missing], "apt-get install", TRY_AGAIN)


def make_namespace() -> None:
    """One lasting mount namespace in which /sys/fs/cgroup is cgroup v2.

    One for all calls: a container made in one namespace and removed in another leaves bridges and leases behind.
    The kernel keeps a namespace's file only on a private mount, hence the folder bound on itself.
    """
    folder = NAMESPACE.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    NAMESPACE.touch()
    if str(folder) not in mounts():
        run(["mount", "--bind", str(folder), str(folder)], "mount namespace", UNAVAILABLE)
    run(["mount", "--make-private", str(folder)], "mount namespace", UNAVAILABLE)
    (STATE / "containers.conf").write_text(CONTAINERS_CONF)
    cgroup = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup"
    unshare = ["unshare", f"--mount={NAMESPACE}", "--propagation", "private"]
    try:
        run([*unshare, "sh", "-c", cgroup], "mount namespace with cgroup v2", UNAVAILABLE)
    except BaseException:
        succeeds(["umount", str(NAMESPACE)])
        raise


def remove_setup() -> None:
    """Takes network, namespace and state away; the packages stay."""
    run(podman("network", "rm", "--force", NETWORK), f"removing the network {NETWORK}")
    for place in (NAMESPACE, NAMESPACE.parent):
        if str(place) in mounts():
            run(["umount", str(place)], "mount namespace")
    shutil.rmtree(STATE)
