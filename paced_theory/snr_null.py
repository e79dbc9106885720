"""What the curve of SNR over the pass rate would show of gradients without any difference between bins, or without any signal."""

import numpy as np
from numpy.typing import ArrayLike

from paced_theory._checks import check_int
from paced_theory._gram import Array, checked_gram, ratios


def permutation_null(vectors: ArrayLike, sizes: ArrayLike, *, replicates: int, rng: np.random.Generator) -> Array:
    """SNR^2 of each bin when pass-rate labels are shuffled over all problems, shape (replicates, bins).

    vectors: (N, m) gradients or sketches of all bins, in any order; sizes: problems a bin, summing to N. inf where a bin's vectors do not
    differ.

    What it tests: that gradients are exchangeable over bins, i.e. that their whole law, lengths and directions and all, does not depend on
    the pass rate. A bin outside the band shows some difference of laws. It is no evidence against a flat SNR: bins of equal SNR^2 whose mean gradients
    point different ways leave the band (the mixture's mean is shorter than theirs), and so do bins whose norms differ. That SNR^2 is equal
    in all bins is tested by `flat_snr_test`.
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
        null[replicate] = ratios((totals**2).sum(axis=1), np.add.reduceat(norms[order], starts), counts)
    return null


def sign_flip_null(gram: ArrayLike, *, replicates: int, rng: np.random.Generator) -> Array:
    """SNR^2 of a bin when every gradient's sign is drawn at random, shape (replicates,): what no common direction would show.

    inf for signs under which the gradients do not differ, as happens for a few gradients of one direction.
    """
    matrix, replicates = checked_gram(gram), check_int("replicates", replicates, 1)
    signs = rng.choice([-1.0, 1.0], size=(replicates, len(matrix)))
    totals = np.einsum("ri,ri->r", signs @ matrix, signs)
    return ratios(totals, np.full(replicates, np.trace(matrix)), np.full(replicates, len(matrix)))
