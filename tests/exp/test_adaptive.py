"""Rollouts that stop early: rounds against the rule and against K for all, resumption after SIGKILL, what is said, and what is refused."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paced_exp import rollout, weights
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.data.problem import Problem
from paced_exp.door.problem_weights import weights as weights_of
from paced_exp.rollouts.config import RolloutConfig
from paced_exp.rollouts.engine import Sampling
from paced_exp.rollouts.pass_rates import read_pass_rates
from paced_exp.rollouts.rounds import roll_in_rounds
from paced_exp.rollouts.stopping import Stopping, first_rollouts, parse_law
from paced_exp.rollouts.store import ChunkStore
from paced_theory.estimation import efficiency_table, empirical_bayes_weight, fit_beta_prior, posterior_weight
from tests.exp.test_rollout_cli import PROBLEMS, arguments, length_grader, problems, student
from tests.support import children

__all__ = ["length_grader", "problems", "student"]

LAB = (0.35, 0.43)


def rule(criterion: Any = "mean", K: int = 8, law: tuple[float, float] | None = LAB, counts: Any = None) -> Stopping:
    return Stopping.of(criterion, K, 0, law, counts if counts is not None else (np.zeros(0, int), np.zeros(0, int)))


class Coins:
    """Stands for an engine: sample i of a problem passes by a stream of its own, whatever the rounds."""

    def __init__(self, p: np.ndarray) -> None:
        self.p = {f"p{index}": rate for index, rate in enumerate(p)}
        self.passed = {name: np.random.default_rng(index).random(64) < rate for index, (name, rate) in enumerate(self.p.items())}
        self.problems = [Problem(name, "", "", None, "coins", "train", "exact") for name in self.p]
        self.calls: list[tuple[int, int, int]] = []

    def __call__(self, chosen: Any, asked: Sampling, store: ChunkStore) -> None:
        self.calls.append((len(chosen), asked.first, asked.samples))
        done = store.done_ids()
        rows = [
            {"problem_id": problem.id, "sample": i, "token_ids": [1], "finished": True, "correct": bool(self.passed[problem.id][i])}
            for problem in chosen
            if problem.id not in done
            for i in asked.numbers
        ]
        store.append(rows)


def counts_of(stores: list[ChunkStore], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    groups = pd.concat([store.outcomes() for store in stores]).groupby("problem_id")["correct"].agg(["sum", "size"]).loc[names]
    return groups["sum"].to_numpy(), groups["size"].to_numpy()


@pytest.mark.parametrize("criterion", ["mean", "largest"])
def test_rounds_end_where_the_rule_applied_rollout_by_rollout_ends(criterion: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coins = Coins(rng.beta(*LAB, 400))
    stopping = rule(criterion)
    stores, used = roll_in_rounds(
        coins.problems, Sampling(8, 1, 1.0, 0), lambda first: ChunkStore(tmp_path, f"r{first}"), lambda _: stopping, coins
    )
    assert used is stopping
    k, n = counts_of(stores, list(coins.p))
    for name, passes, rolled in zip(coins.p, k, n, strict=True):
        # The oracle: one rollout after the other.
        t = stopping.first
        while stopping.goes_on(name, int(coins.passed[name][:t].sum()), t):
            t += 1
        assert (passes, rolled) == (coins.passed[name][:t].sum(), t)
    assert coins.calls[0] == (400, 0, 2) and all(later[0] <= earlier[0] for earlier, later in pairwise(coins.calls))
    # No round ends where nothing can stop.
    assert all(first + samples in stopping.looks for _, first, samples in coins.calls[1:])
    # The same stores, opened again, say the same and ask for nothing new.
    again = Coins(np.array(list(coins.p.values())))
    stores, _ = roll_in_rounds(
        again.problems, Sampling(8, 1, 1.0, 0), lambda first: ChunkStore(tmp_path, f"r{first}"), lambda _: stopping, again
    )
    assert [found.tolist() for found in counts_of(stores, list(coins.p))] == [k.tolist(), n.tolist()]


@pytest.mark.parametrize("criterion", ["mean", "largest"])
def test_weights_of_simulated_problems_are_as_exact_as_was_asked(criterion: Any, tmp_path: Path) -> None:
    """The law is fitted, as in a run. Errors over 4,000 problems against those of K for all, and rollouts against theory."""
    K, rng = 8, np.random.default_rng(1)
    p = rng.beta(*LAB, 4000)
    coins = Coins(p)
    stores, stopping = roll_in_rounds(
        coins.problems,
        Sampling(K, 1, 1.0, 0),
        lambda first: ChunkStore(tmp_path, f"r{first}"),
        lambda counts: rule(criterion, K, None, counts),
        coins,
    )
    k, n = counts_of(stores, list(coins.p))
    whole = np.array([coins.passed[name][:K].sum() for name in coins.p])
    w = p * (1 - p)
    early, fixed = empirical_bayes_weight(k, n), empirical_bayes_weight(whole, np.full(len(p), K))
    assert stopping.law_from == "fitted to the first rollouts" and stopping.law == pytest.approx(LAB, rel=0.25)
    assert fit_beta_prior(k, n) == pytest.approx(LAB, rel=0.1)  # stopping early does not mislead the fit
    assert n.mean() == pytest.approx(stopping.rule.expected_rollouts, rel=0.05)
    ratio = np.mean((early - w) ** 2) / np.mean((fixed - w) ** 2)
    uniform = efficiency_table(K, stopping.law, assumed=stopping.law)[0].posterior
    assert ratio == pytest.approx((1 - stopping.rule.efficiency) / (1 - uniform), rel=0.08)
    spread = np.mean((early - fixed) ** 2) ** 0.5
    assert spread > 0.005  # they are different estimates
    if criterion == "mean":
        assert ratio == pytest.approx(1, rel=0.08) and n.mean() < 0.95 * K
    else:
        assert n.mean() < 0.6 * K and n.max() <= K
        # No state that the rule stops in has a larger error than the worst of K for all.
        errors = [np.mean((early - w)[(k == a) & (n == b)] ** 2) for a, b in {*zip(k, n, strict=True)} if ((k == a) & (n == b)).sum() > 100]
        worst = max(np.mean((fixed - w)[whole == a] ** 2) for a in range(K + 1))
        assert max(errors) < 1.3 * worst
    # Means over hard problems: of k/n biased, of the rate without bias not, of the posterior weight not.
    hard = (p > 0.05) & (p < 0.3)
    rates = stopping.rates(k, n)
    assert abs((rates - p)[hard].mean()) < 4 * (rates - p)[hard].std() / hard.sum() ** 0.5
    error = early - w
    assert abs(error.mean()) < 4 * error.std() / len(p) ** 0.5


def test_a_rule_divides_a_state_by_the_problems_ids() -> None:
    stopping = rule()
    table = stopping.rule.proceed
    (n, k), *_ = np.argwhere((table > 0) & (table < 1))
    names = [f"x{index}" for index in range(4000)]
    share = np.mean([stopping.goes_on(name, int(k), int(n)) for name in names])
    assert share == pytest.approx(float(table[n, k]), abs=0.03)
    assert [stopping.goes_on(name, int(k), int(n)) for name in names[:50]] == [
        stopping.goes_on(name, int(k), int(n)) for name in names[:50]
    ]


def test_first_rollouts_that_are_all_alike_get_the_uniform_law() -> None:
    stopping = rule(law=None, counts=(np.zeros(9, int), np.full(9, 2)))
    assert stopping.law == (1.0, 1.0) and "uniform" in stopping.law_from
    assert [first_rollouts(K) for K in (2, 8, 16)] == [2, 2, 4]


@pytest.mark.usefixtures("length_grader")
@pytest.mark.parametrize("criterion", ["mean", "largest"])
def test_a_run_has_the_beginnings_of_the_rollouts_of_all(
    criterion: str, student: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, early = tmp_path / "whole", tmp_path / "early"
    rollout.main(arguments(student, problems, whole, K=32, dtype="float64"))
    capsys.readouterr()
    rollout.main(arguments(student, problems, early, K=8, adaptive=criterion, dtype="float64"))
    rolled, full = pd.read_parquet(early / "rollouts.parquet"), pd.read_parquet(whole / "rollouts.parquet")
    rates = read_pass_rates(early / "pass_rates.parquet", None)
    n = rates.set_index("problem_id")["K"]
    assert n.nunique() > 1 and n.min() >= 2
    kept = full[full["sample"] < full["problem_id"].map(n)].reset_index(drop=True)
    assert n.max() <= 32
    pd.testing.assert_frame_equal(rolled, kept)
    record = json.loads((early / "record.json").read_text())
    said = record["adaptive"]
    assert said["rollouts"] == len(rolled) == n.sum() and said["rollouts_of_k_for_all"] == 8 * PROBLEMS
    assert said["saved_share"] == pytest.approx(1 - len(rolled) / (8 * PROBLEMS)) and said["law_from"].startswith("fitted")
    printed = capsys.readouterr().out
    assert f"{len(rolled)} rollouts where K = 8 for all has {8 * PROBLEMS}" in printed and "theory expects" in printed
    extra = pd.read_parquet(early / "pass_rates.parquet")
    assert record["sources"][-1]["pass_rate"] == pytest.approx(extra["unbiased"].mean())
    # Weights are by empirical Bayes of counts whose K differs from row to row.
    k, K = rates["k"].to_numpy(), rates["K"].to_numpy()
    expected = posterior_weight(k, K, prior=fit_beta_prior(k, K))
    assert extra["weight"].to_numpy() == pytest.approx(expected / expected.mean())


@pytest.mark.usefixtures("length_grader")
def test_killed_with_sigkill_it_ends_with_the_same_files(student: Path, problems: Path, tmp_path: Path) -> None:
    changes = {"K": 8, "adaptive": "mean", "max-new-tokens": 40, "max_batch_tokens": 700, "dtype": "float64"}
    rollout.main(arguments(student, problems, tmp_path / "whole", **changes))
    done = children.run("-m", "tests.support.kill_and_resume", 2, 6, *arguments(student, problems, tmp_path / "killed", **changes))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 4
    for name in ("rollouts.parquet", "pass_rates.parquet", "problems.parquet"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


@pytest.mark.usefixtures("length_grader")
def test_estimates_that_early_stopping_spoils_are_refused_or_warned_of(
    student: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rollout.main(arguments(student, problems, tmp_path / "early", K=8, adaptive="largest"))
    rollout.main(arguments(student, problems, tmp_path / "plain", K=8))
    capsys.readouterr()
    for name in ("pass_rates.parquet", "rollouts.parquet"):
        with pytest.raises(
            UserError, match=r"--estimate unbiased does not exist for .*, whose rollouts were stopped early; take --estimate"
        ):
            weights.main([str(tmp_path / "early" / name), "--estimate", "unbiased"])
        weights.main([str(tmp_path / "early" / name), "--estimate", "plugin"])
        assert "stopped early, so that k/K is biased" in capsys.readouterr().err
        for silent in (
            [str(tmp_path / "early" / name), "--estimate", "empirical_bayes"],
            [str(tmp_path / "plain" / name), "--estimate", "plugin"],
        ):
            weights.main(silent)
            assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match="`estimate` unbiased does not exist"):
        weights_of(tmp_path / "early" / "pass_rates.parquet", estimator="unbiased")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adaptive": "both"}, "--adaptive both is not known; known: off, mean, largest"),
        ({"adaptive": "mean", "K": 1}, "--adaptive mean needs -K from 2 to 1024, not 1"),
        ({"law": "1,2"}, "--law 1,2 only applies to --adaptive"),
        ({"adaptive": "mean", "law": "1"}, "--law 1 must be the a and b"),
        ({"adaptive": "mean", "law": "0,1"}, "--law 0,1 must be the a and b"),
        ({"adaptive": "mean", "law": "inf,1"}, "--law inf,1 must be the a and b"),
    ],
)
def test_bad_options_are_one_line(
    student: Path, problems: Path, tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_cleanly(lambda: rollout.main(arguments(student, problems, tmp_path / "run", **changes)))
    errors = capsys.readouterr().err
    assert caught.value.code == 2 and message in errors and len(errors.strip().splitlines()) == 1, errors
    assert not (tmp_path / "run").exists()


def test_laws_are_parsed() -> None:
    assert parse_law("0.35,0.43") == LAB
    assert RolloutConfig(adaptive="largest", law="1, 2").law == "1, 2"
