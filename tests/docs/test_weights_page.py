"""docs/weights.md: its figures are those of the records and of the formulas."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from paced_exp.weighting import ESTIMATES, METHODS, Weighting
from paced_theory import DiscreteLaw, efficiency, efficiency_table, fit_beta_prior, posterior_weight

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "weights.md").read_text()
LAB = (0.35, 0.43)

# ---- the advice


@pytest.fixture(scope="module")
def offered() -> np.ndarray:
    """How many of the lab's problems had k = 0 .. 10 passes in 10 rollouts."""
    record = json.loads((ROOT / "results" / "desk-v1" / "snr_verdict" / "qwen3" / "record.json").read_text())
    return np.array(record["rollouts"]["offered"])


def test_the_lab_s_law_is_that_of_the_record(offered: np.ndarray) -> None:
    fitted = fit_beta_prior(np.repeat(np.arange(11), offered), 10)
    assert tuple(round(parameter, 2) for parameter in fitted) == LAB and f"lab = {LAB}" in PAGE and f"{offered.sum():,} problems" in PAGE
    expected = betabinom.pmf(np.arange(11), 10, *fitted) * offered.sum()
    assert f"chi-squared {np.sum((offered - expected) ** 2 / expected):.0f} on 8 degrees of freedom" in PAGE


def test_the_table_is_what_the_package_computes() -> None:
    rows = re.findall(r"^\| (\d+) ((?:\| 0\.\d\d ){6})\|$", PAGE, re.M)
    assert [int(K) for K, _ in rows] == [2, 4, 8, 16]
    for (K, cells), uniform, lab in zip(rows, efficiency_table([2, 4, 8, 16]), efficiency_table([2, 4, 8, 16], LAB), strict=True):
        wanted = [f"{share:.2f}" for row in (uniform, lab) for share in (row.plugin, row.posterior, row.empirical_bayes)]
        assert re.findall(r"0\.\d\d", cells) == wanted, K
        assert uniform.empirical_bayes >= max(uniform.posterior, uniform.plugin) and lab.empirical_bayes > max(lab.posterior, lab.plugin)


def test_a_thousand_problems_are_enough_for_the_prior() -> None:
    rng = np.random.default_rng(1)
    for row in efficiency_table([2, 4, 8, 16], LAB):
        lost = []
        for _ in range(20):
            prior = fit_beta_prior(rng.binomial(row.K, rng.beta(*LAB, 1000)), row.K)
            lost.append(row.empirical_bayes - efficiency(posterior_weight(np.arange(row.K + 1), row.K, prior=prior), row.K, LAB))
        assert max(lost) < 0.01


def test_under_a_discrete_law_that_fits_the_counts_empirical_bayes_is_still_best(offered: np.ndarray) -> None:
    atoms = np.concatenate([[0, 1e-3, 3e-3], np.linspace(0.01, 0.99, 50), [0.997, 0.999, 1]])
    likelihood, masses = binom.pmf(np.arange(11)[:, None], 10, atoms), np.full(atoms.size, 1 / atoms.size)
    for _ in range(5_000):  # expectation maximisation
        masses = masses * ((offered / offered.sum() / (likelihood @ masses)) @ likelihood)
    expected = likelihood @ masses * offered.sum()
    assert np.sum((offered - expected) ** 2 / expected) < 8
    rows = efficiency_table([2, 4, 8, 16], DiscreteLaw(atoms, masses / masses.sum()))
    assert all(row.empirical_bayes > max(row.plugin, row.posterior) for row in rows)
    assert f"empirical Bayes keeps {rows[1].empirical_bayes:.2f} at\nK = 4 and {rows[2].empirical_bayes:.2f} at K = 8" in PAGE


def test_what_the_plug_in_cost_is_the_table_s() -> None:
    results = (ROOT / "docs" / "results-v1.md").read_text().split("### Table 8, differences")[1].split("###")[0]
    (low, high, least) = re.search(r"K = 2, plugin .*\*\*−(\S+) \[−(\S+), −(\S+)\]\*\* \|", results, re.M).groups()  # type: ignore[union-attr]
    assert f"loses {low} [{least}, {high}] points to K = 8" in PAGE
    records = [json.loads(path.read_text())["training"] for path in (ROOT / "results" / "desk-v1" / "rollouts").glob("k2-plugin-s*.json")]
    kept = np.mean([record["weights"]["problems"] - record["weights"]["dropped"] for record in records])
    assert len(records) == 5 and {record["segments"][-1]["end"] for record in records} == {200}
    assert f"K = 2, about {kept:.0f} of 2,000 problems {200 * 32 / kept:.1f} times" in PAGE


def test_the_kernels_and_estimators_are_those_declared() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.M)
    assert [(name, label, formula, tuple(re.findall(r"`(\w+)`", options))) for name, label, formula, options, _ in rows] == [
        (name, method.label, method.formula, method.options) for name, method in METHODS.items()
    ]
    for name, *_, unbiased in rows:
        powers = Weighting(name, curve="0:1" if name == "curve" else None).kernel(np.array([8])).powers
        assert (unbiased == "none") == (not powers or any(exponent % 1 for _, *both in powers for exponent in both)), name
    assert re.findall(r"^\| `(\w+)` \| [^|]* \| [^|]* \|$", PAGE, re.M) == list(ESTIMATES)
