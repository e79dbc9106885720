"""Tests with verl's own source, in the environment that `make test-verl` makes; elsewhere there is nothing to collect here."""

from importlib.util import find_spec

if find_spec("verl") is None:
    collect_ignore_glob = ["test_*.py"]
