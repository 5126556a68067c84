"""Debian's mail servers unpacked into a private folder: they exclude each other, and none is installed here."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from bench.peer import Skip

# What a server needs beside itself and what a minimal Debian may lack.
NEEDS = {
    "postfix": ("postfix", r"libicu[0-9]+", "libnsl2", r"libtirpc3(t64)?"),
    "opensmtpd": ("opensmtpd", r"libevent-2\.1-7(t64)?", r"libevent-core-2\.1-7(t64)?", "libasr0"),
    "postgrey": (
        "postgrey",
        "libberkeleydb-perl",
        "libnetaddr-ip-perl",
        "libnet-dns-perl",
        "libnet-server-perl",
        "libio-multiplex-perl",
    ),
    "postfix-policyd-spf-python": (
        "postfix-policyd-spf-python",
        "python3-spf-engine",
        "python3-spf",
        "python3-dns",
        "python3-authres",
        "python3-pkg-resources",
    ),
    "clamav-daemon": (
        "clamav-daemon",
        r"libclamav[0-9]+(t64)?",
        r"libmspack0(t64)?",
        r"libtfm1(t64)?",
        "libjson-c5",
        "libxml2",
        "libpcre2-8-0",
        "libicu72",
    ),
    "rspamd": (
        "rspamd",
        r"lib(hyper|vector)scan[0-9]+",
        r"libluajit2-5\.1-2",
        r"libsodium[0-9]+",
        r"libunwind8",
        r"libglib2\.0-0(t64)?",
        r"libpcre2-8-0",
        r"libicu[0-9]+",
    ),
}


def program(name: str, package: str) -> str | None:
    """The path of a tool the benchmark itself uses; as root on Debian its package is installed where it is missing."""
    if shutil.which(name) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"bench: installing {package}", flush=True)
        words = ["apt-get", "-qq", "install", "--no-install-recommends", "-y", *package.split()]
        subprocess.run(words, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, capture_output=True)
    return shutil.which(name)


def unpacked(name: str, store: Path) -> Path:
    """The root of the unpacked package `name`, kept in `store` for the next run. Raises Skip."""
    root = store / name
    if (root / ".whole").exists():
        return root
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Skip(f"{name} comes from Debian's packages, and apt-get and dpkg are not here")
    shutil.rmtree(root, ignore_errors=True)
    folder = store / f"{name}.debs"
    folder.mkdir(parents=True, exist_ok=True)
    for package in _wanted(name):
        done = subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True)
        if done.returncode and package == name:
            raise Skip(f"apt-get download {package}: {done.stderr.strip().splitlines()[-1:] or 'failed'}")
    root.mkdir(parents=True)
    for deb in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(deb), str(root)], check=True)
    (root / ".whole").touch()
    return root


def _wanted(name: str) -> list[str]:
    """The package and those of its libraries that this release of Debian has under one of their names."""
    found = []
    for pattern in NEEDS[name]:
        if re.fullmatch(r"[a-z0-9.-]+", pattern):
            found.append(pattern)
            continue
        done = subprocess.run(["apt-cache", "search", "--names-only", f"^{pattern}$"], capture_output=True, text=True)
        found += [line.split()[0] for line in done.stdout.splitlines()]
    return found


def library_path(root: Path) -> str:
    """LD_LIBRARY_PATH for programs of the unpacked root; the machine's own libraries come after it."""
    triple = f"{platform.machine()}-linux-gnu"
    folders = [root / "usr/lib/postfix", root / "usr/lib" / triple, root / "lib" / triple]
    return os.pathsep.join(str(folder) for folder in folders if folder.exists())


def version(root: Path, name: str) -> str:
    """The version of the package, from the file it was unpacked from."""
    debs = sorted((root.parent / f"{name}.debs").glob(f"{name}_*.deb"))
    return debs[-1].name.split("_")[1].replace("%3a", ":") if debs else "unknown"
