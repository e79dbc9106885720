"""docs/weights.md: its figures are those of the records and of the formulas, and its loss for verl, which no test can run inside verl, weighs each response."""

import json
import re
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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


# ---- verl


class Registry(dict[str, tuple[dict[str, Any], Callable[..., Any]]]):
    """What the page's code registers, in a stand-in for verl's modules of these names."""

    def register(self, settings: dict[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
            self.update({name: (settings, function) for name in settings["names"]})
            return function

        return decorator


def k1_estimator(
    config: Any, distillation_config: Any, model_output: dict[str, Any], data: dict[str, Any]
) -> tuple[torch.Tensor, dict[str, Any]]:
    """As verl's at the commit that the page names: the formula by the mode's name, no other name known."""
    if distillation_config.distillation_loss.loss_mode not in ("kl", "k1"):
        raise NotImplementedError
    return model_output["log_probs"] - data["teacher_logprobs"], {"abs_loss": 1.0}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Registry:
    registry = Registry()
    for name in ("verl", "verl.trainer", "verl.trainer.distillation", "verl.trainer.distillation.losses", "verl.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    losses: Any = sys.modules["verl.trainer.distillation.losses"]
    losses.DistillationLossSettings = dict
    losses.register_distillation_loss = registry.register
    losses.compute_distillation_loss_reverse_kl_estimator = k1_estimator
    sys.modules["verl.utils"].tensordict_utils = types.SimpleNamespace(get=lambda data, name: data[name])  # type: ignore[attr-defined]
    (code,) = re.findall(r"^```python verl\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "page.py").write_text(code)
    runpy.run_path(str(tmp_path / "page.py"))
    return registry


@pytest.mark.parametrize("weights", [[0.5, 2.0], torch.tensor([0.5, 2.0], dtype=torch.float64)], ids=["a list", "a tensor"])
def test_the_verl_loss_is_verls_times_the_weight(registered: Registry, weights: Any) -> None:
    assert list(registered) == ["paced_k1"]
    settings, paced_k1 = registered["paced_k1"]
    assert settings == {"names": ["paced_k1"], "use_estimator": True}
    student = torch.tensor([[-1.0, -2.0, -0.5], [-0.25, -3.0, -1.0]], requires_grad=True)
    teacher = torch.tensor([[-1.5, -1.0, -0.5], [-1.0, -2.0, 0.0]])
    own = types.SimpleNamespace(distillation_loss=types.SimpleNamespace(loss_mode="paced_k1"))
    losses, metrics = paced_k1(None, own, {"log_probs": student}, {"teacher_logprobs": teacher, "paced_weight": weights})
    assert losses.tolist() == [[0.25, -0.5, 0.0], [1.5, -2.0, -2.0]] and losses.dtype == torch.float32
    assert metrics == {"abs_loss": 1.0}
    losses.sum().backward()
    assert student.grad is not None and student.grad.tolist() == [[0.5] * 3, [2.0] * 3]
