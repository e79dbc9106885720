"""Benchmarks: each `python -m bench.NAME` writes its raw record to results/bench/NAME.json; figures/bench_NAME.py draws it."""
