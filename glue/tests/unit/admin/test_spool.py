"""Mending as root: all that is made belongs to the daemon, and root's rights are gone before anything is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from support.spool import overwrite, write_segment

_NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_root_mends_as_the_owner() -> None:
    with TemporaryDirectory() as folder:  # pytest's own are closed to others
        state = Path(folder)
        state.chmod(0o755)
        (state / "postane.yml").write_text(f"host: mx.demo.test\nstate: {state}\n")
        spool = state / "spool"
        path = spool / "w0" / "00000001.seg"
        written = write_segment(path, [b"one", b"two"])
        overwrite(path, written[0].at, b"X")
        for one in (spool, *spool.rglob("*")):
            os.chown(one, _NOBODY, _NOBODY)
        code = (
            "import os, pathlib; from postane.admin.spool import verify; "
            f"print(verify(pathlib.Path({str(state / 'postane.yml')!r}), mend=True).clean, os.getresuid())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == f"True {(_NOBODY,) * 3}\n"
        assert [one.name for one in (spool / "damaged").iterdir()] == [f"w0-00000001-{written[0].at}"]
        assert {one.stat().st_uid for one in spool.rglob("*")} == {_NOBODY}
