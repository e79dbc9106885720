"""Estimating the gradient signal-to-noise ratio of a pass-rate bin from n per-problem gradients, honestly.

    mu = E[g],   s^2 = ||mu||^2,   n2 = tr Cov(g),   SNR^2 = s^2 / n2.

The naive ||mean g||^2 is biased up by n2/n, so the naive SNR has a floor of about 1/sqrt(n) that draws a bell over unequal bins by
itself. The unbiased estimates (theory notes, "Estimating SNR"; ours) are

    s^2 = (||sum g||^2 - sum ||g||^2) / (n (n - 1)),      n2 = (sum ||g||^2 - ||sum g||^2 / n) / (n - 1).

s^2 is a U-statistic of order two: with no signal it is degenerate, and then the textbook bootstrap overstates its spread by sqrt(3) and
centres it wrongly (a problem drawn twice correlates with itself). The bootstrap here resamples problems in the two parts of the Hoeffding
decomposition, with the first scaled so that the total variance is the jackknife's: right with signal, at most sqrt(2) too wide without.
Scaling it to its unbiased variance instead would be sharper without signal but covered only 86 % with a weak one (measured).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]


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

    Raises ValueError for n < 2, negative or non-finite sums.
    """
    if n < 2:
        raise ValueError(f"n must be at least 2 to tell signal from noise, got {n}")
    for name, value in (("sum_norm_squared", sum_norm_squared), ("norms_squared_sum", norms_squared_sum)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and at least 0, got {value}")
    signal = (sum_norm_squared - norms_squared_sum) / (n * (n - 1))
    noise = (norms_squared_sum - sum_norm_squared / n) / (n - 1)
    return signal, noise


def estimate_snr(gradients: ArrayLike, *, confidence: float = 0.95, replicates: int = 2000, seed: int = 0) -> SNREstimate:
    """Unbiased SNR of an (n, d) array of gradients with a bootstrap interval over its rows.

    Raises ValueError for an array that is not (n >= 2, d >= 1), for non-finite entries, and when all gradients are equal (no noise).
    """
    g = np.asarray(gradients, dtype=np.float64)
    if g.ndim != 2 or g.shape[0] < 2 or g.shape[1] < 1:
        raise ValueError(f"gradients must be an (n, d) array with n >= 2 and d >= 1, got shape {g.shape}")
    if not np.isfinite(g).all():
        raise ValueError("gradients must be finite, got NaN or infinity; drop or mend the problems they come from")
    gram = g @ g.T
    return estimate_snr_from_gram(gram, confidence=confidence, replicates=replicates, seed=seed)


def estimate_snr_from_gram(
    gram: ArrayLike,
    *,
    sum_norm_squared: float | None = None,
    confidence: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    deviations: ArrayLike | None = None,
) -> SNREstimate:
    """Unbiased SNR from the (n, n) Gram matrix of inner products of gradients, with a bootstrap interval over problems.

    The diagonal must hold exact squared norms; off-diagonal entries may come from a sketch. `sum_norm_squared` is the exact
    ||sum g||^2 where it is known apart from the sketch: then point estimates are exact and only the interval's width is sketched.
    `deviations` are draws of `bootstrap_deviations` where the caller has them already; else `replicates` are drawn from `seed`.
    Raises ValueError for a matrix that is not square, symmetric and finite, or has no noise.
    """
    matrix = _checked_gram(gram)
    n = len(matrix)
    total = float(matrix.sum()) if sum_norm_squared is None else sum_norm_squared
    signal, noise = signal_and_noise(n, max(total, 0.0), float(np.trace(matrix)))
    _check_noise(noise)
    draws = bootstrap_deviations(matrix, replicates=replicates, rng=np.random.default_rng(seed)) if deviations is None else deviations
    tail = (1 - confidence) / 2
    # The basic bootstrap: the deviations are skewed to the right without signal, and the interval must be skewed to the left then.
    low_deviation, high_deviation = np.quantile(np.asarray(draws), [tail, 1 - tail])
    ratio = signal / noise
    return _make(n, signal, noise, ratio - high_deviation, ratio - low_deviation)


def estimate_snr_from_sums(norms_squared: ArrayLike, projections: ArrayLike, *, confidence: float = 0.95) -> SNREstimate:
    """Unbiased SNR with a delete-one jackknife interval from 2n numbers: ||g_i||^2 and the projections g_i . (sum g).

    ||sum g||^2 is the sum of the projections. Conservative without signal (see the module's docstring).
    Raises ValueError for arrays of different length, fewer than three gradients, non-finite values or no noise.
    """
    norms, projected = np.asarray(norms_squared, dtype=np.float64), np.asarray(projections, dtype=np.float64)
    if norms.ndim != 1 or norms.shape != projected.shape or len(norms) < 3:
        raise ValueError(f"norms_squared and projections must be of one length >= 3, got shapes {norms.shape} and {projected.shape}")
    if not (np.isfinite(norms).all() and np.isfinite(projected).all()):
        raise ValueError("norms_squared and projections must be finite, got NaN or infinity")
    n, total, trace = len(norms), float(projected.sum()), float(norms.sum())
    signal, noise = signal_and_noise(n, max(total, 0.0), trace)
    _check_noise(noise)
    left_total = total - 2 * projected + norms
    left_trace = trace - norms
    left_signal = (left_total - left_trace) / ((n - 1) * (n - 2))
    left_noise = (left_trace - left_total / (n - 1)) / (n - 2)
    left_ratio = left_signal / left_noise
    spread = math.sqrt((n - 1) / n * float(((left_ratio - left_ratio.mean()) ** 2).sum()))
    half = float(ndtri(0.5 + confidence / 2)) * spread
    ratio = signal / noise
    return _make(n, signal, noise, ratio - half, ratio + half)


def bootstrap_deviations(gram: ArrayLike, *, replicates: int, rng: np.random.Generator) -> Array:
    """Draws of (estimated SNR^2 - SNR^2) by resampling problems, shape (replicates,).

    With R the estimate, the linearised kernel is H_ij = (G_ij (1 + R) - R (G_ii + G_jj) / 2) / n2, a U-statistic kernel of mean zero.
    It splits into h_i + h_j and a degenerate rest D_ij; multinomial counts minus one, e, give
        deviation = (2/n) lambda sum e_i h_i + sum_{i != j} e_i e_j D_ij / (n (n - 1)).
    With zeta2 = mean D^2 and v = mean h^2, lambda^2 = 1 - zeta2 / (2 n v), clipped to [0, 1], makes the variance 4 v / n, the jackknife's.
    """
    matrix = _checked_gram(gram)
    n = len(matrix)
    if n < 3:
        raise ValueError(f"a bootstrap needs at least 3 gradients, got {n}")
    kernel = _linearised_kernel(matrix)
    projection = kernel.sum(axis=1) / (n - 2)
    degenerate = kernel - projection[:, None] - projection[None, :]
    np.fill_diagonal(degenerate, 0.0)
    plug_in = float((projection**2).mean())
    second = float((degenerate**2).sum()) / (n * (n - 1))
    shrink = math.sqrt(max(0.0, 1 - second / (2 * n * plug_in))) if plug_in > 0 else 0.0
    counts = rng.multinomial(n, np.full(n, 1 / n), size=replicates) - 1.0
    linear = (2 / n) * shrink * (counts @ projection)
    quadratic = np.einsum("ri,ri->r", counts @ degenerate, counts) / (n * (n - 1))
    deviations: Array = linear + quadratic
    return deviations - deviations.mean()


def standard_error(gram: ArrayLike) -> float:
    """Standard error of the estimated SNR^2 from the Gram matrix: sqrt(4 (n-2) zeta1 + 2 zeta2) / sqrt(n (n-1)), zeta unbiased, zeta1 >= 0."""
    matrix = _checked_gram(gram)
    n = len(matrix)
    if n < 3:
        raise ValueError(f"a standard error needs at least 3 gradients, got {n}")
    first, second = _variance_components(_linearised_kernel(matrix))
    return math.sqrt((4 * (n - 2) * first + 2 * second) / (n * (n - 1)))


def gram_from_sketch(sketches: ArrayLike, norms_squared: ArrayLike) -> Array:
    """Gram matrix from (n, m) sketches whose inner products estimate those of the gradients, its diagonal set to the exact norms."""
    vectors, norms = np.asarray(sketches, dtype=np.float64), np.asarray(norms_squared, dtype=np.float64)
    if vectors.ndim != 2 or norms.shape != (len(vectors),):
        raise ValueError(f"sketches must be (n, m) and norms_squared (n,), got shapes {vectors.shape} and {norms.shape}")
    gram: Array = vectors @ vectors.T
    np.fill_diagonal(gram, norms)
    return gram


def permutation_null(vectors: ArrayLike, sizes: ArrayLike, *, replicates: int, rng: np.random.Generator) -> Array:
    """SNR^2 of each bin when pass-rate labels are shuffled over all problems, shape (replicates, bins).

    vectors: (N, m) gradients or sketches of all bins, in any order; sizes: problems a bin, summing to N. This is what every bin would show
    if the gradient did not depend on the pass rate at all.
    """
    pool, counts = np.asarray(vectors, dtype=np.float32), np.asarray(sizes, dtype=np.int64)
    if pool.ndim != 2 or counts.sum() != len(pool) or (counts < 2).any():
        raise ValueError(f"sizes must be >= 2 and sum to the number of vectors, got {counts.tolist()} for {len(pool)}")
    norms = (pool.astype(np.float64) ** 2).sum(axis=1)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    null = np.empty((replicates, len(counts)))
    for replicate in range(replicates):
        order = rng.permutation(len(pool))
        totals = np.add.reduceat(pool[order], starts, axis=0).astype(np.float64)
        null[replicate] = _ratios((totals**2).sum(axis=1), np.add.reduceat(norms[order], starts), counts)
    return null


def sign_flip_null(gram: ArrayLike, *, replicates: int, rng: np.random.Generator) -> Array:
    """SNR^2 of a bin when every gradient's sign is drawn at random, shape (replicates,): what no common direction would show."""
    matrix = _checked_gram(gram)
    signs = rng.choice([-1.0, 1.0], size=(replicates, len(matrix)))
    totals = np.einsum("ri,ri->r", signs @ matrix, signs)
    return _ratios(totals, np.full(replicates, np.trace(matrix)), np.full(replicates, len(matrix)))


def problems_needed(snr_squared: float, *, effective_rank: float, level: float = 0.025, power: float = 0.8) -> int:
    """How many problems a bin needs to tell SNR^2 from zero (one-sided test at `level`, with probability `power`).

    Without signal the standard error is sqrt(2 / effective_rank) / n, with effective_rank = (tr Cov)^2 / tr(Cov^2) >= 1; the first-order
    term of the alternative, at most 2 sqrt(SNR^2 / n) for an isotropic noise of that rank, is included. Ours.
    Raises ValueError for snr_squared <= 0, effective_rank < 1, or level and power outside (0, 1).
    """
    if not snr_squared > 0:
        raise ValueError(f"snr_squared must be positive, got {snr_squared}")
    if not effective_rank >= 1:
        raise ValueError(f"effective_rank must be at least 1, got {effective_rank}")
    for name, value in (("level", level), ("power", power)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
    z_level, z_power = -float(ndtri(level)), float(ndtri(power))

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

    tr(Cov^2) by the mean of squared centred inner products of distinct pairs, whose bias is of order 1/n.
    """
    matrix = _checked_gram(gram)
    n = len(matrix)
    if n < 3:
        raise ValueError(f"an effective rank needs at least 3 gradients, got {n}")
    centred = matrix - matrix.mean(axis=0) - matrix.mean(axis=1)[:, None] + matrix.mean()
    trace = np.trace(centred) / (n - 1)
    off = centred - np.diag(np.diag(centred))
    return max(1.0, float(trace**2 / ((off**2).sum() / (n * (n - 1)))))


def _checked_gram(gram: ArrayLike) -> Array:
    matrix = np.asarray(gram, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(f"gram must be a square matrix of at least two gradients, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("gram must be finite, got NaN or infinity; drop or mend the problems they come from")
    return matrix


def _check_noise(noise: float) -> None:
    if not noise > 0:
        raise ValueError(f"the gradients do not differ (tr Cov = {noise}), so SNR is undefined; give distinct problems")


def _linearised_kernel(matrix: Array) -> Array:
    """The delta method's kernel of R = s^2/n2, off-diagonal mean zero, diagonal zero (see `bootstrap_deviations`)."""
    n, diagonal = len(matrix), np.diag(matrix)
    off_diagonal_mean = (matrix.sum() - diagonal.sum()) / (n * (n - 1))
    noise = diagonal.mean() - off_diagonal_mean
    _check_noise(float(noise))
    ratio = off_diagonal_mean / noise
    kernel: Array = (matrix * (1 + ratio) - ratio * (diagonal[:, None] + diagonal[None, :]) / 2) / noise
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _variance_components(kernel: Array) -> tuple[float, float]:
    """Unbiased zeta1 = Cov(H_12, H_13), clipped at zero, and zeta2 = E[H_12^2] of a mean-zero kernel."""
    n = len(kernel)
    squares = float((kernel**2).sum())
    triples = float((kernel.sum(axis=1) ** 2).sum()) - squares
    return max(0.0, triples / (n * (n - 1) * (n - 2))), squares / (n * (n - 1))


def _ratios(sum_norms_squared: ArrayLike, norms_squared_sums: ArrayLike, n: ArrayLike) -> Array:
    totals, traces, counts = np.asarray(sum_norms_squared), np.asarray(norms_squared_sums), np.asarray(n, dtype=np.float64)
    signal = (totals - traces) / (counts * (counts - 1))
    noise = (traces - totals / counts) / (counts - 1)
    ratios: Array = signal / noise
    return ratios


def _make(n: int, signal: float, noise: float, low: float, high: float) -> SNREstimate:
    naive_squared = (signal + noise / n) / noise
    return SNREstimate(
        n=n,
        signal_squared=signal,
        noise=noise,
        snr_squared=signal / noise,
        snr_squared_low=low,
        snr_squared_high=high,
        snr=math.sqrt(max(0.0, signal / noise)),
        snr_low=math.sqrt(max(0.0, low)),
        snr_high=math.sqrt(max(0.0, high)),
        naive_snr=math.sqrt(max(0.0, naive_squared)),
        floor=1 / math.sqrt(n),
        clipped=signal < 0,
    )
