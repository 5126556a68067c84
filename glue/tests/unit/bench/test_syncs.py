"""What strace -c prints is read."""

from __future__ import annotations

from bench.syncs import parse

TABLE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 91.20    0.104211         104      1002           fsync
  8.80    0.010058          50       201         3 fdatasync
------ ----------- ----------- --------- --------- ----------------
100.00    0.114269          94      1203         3 total
"""


def test_calls_are_counted_by_name_with_and_without_errors() -> None:
    assert parse(TABLE) == {"fsync": 1002, "fdatasync": 201}


def test_a_server_that_never_syncs_has_no_table() -> None:
    assert parse("") == {}
