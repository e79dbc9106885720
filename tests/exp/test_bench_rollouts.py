"""The clockwork of the benchmarks of rollouts: parts by hand, plain generate's responses, what stopping early saves on coins, and the figure."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from bench import adaptive, parts, time
from bench.plain_generate import PlainGenerate
from figures.bench_time import main as draw
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json, write_checked
from paced_exp.core.run_folder import provenance
from paced_exp.rollouts.engine import Prompt, Sampling
from tests.support.tiny_models import EOS, OTHER_EOS, loaded, tiny_model


class Hand:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_parts_are_exclusive_of_the_parts_within() -> None:
    hand = Hand()
    clock = parts.Parts(hand)

    class Work:
        def outer(self) -> int:
            hand.now += 2
            self.inner()
            hand.now += 4
            return 7

        def inner(self) -> None:
            hand.now += 8

    class Stages:
        def __enter__(self) -> "Stages":
            return self

        def __exit__(self, *_: object) -> None:
            hand.now += 0.5

    clock.time(Work, "outer", "training")
    clock.time(Work, "inner", "sampling")
    clock.follow(Stages)
    hand.now += 1
    stage = Stages()
    stage._stage = "rollouts"  # type: ignore[attr-defined]
    with stage:
        hand.now += 16
        assert Work().outer() == 7
    found = {(row["stage"], row["part"]): row["seconds"] for row in clock.finished()}
    found.pop(("start", "grading"), None)
    assert found == {("start", "rest"): 1.5, ("rollouts", "rest"): 16, ("rollouts", "training"): 6, ("rollouts", "sampling"): 8}


@pytest.mark.parametrize(
    ("stage", "part", "name"),
    [
        ("rollouts", "sampling", "student's rollouts"),
        ("pass rates", "rest", "student's rollouts"),
        ("references", "sampling", "teacher's references"),
        ("references and training", "sampling", "teacher's references"),
        ("references and training", "training", "training"),
        ("evaluation", "sampling", "evaluation"),
        ("evaluation", "grading", "grading"),
        ("gradients", "rest", "gradients"),
        ("start", "rest", "loading and estimates"),
        ("estimates", "rest", "loading and estimates"),
    ],
)
def test_parts_have_the_readers_names(stage: str, part: str, name: str) -> None:
    assert time.name_of(stage, part) == name and name in time.NAMES


def test_another_commits_package_is_unpacked_and_an_unknown_one_refused() -> None:
    with time.tree_of(None) as here:
        assert here == time.HERE
    with time.tree_of("HEAD") as tree:
        assert (tree / "paced_exp" / "core" / "clock.py").exists() and tree != time.HERE
    assert not tree.exists()
    with pytest.raises(UserError, match="--before nonsense is no commit"), time.tree_of("nonsense"):
        pass


def test_the_figure_draws_a_record(tmp_path: Path) -> None:
    rows = [
        {"command": command, "when": when, "part": part, "seconds": 1.0 + number}
        for command in time.COMMANDS
        for when in ("before", "now")
        for number, part in enumerate(time.NAMES)
    ]
    content: dict[str, Any] = {"kind": "bench_time", "settings": {"before": "0" * 40}, "rows": rows, "provenance": provenance(0)}
    write_checked(tmp_path / "time.json", content)
    draw(["--record", str(tmp_path / "time.json"), "--out", str(tmp_path)])
    assert (tmp_path / "bench_time.pdf").exists() and "takes 1.00 of what it took" in (tmp_path / "bench_time.txt").read_text()
    write_checked(tmp_path / "time.json", {**content, "rows": []})
    with pytest.raises(UserError, match="holds no measured time"):
        draw(["--record", str(tmp_path / "time.json"), "--out", str(tmp_path)])
    with pytest.raises(UserError, match=r"--record .* does not exist"):
        draw(["--record", str(tmp_path / "none.json")])


def test_plain_generate_ends_responses_as_an_engine_does() -> None:
    model = loaded(tiny_model(), eos_ids=(EOS, OTHER_EOS, 17, 29))
    prompts = [Prompt("a", [3, 4, 5]), Prompt("b", [9]), Prompt("c", [7, 7])]
    groups = list(PlainGenerate(model, 8).generate(prompts, Sampling(4, 12, 1.0, 0)))
    assert [[(rollout.problem_id, rollout.sample) for rollout in group] for group in groups] == [
        [(prompt.problem_id, sample) for sample in range(4)] for prompt in prompts
    ]
    for rollout in (rollout for group in groups for rollout in group):
        assert not set(rollout.token_ids[:-1]) & set(model.eos_ids)
        assert rollout.finished == (rollout.token_ids[-1] in model.eos_ids) and (rollout.finished or len(rollout.token_ids) == 12)
    assert torch.random.get_rng_state() is not None


def test_stopping_early_on_coins_is_as_theory_says() -> None:
    for row in adaptive.simulate(8, 3000, 3):
        if row["way"] in adaptive.WAYS:
            assert row["rollouts"] == pytest.approx(row["rollouts_expected"], abs=0.02)
            assert row["error_ratio"] == pytest.approx(row["error_ratio_expected"], rel=0.06)
        else:
            assert row["rollouts"] == 1 and row["error_ratio"] > 1.1


def test_the_fewest_rollouts_of_all_that_are_as_exact_as_the_plug_in() -> None:
    """Mean squared errors after the best scale of each, summed over the states by quadrature of the law."""
    law, K = adaptive.LAB, 8
    asked = adaptive.as_good_as_plugin(K, law)

    def error(rollouts: int, weight: Any) -> float:
        k = np.arange(rollouts + 1)
        chance = stats.betabinom(rollouts, *law).pmf(k)
        w = (k + law[0]) * (rollouts - k + law[1]) / ((rollouts + sum(law)) * (rollouts + sum(law) + 1))
        v = weight(k, rollouts, w)
        return float(-(((chance * v * w).sum()) ** 2) / (chance * v**2).sum())

    plugin = error(K, lambda k, n, w: k / n * (1 - k / n))
    assert error(asked, lambda k, n, w: w) <= plugin < error(asked - 1, lambda k, n, w: w)


def test_a_run_without_enough_rollouts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no rollouts"):
        adaptive.main([str(tmp_path)])
    frame = pd.DataFrame({"problem_id": np.repeat(["a", "b"], 8), "correct": [True, False] * 8})
    frame.to_parquet(tmp_path / "rollouts.parquet")
    with pytest.raises(UserError, match="8 to 8 rollouts a problem; it takes 64"):
        adaptive.main([str(tmp_path)])
    with pytest.raises(UserError, match="--replicates 1"):
        adaptive.main([str(tmp_path), "--replicates", "1"])


def test_committed_records_are_of_these_benchmarks() -> None:
    record = read_json(adaptive.OUT)
    rows = {(row["source"].startswith("simulated"), row["way"]): row for row in record["rows"]}
    for simulated in (True, False):
        mean, largest = rows[simulated, "mean"], rows[simulated, "largest"]
        assert mean["error_ratio"] == pytest.approx(1, abs=0.03) and 0.9 < mean["rollouts"] < 0.94
        assert largest["rollouts"] < 0.6
    measured = read_json(time.OUT)
    seconds = {(row["command"], row["when"], row["part"]): row["seconds"] for row in measured["rows"]}
    assert measured["same_results"] == {"probe": True, "distill": True}
    for command in time.COMMANDS:
        before, now = (seconds[command, when, "student's rollouts"] for when in ("before", "now"))
        assert now < before / 1.5
