"""The side-by-side benchmark: `make bench`, or by hand `.venv/bin/python -m bench --help`; docs/bench.md tells more."""
