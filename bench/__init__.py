"""Benchmarks: each `python -m bench.NAME` writes its raw record to results/desk/bench/NAME.json; figures/bench_NAME.py draws it."""
