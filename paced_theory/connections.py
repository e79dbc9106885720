"""The weights implied by other methods beside PACED's: what each assumes about SNR^2, and what it keeps if SNR^2 ~ p(1-p).

p(1-p) is the variance of a pass/fail reward. Policy gradients with a mean baseline carry it as a weight (Dr. GRPO); dividing the advantage
by the reward's standard deviation leaves its square root (GRPO); difficulty filters are indicators. Source: ours, theory section 9.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from paced_theory._checks import check_int, check_nonnegative, check_prior
from paced_theory.kernel import Kernel
from paced_theory.kernels import BernoulliEntropy, BetaKernel, GaussianBump, HardFilter, PosteriorKernel, SqrtVariance, Uniform


class Connection(NamedTuple):
    """One method: its weight w(p), the SNR^2(p) for which that weight is optimal (up to scale), and what it keeps.

    `efficiency` is against SNR^2 ~ p(1-p) exactly, `worst_case` against p(1-p) e^eps with the worst |eps| <= delta.
    """

    method: str
    kernel: Kernel
    implied_snr_squared: str
    efficiency: float
    worst_case: float


def worst_case_against(
    kernel: Kernel, optimum: Kernel, delta: float, prior: tuple[float, float] = (1.0, 1.0), *, points: int = 20_000
) -> float:
    """Least efficiency of `kernel` when `optimum` times e^eps is optimal, over all eps(p) with |eps| <= delta.

    For a fixed E[w w*] the adversary maximises E[w*^2] by raising w* to its upper bound exactly where optimum/w exceeds a threshold, so a
    scan over thresholds is exact up to the grid of `points` equally likely pass rates (about 1e-5). ValueError for delta < 0, fewer than
    2 points, or a kernel that is 0 on the whole grid.
    """
    delta, (a, b) = check_nonnegative("delta", delta), check_prior(prior)
    n = check_int("points", points, 2)
    p = betaincinv(a, b, (np.arange(n) + 0.5) / n)
    used, best = kernel(p), optimum(p)
    for name, law, values in (("kernel", kernel, used), ("optimum", optimum, best)):
        if values @ values == 0:
            raise ValueError(f"{name} must be positive on a set of positive probability, got {law.name} under the prior {prior}")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(used > 0, best / used, np.inf)
    order = np.argsort(-ratio, kind="stable")
    used, best = used[order], best[order]
    low, high = np.exp(-2.0 * delta), 1.0  # in units of e^delta, which cancels and would overflow
    cross = low * (used @ best) + (high - low) * np.concatenate([[0.0], np.cumsum(used * best)])
    second = low**2 * (best @ best) + (high**2 - low**2) * np.concatenate([[0.0], np.cumsum(best**2)])
    least = np.min(np.divide(cross**2, second, out=np.full_like(second, np.inf), where=second > 0)) / (used @ used)
    return min(1.0, float(least))


def connections_table(delta: float = 0.3, prior: tuple[float, float] = (1.0, 1.0)) -> list[Connection]:
    """All methods of the comparison in one table, PACED's kernel first, for pass rates ~ Beta(*prior).

    >>> [(row.method, round(row.efficiency, 4), round(row.worst_case, 4)) for row in connections_table()][:2]
    [('PACED, Dr. GRPO', 1.0, 0.9151), ('GRPO', 0.9759, 0.8552)]
    """
    best = BetaKernel()
    methods: list[tuple[str, Kernel, str]] = [
        ("PACED, Dr. GRPO", best, "p(1-p)"),
        ("GRPO", SqrtVariance(), "sqrt(p(1-p))"),
        ("entropy", BernoulliEntropy(), "H(p)"),
        ("Gaussian bump", GaussianBump(), "exp(-(p-1/2)^2 / (2 sigma^2))"),
        ("posterior, K = 8, on average", PosteriorKernel(8), "a polynomial of degree 8, positive at 0 and 1"),
        ("hard filter", HardFilter(), "constant on [0.2, 0.8], 0 elsewhere"),
        ("no weighting", Uniform(), "constant"),
    ]
    return [
        Connection(method, kernel, implied, kernel.efficiency(best, prior), worst_case_against(kernel, best, delta, prior))
        for method, kernel, implied in methods
    ]
