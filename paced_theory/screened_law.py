"""The law of pass rates where problems at both ends were rolled out a second time, and what pass rates such a problem may have (ours).

All problems are screened with K rollouts: k ~ Binomial(K, p). Of those with k near 0 or K, some get F fresh ones: f ~ Binomial(F, p). Which
do may depend on k and on the order of the draw, and on nothing else, so given k it tells nothing of p. Then the likelihood of a problem is

    p^(k+f) (1-p)^(K-k+F-f),

that of k + f passes in K + F rollouts: that the screen selected it, and that its range was chosen by f, is no part of it. The law of p comes
from both counts together. Second counts reach down to p of about 1/F, where K rollouts alone leave the law to be extrapolated from 1/K.

Axes: J nodes of the pass rate, c cells of fresh counts, n outcomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from paced_theory._checks import FloatArray, check_array, check_int
from paced_theory.pass_rate_law import Cells, PassRateLaw, bin_probabilities, cells_of, law_by_terms, law_nodes


def fit_screened_law(
    screened: ArrayLike, rollouts: int, fresh: int, cells: Mapping[int, Cells], landed: Mapping[int, ArrayLike]
) -> PassRateLaw:
    """The law of pass rates behind the counts of all problems screened, and of those that were rolled out again, by maximum likelihood.

    screened: (K + 1,) problems by k of K = `rollouts`. fresh: F. landed[k]: (c,) how many of the problems with k passes, rolled out again, fell
    into each of the cells cells[k], which hold each of 0..F once. The family of laws and its terms are those of `fit_pass_rate_law`;
    Pearson's chi-squared is that of the screened counts, plus that of the fresh ones given k. Its nodes are fine enough for K + F rollouts.
    Raises ValueError for counts that are not integers >= 0, for more problems rolled out again than were screened, and where fewer than two of
    the screened counts are positive.
    """
    counts = _counts("screened", screened, check_int("rollouts", rollouts, 2) + 1)
    if (counts > 0).sum() < 2:
        raise ValueError(
            "screened must have problems at two counts of passes or more to show a law of pass rates, got all at one; draw more problems"
        )
    logit = law_nodes(rollouts + check_int("fresh", fresh, 1))
    first = bin_probabilities(logit, rollouts)
    once, likelihoods, observed = counts.copy(), [first], []
    second: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    for k in sorted(landed):
        inside = cells_of(cells[k], fresh)
        number = _counts(f"landed[{k}]", landed[k], len(inside))
        if number.sum() > counts[k]:
            raise ValueError(f"landed[{k}] must hold no more problems than the {counts[k]:.0f} screened there, got {number.sum():.0f}")
        once[k] -= number.sum()
        both = first[k] * bin_probabilities(logit, fresh, inside)
        likelihoods.append(both)
        observed.append(number)
        if number.sum() > 0:
            second.append((number, first[k], both))

    def pearson(mass: FloatArray) -> float:
        total = _chi_squared(counts, counts.sum() * (first @ mass))
        return total + sum(_chi_squared(number, number.sum() * (both @ mass) / (given @ mass)) for number, given, both in second)

    freedom = rollouts - 2 + sum(number.size - 1 for number, _, _ in second)
    return law_by_terms(logit, np.concatenate(likelihoods), np.concatenate([once, *observed]), rollouts, pearson, freedom)


def _counts(name: str, values: ArrayLike, size: int) -> FloatArray:
    counts = check_array(name, values, ndim=1)
    if counts.size != size or (counts < 0).any() or (counts != np.floor(counts)).any():
        raise ValueError(f"{name} must be {size} integers >= 0, got {counts.tolist()}")
    return counts


def _chi_squared(observed: FloatArray, expected: FloatArray) -> float:
    floor = np.maximum(expected, np.finfo(float).tiny)
    return float(np.sum((observed - floor) ** 2 / floor))


def mixed_law(laws: Sequence[PassRateLaw], shares: ArrayLike) -> PassRateLaw:
    """The law of a population made of groups, each with its own law: their mixture, chi-squared and degrees of freedom added up.

    laws: of the same nodes; shares: (groups,) how many problems each stands for. Of a single group, its own law. Raises ValueError for laws of
    other nodes, and for shares that are negative or all zero.
    """
    weights = check_array("shares", shares, ndim=1)
    if len(laws) != weights.size or (weights < 0).any() or not weights.sum() > 0:
        raise ValueError(f"shares must be {len(laws)} numbers >= 0, not all zero, got {weights.tolist()}")
    if any(law.logit.shape != laws[0].logit.shape or (law.logit != laws[0].logit).any() for law in laws):
        raise ValueError("laws must have the same nodes, got others; fit all of them with the same numbers of rollouts")
    if len(laws) == 1:
        return laws[0]
    chi, freedom = sum(law.chi_squared for law in laws), sum(law.degrees_of_freedom for law in laws)
    beta_chi, beta_freedom = sum(law.beta_chi_squared for law in laws), sum(law.beta_degrees_of_freedom for law in laws)
    nan = float("nan")
    return replace(
        laws[0], kind="mixture", alpha=nan, beta=nan, tilt=(),
        chi_squared=chi, degrees_of_freedom=freedom, chi_squared_p=float(special.chdtrc(freedom, chi)) if freedom > 0 else nan,
        beta_chi_squared=beta_chi, beta_degrees_of_freedom=beta_freedom,
        beta_chi_squared_p=float(special.chdtrc(beta_freedom, beta_chi)) if beta_freedom > 0 else nan,
        mass=np.average([law.mass for law in laws], axis=0, weights=weights),
    )  # fmt: skip


def outcome_posterior(law: PassRateLaw, passes: ArrayLike, rollouts: ArrayLike) -> FloatArray:
    """Law of p over the nodes given each outcome, (n, J), rows summing to 1: the law times p^passes (1-p)^(rollouts - passes).

    passes, rollouts: (n,) of all rollouts of a problem together, K or K + F. Raises ValueError unless 0 <= passes <= rollouts.
    """
    passed, total = check_array("passes", passes, ndim=1), check_array("rollouts", rollouts, ndim=1)
    if passed.shape != total.shape or (passed < 0).any() or (passed > total).any():
        raise ValueError(f"passes must be within 0..rollouts, one for each, got {passed.tolist()} of {total.tolist()}")
    with np.errstate(divide="ignore"):
        logs = np.log(law.mass) + np.outer(passed, law.log_pass_rate) + np.outer(total - passed, law.log_failure_rate)
    return np.asarray(special.softmax(logs, axis=1))


def share_between(law: PassRateLaw, posterior: ArrayLike, low: float, high: float) -> FloatArray:
    """Probability that low <= p < high under each row of `posterior` (n, J), to about a percent: a node's mass is spread evenly to its neighbours'
    midpoints on the logit scale. 0 <= low < high <= 1."""
    rows = check_array("posterior", posterior, ndim=2)
    step = float(law.logit[1] - law.logit[0])
    edges = np.append(law.logit - step / 2, law.logit[-1] + step / 2)
    below = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(rows, axis=1)], axis=1)
    at = np.clip(special.logit([low, high]), edges[0], edges[-1])
    return np.array([np.diff(np.interp(at, edges, row))[0] for row in below])
