"""The Gram matrix of bins: inner products of the bins' true mean gradients, and their cosines with intervals.

An SNR looks at one bin alone. Whether two bins pull in one direction is in <mu_a, mu_b>, where mu_b is the true mean gradient of bin b.
Estimates from n_b independent gradients a bin, both unbiased:

    <mu_a, mu_b> = <mean of a, mean of b>   for a != b,        |mu_b|^2 = (|sum g|^2 - sum |g|^2) / (n_b (n_b - 1)).

The second is the mean of <g_i, g_j> over pairs i != j; the naive |mean g|^2 would be too large by tr Cov / n_b, often more than the signal.

**Jackknife.** Leaving one problem of bin b out changes row b and column b of the matrix and nothing else. All these changes come from one
matrix product, (n_b, m) times (m, B): no loop over problems. Bins are independent, so their variances add.

**Cosine.** The ratio C = <mu_a, mu_b> / sqrt(|mu_a|^2 |mu_b|^2) of estimates can exceed 1, and its denominator can be near zero or, with no
signal, not exist. The interval holds every c that the data do not reject (Fieller 1954), here with a jackknifed variance:

    |I_ab - c sqrt(I_aa I_bb)| <= t sd(I_ab - c sqrt(I_aa I_bb)).

Value and interval are clamped to [-1, 1]. Where the denominator is not told from zero the interval may be all of [-1, 1]. At nominal 95 %
it covered 0.93 to 1.00 in simulations of 100 to 500 problems a bin, SNR^2 0.003 to 0.03, light tails and norms of log-normal
spread 1.2: a bin's scale cancels in the ratio, so heavy tails do far less harm than to SNR^2. Source: ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from paced_theory._checks import check_array, check_fraction
from paced_theory._gram import Array
from paced_theory.norm_tail import log_spread, tail_share


@dataclass(frozen=True)
class BinGram:
    """What B bins say of one another's mean gradients.

    inner (B, B): unbiased inner products of the true means. second_moment (B,): mean |g|^2. sizes: problems a bin.
    left_inner: for each bin b an (n_b, B) array, by how much row b of `inner` changes when one problem of the bin is left out.
    left_moment: for each bin b an (n_b,) array, the same of its second moment. Both have mean zero.
    seen, log_spread (B,): of the tail of the norms: what share of E |g|^2 a sample has shown, at most 1, and how far the log of its mean scatters
    (`norm_tail`).
    naive (B, B): inner products of the sample means, noise included; with sketch_size m (None: exact vectors) they bound the sketch's error.
    """

    inner: Array
    second_moment: Array
    sizes: tuple[int, ...]
    left_inner: tuple[Array, ...]
    left_moment: tuple[Array, ...]
    seen: Array
    log_spread: Array
    naive: Array
    sketch_size: int | None

    def forms(self, left: ArrayLike, right: ArrayLike) -> tuple[Array, Array]:
        """K forms <sum_b left_kb mu_b, sum_c right_kc mu_c>, both arrays (K, B): estimates (K,) and their jackknifed covariance (K, K)."""
        u, v = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
        values: Array = np.einsum("kb,bc,kc->k", u, self.inner, v)
        covariance = np.zeros((len(u), len(u)))
        for b, (n, change) in enumerate(zip(self.sizes, self.left_inner, strict=True)):
            # Row b and column b change by the same; the corner, which both hold, counts once.
            moved = u[:, b] * (change @ v.T) + v[:, b] * (change @ u.T) - u[:, b] * v[:, b] * change[:, [b]]
            covariance += (n - 1) / n * moved.T @ moved
        return values, covariance

    def sketch_variance(self, left: ArrayLike, right: ArrayLike) -> Array:
        """A bound (K,) on the variance that sketches of m numbers add to K forms: (|x|^2 |y|^2 + <x, y>^2) / m; 0 for exact vectors."""
        u, v = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
        if self.sketch_size is None:
            return np.zeros(len(u))
        first, second, cross = (np.einsum("kb,bc,kc->k", x, self.naive, y) for x, y in ((u, u), (v, v), (u, v)))
        return np.asarray((first * second + cross**2) / self.sketch_size)

    def quantile(self, confidence: float) -> float:
        """Student's t of the smallest bin's n - 1 degrees: how many standard deviations an interval reaches to either side."""
        return float(stdtrit(min(self.sizes) - 1, 0.5 + check_fraction("confidence", confidence) / 2))


@dataclass(frozen=True)
class Cosines:
    """Cosines of mean gradients, all (G, G), within [-1, 1]: NaN with the interval [-1, 1] where a mean is not told from zero at all."""

    value: Array
    low: Array
    high: Array


def bin_gram(
    vectors: Sequence[ArrayLike],
    *,
    norms_squared: Sequence[ArrayLike] | None = None,
    sums_norm_squared: Sequence[float] | None = None,
) -> BinGram:
    """The Gram matrix of B bins from each bin's gradients or sketches, a list of (n_b, m) arrays.

    norms_squared: each bin's exact |g|^2, (n_b,); with them, `vectors` are sketches and enter by their inner products alone.
    sums_norm_squared: each bin's exact |sum g|^2, which makes the diagonal exact.
    Raises ValueError for no bins, fewer than three problems in one, arrays that do not fit one another, and numbers that are not finite.
    """
    bins = [_checked(b, values) for b, values in enumerate(vectors)]
    if not bins or len({values.shape[1] for values in bins}) > 1:
        raise ValueError(f"vectors must be one or more arrays (n, m) of one m, got shapes {[values.shape for values in bins]}")
    own = [np.einsum("ij,ij->i", values, values, dtype=np.float64) for values in bins]
    norms = own if norms_squared is None else [check_array(f"norms_squared[{b}]", values, ndim=1) for b, values in enumerate(norms_squared)]
    if [len(values) for values in norms] != [len(values) for values in bins]:
        raise ValueError(f"norms_squared must hold one number a problem, got {[len(n) for n in norms]} for {[len(v) for v in bins]}")
    sizes = np.array([len(values) for values in bins])
    sums = np.stack([values.sum(0, dtype=np.float64) for values in bins])
    products = sums @ sums.T
    traces = np.array([values.sum() for values in norms])
    # The sketched |g_i|^2 in |sum g|^2 are replaced by the exact ones: they stand in the U-statistic with a minus.
    totals = np.diag(products) - np.array([values.sum() for values in own]) + traces
    if sums_norm_squared is not None:
        totals = check_array("sums_norm_squared", sums_norm_squared, ndim=1)
        if totals.shape != traces.shape:
            raise ValueError(f"sums_norm_squared must hold one number a bin, got {len(totals)} for {len(bins)} bins")
    naive = products / np.outer(sizes, sizes)
    np.fill_diagonal(naive, totals / sizes**2)
    inner = naive.copy()
    np.fill_diagonal(inner, (totals - traces) / (sizes * (sizes - 1)))
    left_inner, left_moment = [], []
    for b, (n, values) in enumerate(zip(sizes, bins, strict=True)):
        projected = values.astype(np.float64, copy=False) @ sums.T
        left = -projected / ((n - 1) * sizes)
        # Without problem i the sum over pairs loses 2 <g_i, sum g - g_i>.
        left[:, b] = -2 * (projected[:, b] - own[b]) / ((n - 1) * (n - 2))
        left_inner.append(left - left.mean(0))
        left_moment.append((norms[b].mean() - norms[b]) / (n - 1))
    return BinGram(
        inner,
        traces / sizes,
        tuple(int(n) for n in sizes),
        tuple(left_inner),
        tuple(left_moment),
        np.array([tail_share(values) if values.any() else 1.0 for values in norms]),
        np.array([log_spread(values) if values.any() else 0.0 for values in norms]),
        naive,
        None if norms_squared is None else bins[0].shape[1],
    )


def _checked(b: int, values: ArrayLike) -> np.ndarray:
    """A bin's vectors in the precision in which they are: sketches are large."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or len(array) < 3:
        raise ValueError(f"vectors[{b}] must be a real array (n, m) of n >= 3 problems, got {array.dtype} in shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"vectors[{b}] must be finite, got NaN or infinity; drop or mend the problems they come from")
    return array.astype(np.float64) if array.dtype.kind != "f" else array


def cosines(gram: BinGram, groups: ArrayLike | None = None, *, confidence: float = 0.95) -> Cosines:
    """Cosines of the groups' true mean gradients, each with an interval (the module's docstring says how).

    groups (G, B): group k has the mean gradient sum_b groups_kb mu_b; every bin for itself where it is left out. The variance that sketches
    add to the inner product of two groups is allowed for. Raises ValueError for another number of bins, or entries that are not finite.
    """
    bins = len(gram.sizes)
    chosen = np.eye(bins) if groups is None else check_array("groups", groups, ndim=2)
    if chosen.shape[1] != bins:
        raise ValueError(f"groups must have one column a bin, {bins}, got shape {chosen.shape}")
    first, second = np.triu_indices(len(chosen))
    values, covariance = gram.forms(chosen[first], chosen[second])
    own = np.flatnonzero(first == second)
    t = gram.quantile(confidence)
    value, low, high = (np.full((len(chosen), len(chosen)), filled) for filled in (np.nan, -1.0, 1.0))
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        one, two = values[own[a]], values[own[b]]
        if a == b:
            found = (1.0, 1.0, 1.0)
        elif min(one, two) <= 0:
            continue
        else:
            length = math.sqrt(one * two)
            slopes = np.array([two, one]) / (2 * length)  # of the length in |mu_a|^2 and |mu_b|^2
            where = [own[a], own[b]]
            top = float(covariance[k, k] + gram.sketch_variance(chosen[[a]], chosen[[b]])[0])
            bottom, joint = float(slopes @ covariance[np.ix_(where, where)] @ slopes), float(slopes @ covariance[where, k])
            found = (values[k] / length, *_fieller(values[k], length, t * t * top, t * t * joint, t * t * bottom))
        for result, number in zip((value, low, high), found, strict=True):
            result[a, b] = result[b, a] = min(1.0, max(-1.0, number))
    return Cosines(value, low, high)


def _fieller(top: float, bottom: float, top_top: float, top_bottom: float, bottom_bottom: float) -> tuple[float, float]:
    """The least and the largest c within [-1, 1] with (top - c bottom)^2 <= top_top - 2 c top_bottom + c^2 bottom_bottom.

    Values beyond [-1, 1] say that all such c lie there.
    """
    square, half, constant = bottom**2 - bottom_bottom, top * bottom - top_bottom, top**2 - top_top
    root = math.sqrt(max(0.0, half**2 - square * constant))
    if square > 0:
        return (half - root) / square, (half + root) / square
    if root == 0 or square == 0:
        return -1.0, 1.0
    # The denominator is not told from zero: all c but those between two roots are possible.
    left, right = (half + root) / square, (half - root) / square
    low, high = (right if left < -1 else -1.0), (left if right > 1 else 1.0)
    return (low, high) if low <= high else (-1.0, 1.0)
