"""Every argument of every public function, one at a time made wrong: the ValueError is one line that names it."""

import inspect
import math
import re

import numpy as np
import pytest

import paced_theory
from paced_theory import (
    allocation,
    collapse,
    connections,
    convergence,
    estimation,
    kernels,
    langevin,
    mixture,
    representation,
    robustness,
    snr,
    stages,
)
from paced_theory.bootstrap import bootstrap_snr
from paced_theory.collapse import LogisticStudent, SoftmaxStudent
from paced_theory.toy_students import GaussianStudent, SoftmaxFamily, random_softmax

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(6, 4))
BINS = np.linspace(0.1, 0.9, 6)
CURVE = BINS * (1 - BINS)
COUNTS, EACH = [60.0, 40.0, 30.0, 35.0, 50.0], [[0], [1], [2], [3], [4]]
STUDENT = GaussianStudent((0.5, 0.5), (-1.0, 1.0), (0.5, 0.7))
EXPONENTS = {"alpha": 1.0, "beta": 1.0}
PRIOR = {"prior": (1.0, 1.0)}

# Each function with valid arguments. An integer, a float, a pair, an array or a word is then replaced by what its kind forbids.
VALID = [
    (allocation.rollout_value, {"k": 1, "n": 2, **EXPONENTS, **PRIOR}),
    (allocation.allocation_policy, {"price": 0.01, "max_rollouts": 3, **EXPONENTS, **PRIOR}),
    (allocation.best_policy, {"budget": 2.0, "max_rollouts": 3, **EXPONENTS, **PRIOR}),
    (allocation.compare_allocation, {"K": 1, "max_factor": 1, **EXPONENTS, **PRIOR}),
    (bootstrap_snr, {"gradients": NORMAL, "replicates": 2, "confidence": 0.9, "rng": RNG}),
    (collapse.forward_kl, {"student_logits": [0.0, 1.0], "teacher": [0.5, 0.5]}),
    (collapse.forward_kl_logit_gradient, {"student_logits": [0.0, 1.0], "teacher": [0.5, 0.5]}),
    (collapse.log_pass_rate_floor, {"bound": 1.0, "vocabulary": 3, "tokens": 2}),
    (LogisticStudent, {"kappa": 0.5, "feature_noise": 1.0, "noise_floor": 0.1, "floor_exponent": 0.0, "dimension": 8}),
    (SoftmaxStudent, {"vocabulary": 4, "answer_tokens": 2, "style_tokens": 1, "kappa": 0.5, "feature_noise": 1.0, "teacher_error": 0.1}),
    *[
        (getattr(s, m), {"pass_rate": 0.5})
        for s in (LogisticStudent(), SoftmaxStudent())
        for m in ("signal_squared", "noise_squared", "snr_squared")
    ],
    (LogisticStudent().gradients, {"pass_rate": 0.5, "n": 2, "generator": RNG, "degrees_of_freedom": 5.0}),
    (SoftmaxStudent().gradients, {"pass_rate": 0.5, "n": 2, "generator": RNG}),
    (connections.worst_case_against, {"kernel": kernels.Uniform(), "optimum": kernels.BetaKernel(), "delta": 0.3, **PRIOR, "points": 5}),
    (connections.connections_table, {"delta": 0.3, **PRIOR}),
    (convergence.variance_ratio, {"signal_exponent": 0.5, **EXPONENTS, **PRIOR}),
    (convergence.breakeven_signal_exponent, {**EXPONENTS, **PRIOR}),
    (convergence.variance_ratio_of, {"weight": [1.0, 2.0], "noise_variance": [1.0, 2.0], "probability": [0.5, 0.5]}),
    (convergence.sgd_bound, {"initial_gap": 1.0, "smoothness": 1.0, "noise_variance": 1.0, "step_size": 0.5, "steps": 3}),
    (convergence.steps_to_reach, {"squared_gradient": 0.5, "initial_gap": 1.0, "smoothness": 1.0, "noise_variance": 1.0}),
    (convergence.quadratic, {"curvatures": [1.0, 2.0]}),
    (
        convergence.simulate_sgd,
        {
            "objective": convergence.saturating(),
            "theta0": [1.0],
            "weight": [1.0, 1.0],
            "noise_variance": [1.0, 1.0],
            "step_size": 0.1,
            "steps": 2,
            "trajectories": 2,
            "rng": RNG,
            "tail": 5.0,
        },
    ),
    (
        convergence.quadratic_mean_squared_gradient,
        {"curvatures": [1.0, 2.0], "theta0": [1.0, 1.0], "noise_variance": 1.0, "step_size": 0.5, "steps": 3},
    ),
    (langevin.Langevin, {"strength": 1.0, "mean_decay": 0.5, "variance_decay": 0.5}),
    (
        langevin.asgld_mean_squared_gradient,
        {"langevin": langevin.Langevin(), "curvature": 1.0, "theta0": 1.0, "noise_variance": 1.0, "step_size": 0.5, "steps": 3},
    ),
    (estimation.DiscreteLaw, {"pass_rates": [0.2, 0.8], "probabilities": [0.5, 0.5]}),
    (estimation.plugin_weight, {"k": 1, "K": 2, **EXPONENTS}),
    (estimation.unbiased_weight, {"k": 1, "K": 2, "alpha": 1, "beta": 1}),
    (estimation.posterior_weight, {"k": 1, "K": 2, **EXPONENTS, **PRIOR}),
    (estimation.fit_beta_prior, {"k": [1, 2, 3], "K": [4, 4, 4]}),
    (estimation.empirical_bayes_weight, {"k": [1, 2, 3], "K": [4, 4, 4], **EXPONENTS}),
    (estimation.count_moments, {"K": 2, "law": (1.0, 1.0), "order_p": 1.0, "order_q": 1.0}),
    (estimation.expected_weight, {"weights_by_k": [0.1, 0.2, 0.1], "p": 0.5}),
    (estimation.weight_bias, {"weights_by_k": [0.1, 0.2, 0.1], "p": 0.5, **EXPONENTS}),
    (estimation.weight_variance, {"weights_by_k": [0.1, 0.2, 0.1], "p": 0.5}),
    (estimation.efficiency, {"weights_by_k": [0.1, 0.2, 0.1], "K": 2, "law": (1.0, 1.0), **EXPONENTS}),
    (estimation.efficiency_table, {"K": 2, "law": (1.0, 1.0), **EXPONENTS, "assumed": (1.0, 1.0)}),
    *[(getattr(k, m), {"p": 0.5}) for k in (kernels.BetaKernel(), kernels.HardFilter()) for m in ("__call__", "log", "derivative")],
    (kernels.BetaKernel, EXPONENTS),
    (kernels.BetaKernel().moment, {"order_p": 1.0, "order_q": 1.0, **PRIOR}),
    (kernels.BetaKernel().integral, PRIOR),
    (kernels.BetaKernel().inner_product, {"other": kernels.Uniform(), **PRIOR}),
    (kernels.BetaKernel().efficiency, {"optimum": kernels.Uniform(), **PRIOR}),
    (kernels.BetaKernel().normalised, {"how": "sum", "pass_rates": [0.5]}),
    (kernels.Linear, {"at_zero": 1.0, "at_one": 0.5}),
    (kernels.HardFilter, {"lo": 0.2, "hi": 0.8}),
    (kernels.GaussianBump, {"center": 0.5, "sigma": 0.1}),
    (kernels.PosteriorKernel, {"K": 4, **EXPONENTS, "assumed": (1.0, 1.0)}),
    (representation.counterexample, {"pass_rate": [0.5]}),
    (representation.remainder, {"pass_rate": [0.5], "values": [0.2], "a": 1.0, "b": 1.0}),
    (representation.oscillation, {"values": [0.1, 0.3]}),
    (representation.boundary_exponent, {"f": lambda x: x, "depth": 10}),
    (representation.boundary_exponents, {"f": lambda x: x * (1 - x), "depth": 10}),
    (representation.log_log_slope, {"distance": BINS, "values": CURVE, "standard_error": CURVE}),
    *[
        (function, {"pass_rate": BINS, "snr_squared": CURVE, "standard_error": CURVE, "confidence": 0.9})
        for function in (representation.fit_leading_order, representation.fit_leading_order_linear)
    ],
    (representation.fit_leading_order_batch, {"pass_rate": BINS, "snr_squared": CURVE[None], "standard_error": CURVE}),
    (mixture.fit_pass_rate_law, {"offered": COUNTS, "rollouts": 4, "passes": EACH}),
    (
        mixture.fit_through_mixture,
        {
            "passes": EACH,
            "rollouts": 4,
            "law": mixture.fit_pass_rate_law(COUNTS, 4),
            "snr_squared": CURVE[:5],
            "standard_error": CURVE[:5],
            "noise": CURVE[:5],
            "signal": "common direction",
            "confidence": 0.9,
        },
    ),
    (representation.compare_models, {"pass_rate": BINS, "snr_squared": CURVE, "standard_error": CURVE}),
    (robustness.pointwise_loss, {"eps": [0.1]}),
    (robustness.pointwise_loss_bound, {"delta": [0.1]}),
    (robustness.pointwise_minimax_loss, {"delta": [0.1]}),
    (robustness.aggregate_efficiency, {"eps": [0.1, 0.2], "nu": [0.5, 0.5]}),
    (robustness.worst_case_efficiency, {"delta": [0.1], "delta_high": [0.2]}),
    (robustness.worst_case_loss, {"delta": [0.1], "delta_high": [0.2]}),
    (robustness.loss_slope, {"delta": [0.1]}),
    (robustness.worst_case_law, {"delta": 0.1, "delta_high": 0.2}),
    (robustness.find_adversary, {"delta": 0.1, "delta_high": 0.2, "grid": 5}),
    (robustness.worst_case_of_weight, {"log_ratio": [0.0, 0.1], "nu": [0.5, 0.5], "delta": 0.1, "delta_high": 0.2, "grid": 5}),
    (robustness.saddle_point, {"nu": [0.5, 0.5], "delta": 0.1, "delta_high": 0.2, "grid": 5, "tolerance": 1e-3, "max_rounds": 100}),
    *[
        (function, {"d_alpha": 0.1, "d_beta": 0.1, **EXPONENTS, **PRIOR})
        for function in (robustness.beta_misspecification_loss, robustness.beta_misspecification_curvature)
    ],
    (snr.estimate_snr, {"gradients": NORMAL, "confidence": 0.9}),
    (
        snr.trimmed_snr,
        {"gram": NORMAL @ NORMAL.T, "share": 0.1, "sum_norm_squared": float((NORMAL.sum(axis=0) ** 2).sum()), "confidence": 0.9},
    ),
    (snr.unit_norm_snr, {"gram": NORMAL @ NORMAL.T, "confidence": 0.9}),
    (snr.problems_needed, {"snr_squared": 0.1, "effective_rank": 5.0, "level": 0.025, "power": 0.8}),
    (stages.run_schedule, {"student": STUDENT, "starts": [[0.0, 0.0]], "schedule": "forward", "time": 0.1}),
    (stages.stage_outcomes, {"student": STUDENT, "starts": [[0.0, 0.0], [1.0, 0.0]], "time": 0.1, "confidence": 0.9}),
    (
        stages.population_outcomes,
        {"draw_student": random_softmax, "generator": RNG, "teachers": 2, "starts": 2, "time": 0.1, "confidence": 0.9},
    ),
    (stages.mean_interval, {"sample": [1.0, 2.0], "confidence": 0.9}),
    (GaussianStudent, {"weights": [0.5, 0.5], "means": [0.0, 1.0], "scales": [1.0, 1.0]}),
    (SoftmaxFamily, {"features": NORMAL[:, :2], "teacher": np.full(6, 1 / 6)}),
    (random_softmax, {"generator": RNG, "categories": 5, "parameters": 2}),
]
SIGNED = {"a", "b", "d_alpha", "d_beta", "theta0"}  # scalars that may be negative


def wrong_values(name, valid):
    """What an argument of this kind must refuse."""
    if isinstance(valid, str):
        return ["nonsense"]
    if isinstance(valid, tuple):
        return [(0.0, 1.0), (math.nan, 1.0), (1.0,), 3.0]
    if isinstance(valid, int):
        return [-1, 0.5, math.nan, "x"]
    if isinstance(valid, float):
        return [math.nan, math.inf, "x", *([] if name in SIGNED else [-1.0])]
    array = np.array(valid, dtype=float)
    broken = array.copy()
    broken.flat[0] = math.nan
    return [broken, array.astype(str)]


def label(function):
    owner = getattr(function, "__self__", None)
    return function.__name__ if owner is None else f"{type(owner).__name__}.{function.__name__}"


def answer(function, arguments):
    """What a function says to a wrong argument: the message of its ValueError, or what it did instead."""
    try:
        return f"returned {function(**arguments)!r}"
    except ValueError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize(("function", "arguments"), VALID, ids=[label(function) for function, _ in VALID])
def test_valid_arguments_are_accepted_and_each_wrong_one_is_named_in_one_line(function, arguments):
    assert set(arguments) <= set(inspect.signature(function).parameters)
    function(**arguments)
    tried = [
        (name, wrong)
        for name, valid in arguments.items()
        if isinstance(valid, str | tuple | int | float | list | np.ndarray)
        for wrong in wrong_values(name, valid)
    ]
    said = [(name, wrong, answer(function, {**arguments, name: wrong})) for name, wrong in tried]
    unclear = [
        f"{name}={wrong!r}: {message}"
        for name, wrong, message in said
        if not re.match(rf"[\w, ]*\b{name}\b.* must .*, got ", message) or "\n" in message
    ]
    assert tried and not unclear, "\n".join(unclear)


def test_every_exported_function_is_in_the_list():
    listed = {function.__name__ for function, _ in VALID} | {"bootstrap_snr_from_gram", "estimate_snr_from_gram", "estimate_snr_from_sums"}
    listed |= {
        "signal_and_noise",
        "saturating",
        "guaranteed_efficiency",
        "flat_snr_test",
        *("stopping_law", "unbiased_rate", "weight_deviation", "as_exact_as"),  # in test_stopping
    }  # the first four, in test_snr; then no argument; then its caller's; then, in test_snr_flat
    exported = {name for name in paced_theory.__all__ if inspect.isfunction(getattr(paced_theory, name))}
    assert exported <= listed
