"""How many rollouts of a finished probe exact early stopping would have saved.

    python -m bench.early_stopping runs/verdict

With r of K rollouts done and k passed a problem can still end in the bins of k..k+K-r; once all of those are full the rest tells nothing.
Which bins are full is looked at after each round of problems, as the probe does. Printed for looking after every single rollout, and for
sampling in two halves.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from paced_exp.core.config import read_yaml
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.probe.binning import bin_index
from paced_exp.probe.measurement import ROUND


def saved_share(correct: np.ndarray, bins: int, per_bin: int, looks: Sequence[int], round_size: int = ROUND) -> float:
    """Share of the rollouts saved when a problem may stop after each of `looks` rollouts; correct (problems, K) in the order of the draw."""
    problems, K = correct.shape
    passes = correct.cumsum(axis=1)
    place = np.array([bin_index(k, K, bins) for k in range(K + 1)])
    count, saved = np.zeros(bins, dtype=int), 0
    for start in range(0, problems, round_size):
        drawn = passes[start : start + round_size]
        done = count[place] >= per_bin  # by number of passes
        running = np.ones(len(drawn), dtype=bool)
        for r in looks:
            certain = np.array([done[k : k + K - r + 1].all() for k in range(r + 1)])
            stops = running & certain[drawn[:, r - 1]]
            saved += int(stops.sum()) * (K - r)
            running &= ~stops
        np.add.at(count, place[drawn[:, -1]], 1)
    return saved / (problems * K)


def main(argv: Sequence[str] | None = None) -> None:
    """Read a run's rollouts, print the shares."""
    parser = argparse.ArgumentParser(prog="bench.early_stopping", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished probe")
    run = parser.parse_args(argv).run
    if not (run / "rollouts.parquet").exists():
        raise UserError(f"{run} holds no rollouts.parquet; name the --out of a finished probe")
    config = read_yaml(run / "config.yaml")
    K = int(config["K"])
    correct = pd.read_parquet(run / "rollouts.parquet", columns=["correct"])["correct"].to_numpy().reshape(-1, K)
    for words, looks in (("after every rollout", range(1, K)), ("in two halves", [K // 2])):
        print(f"{words}: {saved_share(correct, config['bins'], config['per_bin'], looks):.1%} of {correct.size:,} rollouts saved")


if __name__ == "__main__":
    exit_cleanly(main)
