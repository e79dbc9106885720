"""`paced weights`: its files against the formulas, its summary, and what it refuses."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import betaln

import paced_exp as paced
from paced_exp.data.problem_tables import SUFFIXES, write_rows
from paced_exp.weighting.advice import FEWEST_PROBLEMS, advice
from paced_exp.weights import main
from paced_theory.estimation import efficiency, efficiency_table, fit_beta_prior, plugin_weight, posterior_weight

K = np.array([4, 8, 8, 8, 8])
k = np.array([0, 8, 4, 2, 5])
IDS = ["never", "always", "half", "quarter", "more"]


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    path = tmp_path / "counts.jsonl"
    write_rows(path, {"problem_id": IDS, "k": k, "K": K})
    return path


def mean_one(weights: np.ndarray) -> np.ndarray:
    return weights / weights[weights > 0].mean()


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_json(path, lines=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_weights_are_the_formulas(suffix: str, counts: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / f"weights{suffix}"
    main([str(counts), "--out", str(out)])
    frame = read(out)
    assert list(frame) == ["problem_id", "k", "K", "weight"] and frame["problem_id"].tolist() == IDS
    assert frame["k"].tolist() == k.tolist() and frame["K"].tolist() == K.tolist()
    np.testing.assert_allclose(frame["weight"], mean_one(k / K * (1 - k / K)), rtol=1e-9)
    a, b = fit_beta_prior(k, K)
    posterior = np.exp(betaln(k + a + 1, K - k + b + 1) - betaln(k + a, K - k + b))  # E[p (1 - p) | k of K]
    main([str(counts), "--out", str(out), "--estimate", "empirical_bayes"])
    np.testing.assert_allclose(read(out)["weight"], mean_one(posterior), rtol=1e-9)
    main([str(counts), "--out", str(out), "--estimate", "plugin", "--alpha", "2"])
    np.testing.assert_allclose(read(out)["weight"], mean_one((k / K) ** 2 * (1 - k / K)), rtol=1e-9)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_format_of_counts_gives_the_same_weights(suffix: str, counts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / f"other{suffix}"
    write_rows(other, {"K": K, "problem_id": IDS, "k": k, "note": ["x"] * 5})
    main([str(counts)])
    expected = capsys.readouterr().out
    main([str(other)])
    assert capsys.readouterr().out == expected


def test_the_summary_counts_and_draws(counts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "weights.jsonl"
    main([str(counts), "--estimate", "plugin", "--out", str(out)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "weights by Beta(1, 1), plugin estimate" and printed[-1] == str(out)
    weights = mean_one(k / K * (1 - k / K))
    effective = weights.sum() ** 2 / (weights**2).sum()
    assert printed[1] == f"5 problems, 2 dropped (weight zero), effective number {effective:.1f}, largest weight {weights.max():.3f}"
    assert [line.split()[:2] for line in printed[3:8]] == [["0", "1"], ["0.25", "1"], ["0.5", "1"], ["0.625", "1"], ["1", "1"]]
    assert all(line.endswith("#" * 40) for line in printed[3:8])
    assert printed[8:-1] == ["no advice on estimates and rollouts: it needs 20 problems, and there are 5"]


def test_many_pass_rates_are_put_into_tenths() -> None:
    rng = np.random.default_rng(0)
    K = rng.integers(1, 40, 500)
    k = rng.binomial(K, 0.6)
    made = paced.weights({"problem_id": np.arange(500), "k": k, "K": K})
    rows = made.by_pass_rate()
    assert len(rows) <= 10 and sum(count for _, count, _ in rows) == 500
    last = 10 * k >= 9 * K
    assert rows[-1][:2] == ("0.9-1.0", last.sum()) and rows[-1][2] == pytest.approx(made.weight[last].mean())


def test_the_options_are_those_of_the_verb(counts: Path, tmp_path: Path) -> None:
    for method, kernel, estimate in (("uniform", paced.Uniform(), "plugin"), ("hard_filter", paced.HardFilter(0.3, 0.7), "posterior")):
        options = [] if method == "uniform" else ["--lo", "0.3", "--hi", "0.7", "--estimate", estimate]
        main([str(counts), "--out", str(tmp_path / "w.csv"), "--method", method, *options])
        np.testing.assert_array_equal(read(tmp_path / "w.csv")["weight"], paced.weights(str(counts), kernel, estimate))
    main([str(counts), "--out", str(tmp_path / "w.csv")])
    np.testing.assert_array_equal(read(tmp_path / "w.csv")["weight"], paced.weights(read(counts)))  # one default for both


# ---- advice


def test_the_advice_is_of_the_law_that_the_counts_fit() -> None:
    rng = np.random.default_rng(2)
    K = np.full(3000, 8)
    k = rng.binomial(K, rng.beta(0.35, 0.43, K.size))
    found = advice(k, K)
    assert found is not None and found.law == fit_beta_prior(k, K) == pytest.approx((0.35, 0.43), rel=0.15)
    assert [row.K for row in found.rows] == [4, 8, 16, 32]
    own = next(row for row in found.rows if row.K == 8)
    counts = np.arange(9)
    assert own.plugin == pytest.approx(efficiency(plugin_weight(counts, 8), 8, found.law))
    assert own.empirical_bayes == pytest.approx(efficiency(posterior_weight(counts, 8, prior=found.law), 8, found.law))
    assert found.best == "empirical_bayes" and found.more == pytest.approx(found.rows[2].empirical_bayes - own.empirical_bayes)
    text = str(found)
    assert f"Beta({found.law[0]:.2f}, {found.law[1]:.2f})" in text and text.count("<- these counts") == 1
    assert text.endswith(
        f"in theory empirical_bayes keeps most, and 16 rollouts a problem would keep {found.more:.2f} more; what trainings gained: docs/weights.md"
    )


@pytest.mark.parametrize(
    ("k", "K"),
    [([0, 4], [4, 4]), ([2] * 50, [4] * 50), ([0, 0, 1], [2, 1000, 3]), ([1, 999], [1000, 1000]), ([1, 0, 1], [1, 1, 2])],
    ids=["all or nothing", "all alike", "far apart", "near the ends", "hardly any"],
)
def test_there_is_advice_for_any_counts_that_fit_a_law(k: list[int], K: list[int]) -> None:
    found = advice(np.tile(k, FEWEST_PROBLEMS), np.tile(K, FEWEST_PROBLEMS))
    assert found is not None and found.best in ("plugin", "posterior", "empirical_bayes") and 0 <= found.more <= 1
    assert "nan more" not in str(found)


@pytest.mark.parametrize(("k", "K"), [([0, 0], [4, 4]), ([4, 4], [4, 4]), ([0, 1], [1, 1])])
def test_counts_without_a_law_have_no_advice(k: list[int], K: list[int]) -> None:
    assert advice(np.tile(k, FEWEST_PROBLEMS), np.tile(K, FEWEST_PROBLEMS)) is None


def test_few_problems_show_no_law() -> None:
    passes, rollouts = np.resize([0, 2, 5, 8], FEWEST_PROBLEMS), np.full(FEWEST_PROBLEMS, 8)
    assert advice(passes, rollouts) is not None and advice(passes[1:], rollouts[1:]) is None
    made = paced.weights({"problem_id": ["a", "b"], "k": [2, 5], "K": [8, 8]})
    assert made.advice() is None


@pytest.mark.parametrize("law", [(0.35, 0.43), (1.0, 1.0)])
def test_the_fewest_problems_are_enough_for_what_more_rollouts_bring(law: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    exact = {row.K: max(row.plugin, row.posterior, row.empirical_bayes) for row in efficiency_table([8, 16], law)}
    off = []
    for _ in range(100):
        found = advice(rng.binomial(8, rng.beta(*law, FEWEST_PROBLEMS)), np.full(FEWEST_PROBLEMS, 8))
        assert found is not None
        off.append(abs(found.more - (exact[16] - exact[8])))
    assert np.quantile(off, 0.9) < 0.02


def test_only_paced_s_kernel_gets_advice_by_its_exponents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = {"problem_id": np.arange(20), "k": np.tile(k, 4), "K": np.tile(K, 4)}
    write_rows(tmp_path / "many.jsonl", many)
    main([str(tmp_path / "many.jsonl"), "--method", "grpo", "--estimate", "posterior"])
    assert "rollouts" not in capsys.readouterr().out
    for options, alpha in (([], 1.0), (["--alpha", "2"], 2.0)):
        main([str(tmp_path / "many.jsonl"), *options])
        assert capsys.readouterr().out.endswith(f"\n{advice(many['k'], many['K'], alpha=alpha)}\n")


def test_no_advice_on_more_rollouts_than_it_can_sum_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many, passes = np.resize([200_000, 2**31 - 1], FEWEST_PROBLEMS), np.resize([50_000, 5], FEWEST_PROBLEMS)
    assert advice(passes, many) is None and advice(np.resize([25_000, 5], 20), np.resize([100_000, 8], 20)) is not None
    write_rows(tmp_path / "counts.csv", {"problem_id": np.arange(FEWEST_PROBLEMS), "k": passes, "K": many})
    main([str(tmp_path / "counts.csv")])
    assert capsys.readouterr().out.splitlines()[-1] == (
        "no advice on estimates and rollouts: K is up to 2147483647, and advice ends at 100000"
    )


# ---- a file of rollouts


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rollouts_are_counted(suffix: str, counts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(counts)])
    expected = capsys.readouterr().out
    rows = [(name, sample, sample < passed) for name, passed, n in zip(IDS, k, K, strict=True) for sample in range(n)]
    order = np.random.default_rng(0).permutation(len(rows))
    columns = {"problem_id": [r[0] for r in rows], "sample": [r[1] for r in rows], "correct": [bool(r[2]) for r in rows]}
    mixed = {name: [values[place] for place in order] for name, values in columns.items()}
    write_rows(tmp_path / f"rollouts{suffix}", {**mixed, "response": ["x"] * len(rows)})
    main([str(tmp_path / f"rollouts{suffix}")])
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"problem_id": "a", "correct": 0.5}', "correct must be true or false, or 1 or 0, not 0.5"),
        ('{"problem_id": "a", "correct": "yes"}', "correct must be true or false, or 1 or 0, not 'yes'"),
        ('{"problem_id": null, "correct": true}', "problem_id must be text or a whole number, not None"),
        (
            '{"problem_id": "a", "correct": true, "sample": 0}\n{"problem_id": "a", "correct": true, "sample": 0}',
            "line 2: sample 0 of problem 'a' occurs twice",
        ),
        ('{"problem_id": "a", "correct": true}\n{"problem_id": "a"}', "line 2: expected"),
    ],
)
def test_rollouts_that_cannot_be_are_refused(text: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(text + "\n")
    with pytest.raises(paced.UserError, match=line):
        main([str(tmp_path / "r.jsonl")])


# ---- the prompts


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_hashes_of_prompts_are_handed_on(suffix: str, tmp_path: Path) -> None:
    hashes = [f"sha256:{hashlib.sha256(name.encode()).hexdigest()[:16]}" for name in IDS]
    hashes[2] = ""  # a row without one
    write_rows(tmp_path / f"rates{suffix}", {"problem_id": IDS, "k": k, "K": K, "prompt_hash": hashes})
    main([str(tmp_path / f"rates{suffix}"), "--out", str(tmp_path / f"weights{suffix}")])
    found = read(tmp_path / f"weights{suffix}")
    assert list(found) == ["problem_id", "k", "K", "weight", "prompt_hash"]
    assert found["prompt_hash"].where(found["prompt_hash"].notna(), "").tolist() == hashes


# ---- where the output goes


def test_it_ends_quietly_where_nobody_reads(counts: Path) -> None:
    command = [sys.executable, "-m", "paced_exp", "weights", str(counts)]
    for unbuffered in ("", "1"):
        reader, writer = os.pipe()
        os.close(reader)
        try:
            environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
            done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, check=False)
        finally:
            os.close(writer)
        assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none.jsonl"], "none.jsonl cannot be read"),
        ([], "the following arguments are required: counts (see: python -m paced_exp.weights --help)"),
        (["counts.jsonl", "--estimate", "best"], "--estimate best is not known; known: plugin, unbiased, posterior, empirical_bayes"),
        (
            ["counts.jsonl", "--method", "uniform", "--alpha", "2"],
            "--alpha 2 only applies to --method paced; leave it out with --method uniform",
        ),
        (["counts.jsonl", "--out", "./counts.jsonl"], "--out counts.jsonl is the file of the counts; name another file"),
        (["counts.jsonl", "--out", "weights.txt"], "weights.txt must end in .jsonl, .csv, .parquet"),
        (["counts.jsonl", "--alpha", "x"], "argument --alpha: invalid float value: 'x'"),
        (
            ["zeros.jsonl"],
            "all 1 problems have weight zero: their rollouts pass always or never, or --method keeps no pass rate that occurs; take --method "
            "paced with --estimate posterior, which gives every problem a weight, or counts of more rollouts or of other problems\n",
        ),
        (["counts.jsonl", "--out", "link.jsonl"], "--out link.jsonl is the file of the counts; name another file"),
        (["zeros.jsonl", "--estimate", "empirical_bayes"], "--estimate empirical_bayes cannot fit a prior to 0 passes in 4 rollouts"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments: list[str], line: str, counts: Path) -> None:
    (counts.parent / "zeros.jsonl").write_text(json.dumps({"problem_id": "a", "k": 0, "K": 4}))
    (counts.parent / "link.jsonl").symlink_to(counts.name)
    command = [sys.executable, "-m", "paced_exp", "weights", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=counts.parent, check=False)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith(f"error: {line}") and done.stderr.count("\n") == 1
