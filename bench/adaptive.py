"""What stopping rollouts early saves, and at what error of the weights: simulated under the lab's law, and on the rollouts of a finished run.

    python -m paced_exp.rollout --limit 1500 -K 64 --out runs/k64
    python -m bench.adaptive runs/k64                     # K = 8 for all against `--adaptive`, into results/bench/adaptive.json

In a replicate the run's rollouts of every problem are shuffled; weights are made of the first half, by K for all and by the rules. Their mean squared
error against w = p(1-p) is measured without bias by the other half: E[v^2] - 2 E[v w] + E[w^2], with unbiased estimates of w and w^2. Errors are
ratios to those of empirical Bayes with K for all. `worst` is the largest error of a state (k of n) with at least 2 % of the problems, against that
of K for all. `mean, of the plug-in` stops where weights are on average as exact as the paper's plug-in is with K for all: the rule for the smallest K
that suffices by the law. The simulation has true pass rates.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd

from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_checked
from paced_exp.core.run_folder import provenance
from paced_exp.rollouts.stopping import Criterion, Stopping, first_rollouts
from paced_theory.estimation import efficiency_table, empirical_bayes_weight, plugin_weight, unbiased_weight

OUT = Path(__file__).resolve().parent.parent / "results" / "bench" / "adaptive.json"
LAB = (0.35, 0.43)
PLUGIN = "plugin, K for all"
# The criterion of each way to stop early, and whether it is to be as exact as the plug-in of K for all or as empirical Bayes.
WAYS: dict[str, tuple[Criterion, bool]] = {"mean": ("mean", False), "mean, of the plug-in": ("mean", True), "largest": ("largest", False)}
_COMMON = 0.02  # share of the problems from which on a state's error is measured

Squares = Callable[[np.ndarray], np.ndarray]  # of weights (n,): the squared error of each problem, or an estimate of it without bias


def stopped(correct: np.ndarray, stopping: Stopping, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """k and n of each problem under the rule; correct (problems, rollouts) in the order drawn."""
    passes = np.concatenate([np.zeros((len(correct), 1), dtype=int), correct.cumsum(axis=1)], axis=1)
    n = np.full(len(correct), stopping.first)
    going = np.arange(len(correct))
    while len(going):
        on = [stopping.goes_on(names[place], int(passes[place, n[place]]), int(n[place])) for place in going]
        going = going[on]
        n[going] += 1
    return passes[np.arange(len(correct)), n], n


def compared(correct: np.ndarray, K: int, squares: Squares, seed: int, law: tuple[float, float] | None) -> dict[str, dict[str, float]]:
    """Rollouts and errors of the weights, by each rule and by K for all. law: None to fit it to the first rollouts, as a run does."""
    names = [str(place) for place in range(len(correct))]
    k, n = correct[:, :K].sum(axis=1), np.full(len(correct), K)
    base = squares(empirical_bayes_weight(k, n))
    found = {PLUGIN: {"rollouts": 1.0, "error_ratio": float(squares(plugin_weight(k, n)).mean() / base.mean())}}
    for way, (criterion, plugin) in WAYS.items():

        def rule(asked: int, criterion: Criterion = criterion) -> Stopping:
            first = correct[:, : first_rollouts(asked)]
            return Stopping.of(criterion, asked, seed, law, (first.sum(axis=1), np.full(len(first), first.shape[1])))

        stopping = rule(K)
        uniform = efficiency_table(K, stopping.law, assumed=stopping.law)[0]
        if plugin:
            stopping = rule(as_good_as_plugin(K, stopping.law))
        stopped_k, stopped_n = stopped(correct, stopping, names)
        errors = squares(empirical_bayes_weight(stopped_k, stopped_n))
        found[way] = {
            "rollouts": float(stopped_n.mean() / K),
            "error_ratio": float(errors.mean() / base.mean()),
            "worst_ratio": _worst(errors, stopped_k, stopped_n) / _worst(base, k, n),
            "rollouts_expected": stopping.rule.expected_rollouts / K,
            "error_ratio_expected": (1 - stopping.rule.efficiency) / (1 - uniform.posterior),
        }
    return found


def as_good_as_plugin(K: int, law: tuple[float, float]) -> int:
    """The smallest number of rollouts for all, at least 2, of which weights by empirical Bayes are as exact as the plug-in's of K."""
    plugin = efficiency_table(K, law, assumed=law)[0].plugin
    return next(fewer for fewer in range(2, K + 1) if efficiency_table(fewer, law, assumed=law)[0].posterior >= plugin)


def _worst(errors: np.ndarray, k: np.ndarray, n: np.ndarray) -> float:
    states = [(n == b) & (k == a) for a, b in {*zip(k.tolist(), n.tolist(), strict=True)}]
    return float(max(errors[state].mean() for state in states if state.mean() >= _COMMON))


def summarised(replicates: Sequence[dict[str, dict[str, float]]], **settings: Any) -> list[dict[str, Any]]:
    """A row for each way, with means over the replicates and the standard deviations of what was measured."""
    rows = []
    for way in replicates[0]:
        values = {name: [replicate[way][name] for replicate in replicates] for name in replicates[0][way]}
        rows.append({**settings, "way": way, **{name: fmean(each) for name, each in values.items()}})
        rows[-1] |= {f"{name}_sd": stdev(values[name]) for name in ("rollouts", "error_ratio")}
    return rows


def simulate(K: int, problems: int, replicates: int) -> list[dict[str, Any]]:
    """Problems with pass rates of the lab's law, whose errors are known."""
    made = []
    for seed in range(replicates):
        rng = np.random.default_rng(seed)
        p = rng.beta(*LAB, problems)
        w = p * (1 - p)
        made.append(compared(rng.random((problems, 4 * K)) < p[:, None], K, lambda weight, w=w: (weight - w) ** 2, seed, None))
    return summarised(made, source=f"simulated, Beta{LAB}", K=K)


def measure(correct: np.ndarray, K: int, replicates: int, source: str) -> list[dict[str, Any]]:
    """The rollouts of a run, correct (problems, rollouts): half of them for the weights, half to judge them."""
    half = correct.shape[1] // 2
    made = []
    for seed in range(replicates):
        shuffled = np.random.default_rng(seed).permuted(correct, axis=1)
        held = shuffled[:, half:].sum(axis=1)
        rest = np.full(len(held), correct.shape[1] - half)
        w, square = unbiased_weight(held, rest), unbiased_weight(held, rest, 2, 2)
        made.append(compared(shuffled[:, :half], K, lambda weight, w=w, square=square: weight**2 - 2 * weight * w + square, seed, None))
    return summarised(made, source=source, K=K)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the record."""
    parser = argparse.ArgumentParser(prog="bench.adaptive", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished paced_exp.rollout with -K of at least 8 times the K measured")
    parser.add_argument("-K", type=int, default=8)
    parser.add_argument("--problems", type=int, default=4000, help="simulated")
    parser.add_argument("--replicates", type=int, default=40)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    path = arguments.run / "rollouts.parquet"
    if not path.exists():
        raise UserError(f"{arguments.run} holds no rollouts.parquet; name the --out of a finished paced_exp.rollout")
    if arguments.replicates < 2 or arguments.K < 2:
        raise UserError(f"--replicates {arguments.replicates} and -K {arguments.K} must be at least 2")
    table = pd.read_parquet(path, columns=["problem_id", "correct"])
    rolled = table.groupby("problem_id", sort=False)["correct"].size()
    if rolled.min() != rolled.max() or rolled.min() < 8 * arguments.K:
        raise UserError(
            f"{path} has {rolled.min()} to {rolled.max()} rollouts a problem; it takes {8 * arguments.K} or more, the same of each"
        )
    correct = table["correct"].to_numpy().reshape(len(rolled), -1)
    rows = simulate(arguments.K, arguments.problems, arguments.replicates)
    rows += measure(correct, arguments.K, arguments.replicates, f"{len(rolled)} problems x {rolled.min()} rollouts")
    print(f"{'source':<30} {'way':<20} {'rollouts':>9} {'expected':>9} {'error':>7} {'expected':>9} {'worst':>6}")
    for row in rows:
        expected = [f"{row[name]:.3f}" if name in row else "-" for name in ("rollouts_expected", "error_ratio_expected", "worst_ratio")]
        print(
            f"{row['source']:<30} {row['way']:<20} {row['rollouts']:>9.3f} {expected[0]:>9} {row['error_ratio']:>7.3f} {expected[1]:>9} {expected[2]:>6}"
        )
    settings = {
        name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items() if name not in ("out", "run")
    }
    write_checked(arguments.out, {"kind": "bench_adaptive", "settings": settings, "rows": rows, "provenance": provenance(0)})
    print(arguments.out)


if __name__ == "__main__":
    exit_cleanly(main)
