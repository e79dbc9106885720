"""Estimating the gradient signal-to-noise ratio of a pass-rate bin from n per-problem gradients, honestly.

    mu = E[g],   s^2 = ||mu||^2,   n2 = tr Cov(g),   SNR^2 = s^2 / n2.

The naive ||mean g||^2 is biased up by n2/n, so the naive SNR has a floor of about 1/sqrt(n) that draws a bell over unequal bins by
itself. The unbiased estimates (theory notes, "Estimating SNR"; ours) are

    s^2 = (||sum g||^2 - sum ||g||^2) / (n (n - 1)),      n2 = (sum ||g||^2 - ||sum g||^2 / n) / (n - 1).

Intervals are delete-one jackknife ones over problems, made on the scale of the naive SNR ||mean g|| / sqrt(n2) and carried to SNR^2 by
SNR^2 = naive^2 - 1/n. On that scale the spread hardly depends on the signal (s^2 itself is a degenerate U-statistic without signal, and
its spread grows as s with it), so the same interval holds for both: at nominal 95 % it covered 0.94 to 0.99 in simulations with n from
10 to 300, and 0.91 to 0.93 at worst (norms of log-normal spread 0.7; a weak signal along the leading direction of noise of effective
rank 16), where a bootstrap and a jackknife of SNR^2 itself covered 0.83 and 0.89, missing on one side. `bootstrap` has a bootstrap
on the scale used here. Independent bins are compared by MOVER (Zou and Donner 2008).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from paced_theory._checks import check_array, check_fraction, check_int, check_nonnegative, check_positive, check_real

Array = NDArray[np.float64]

#: Equal gradients leave rounding errors of about 1e-16 of their mean squared norm in tr Cov, of either sign.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class SNREstimate:
    """An estimate of SNR from n gradients.

    signal_squared: unbiased ||mu||^2, may be negative. noise: unbiased tr Cov. snr_squared: their ratio, with a confidence interval.
    snr, snr_low, snr_high: square roots, a negative value clipped at 0 (`clipped` says so of the estimate).
    naive_snr: ||mean g|| / sqrt(n2), what the paper plots. floor: 1/sqrt(n), what the naive value shows without any signal.
    """

    n: int
    signal_squared: float
    noise: float
    snr_squared: float
    snr_squared_low: float
    snr_squared_high: float
    snr: float
    snr_low: float
    snr_high: float
    naive_snr: float
    floor: float
    clipped: bool


def signal_and_noise(n: int, sum_norm_squared: float, norms_squared_sum: float) -> tuple[float, float]:
    """Unbiased ||mu||^2 and tr Cov from ||sum g||^2 and sum ||g||^2.

    The noise is negative where ||sum g||^2 exceeds n sum ||g||^2: no n vectors have such sums, but estimates of them from sketches can.
    Raises ValueError for n < 2 (signal and noise cannot be told apart), negative or non-finite sums.
    """
    check_int("n", n, 2)
    check_nonnegative("sum_norm_squared", sum_norm_squared)
    check_nonnegative("norms_squared_sum", norms_squared_sum)
    signal = (sum_norm_squared - norms_squared_sum) / (n * (n - 1))
    noise = (norms_squared_sum - sum_norm_squared / n) / (n - 1)
    return signal, noise


def estimate_snr(gradients: ArrayLike, *, confidence: float = 0.95) -> SNREstimate:
    """Unbiased SNR of an (n, d) array of gradients with a jackknife interval over its rows.

    Raises ValueError for an array that is not (n >= 3, d >= 1), for non-finite entries, and where `estimate_snr_from_sums` does.
    """
    g = checked_gradients(gradients)
    return estimate_snr_from_sums(np.einsum("ij,ij->i", g, g), g @ g.sum(axis=0), confidence=confidence)


def checked_gradients(gradients: ArrayLike) -> Array:
    """An (n, d) array of gradients as float64. ValueError unless n >= 3, d >= 1, finite, with squares within the range of doubles."""
    g = check_array("gradients", gradients)
    if g.ndim != 2 or g.shape[0] < 3:
        raise ValueError(f"gradients must be an (n, d) array with n >= 3 and d >= 1, got shape {g.shape}")
    largest = float(np.abs(g).max())
    if largest != 0 and not 1e-140 < largest < 1e140:
        raise ValueError(f"gradients must have a largest entry between 1e-140 and 1e140, got {largest:g}; rescale them, SNR stays the same")
    return g


def estimate_snr_from_gram(gram: ArrayLike, *, sum_norm_squared: float | None = None, confidence: float = 0.95) -> SNREstimate:
    """Unbiased SNR from the (n, n) Gram matrix of inner products of gradients, with a jackknife interval over problems.

    The diagonal must hold exact squared norms; off-diagonal entries may come from a sketch. `sum_norm_squared` is the exact
    ||sum g||^2 where it is known apart from the sketch: then point estimates are exact and only the interval's width is sketched.
    Raises ValueError for a matrix that is not square, symmetric and finite, and where `estimate_snr_from_sums` does.
    """
    matrix = _checked_gram(gram)
    return estimate_snr_from_sums(np.diag(matrix), matrix.sum(axis=1), sum_norm_squared=sum_norm_squared, confidence=confidence)


def estimate_snr_from_sums(
    norms_squared: ArrayLike, projections: ArrayLike, *, sum_norm_squared: float | None = None, confidence: float = 0.95
) -> SNREstimate:
    """Unbiased SNR with a jackknife interval (see the module's docstring) from ||g_i||^2 and the projections g_i . (sum g), both (n,).

    ||sum g||^2 is the sum of the projections unless `sum_norm_squared` gives it; the jackknife uses Student's t of n - 1 degrees.
    Raises ValueError for arrays of different length, fewer than three gradients, non-finite values, or gradients that are all equal, also
    when only one of them differs (left out, it leaves no noise).
    """
    norms, projected = check_array("norms_squared", norms_squared), check_array("projections", projections)
    if norms.ndim != 1 or norms.shape != projected.shape or len(norms) < 3:
        raise ValueError(f"norms_squared and projections must be of one length >= 3, got shapes {norms.shape} and {projected.shape}")
    if norms.min() < 0:
        raise ValueError(f"norms_squared must be >= 0, got {norms.min():g} at index [{norms.argmin()}]")
    n, trace = len(norms), float(norms.sum())
    # A sketch or rounding can bring the sum just below zero.
    total = max(0.0, float(projected.sum())) if sum_norm_squared is None else sum_norm_squared
    signal, noise = signal_and_noise(n, total, trace)
    left_total = np.maximum(total - 2 * projected + norms, 0.0)
    left_trace = trace - norms
    left_noise = (left_trace - left_total / (n - 1)) / (n - 2)
    _check_noise(min(noise, float(left_noise.min())), trace / n)
    left_naive = np.sqrt(left_total / left_noise) / (n - 1)
    spread = math.sqrt((n - 1) / n * float(((left_naive - left_naive.mean()) ** 2).sum()))
    half = float(stdtrit(n - 1, 0.5 + check_fraction("confidence", confidence) / 2)) * spread
    naive = math.sqrt(total / noise) / n
    low, high = max(0.0, naive - half) ** 2 - 1 / n, (naive + half) ** 2 - 1 / n
    return SNREstimate(
        n=n,
        signal_squared=signal,
        noise=noise,
        snr_squared=signal / noise,
        snr_squared_low=low,
        snr_squared_high=high,
        snr=_root(signal / noise),
        snr_low=_root(low),
        snr_high=_root(high),
        naive_snr=naive,
        floor=1 / math.sqrt(n),
        clipped=signal < 0,
    )


def combine(estimates: Sequence[SNREstimate], weights: Sequence[float]) -> tuple[float, float, float]:
    """sum_i w_i SNR^2_i over independent bins with an interval of the estimates' own confidence: (value, low, high).

    MOVER (Zou and Donner 2008): value - low is the root of the summed squares of each term's distance to its unfavourable limit, which
    keeps the limits' asymmetry. Raises ValueError for no estimates or another number of weights.
    """
    if not estimates or len(estimates) != len(weights):
        raise ValueError(f"estimates and weights must be of one length >= 1, got {len(estimates)} and {len(weights)}")
    check_array("weights", weights, ndim=1)
    value, below, above = 0.0, 0.0, 0.0
    for estimate, weight in zip(estimates, weights, strict=True):
        down, up = estimate.snr_squared - estimate.snr_squared_low, estimate.snr_squared_high - estimate.snr_squared
        value += weight * estimate.snr_squared
        below += (weight * (down if weight > 0 else up)) ** 2
        above += (weight * (up if weight > 0 else down)) ** 2
    return value, value - math.sqrt(below), value + math.sqrt(above)


def gram_from_sketch(sketches: ArrayLike, norms_squared: ArrayLike) -> Array:
    """Gram matrix from (n, m) sketches whose inner products estimate those of the gradients, its diagonal set to the exact norms.

    Raises ValueError for other shapes and for numbers that are not finite.
    """
    vectors, norms = np.asarray(sketches, dtype=np.float64), np.asarray(norms_squared, dtype=np.float64)
    if vectors.ndim != 2 or norms.shape != (len(vectors),):
        raise ValueError(f"sketches must be (n, m) and norms_squared (n,), got shapes {vectors.shape} and {norms.shape}")
    if not (np.isfinite(vectors).all() and np.isfinite(norms).all()):
        raise ValueError("sketches and norms_squared must be finite, got NaN or infinity")
    gram: Array = vectors @ vectors.T
    np.fill_diagonal(gram, norms)
    return gram


def permutation_null(vectors: ArrayLike, sizes: ArrayLike, *, replicates: int, rng: np.random.Generator) -> Array:
    """SNR^2 of each bin when pass-rate labels are shuffled over all problems, shape (replicates, bins).

    vectors: (N, m) gradients or sketches of all bins, in any order; sizes: problems a bin, summing to N. This is what every bin would show
    if the gradient did not depend on the pass rate at all. inf where a bin's vectors do not differ.
    """
    counts = np.asarray(sizes)
    with np.errstate(over="ignore"):  # too large for single precision: refused below
        pool = np.asarray(vectors).astype(np.float32, copy=False)
    if pool.ndim != 2 or not np.isfinite(pool).all():
        raise ValueError(f"vectors must be an (N, m) array of finite numbers in single precision, got {pool.shape}, NaN or infinity")
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or counts.size == 0 or counts.sum() != len(pool) or (counts < 2).any():
        raise ValueError(f"sizes must be integers >= 2 that sum to the number of vectors, got {counts.tolist()} for {len(pool)}")
    norms = (pool.astype(np.float64) ** 2).sum(axis=1)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    null = np.empty((check_int("replicates", replicates, 1), len(counts)))
    for replicate in range(replicates):
        order = rng.permutation(len(pool))
        totals = np.add.reduceat(pool[order], starts, axis=0).astype(np.float64)
        null[replicate] = _ratios((totals**2).sum(axis=1), np.add.reduceat(norms[order], starts), counts)
    return null


def sign_flip_null(gram: ArrayLike, *, replicates: int, rng: np.random.Generator) -> Array:
    """SNR^2 of a bin when every gradient's sign is drawn at random, shape (replicates,): what no common direction would show.

    inf for signs under which the gradients do not differ, as happens for a few gradients of one direction.
    """
    matrix, replicates = _checked_gram(gram), check_int("replicates", replicates, 1)
    signs = rng.choice([-1.0, 1.0], size=(replicates, len(matrix)))
    totals = np.einsum("ri,ri->r", signs @ matrix, signs)
    return _ratios(totals, np.full(replicates, np.trace(matrix)), np.full(replicates, len(matrix)))


def problems_needed(snr_squared: float, *, effective_rank: float, level: float = 0.025, power: float = 0.8) -> int:
    """How many problems a bin needs to tell SNR^2 from zero (one-sided test at `level`, with probability `power`).

    Without signal the standard error is sqrt(2 / effective_rank) / n, with effective_rank = (tr Cov)^2 / tr(Cov^2) >= 1; with it the
    first-order term 2 sqrt(SNR^2 / (effective_rank n)), that of isotropic noise of this rank, adds in squares. Ours.
    Raises ValueError for snr_squared <= 0, effective_rank < 1, both also if infinite, or level and power outside (0, 1).
    """
    check_positive("snr_squared", snr_squared)
    if check_real("effective_rank", effective_rank) < 1:
        raise ValueError(f"effective_rank must be at least 1, got {effective_rank}")
    z_level, z_power = -float(ndtri(check_fraction("level", level))), float(ndtri(check_fraction("power", power)))

    def enough(n: int) -> bool:
        null = math.sqrt(2 / effective_rank) / n
        alternative = math.sqrt(null**2 + 4 * snr_squared / (effective_rank * n))
        return snr_squared >= z_level * null + z_power * alternative

    high = 2
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def effective_rank(gram: ArrayLike) -> float:
    """(tr Cov)^2 / tr(Cov^2) of the gradients behind a Gram matrix: how many directions the noise spreads over, at least 1.

    tr(Cov^2) by the mean of squared centred inner products of distinct pairs. Centring adds (tr Cov)^2 / n^2 to it, so the estimate stays
    below n^2 whatever the rank: read it as a lower bound where it comes near that.
    """
    matrix = _checked_gram(gram)
    n = len(matrix)
    if n < 3:
        raise ValueError(f"an effective rank needs at least 3 gradients, got {n}")
    centred = matrix - matrix.mean(axis=0) - matrix.mean(axis=1)[:, None] + matrix.mean()
    trace = float(np.trace(centred)) / (n - 1)
    _check_noise(trace, float(np.trace(matrix)) / n)
    off = centred - np.diag(np.diag(centred))
    return max(1.0, trace**2 / (float((off**2).sum()) / (n * (n - 1))))


def _checked_gram(gram: ArrayLike) -> Array:
    matrix = np.asarray(gram)
    if matrix.dtype.kind not in "fiu" or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(
            f"gram must be a square matrix of real numbers, of at least two gradients, got {matrix.dtype} in shape {matrix.shape}"
        )
    matrix = matrix.astype(np.float64, copy=False)
    if not np.isfinite(matrix).all():
        raise ValueError("gram must be finite, got NaN or infinity; drop or mend the problems they come from")
    if not np.allclose(matrix, matrix.T, rtol=1e-9, atol=1e-9 * float(np.abs(matrix).max())):
        raise ValueError("gram must be symmetric: entry (i, j) is the inner product of gradients i and j")
    return matrix


def _check_noise(noise: float, mean_norm_squared: float) -> None:
    if not noise > _ROUNDING * mean_norm_squared:
        raise ValueError(f"the gradients do not differ beyond rounding (tr Cov = {noise:g}), so SNR is undefined; give distinct problems")


def _ratios(sum_norms_squared: ArrayLike, norms_squared_sums: ArrayLike, n: ArrayLike) -> Array:
    """Unbiased SNR^2 of many sets of n gradients at once; inf where they do not differ."""
    totals, traces, counts = np.asarray(sum_norms_squared), np.asarray(norms_squared_sums), np.asarray(n, dtype=np.float64)
    signal = (totals - traces) / (counts * (counts - 1))
    noise = (traces - totals / counts) / (counts - 1)
    ratios: Array = np.divide(signal, noise, out=np.full_like(noise, np.inf), where=noise > _ROUNDING * traces / counts)
    return ratios


def _root(value: float) -> float:
    return math.sqrt(max(0.0, value))
