"""`paced export`: files for prime-rl and verl, against the formulas, a simulation of the sampler, and their schemas."""

import ast
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import betaln

from paced_exp.core.errors import UserError
from paced_exp.data.problem_tables import Counts, write_rows
from paced_exp.export import main
from paced_exp.integrations.prime_rl import long_run, pool_weights
from paced_exp.weighting import Weighting
from paced_exp.weighting import weights as weights_of
from paced_theory.estimation import fit_beta_prior
from tests.support.distill_setup import rows as sums

RNG = np.random.default_rng(0)
RATES = RNG.beta(0.35, 0.43, 400)
COUNTS = Counts([f"p{i}" for i in range(400)], RNG.binomial(8, RATES), np.full(400, 8))
EB = Weighting(estimate="empirical_bayes")
BAYES = ("--estimate", "empirical_bayes")


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    write_rows(tmp_path / "counts.csv", {"problem_id": COUNTS.problem_id, "k": COUNTS.k, "K": COUNTS.K})
    return tmp_path / "counts.csv"


# ---- prime-rl


def pools_of(path: Path) -> list[dict[str, float]]:
    sampler = tomllib.loads("[[orchestrator.train.source]]\n" + path.read_text())["orchestrator"]["train"]["source"][0]["curriculum"][
        "sampler"
    ]
    assert sampler["type"] == "difficulty_pool" and set(sampler) == {"type", "seed", "pools"}
    return list(sampler["pools"].values())


def pool_of(mean: float, pools: list[dict[str, float]]) -> int:
    """As prime-rl finds a task's pool: the first in the order of thresholds that the group's mean reward does not exceed, or the last."""
    order = sorted(range(len(pools)), key=lambda place: pools[place]["threshold"])
    return next((place for place in order if mean <= pools[place]["threshold"]), order[-1])


@pytest.mark.parametrize("K", [1, 4, 8, 12])
def test_each_group_falls_into_the_pool_of_its_own_weight(K: int, counts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = counts.parent / "pools.toml"
    main([str(counts), "--format", "prime-rl", "--estimate", "empirical_bayes", "-K", str(K), "--out", str(out)])
    pools = pools_of(out)
    a, b = fit_beta_prior(COUNTS.k, COUNTS.K)
    k = np.arange(K + 1)
    raw = np.exp(betaln(k + a + 1, K - k + b + 1) - betaln(k + a, K - k + b))
    own = np.exp(betaln(COUNTS.k + a + 1, 8 - COUNTS.k + b + 1) - betaln(COUNTS.k + a, 8 - COUNTS.k + b))
    for passes in range(K + 1):
        rewards = [1.0] * passes + [0.0] * (K - passes)
        assert pools[pool_of(sum(rewards) / K, pools)]["weight"] == pytest.approx(raw[passes] / own.mean(), rel=1e-9)
    assert len(pools) == K + 1 == len({pool["threshold"] for pool in pools}) and f"{K + 1} pools" in capsys.readouterr().out


def test_a_group_with_a_failed_rollout_falls_into_the_nearest_pool(counts: Path) -> None:
    out = counts.parent / "pools.toml"
    main([str(counts), "--format", "prime-rl", "-K", "8", "--out", str(out)])
    pools = pools_of(out)
    assert [pool_of(passes / 7, pools) for passes in range(8)] == [round(8 * passes / 7) for passes in range(8)]


def test_pools_have_mean_one_over_the_problems_counted() -> None:
    for weighting in (EB, Weighting(), Weighting("grpo", estimate="posterior"), Weighting("uniform"), Weighting("maxrl")):
        made = pool_weights(weighting, COUNTS, 8)
        assert made[COUNTS.k].mean() == pytest.approx(1)
        np.testing.assert_allclose(
            made[COUNTS.k], weights_of(COUNTS.k, COUNTS.K, weighting.kernel(COUNTS.K), weighting.estimate).values, rtol=1e-9
        )


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 0.9])
def test_a_task_is_drawn_in_the_long_run_by_the_harmonic_mean_of_its_pools(p: float) -> None:
    rng = np.random.default_rng(3)
    weights = pool_weights(EB, COUNTS, 4)
    draws, group = 40_000, 50  # this task beside others of weight 1 in all
    pool, drawn = int(rng.binomial(4, p)), 0
    for coin in rng.random(draws):
        if coin < weights[pool] / (weights[pool] + group):
            drawn, pool = drawn + 1, int(rng.binomial(4, p))
    expected = draws * float(long_run(weights, p)[0]) / group
    assert drawn == pytest.approx(expected, rel=0.02, abs=4 * np.sqrt(expected))


def test_the_harmonic_mean_is_below_the_mean_and_zero_where_a_pool_is_lost() -> None:
    p = np.array([0.0, 0.2, 0.5, 1.0])
    weights = pool_weights(EB, COUNTS, 8)
    plain = np.array([np.mean(weights[np.random.default_rng(1).binomial(8, rate, 200_000)]) for rate in p])
    found = long_run(weights, p)
    assert (found <= plain + 0.01).all() and found[0] == pytest.approx(weights[0]) and found[-1] == pytest.approx(weights[-1])
    assert long_run(pool_weights(Weighting(), COUNTS, 8), p).tolist() == [0.0] * 4


def test_pools_that_are_never_drawn_from_again_are_warned_of(counts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--format", "prime-rl", "-K", "4", "--out", str(counts.parent / "p.toml")]
    main([str(counts), "--estimate", "plugin", *out])
    assert "pools of weight zero (k = 0, 4) are never drawn from again" in capsys.readouterr().err
    main([str(counts), *BAYES, *out])
    assert capsys.readouterr().err == ""


@pytest.mark.skipif("PACED_PRIME_RL" not in os.environ, reason="PACED_PRIME_RL names no checkout of prime-rl")
def test_prime_rl_s_own_schema_and_sampler_accept_the_file(counts: Path) -> None:
    """The classes of the sampler, taken from prime-rl's source: the package itself needs another Python and its environments."""
    from pydantic import BaseModel, ConfigDict, Field, model_validator

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid")

    root = Path(os.environ["PACED_PRIME_RL"])
    source = (root / "packages/prime-rl-configs/src/prime_rl/configs/orchestrator.py").read_text()
    names = ("DifficultyPoolConfig", "default_difficulty_pools", "DifficultyPoolSamplerConfig")
    tree = ast.parse(source)
    parts = [node for node in tree.body if getattr(node, "name", None) in names]
    assert len(parts) == 3
    sampler = ast.parse((root / "src/prime_rl/orchestrator/curriculum/samplers/pool.py").read_text())
    parts += [node for node in sampler.body if isinstance(node, ast.ClassDef)]
    import random
    from collections import Counter
    from collections.abc import Iterator, Sequence
    from typing import Literal

    class Task:
        def __init__(self, key: str) -> None:
            self.key = key

    own: dict[str, Any] = {
        "BaseConfig": Strict,
        "Field": Field,
        "model_validator": model_validator,
        "Literal": Literal,
        "TaskSampler": object,
    }
    own |= {"random": random, "Counter": Counter, "Iterator": Iterator, "Sequence": Sequence, "Any": Any, "__name__": "prime_rl_part"}
    own["vf"] = type("vf", (), {"Task": Task, "Episode": object})
    module = ast.Module(body=parts, type_ignores=[])
    exec(compile(ast.fix_missing_locations(module), "prime-rl", "exec"), own)
    out = counts.parent / "pools.toml"
    main([str(counts), "--format", "prime-rl", "-K", "8", "--out", str(out)])
    table = tomllib.loads("[[orchestrator.train.source]]\n" + out.read_text())["orchestrator"]["train"]["source"][0]["curriculum"][
        "sampler"
    ]
    config = own["DifficultyPoolSamplerConfig"](**table)
    drawn = own["DifficultyPoolSampler"](config, [Task(f"t{k}") for k in range(9)])
    drawn.task_rewards = {f"t{k}": sum([1.0] * k + [0.0] * (8 - k)) / 8 for k in range(9)}
    weights = pool_weights(EB, COUNTS, 8)
    assert [config.pools[drawn.task_pool(f"t{k}")].weight for k in range(9)] == weights.tolist()
    seen = np.bincount([int(next(drawn).key[1:]) for _ in range(20_000)], minlength=9) / 20_000
    np.testing.assert_allclose(seen, weights / weights.sum(), atol=0.012)


# ---- verl and NeMo-RL


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sums()))
    return tmp_path / "problems.jsonl"


def counted(folder: Path, ids: list[str], k: list[int]) -> str:
    order = list(reversed(range(len(ids))))  # joined by id, not by place
    write_rows(folder / "k.jsonl", {"problem_id": [ids[i] for i in order], "k": [k[i] for i in order], "K": [8] * len(ids)})
    return str(folder / "k.jsonl")


def test_verl_s_rows_have_the_documented_columns_and_each_its_own_weight(problems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids, k = [row["id"] for row in sums()], [i % 9 for i in range(len(sums()))]
    out = problems.parent / "train.parquet"
    main([counted(problems.parent, ids, k), "--format", "verl", *BAYES, "--problems", str(problems), "--out", str(out)])
    frame = pd.read_parquet(out)
    assert list(frame) == ["data_source", "prompt", "ability", "reward_model", "extra_info", "paced_weight"]
    assert frame["paced_weight"].to_numpy() == pytest.approx(
        weights_of(np.array(k), np.full(len(k), 8), estimator="empirical_bayes").in_training
    )
    for row, problem in zip(frame.to_dict("records"), sums(), strict=True):
        assert [dict(message) for message in row["prompt"]] == [{"role": "user", "content": problem["prompt"]}]
        assert row["reward_model"] == {"style": "rule", "ground_truth": problem["answer"]}
        assert row["extra_info"] == {"split": "problems", "index": ids.index(problem["id"]), "problem_id": problem["id"]}
    assert frame["data_source"].unique().tolist() == ["lighteval/MATH"]
    assert f"{len(k)} rows of {len(k)} problems" in capsys.readouterr().out


def test_rows_of_weight_zero_are_left_out_and_the_others_have_mean_one(problems: Path) -> None:
    ids, k = [row["id"] for row in sums()], [i % 9 for i in range(len(sums()))]
    out = problems.parent / "train.parquet"
    options = ["--data-source", "mine", "--problems", str(problems)]
    main([counted(problems.parent, ids, k), "--format", "verl", "--out", str(out), *options])
    frame = pd.read_parquet(out)
    assert len(frame) == sum(0 < passes < 8 for passes in k) and frame["paced_weight"].mean() == pytest.approx(1)
    assert frame["data_source"].unique().tolist() == ["mine"]
    assert [row["problem_id"] for row in frame["extra_info"]] == [name for name, passes in zip(ids, k, strict=True) if 0 < passes < 8]


def test_nemo_rl_s_rows_are_messages_with_their_weight(problems: Path) -> None:
    ids, k = [row["id"] for row in sums()], [i % 9 for i in range(len(sums()))]
    out = problems.parent / "train.jsonl"
    main([counted(problems.parent, ids, k), "--format", "nemo-rl", *BAYES, "--problems", str(problems), "--out", str(out)])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    for row, problem in zip(rows, sums(), strict=True):
        assert [(message["role"], message["content"]) for message in row["messages"]] == [
            ("user", problem["prompt"]),
            ("assistant", problem["answer"]),
        ]
        assert row["problem_id"] == problem["id"] and set(row) == {"messages", "problem_id", "paced_weight"}
    assert [row["paced_weight"] for row in rows] == pytest.approx(
        weights_of(np.array(k), np.full(len(k), 8), estimator="empirical_bayes").in_training
    )


def test_slime_s_rows_have_the_weight_in_their_metadata(problems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids, k = [row["id"] for row in sums()], [i % 9 for i in range(len(sums()))]
    out = problems.parent / "train.jsonl"
    main([counted(problems.parent, ids, k), "--format", "slime", *BAYES, "--problems", str(problems), "--out", str(out)])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    weights = weights_of(np.array(k), np.full(len(k), 8), estimator="empirical_bayes").in_training
    assert rows == [
        {
            "prompt": [{"role": "user", "content": problem["prompt"]}],
            "label": problem["answer"],
            "metadata": {"problem_id": problem["id"], "paced_weight": pytest.approx(weight)},
        }
        for problem, weight in zip(sums(), weights, strict=True)
    ]
    assert f"effective number {weights.sum() ** 2 / (weights**2).sum():.1f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--out", "a"], "--format None is not known; known: prime-rl, verl, nemo-rl, slime"),
        (["--format", "areal", "--out", "a"], "--format areal is not known; known: prime-rl, verl, nemo-rl, slime"),
        (["--format", "verl"], "--out must be given: the file to write"),
        (["--format", "prime-rl", "--out", "a.toml"], "-K must be given: the group_size of the training"),
        (["--format", "prime-rl", "-K", "0", "--out", "a.toml"], "-K 0 must be at least 1"),
        (["--format", "prime-rl", "-K", "4097", "--out", "a.toml"], "-K 4097 must be at most 4096"),
        (["--format", "prime-rl", "-K", "4", "--seed", "-1", "--out", "a.toml"], "--seed -1 must be at least 0"),
        (["--format", "prime-rl", "-K", "4", "--out", "./counts.csv"], "--out counts.csv is the file of the counts; name another file"),
        (
            ["--format", "slime", "--problems", "problems.jsonl", "--out", "other/../problems.jsonl"],
            "--out other/../problems.jsonl is a file of --problems problems.jsonl; name another file",
        ),
        (
            ["--format", "slime", "--problems", "lab:mid, other/link.jsonl", "--out", "problems.jsonl"],
            "--out problems.jsonl is a file of --problems lab:mid, other/link.jsonl; name another file",
        ),
        (
            ["--format", "slime", "--problems", "a,b.jsonl", "--out", "a,b.jsonl"],
            "--out a,b.jsonl is a file of --problems a,b.jsonl; name another file",
        ),
        (["--format", "prime-rl", "-K", "4", "--problems", "p", "--out", "a.toml"], "--problems p does not apply to --format prime-rl"),
        (["--format", "verl", "-K", "4", "--out", "a.parquet"], "-K 4 does not apply to --format verl"),
        (["--format", "nemo-rl", "--data-source", "m", "--out", "a.jsonl"], "--data-source m does not apply to --format nemo-rl"),
        (["--format", "prime-rl", "-K", "4", "--out", "a.json"], "--out a.json must end in .toml"),
        (["--format", "verl", "--out", "a.parquet"], "--problems must be given: the file that was counted"),
        (
            ["--format", "verl", "--problems", "problems.jsonl", "--out", "a.parquet"],
            "there are no counts of 40 of the 40 --problems, 'sum00' first",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments: list[str], line: str, counts: Path, problems: Path) -> None:
    folder = counts.parent
    (folder / "other").mkdir()
    (folder / "other" / "link.jsonl").symlink_to("../problems.jsonl")
    (folder / "a,b.jsonl").write_text(problems.read_text())
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    command = [sys.executable, "-m", "paced_exp", "export", counts.name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=counts.parent, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith(f"error: {line}") and done.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_many_pools_are_one_short_line(counts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = counts.parent / "pools.toml"
    main([str(counts), "--format", "prime-rl", "-K", "4096", "--method", "hard_filter", "--out", str(out)])
    assert len(pools_of(out)) == 4097
    printed = capsys.readouterr()
    line = printed.out.splitlines()[0]
    assert line.startswith("4097 pools, weight by passes, of 17 of them: 0: 0.000, 256: 0.000, ") and " 4096: 0.000" in line
    assert len(line) < 400 and len(printed.err) < 400 and "14, 15 and " in printed.err


def test_counts_of_other_prompts_under_the_same_ids_are_refused(tmp_path: Path) -> None:
    """Two files of one name without ids: STEM-ROW is the same in both."""
    files = []
    for folder, prompts in (("A", ("1+1=", "2+2=")), ("B", ("3+3=", "4+4="))):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "problems.jsonl")
        files[-1].write_text("".join(json.dumps({"prompt": prompt, "answer": "0"}) + "\n" for prompt in prompts))
    hashes = [f"sha256:{hashlib.sha256(prompt).hexdigest()[:16]}" for prompt in (b"1+1=", b"2+2=")]
    columns = {"problem_id": ["problems-0", "problems-1"], "k": [1, 2], "K": [4, 4]}
    for suffix in (".jsonl", ".csv", ".parquet"):
        rates, out = tmp_path / f"rates{suffix}", tmp_path / "out.jsonl"
        write_rows(rates, {**columns, "prompt_hash": hashes})
        main([str(rates), "--format", "slime", "--problems", str(files[0]), "--out", str(out)])
        out.unlink()
        line = r"rates\.\w+ was made of other prompts under the same ids for 2 of the 2 problems: 'problems-0', 'problems-1'; give the problems"
        with pytest.raises(UserError, match=line):
            main([str(rates), "--format", "slime", "--problems", str(files[1]), "--out", str(out)])
        assert not out.exists()
        write_rows(rates, columns)  # of one's own, or of an earlier version: taken as they are
        main([str(rates), "--format", "slime", "--problems", str(files[1]), "--out", str(out)])


def test_weights_that_are_all_zero_are_refused_without_the_options_of_a_training(problems: Path) -> None:
    ids = [row["id"] for row in sums()]
    with pytest.raises(
        UserError, match=r"all 40 problems have weight zero: their rollouts .* take --method paced with --estimate posterior"
    ) as caught:
        main(
            [
                counted(problems.parent, ids, [0] * 40),
                "--format",
                "verl",
                "--problems",
                str(problems),
                "--out",
                str(problems.parent / "t.parquet"),
            ]
        )
    assert "`" not in str(caught.value) and "--max-new-tokens" not in str(caught.value)


def test_a_wrong_ending_is_refused(problems: Path) -> None:
    ids, k = [row["id"] for row in sums()], [i % 9 for i in range(len(sums()))]
    with pytest.raises(UserError, match=r"--out .*train\.txt must end in \.parquet"):
        main(
            [counted(problems.parent, ids, k), "--format", "verl", "--problems", str(problems), "--out", str(problems.parent / "train.txt")]
        )
