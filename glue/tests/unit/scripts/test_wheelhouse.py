"""The wheelhouse: named by its inputs, the same octets each time, quick the second time."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import tarfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[4] / "scripts" / "wheelhouse"


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, over a small tree of its own."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = SourceFileLoader("wheelhouse", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("wheelhouse", loader) or pytest.fail())
    loader.exec_module(module)
    files = {
        "glue/uv.lock": "",
        "glue/pyproject.toml": '[project]\nname = "postane"\nversion = "1.2.3"\n',
        "glue/README.md": "",
        "glue/src/postane/a.py": "a = 1\n",
        "scripts/wheelhouse": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    changes = {"ROOT": tmp_path, "GLUE": tmp_path / "glue", "CACHE": tmp_path / ".cache", "TOOLS": tmp_path / "tools"}
    for name, path in changes.items():
        monkeypatch.setattr(module, name, path)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "scripts/wheelhouse"))
    module.CACHE.mkdir()
    return module


def names(module: ModuleType) -> str:
    return str(module.manifest_path("3.13", "x86_64").name)


def test_name_follows_the_sources(wheelhouse: ModuleType) -> None:
    before = names(wheelhouse)
    source = wheelhouse.GLUE / "src/postane/a.py"
    source.write_text("a = 2\n")
    edited = names(wheelhouse)
    source.write_text("a = 1\n")
    assert edited != before
    assert names(wheelhouse) == before


def test_name_follows_a_new_file_and_a_changed_lock(wheelhouse: ModuleType) -> None:
    seen = {names(wheelhouse)}
    (wheelhouse.GLUE / "src/postane/b.py").write_text("")
    seen.add(names(wheelhouse))
    (wheelhouse.GLUE / "uv.lock").write_text("# other\n")
    seen.add(names(wheelhouse))
    assert len(seen) == 3


def test_name_follows_the_target(wheelhouse: ModuleType) -> None:
    targets = [("3.11", "x86_64"), ("3.13", "x86_64"), ("3.13", "aarch64")]
    assert len({wheelhouse.manifest_path(*target) for target in targets}) == 3


def test_name_ignores_compiled_files(wheelhouse: ModuleType) -> None:
    before = names(wheelhouse)
    compiled = wheelhouse.GLUE / "src/postane/__pycache__/a.cpython-313.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"x")
    assert names(wheelhouse) == before


def test_tar_is_the_same_each_time(wheelhouse: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "some_thing-1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    tars = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for tar in tars:
        wheelhouse.pack(tar, [wheel])
        wheel.touch()
        wheel.chmod(0o600)
    assert tars[0].read_bytes() == tars[1].read_bytes()


def test_tar_pins_each_wheel_by_its_hash(wheelhouse: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "some_thing-1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    wheelhouse.pack(tmp_path / "one.tar", [wheel])
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert tar.getnames() == ["requirements.txt", f"wheels/{wheel.name}"]
        text = (tar.extractfile("requirements.txt") or pytest.fail()).read().decode()
        assert {(m.uid, m.gid, m.uname, m.mtime) for m in tar.getmembers()} == {(0, 0, "", wheelhouse.EPOCH)}
    assert text == f"some-thing==1.0 --hash=sha256:{hashlib.sha256(b'wheel').hexdigest()}\n"


def test_requirements_are_parted_with_their_hashes(wheelhouse: ModuleType) -> None:
    text = "aiosmtpd==1.4.6 \\\n    --hash=sha256:aa\ndkimpy==1.1.8 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
    binary, source = wheelhouse.split(text, {"dkimpy"})
    assert binary == "aiosmtpd==1.4.6 \\\n    --hash=sha256:aa"
    assert source == "dkimpy==1.1.8 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc"


def test_earlier_result_is_taken_only_whole(wheelhouse: ModuleType) -> None:
    tar = wheelhouse.CACHE / "postane-aa.tar"
    tar.write_bytes(b"all of it")
    manifest = {"tar": str(tar), "sha256": hashlib.sha256(b"all of it").hexdigest()}
    path = wheelhouse.CACHE / "postane-aa.json"
    assert wheelhouse.read_manifest(path) is None
    path.write_text(json.dumps(manifest))
    assert wheelhouse.read_manifest(path) == manifest
    tar.write_bytes(b"half of")
    assert wheelhouse.read_manifest(path) is None


def test_old_results_are_forgotten(wheelhouse: ModuleType) -> None:
    for number in range(wheelhouse.KEEP + 2):
        (wheelhouse.CACHE / f"postane-{number}.tar").touch()
        (wheelhouse.CACHE / f"postane-{number}.json").touch()
    wheelhouse.prune()
    assert len(list(wheelhouse.CACHE.glob("*.json"))) == len(list(wheelhouse.CACHE.glob("*.tar"))) == wheelhouse.KEEP


def test_missing_tools_are_named(wheelhouse: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        wheelhouse.build("3.13", "x86_64")
    assert stopped.value.code == 69
    assert "make tools" in capsys.readouterr().err


def test_no_index_says_so(wheelhouse: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    wheelhouse.TOOLS.mkdir()
    tool = wheelhouse.TOOLS / "pip"
    tool.write_text("#!/bin/sh\necho WARNING: noise >&2; echo ERROR: no route >&2; exit 1\n")
    tool.chmod(0o755)
    with pytest.raises(SystemExit) as stopped:
        wheelhouse.run("pip", "download")
    shown = capsys.readouterr().err
    assert stopped.value.code == 69
    assert "no route" in shown
    assert "package index" in shown
    assert "noise" not in shown


@pytest.mark.parametrize("python", ["2.7", "3.10", "3", "3.x"])
def test_unfit_python_is_refused(python: str) -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--python", python], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "3.11 or newer" in done.stderr


def test_name_follows_extra_packages(wheelhouse: ModuleType) -> None:
    targets = [("3.13", "x86_64"), ("3.13", "x86_64", ["octodns-desec"]), ("3.13", "x86_64", ["octodns-desec==1.3"])]
    assert len({wheelhouse.manifest_path(*target) for target in targets}) == 3
    assert wheelhouse.manifest_path("3.13", "x86_64", []) == wheelhouse.manifest_path("3.13", "x86_64")


def test_extra_packages_bring_only_what_the_lock_has_not(wheelhouse: ModuleType) -> None:
    known = "idna==3 \\\n    --hash=sha256:a\nrequests==2 ; python_version < '4' \\\n    --hash=sha256:b\n"
    found = "fqdn==1 \\\n    --hash=sha256:c\nidna==3 \\\n    --hash=sha256:a\noctodns==1.22 \\\n    --hash=sha256:d\n"
    assert wheelhouse.beyond(found, known) == (
        "fqdn==1 \\\n    --hash=sha256:c\noctodns==1.22 \\\n    --hash=sha256:d\n"
    )
    assert wheelhouse.beyond(known, known) == ""


@pytest.mark.parametrize("word", ["-e", "a b", "a;b", "./a", "https://a.test/a.whl", "a==1 --index-url=x", ""])
def test_an_extra_package_is_a_name(
    wheelhouse: ModuleType, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["wheelhouse", f"--extra={word}"])
    with pytest.raises(SystemExit):
        wheelhouse.arguments()
    assert "a package's name is needed" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["wheelhouse", "--extra=b>=1,<2", "--extra=a==1.0", "--extra=a==1.0"])
    assert wheelhouse.arguments().extra == ["a==1.0", "b>=1,<2"]


def test_a_wheel_with_a_long_name_is_packed(wheelhouse: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / f"a-1-cp311-cp311-{'manylinux_2_17_x86_64.' * 6}whl"
    wheel.write_bytes(b"x")
    wheelhouse.pack(tmp_path / "one.tar", [wheel])
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert f"wheels/{wheel.name}" in tar.getnames()
