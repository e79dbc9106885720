"""The law of pass rates behind counts of passes, and what pass rates a bin of counts mixes (ours).

A problem of pass rate p has k ~ Binomial(K, p) passes of K rollouts, so the counts of all problems drawn show the law of p. A bin is a set
of counts, and the pass rates of its problems have the density

    law(p | B) ~ law(p) sum_{k in B} C(K, k) p^k (1-p)^(K-k).

The law is a Beta one times the exponential of a polynomial in p, p^(alpha-1) (1-p)^(beta-1) exp(sum_j tilt_j T_j(2p - 1)), with as many terms
as the counts ask for. It is smooth: a law with atoms could put "never solved" at p = 0 itself, which K rollouts cannot tell from p = 1/1000,
and the exponent at p -> 0 would then be whatever the atom makes of it. Below about 1/K the law is an extrapolation all the same.

Pass rates are summed on the logit scale over [e^-40, 1 - e^-40], with log p and log(1 - p) exact at both ends.

Axes: m cells (bins), J nodes of the pass rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from paced_theory._checks import FloatArray, check_array, check_int

_REACH = 40.0  # largest |logit p|
_MOST_TILTS = 4
_REJECTED = 0.05
_TINY = np.finfo(float).tiny

Cells = Sequence[Sequence[int]]


@dataclass(frozen=True)
class PassRateLaw:
    """A law of pass rates found in counts of passes: p^(alpha-1) (1-p)^(beta-1) exp(sum_j tilt_j T_j(2p - 1)), T_j Chebyshev's polynomials.

    kind: "beta" (no tilt), "tilted beta", or "mixture" of several such laws (`paced_theory.screened_law.mixed_law`), whose alpha and beta are
    nan. chi_squared, degrees_of_freedom, chi_squared_p: Pearson's test of the law against the counts;
    chi_squared_p is nan without degrees of freedom. beta_chi_squared, beta_degrees_of_freedom, beta_chi_squared_p: the same for the best
    Beta law, with which the search begins. logit, mass: (J,) nodes of log p/(1-p) and their probabilities, which sum to 1.
    """

    kind: str
    rollouts: int
    alpha: float
    beta: float
    tilt: tuple[float, ...]
    chi_squared: float
    degrees_of_freedom: int
    chi_squared_p: float
    beta_chi_squared: float
    beta_degrees_of_freedom: int
    beta_chi_squared_p: float
    logit: FloatArray
    mass: FloatArray

    @property
    def pass_rate(self) -> FloatArray:
        """The nodes as pass rates, (J,)."""
        return np.asarray(special.expit(self.logit))

    @property
    def log_pass_rate(self) -> FloatArray:
        """log p at the nodes, exact near both ends, (J,)."""
        return np.asarray(special.log_expit(self.logit))

    @property
    def log_failure_rate(self) -> FloatArray:
        """log(1 - p) at the nodes, exact near both ends, (J,)."""
        return np.asarray(special.log_expit(-self.logit))

    def counts_law(self, passes: Cells | None = None) -> FloatArray:
        """Probability of each cell of counts, (m,); of k = 0..K without `passes`."""
        return bin_probabilities(self.logit, self.rollouts, passes) @ self.mass

    def posterior(self, passes: Cells | None = None) -> FloatArray:
        """Law of p over the nodes within each cell of counts, (m, J): rows sum to 1. ValueError for a cell that the law leaves empty."""
        joint = bin_probabilities(self.logit, self.rollouts, passes) * self.mass
        total = joint.sum(axis=1, keepdims=True)
        if (total == 0).any():
            raise ValueError(
                f"passes must be counts that the law makes possible, got cell {int(total.argmin())} of probability 0 in doubles"
            )
        return np.asarray(joint / total)

    def posterior_mean(self, passes: Cells | None = None) -> FloatArray:
        """Mean pass rate of the problems in each cell, (m,)."""
        return self.posterior(passes) @ self.pass_rate


def fit_pass_rate_law(offered: ArrayLike, rollouts: int, passes: Cells | None = None) -> PassRateLaw:
    """The law of pass rates behind the counts of all problems drawn, by maximum likelihood.

    offered: (m,) how many problems fell into each cell, m >= 3; passes: the counts k of each cell, disjoint and covering 0..K = `rollouts`;
    without it m = K + 1 and cell k is {k}. A Beta law is tried first. While Pearson's chi-squared rejects at 5 % and degrees of freedom
    remain, its log density gains a polynomial term in p (at most 4); the power laws at the ends stay. With tens of thousands of problems a
    rejected law is the rule, so the fields say what was rejected and by how much.
    Raises ValueError for counts that are not integers >= 0 and where fewer than two cells hold problems.
    """
    cells = cells_of(passes, check_int("rollouts", rollouts, 2))
    counts = check_array("offered", offered, ndim=1, min_size=3)
    if counts.size != len(cells) or (counts < 0).any() or (counts != np.floor(counts)).any():
        raise ValueError(f"offered must be {len(cells)} integers >= 0, one for each cell of counts, got {counts.tolist()}")
    if (counts > 0).sum() < 2:
        raise ValueError("offered must have problems in at least two cells to show a law of pass rates, got all in one; draw more problems")
    logit = law_nodes(rollouts)
    likelihood = bin_probabilities(logit, rollouts, cells)

    def pearson(mass: FloatArray) -> float:
        expected = np.maximum(counts.sum() * (likelihood @ mass), _TINY)
        return float(np.sum((counts - expected) ** 2 / expected))

    return law_by_terms(logit, likelihood, counts, rollouts, pearson, counts.size - 3)


def law_by_terms(
    logit: FloatArray, likelihood: FloatArray, counts: FloatArray, rollouts: int, pearson: Callable[[FloatArray], float], freedom: int
) -> PassRateLaw:
    """The law of largest likelihood, with as few polynomial terms as the test asks for (see `fit_pass_rate_law`).

    likelihood: (m, J) probability of each cell of counts at the nodes; counts: (m,) problems there. pearson: chi-squared of masses (J,);
    freedom: its degrees of freedom for a Beta law, one fewer with each term.
    """
    start = np.log([0.5, 0.5])
    law, beta_law = None, None
    for tilts in range(max(0, min(_MOST_TILTS, freedom - 1)) + 1):
        parameters = _maximum_likelihood(logit, likelihood, counts, start, tilts)
        (alpha, beta), tilt = np.exp(parameters[:2]), parameters[2:]
        mass = tilted_beta(logit, alpha, beta, tilt)
        chi_squared = pearson(mass)
        left = freedom - tilts
        p_value = float(special.chdtrc(left, chi_squared)) if left > 0 else float("nan")
        if beta_law is None:
            beta_law = (chi_squared, left, p_value)
        law = PassRateLaw(
            kind="tilted beta" if tilts else "beta", rollouts=rollouts, alpha=float(alpha), beta=float(beta),
            tilt=tuple(float(t) for t in tilt), chi_squared=chi_squared,
            degrees_of_freedom=left, chi_squared_p=p_value, beta_chi_squared=beta_law[0], beta_degrees_of_freedom=beta_law[1],
            beta_chi_squared_p=beta_law[2], logit=logit, mass=mass,
        )  # fmt: skip
        if not p_value < _REJECTED:
            break
        start = np.append(parameters, 0.0)
    assert law is not None
    return law


def cells_of(passes: Cells | None, rollouts: int, *, cover: bool = True) -> list[list[int]]:
    """The cells as lists of counts, each count of 0..K in one cell at most, and in exactly one if they must `cover`."""
    if passes is None:
        return [[k] for k in range(rollouts + 1)]
    read = [check_array("passes", cell, ndim=1, min_size=0) for cell in passes]
    flat = np.concatenate([np.empty(0), *read])
    counts = np.unique(flat)
    whole = bool(np.isin(flat, np.arange(rollouts + 1)).all())
    if not whole or counts.size != flat.size or not all(cell.size for cell in read) or (cover and counts.size != rollouts + 1):
        asked = "which together hold each" if cover else "each at most once"
        shown = [cell.tolist() for cell in read]
        raise ValueError(f"passes must be non-empty sets of counts 0..{rollouts}, {asked}, got {shown}")
    return [[int(k) for k in cell] for cell in read]


def law_nodes(rollouts: int) -> FloatArray:
    """Equidistant logits, at most 0.2 and at most about the narrowest posterior's standard deviation apart.

    Sums over them converge geometrically in the spacing, for what they sum is analytic in the logit and vanishes at both ends.
    """
    spacing = min(0.2, 1.6 / np.sqrt(rollouts))
    half = int(np.ceil(_REACH / spacing))
    return np.linspace(-_REACH, _REACH, 2 * half + 1)


def bin_probabilities(logit: FloatArray, rollouts: int, passes: Cells | None = None) -> FloatArray:
    """Probability of each cell of counts given p at the logits, (m, J); of k = 0..K without `passes`."""
    cells = cells_of(passes, rollouts, cover=False)
    k = np.arange(rollouts + 1)[:, None]
    log_choose = -np.log(rollouts + 1) - special.betaln(k + 1, rollouts - k + 1)
    each = np.exp(log_choose + k * special.log_expit(logit) + (rollouts - k) * special.log_expit(-logit))
    return np.stack([each[cell].sum(axis=0) for cell in cells])


def tilted_beta(logit: FloatArray, alpha: float, beta: float, tilt: ArrayLike = ()) -> FloatArray:
    """Masses of the law with these parameters at equidistant logits, (J,), summing to 1.

    The density in the logit is that in p times p(1-p).
    """
    terms = np.asarray(tilt, dtype=float)
    return np.asarray(special.softmax(_features(logit, terms.size) @ np.concatenate([[alpha, beta], terms])))


def _features(logit: FloatArray, tilts: int) -> FloatArray:
    """(J, 2 + tilts): log p, log(1-p), T_1(2p - 1), ...: what alpha, beta and the tilts multiply."""
    chebyshev = np.polynomial.chebyshev.chebvander(np.tanh(logit / 2), max(tilts, 1))[:, 1 : tilts + 1]
    return np.column_stack([special.log_expit(logit), special.log_expit(-logit), chebyshev])


def _maximum_likelihood(logit: FloatArray, likelihood: FloatArray, counts: FloatArray, start: FloatArray, tilts: int) -> FloatArray:
    """(log alpha, log beta, tilts) of the largest likelihood; the law is an exponential family in the features."""
    features = _features(logit, tilts)
    share = counts / counts.sum()

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        alpha, beta = np.exp(parameters[:2])
        mass = tilted_beta(logit, alpha, beta, parameters[2:])
        cell = np.maximum(likelihood @ mass, _TINY)
        within = (likelihood * mass) @ features / cell[:, None]
        slope = share @ (within - mass @ features)
        slope[:2] *= np.exp(parameters[:2])
        return -float(share @ np.log(cell)), -slope

    bounds = [(np.log(1e-2), np.log(1e3))] * 2 + [(-50.0, 50.0)] * tilts
    found = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 2000}
    )
    return np.asarray(found.x)
