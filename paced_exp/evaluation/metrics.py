"""pass@k, the probability that at least one of k samples is correct, from c of n correct samples of each problem."""

import numpy as np
from scipy.special import gammaln


def pass_at_k(correct: np.ndarray, samples: int, k: int) -> np.ndarray:
    """1 - C(n-c, k) / C(n, k) for each problem, an unbiased estimate of pass@k (Chen et al. 2021, eq. 1).

    correct (P,): c of n = `samples` for each problem; 1 <= k <= n. Returns (P,) float64.

    >>> pass_at_k(np.array([0, 1, 2, 4]), 4, 2).round(6).tolist()
    [0.0, 0.5, 0.833333, 1.0]
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k must be in 1..{samples}, got {k}")
    wrong = samples - np.asarray(correct)
    if wrong.size and (wrong.min() < 0 or wrong.max() > samples):
        raise ValueError(f"correct must be in 0..{samples}, got {correct!r}")
    # C(wrong, k) / C(samples, k) as a ratio of gamma functions; zero where fewer than k samples are wrong.
    possible = wrong >= k
    w = np.where(possible, wrong, samples)
    log_ratio = gammaln(w + 1) - gammaln(w - k + 1) - gammaln(samples + 1) + gammaln(samples - k + 1)
    # Without a correct sample it is exactly 0, where the gamma functions would leave a rounding error.
    return np.where(wrong == samples, 0.0, np.where(possible, -np.expm1(log_ratio), 1.0))
