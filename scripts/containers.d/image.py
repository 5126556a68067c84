"""The image of a bare Debian host: recipe/ on top of a plain Debian, from a registry or from Debian's packages."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import subprocess
import time
from pathlib import Path

from machine import STATE, TRY_AGAIN, UNAVAILABLE, ContainersError, ask, lock, note, podman, run, succeeds

RELEASES = ("bookworm", "trixie")
RECIPE = Path(__file__).parent / "recipe"
ARCHIVE, SECURITY = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"


def name_of(release: str) -> str:
    return f"localhost/postane-base:{release}"


def bases_of(release: str) -> tuple[str, str]:
    """What the registry offers, and what mmdebstrap makes."""
    return f"docker.io/library/debian:{release}", f"localhost/postane-debian:{release}"


def build(release: str, rebuild: bool = False) -> None:
    """Builds the image if it is missing or was built from another recipe."""
    name = name_of(release)
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(RECIPE.iterdir()))).hexdigest()[:16]
    with lock(f"image-{release}"):
        known = ask(podman("image", "inspect", "--format", '{{index .Labels "postane.recipe"}}', name)).stdout.strip()
        if known == digest and not rebuild:
            return
        started = time.monotonic()
        note(f"building the image {name}")
        base = base_image(release, rebuild)
        command = ["build", "--squash", "--pull=never", "--tag", name, "--label", f"postane.recipe={digest}"]
        arguments = {"BASE": base, "RELEASE": release, "MIRROR": mirror("Debian", ARCHIVE)}
        arguments["SECURITY"] = mirror("Debian-Security", SECURITY)
        command += [f"--build-arg={key}={value}" for key, value in arguments.items()]
        log = STATE / f"image-{release}.log"
        with log.open("w") as output:
            command = podman(*command, "--file", str(RECIPE / "Containerfile"), str(RECIPE))
            if subprocess.run(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False).returncode:
                raise ContainersError(f"the image {name} could not be built, the log is {log}", TRY_AGAIN)
        succeeds(podman("image", "prune", "--force", "--filter", "label=postane.recipe"))
        note(f"built {name} in {time.monotonic() - started:.0f} s")


def mirror(label: str, default: str) -> str:
    """Where this machine's apt gets that part of Debian from; Debian's own address if it gets none by plain HTTP."""
    with contextlib.suppress(ContainersError):
        fields = ["--format", "$(ORIGIN)/$(LABEL) $(REPO_URI)", "Created-By: Packages"]
        for line in ask(["apt-get", "indextargets", *fields]).stdout.splitlines():
            if line.startswith(f"Debian/{label} http://"):
                return line.split()[1].rstrip("/")
    return default


def base_image(release: str, fresh: bool) -> str:
    pulled, built = bases_of(release)
    for present in () if fresh else (pulled, built):
        if succeeds(podman("image", "exists", present)):
            return present
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        socket.create_connection(("registry-1.docker.io", 443), timeout=3).close()
        if ask(podman("pull", "--quiet", pulled), timeout=300).returncode == 0:
            return pulled
    if not shutil.which("mmdebstrap"):
        reason = "no registry answers; to build the image without one: `sudo apt install mmdebstrap`"
        raise ContainersError(reason, UNAVAILABLE)
    archive = STATE / f"debian-{release}.tar"
    try:
        bootstrap = ["mmdebstrap", "--quiet", "--variant=minbase", release, str(archive), mirror("Debian", ARCHIVE)]
        run(bootstrap, f"Debian {release} by mmdebstrap", TRY_AGAIN)
        run(podman("import", "--quiet", "--change", "LABEL postane.recipe=base", str(archive), built), "podman import")
    finally:
        archive.unlink(missing_ok=True)
    return built


def remove() -> None:
    for release in RELEASES:
        for name in (name_of(release), *bases_of(release)):
            succeeds(podman("rmi", name))
