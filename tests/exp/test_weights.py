"""Weights from counts, kernel by estimator: the formulas by hand, sums and integrals by scipy, mean one, and what is refused.

That weighting and sampling agree in expectation, and what is dropped, are here too.
"""

import importlib
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import write_checked
from paced_exp.weighting import (
    ESTIMATES,
    GRPO,
    METHODS,
    Beta,
    EmpiricalBayes,
    Focal,
    FunctionKernel,
    Gaussian,
    HardFilter,
    Kernel,
    MaxRL,
    PlugIn,
    Posterior,
    Unbiased,
    Uniform,
    Weighting,
    Weights,
    fitted,
    normalised,
    register,
    sample_in_proportion,
    weigh,
    weights,
)

ROOT = Path(__file__).resolve().parents[2]
K8 = np.full(9, 8)
k8 = np.arange(9)


def without_whole_exponents(method: str, estimate: str) -> bool:
    return estimate == "unbiased" and method in ("hard_filter", "gaussian", "grpo", "curve")


NEEDED: dict[str, dict[str, Any]] = {"curve": {"curve": "0:0.2,0.5:1,1:0"}}  # options without a default

#: Every pair that exists with default options; no weighting has no pass rate to estimate.
PAIRS = [
    Weighting(method, estimate=estimate, **NEEDED.get(method, {}))
    for method, estimate in itertools.product(METHODS, ESTIMATES)
    if not without_whole_exponents(method, estimate) and (method != "uniform" or estimate == "plugin")
]
each_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.method}-{pair.estimate}")


def assert_ratio(found: np.ndarray, expected: list[float]) -> None:
    """`found` is proportional to `expected` and has mean one."""
    scaled = np.array(expected) / np.mean(expected)
    np.testing.assert_allclose(found, scaled, rtol=1e-12, atol=1e-15)


def test_uniform() -> None:
    assert weigh(Weighting("uniform"), k8, K8).values.tolist() == [1.0] * 9


def test_paced_plugin() -> None:
    assert_ratio(weigh(Weighting("paced"), k8, K8).values, [p * (1 - p) for p in k8 / 8])
    assert_ratio(weigh(Weighting("paced", alpha=2, beta=0.5), k8, K8).values, [p**2 * math.sqrt(1 - p) for p in k8 / 8])


def test_paced_unbiased_is_the_rescaled_plugin_at_one_one_and_differs_elsewhere() -> None:
    # The factor K / (K - 1) cancels on normalising when all K are equal...
    assert_ratio(weigh(Weighting("paced", estimate="unbiased"), k8, K8).values, [p * (1 - p) for p in k8 / 8])
    # ...and does not when they differ: p(1-p) K/(K-1).
    k, K = np.array([1, 2]), np.array([2, 4])
    assert_ratio(weigh(Weighting("paced", estimate="unbiased"), k, K).values, [0.25 * 2, 0.25 * 4 / 3])
    # k (k-1) (K-k) / (K (K-1) (K-2)) for alpha = 2, beta = 1.
    assert_ratio(
        weigh(Weighting("paced", alpha=2, beta=1, estimate="unbiased"), k8, K8).values,
        [k * (k - 1) * (8 - k) / (8 * 7 * 6) for k in range(9)],
    )


def test_paced_posterior_has_its_closed_form_and_drops_nothing() -> None:
    weights = weigh(Weighting("paced", estimate="posterior"), k8, K8)
    assert_ratio(weights.values, [(k + 1) * (9 - k) / (10 * 11) for k in range(9)])
    assert len(weights.kept) == 9


def test_empirical_bayes_lies_between_prior_and_plugin() -> None:
    rng = np.random.default_rng(0)
    k = rng.binomial(8, rng.beta(4, 4, size=2000))
    K = np.full(2000, 8)
    fitted = weigh(Weighting("paced", estimate="empirical_bayes"), k, K).values
    # A prior concentrated in the middle pulls the ends up: E[p(1-p) | k] under Beta(4, 4) is (k+4)(12-k)/(16*17).
    assert fitted[k == 0][0] / fitted[k == 4][0] == pytest.approx(4 * 12 / (8 * 8), rel=0.2)


def test_rivals() -> None:
    assert_ratio(weigh(Weighting("hard_filter"), k8, K8).values, [0, 0, 1, 1, 1, 1, 1, 0, 0])
    assert_ratio(weigh(Weighting("hard_filter", lo=0.5, hi=1.0), k8, K8).values, [0, 0, 0, 0, 1, 1, 1, 1, 1])
    assert_ratio(weigh(Weighting("gaussian", sigma=0.2), k8, K8).values, [math.exp(-((p - 0.5) ** 2) / 0.08) for p in k8 / 8])
    assert_ratio(weigh(Weighting("grpo"), k8, K8).values, [math.sqrt(p * (1 - p)) for p in k8 / 8])


def test_the_gaussians_width_matches_paceds_second_moment() -> None:
    # Beta(2, 2), PACED's kernel as a density, has variance 1/20.
    p = (np.arange(200_000) + 0.5) / 200_000
    w = weigh(Weighting("gaussian"), np.arange(200_000) * 2 + 1, np.full(200_000, 400_000)).values
    assert (w * (p - 0.5) ** 2).sum() / w.sum() == pytest.approx(1 / 20, rel=1e-6)


@each_pair
@settings(deadline=None, max_examples=20)
@given(counts=st.lists(st.integers(0, 6), min_size=2, max_size=30))
def test_weights_are_positive_or_zero_and_have_mean_one(pair: Weighting, counts: list[int]) -> None:
    k = np.array([*counts, 3])  # one problem in the middle, so that not all weights are zero
    found = weigh(pair, k, np.full(len(k), 6))
    assert found.values.mean() == pytest.approx(1, rel=1e-12)
    assert found.values.min() >= 0
    assert found.in_training[found.kept].mean() == pytest.approx(1, rel=1e-12)
    # The same counts have the same weight, in any order.
    order = np.random.default_rng(0).permutation(len(k))
    assert weigh(pair, k[order], np.full(len(k), 6)).values == pytest.approx(found.values[order], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "takers"),
    [
        ("alpha", 2.0, "paced"),
        ("beta", 0.5, "paced"),
        ("lo", 0.1, "hard_filter"),
        ("hi", 0.9, "hard_filter"),
        ("sigma", 0.5, "gaussian"),
        ("order", 4, "maxrl"),
        ("gamma", 1.5, "focal"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_options_that_do_not_apply_are_refused(method: str, name: str, value: float, takers: str) -> None:
    options: dict[str, Any] = {name: value}
    if method == takers:
        assert getattr(Weighting(method, **options).kernel(K8), name) == value
        return
    with pytest.raises(UserError) as refused:
        Weighting(method, **options)
    assert str(refused.value) == f"`{name}` {value:g} only applies to `method` {takers}; leave it out with `method` {method}"


def test_every_declared_option_has_a_case_above() -> None:
    assert {option for method in METHODS.values() for option in method.options} == {
        "alpha",
        "beta",
        "lo",
        "hi",
        "sigma",
        "order",
        "gamma",
        "curve",
    }


@pytest.mark.parametrize(
    ("k", "K"), [([], []), ([0, 9], [8, 8]), ([-1], [8]), ([0.5], [8]), ([0], [0]), ([float("nan")], [8]), ([1, 2], [8])]
)
@pytest.mark.parametrize("method", METHODS)
def test_counts_that_cannot_be_are_refused(method: str, k: list[float], K: list[int]) -> None:
    with pytest.raises(ValueError, match="whole numbers with 0 <= k <= K"):
        weigh(Weighting(method, **NEEDED.get(method, {})), np.array(k), np.array(K))


def test_what_is_dropped_is_reported() -> None:
    summary = weigh(Weighting("paced"), np.array([0, 4, 8, 4]), np.full(4, 8)).summary()
    assert summary == {"problems": 4, "dropped": 2, "dropped_share": 0.5, "largest": 2.0, "effective_problems": 2.0}


def test_dropping_keeps_the_mean_of_the_weighted_losses() -> None:
    rng = np.random.default_rng(1)
    k, losses = rng.integers(0, 9, 500), rng.exponential(size=500)
    weights = weigh(Weighting("paced"), k, np.full(500, 8))
    assert len(weights.kept) < 500
    assert (weights.in_training * losses)[weights.kept].mean() == pytest.approx((weights.values * losses).mean(), rel=1e-12)


def test_sampling_has_the_expectation_of_weighting() -> None:
    rng = np.random.default_rng(2)
    weights = weigh(Weighting("paced"), rng.integers(0, 9, 40), np.full(40, 8))
    losses = rng.exponential(size=40)
    drawn = losses[sample_in_proportion(weights, 200_000, np.random.default_rng(3))]
    expected, error = (weights.values * losses).mean(), drawn.std() / math.sqrt(len(drawn))
    assert abs(drawn.mean() - expected) < 4 * error
    assert error < 0.02 * expected  # the comparison above can fail


def test_sampling_is_the_same_for_the_same_seed_and_draws_no_dropped_problem() -> None:
    weights = Weights(np.array([0.0, 1.0, 2.0]))
    first, second = (sample_in_proportion(weights, 100, np.random.default_rng(5)) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert set(first.tolist()) == {1, 2}


def test_tiny_weights_do_not_underflow() -> None:
    assert normalised(np.array([1e-320, 1e-320, 0.0])).values == pytest.approx([1.5, 1.5, 0.0])


def test_refusals() -> None:
    with pytest.raises(UserError, match="`method` pace is not known; known: uniform, paced, hard_filter, gaussian, grpo"):
        Weighting("pace")
    with pytest.raises(UserError, match="`estimate` map is not known; known: plugin, unbiased, posterior, empirical_bayes"):
        Weighting(estimate="map")
    with pytest.raises(UserError, match="all 2 problems have weight zero"):
        weigh(Weighting("paced"), np.array([0, 8]), np.array([8, 8]))
    with pytest.raises(UserError, match=r"`alpha` -1.0 must be"):
        Weighting(alpha=-1.0)
    with pytest.raises(UserError, match=r"`lo` 0.8 and `hi` 0.2 must satisfy"):
        Weighting("hard_filter", lo=0.8, hi=0.2)
    with pytest.raises(UserError, match=r"`sigma` 0.0 must be positive"):
        Weighting("gaussian", sigma=0.0)
    with pytest.raises(UserError, match=r"`sigma` 10000000.0 must be positive, from 1e-6 to 1e6"):
        Weighting("gaussian", sigma=1e7)
    with pytest.raises(UserError, match=r"`gamma` -1.0 must be a finite number of at least 0"):
        Weighting("focal", gamma=-1.0)
    with pytest.raises(UserError, match=r"`order` 0 must be at least 1"):
        Weighting("maxrl", order=0)
    with pytest.raises(
        UserError, match="`estimate` posterior only applies to methods that need pass rates; leave it out with `method` uniform"
    ):
        Weighting("uniform", estimate="posterior")
    with pytest.raises(UserError, match=r"`estimate` unbiased of Beta\(1, 1\) needs at least 2 rollouts a problem, .* got 1; raise `K`"):
        weigh(Weighting(estimate="unbiased"), np.array([1]), np.array([1]))
    with pytest.raises(UserError, match="`order` must be given with `method` maxrl, since `K` is not the same for all: 4 to 8"):
        weigh(Weighting("maxrl"), np.array([1, 1]), np.array([4, 8]))
    with pytest.raises(UserError, match="`kernel` pace is not known; known: uniform, paced"):
        weights([1], [2], kernel="pace")
    with pytest.raises(UserError, match="`estimator` map is not known; known: plugin"):
        weights([1], [2], estimator="map")
    for wrong in (3, MaxRL):
        with pytest.raises(UserError, match=r"`kernel` .* must be a name \(uniform, .*\), a kernel such as Beta\(1, 1\), or a function"):
            weights([1], [2], kernel=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"function must return finite weights >= 0 .* got -"):
        weights([1], [2], kernel=lambda p: p - 0.5)
    with pytest.raises(UserError, match="empirical_bayes cannot fit a prior to 0 passes in 8 rollouts"):
        weigh(Weighting(estimate="empirical_bayes"), np.array([0]), np.array([8]))
    with pytest.raises(ValueError, match="raw must be a non-empty vector"):
        normalised(np.array([1.0, -1.0]))


# ---- kernel by estimator


@pytest.mark.parametrize(
    "kernel",
    [
        Beta(1, 1),
        Beta(0.5, 2),
        HardFilter(0.2, 0.8),
        Gaussian(),
        Gaussian(0.1),
        GRPO(),
        MaxRL(8),
        Focal(1.5),
        lambda p: math.sin(math.pi * p),
    ],
    ids=["paced", "beta", "filter", "gaussian", "narrow", "grpo", "maxrl", "focal", "sine"],
)
@pytest.mark.parametrize("prior", [(1.0, 1.0), (2.0, 0.7)])
def test_posterior_means_are_integrals(kernel: Kernel | Callable[[float], float], prior: tuple[float, float]) -> None:
    expected = [
        integrate.quad(
            lambda p, k=k: float(kernel(p)) * stats.beta.pdf(p, prior[0] + k, prior[1] + 8 - k), 0, 1, points=[0.2, 0.8], epsabs=1e-12
        )[0]
        for k in range(8)  # the density of the last one is infinite at 1 under the second prior
    ]
    assert weights(k8[:8], 8, kernel, Posterior(prior)).values == pytest.approx(np.array(expected) / np.mean(expected), rel=1e-6)


def test_the_filter_s_posterior_mean_is_the_chance_of_its_band() -> None:
    bands = stats.beta.cdf(0.7, 1 + k8, 9 - k8) - stats.beta.cdf(0.3, 1 + k8, 9 - k8)
    assert_ratio(weigh(Weighting("hard_filter", lo=0.3, hi=0.7, estimate="posterior"), k8, K8).values, bands.tolist())


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([Uniform(), Beta(1, 1), Beta(2, 1), Beta(0, 3), Focal(2), MaxRL(6), MaxRL(1)]), st.integers(5, 12), st.floats(1e-12, 1)
)
def test_the_unbiased_estimate_has_the_kernel_as_its_binomial_expectation(kernel: Kernel, K: int, p: float) -> None:
    k = np.arange(K + 1)
    found = Unbiased()(kernel, k, np.full(K + 1, K))
    assert found.min() >= 0
    assert stats.binom.pmf(k, K, p) @ found == pytest.approx(float(kernel(p)), rel=1e-11, abs=1e-14)


@pytest.mark.parametrize(
    "kernel", [HardFilter(), Gaussian(), GRPO(), Beta(0.5, 1), Focal(1.5), lambda p: p], ids=lambda kernel: str(kernel)[:20]
)
def test_where_no_unbiased_estimate_exists_it_is_said(kernel: Any) -> None:
    with pytest.raises(
        UserError, match=r"`estimate` unbiased does not exist for .*: only a polynomial in the pass rate has one, .*; take plugin"
    ):
        weights([1, 2], 8, kernel, "unbiased")


@pytest.mark.parametrize(
    "changes", [{"method": "hard_filter"}, {"method": "gaussian"}, {"method": "grpo"}, {"alpha": 0.5}, {"method": "focal", "gamma": 1.5}]
)
def test_a_configuration_without_an_unbiased_estimate_is_refused_when_it_is_made(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="`estimate` unbiased does not exist for"):
        Weighting(estimate="unbiased", **changes)


@pytest.mark.parametrize("kernel", ["paced", "hard_filter", "gaussian", "grpo", "maxrl", "focal"])
def test_empirical_bayes_is_the_posterior_under_the_likeliest_prior(kernel: str) -> None:
    rng = np.random.default_rng(4)
    k, K = rng.binomial(8, rng.beta(0.6, 1.4, 400)), np.full(400, 8)

    def loss(logs: np.ndarray) -> float:
        return -float(stats.betabinom.logpmf(k, K, *np.exp(logs)).sum())

    prior = tuple(np.exp(optimize.minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).x))
    bayes = weights(k, K, kernel, "empirical_bayes").values
    assert bayes == pytest.approx(weights(k, K, kernel, Posterior(prior)).values, rel=1e-4)
    assert weights(k, K, kernel, EmpiricalBayes()).values.tolist() == bayes.tolist()
    assert weights(k, K, kernel).values.tolist() == weights(k, K, kernel, PlugIn()).values.tolist()  # the default


@pytest.mark.parametrize("estimate", ["plugin", "posterior", "empirical_bayes"])
@pytest.mark.parametrize(
    "kernel", [Beta(1, 1), GRPO(), HardFilter(0.25, 0.75), Gaussian(), lambda p: min(p, 1 - p)], ids=lambda kernel: str(kernel)[:12]
)
def test_symmetric_kernels_weigh_symmetric_counts_symmetrically(kernel: Any, estimate: str) -> None:
    found = weights([*k8, *k8[::-1]], 8, kernel, estimate).values
    assert found[:9] == pytest.approx(found[8::-1], rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["paced", "hard_filter", "gaussian", "grpo", "focal"]), st.integers(1, 9))
def test_the_posterior_goes_to_the_plug_in_as_rollouts_grow(method: str, tenths: int) -> None:
    assume(method != "hard_filter" or tenths not in (2, 8))
    errors = []
    for K in (10, 1_000, 100_000):
        kernel = Weighting(method).kernel(np.array([K]))
        k, K_array = np.array([tenths * K // 10]), np.array([K])
        errors.append(abs(float(Posterior()(kernel, k, K_array)[0]) - float(PlugIn()(kernel, k, K_array)[0])))
    assert errors[2] <= errors[1] <= errors[0] + 1e-12 and errors[2] < 1e-4


@pytest.mark.parametrize("estimate", ["plugin", "posterior", "empirical_bayes"])
@pytest.mark.parametrize(
    ("method", "copy"),
    [
        ("uniform", lambda p: 1),
        ("paced", lambda p: p * (1 - p)),
        ("hard_filter", lambda p: 0.2 <= p <= 0.8),
        ("gaussian", lambda p: math.exp(-((p - 0.5) ** 2) / (2 * Gaussian().width ** 2))),
        ("grpo", lambda p: math.sqrt(p * (1 - p))),
        ("maxrl", lambda p: sum((1 - p) ** j for j in range(8))),
        ("focal", lambda p: (1 - p) ** 2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_function_of_one_s_own_weighs_as_the_named_kernel_it_copies(method: str, copy: Callable[[float], float], estimate: str) -> None:
    k, K = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 4, 4]), np.full(11, 8)
    assert weights(k, K, copy, estimate).values == pytest.approx(weights(k, K, method, estimate).values, rel=1e-9)


def test_names_objects_and_configurations_are_one_thing() -> None:
    k = np.array([0, 2, 4, 5, 8])
    assert weights(k, 8).values.tolist() == weigh(Weighting(), k, np.full(5, 8)).values.tolist()
    assert weights(k, 8, "maxrl", "posterior").values.tolist() == weights(k, 8, MaxRL(8), Posterior()).values.tolist()
    assert weights(k, np.array([8, 4, 8, 8, 8]), MaxRL(4), PlugIn()).values.shape == (5,)
    assert weights([0, 0], 8, "uniform").values.tolist() == [1, 1]  # though no prior fits these counts
    assert weights(k, 8, estimator=lambda kernel, k, K: kernel(k / K) + 1).values == pytest.approx(
        normalised(1 + (k / 8) * (1 - k / 8)).values
    )
    assert Weighting("maxrl").kernel(K8) == MaxRL(8) and Weighting("maxrl", order=3).kernel(np.array([4, 8])) == MaxRL(3)


def test_the_numbers_are_to_the_last_bit_those_that_the_committed_runs_were_weighted_with() -> None:
    rng = np.random.default_rng(7)
    for K in (2, 4, 8, 10, 16):
        k = np.concatenate([np.arange(K + 1), rng.integers(0, K + 1, 100)])
        p, all_K = k / K, np.full(len(k), K)
        matched = Gaussian().width
        for weighting, raw in (
            (Weighting("uniform"), np.ones(len(k))),
            (Weighting(), p**1.0 * ((K - k) / K) ** 1.0),
            (Weighting(alpha=2.0, beta=0.5), p**2.0 * ((K - k) / K) ** 0.5),
            (Weighting("hard_filter"), ((p >= 0.2) & (p <= 0.8)).astype(float)),
            (Weighting("gaussian"), np.exp(-0.5 * ((p - 0.5) / matched) ** 2)),
            (Weighting("grpo"), p**0.5 * (1.0 - p) ** 0.5),
            (Weighting(estimate="unbiased"), np.ones(len(k)) * k / K * (K - k) / (K - 1)),
        ):
            scaled = raw / raw.max()
            assert weigh(weighting, k, all_K).values.tolist() == (scaled / scaled.mean()).tolist(), (weighting, K)


# ---- fitted, and new ones


def a_record(path: Path, **content: Any) -> Path:
    write_checked(path, {"kind": "snr_probe", **content})
    return path


def test_a_fitted_kernel_has_the_exponents_of_the_probe_s_record(tmp_path: Path) -> None:
    record = a_record(tmp_path / "record.json", mixture={"fit": {"a": 0.25, "b": 1.5}}, fit={"a": 3.0, "b": 3.0})
    assert fitted(record) == Beta(0.25, 1.5) and fitted(str(record), "bins") == Beta(3, 3)
    assert_ratio(weights(k8, 8, fitted(record), "plugin").values, [p**0.25 * (1 - p) ** 1.5 for p in k8 / 8])
    committed = ROOT / "results" / "desk-v1" / "snr_verdict" / "qwen3" / "record.json"
    found = json.loads(committed.read_text())["fit"]
    assert fitted(committed, "bins") == Beta(found["a"], found["b"])


def test_what_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    older = a_record(tmp_path / "older.json", fit={"a": 0.3, "b": 0.4})
    with pytest.raises(UserError, match=r"older.json has no fit of exponents through the mixture; take `fit` bins for the one that it has"):
        fitted(older)
    with pytest.raises(UserError, match=r"has no fit of exponents through the mixture, or give the exponents yourself"):
        fitted(a_record(tmp_path / "none.json", mixture={"fit": None}))
    with pytest.raises(UserError, match=r"exponents 0.5 and -0.1, whose weight is infinite at p = 1"):
        fitted(a_record(tmp_path / "negative.json", mixture={"fit": {"a": 0.5, "b": -0.1}}))
    with pytest.raises(UserError, match=r"`record` .*missing.json is not a file; give the record.json of a finished probe"):
        fitted(tmp_path / "missing.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match="is no record of kind 'snr_probe'"):
        fitted(tmp_path / "other.json")


MODULE = """
import numpy as np
from paced_exp.weighting import Kernel, register


@register("tilted", "tilted", "1 - p/2")
def tilted(p):
    return 1 - p / 2


@register("plateau", "plateau", "min(1, p/lo)", options=("lo",))
class Plateau(Kernel):
    def __init__(self, lo):
        self.breakpoints = (lo,)

    def _value(self, p):
        return np.minimum(1, p / self.breakpoints[0])
"""


def test_a_kernel_is_added_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paced_exp.weighting.kernels.METHODS", known := dict(METHODS))
    monkeypatch.setattr("paced_exp.weighting.METHODS", known)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "kernels_of_one_s_own.py").write_text(MODULE)
    importlib.import_module("kernels_of_one_s_own")
    assert_ratio(weigh(Weighting("tilted"), k8, K8).values, [1 - p / 2 for p in k8 / 8])
    # E[1 - p/2 | k] is linear in E[p | k] = (k + 1)/10.
    assert_ratio(weigh(Weighting("tilted", estimate="posterior"), k8, K8).values, [1 - (k + 1) / 20 for k in range(9)])
    assert_ratio(weigh(Weighting("plateau", lo=0.5), k8, K8).values, [min(1, p / 0.5) for p in k8 / 8])
    assert known["tilted"].label == "tilted" and "tilted" not in METHODS
    with pytest.raises(UserError, match=r"`method` pace is not known; known: uniform, .*, focal, curve, tilted, plateau"):
        Weighting("pace")
    with pytest.raises(UserError, match=r"`lo` 0.5 only applies to `method` hard_filter and plateau; leave it out with `method` tilted"):
        Weighting("tilted", lo=0.5)
    with pytest.raises(ValueError, match="a kernel of the name paced exists already"):
        register("paced", "another", "p")(FunctionKernel)


def test_weights_alone_need_numpy_and_scipy_only() -> None:
    code = (
        "import sys; import paced_exp.weighting as w; w.weights([0, 3, 8], 8, w.Gaussian()); w.weights([0, 3, 8], 8, lambda p: p);"
        "print(sorted({name.split('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    )
    declared = [line.split(">")[0].split("=")[0].split("[")[0].strip(' ",') for line in dependencies()]
    unwanted = [name.replace("-", "_") for name in declared if name not in ("numpy", "scipy")] + ["yaml"]
    assert {"torch", "pandas", "sympy", "transformers"} <= set(unwanted)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, *unwanted], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def dependencies() -> list[str]:
    """Every requirement that pyproject.toml names, of the package and of its extras."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *itertools.chain(*project.get("optional-dependencies", {}).values())]
