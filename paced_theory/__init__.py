"""The mathematics of PACED (arXiv 2603.11178): `python -m paced_theory.verify` checks the claims listed in docs/theory.md.

Names are loaded on first use: importing the package takes milliseconds, and only what is used loads scipy or sympy.
"""
# ruff: noqa: I001 (one line a module in the block for type checkers)

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paced_theory.allocation import AllocationComparison as AllocationComparison, AllocationPolicy as AllocationPolicy
    from paced_theory.allocation import allocation_policy as allocation_policy, best_policy as best_policy
    from paced_theory.allocation import compare_allocation as compare_allocation, rollout_value as rollout_value
    from paced_theory.bootstrap import bootstrap_snr as bootstrap_snr, bootstrap_snr_from_gram as bootstrap_snr_from_gram
    from paced_theory.collapse import LogisticStudent as LogisticStudent, SoftmaxStudent as SoftmaxStudent, forward_kl as forward_kl
    from paced_theory.collapse import forward_kl_logit_gradient as forward_kl_logit_gradient, log_pass_rate_floor as log_pass_rate_floor
    from paced_theory.connections import Connection as Connection, connections_table as connections_table
    from paced_theory.connections import worst_case_against as worst_case_against
    from paced_theory.convergence import breakeven_signal_exponent as breakeven_signal_exponent, quadratic as quadratic
    from paced_theory.convergence import quadratic_mean_squared_gradient as quadratic_mean_squared_gradient, saturating as saturating
    from paced_theory.convergence import sgd_bound as sgd_bound, simulate_sgd as simulate_sgd, steps_to_reach as steps_to_reach
    from paced_theory.convergence import variance_ratio as variance_ratio, variance_ratio_of as variance_ratio_of
    from paced_theory.estimation import DiscreteLaw as DiscreteLaw, EfficiencyRow as EfficiencyRow, count_moments as count_moments
    from paced_theory.estimation import efficiency as efficiency, efficiency_table as efficiency_table
    from paced_theory.estimation import empirical_bayes_weight as empirical_bayes_weight, expected_weight as expected_weight
    from paced_theory.estimation import fit_beta_prior as fit_beta_prior, plugin_weight as plugin_weight
    from paced_theory.estimation import posterior_weight as posterior_weight, unbiased_weight as unbiased_weight
    from paced_theory.estimation import weight_bias as weight_bias, weight_variance as weight_variance
    from paced_theory.kernel import FunctionKernel as FunctionKernel, Kernel as Kernel
    from paced_theory.kernels import BernoulliEntropy as BernoulliEntropy, BetaKernel as BetaKernel, Focal as Focal
    from paced_theory.kernels import GaussianBump as GaussianBump, HardFilter as HardFilter, Linear as Linear, MaxRL as MaxRL
    from paced_theory.kernels import PosteriorKernel as PosteriorKernel, SqrtVariance as SqrtVariance, Uniform as Uniform
    from paced_theory.langevin import Langevin as Langevin, asgld_mean_squared_gradient as asgld_mean_squared_gradient
    from paced_theory.mixture import MixtureFit as MixtureFit, fit_through_mixture as fit_through_mixture
    from paced_theory.pass_rate_law import PassRateLaw as PassRateLaw, fit_pass_rate_law as fit_pass_rate_law
    from paced_theory.representation import LeadingOrderFit as LeadingOrderFit, ModelComparison as ModelComparison
    from paced_theory.representation import boundary_exponents as boundary_exponents, compare_models as compare_models
    from paced_theory.representation import counterexample as counterexample, fit_leading_order as fit_leading_order
    from paced_theory.representation import fit_leading_order_batch as fit_leading_order_batch
    from paced_theory.representation import fit_leading_order_linear as fit_leading_order_linear
    from paced_theory.representation import guaranteed_efficiency as guaranteed_efficiency, remainder as remainder
    from paced_theory.robustness import aggregate_efficiency as aggregate_efficiency
    from paced_theory.robustness import beta_misspecification_loss as beta_misspecification_loss, find_adversary as find_adversary
    from paced_theory.robustness import pointwise_loss_bound as pointwise_loss_bound, saddle_point as saddle_point
    from paced_theory.robustness import worst_case_efficiency as worst_case_efficiency, worst_case_law as worst_case_law
    from paced_theory.robustness import worst_case_loss as worst_case_loss
    from paced_theory.snr import estimate_snr as estimate_snr, estimate_snr_from_gram as estimate_snr_from_gram
    from paced_theory.snr import estimate_snr_from_sums as estimate_snr_from_sums
    from paced_theory.snr_estimands import trimmed_snr as trimmed_snr, unit_norm_snr as unit_norm_snr
    from paced_theory.snr_flat import FlatTest as FlatTest, flat_snr_test as flat_snr_test
    from paced_theory.snr_interval import SNREstimate as SNREstimate, signal_and_noise as signal_and_noise
    from paced_theory.snr_power import problems_needed as problems_needed
    from paced_theory.stages import population_outcomes as population_outcomes, run_schedule as run_schedule
    from paced_theory.stages import stage_outcomes as stage_outcomes
    from paced_theory.stopping import StoppingRule as StoppingRule, as_exact_as as as_exact_as, stopping_law as stopping_law
    from paced_theory.stopping import unbiased_rate as unbiased_rate, weight_deviation as weight_deviation
    from paced_theory.toy_students import GaussianStudent as GaussianStudent, SoftmaxFamily as SoftmaxFamily

#: What the package exports, by the module that defines it.
_EXPORTS = {
    "allocation": "AllocationComparison AllocationPolicy allocation_policy best_policy compare_allocation rollout_value",
    "bootstrap": "bootstrap_snr bootstrap_snr_from_gram",
    "collapse": "LogisticStudent SoftmaxStudent forward_kl forward_kl_logit_gradient log_pass_rate_floor",
    "connections": "Connection connections_table worst_case_against",
    "convergence": (
        "breakeven_signal_exponent quadratic quadratic_mean_squared_gradient saturating sgd_bound simulate_sgd "
        "steps_to_reach variance_ratio variance_ratio_of"
    ),
    "estimation": (
        "DiscreteLaw EfficiencyRow count_moments efficiency efficiency_table empirical_bayes_weight expected_weight "
        "fit_beta_prior plugin_weight posterior_weight unbiased_weight weight_bias weight_variance"
    ),
    "kernel": "FunctionKernel Kernel",
    "kernels": "BernoulliEntropy BetaKernel Focal GaussianBump HardFilter Linear MaxRL PosteriorKernel SqrtVariance Uniform",
    "langevin": "Langevin asgld_mean_squared_gradient",
    "mixture": "MixtureFit fit_through_mixture",
    "pass_rate_law": "PassRateLaw fit_pass_rate_law",
    "representation": (
        "LeadingOrderFit ModelComparison boundary_exponents compare_models counterexample fit_leading_order "
        "fit_leading_order_batch fit_leading_order_linear guaranteed_efficiency remainder"
    ),
    "robustness": (
        "aggregate_efficiency beta_misspecification_loss find_adversary pointwise_loss_bound saddle_point "
        "worst_case_efficiency worst_case_law worst_case_loss"
    ),
    "snr": "estimate_snr estimate_snr_from_gram estimate_snr_from_sums",
    "snr_estimands": "trimmed_snr unit_norm_snr",
    "snr_flat": "FlatTest flat_snr_test",
    "snr_interval": "SNREstimate signal_and_noise",
    "snr_power": "problems_needed",
    "stages": "population_outcomes run_schedule stage_outcomes",
    "stopping": "StoppingRule as_exact_as stopping_law unbiased_rate weight_deviation",
    "toy_students": "GaussianStudent SoftmaxFamily",
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
