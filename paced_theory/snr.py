"""Estimating the gradient signal-to-noise ratio of a pass-rate bin from n per-problem gradients, honestly.

    mu = E[g],   s^2 = ||mu||^2,   n2 = tr Cov(g),   SNR^2 = s^2 / n2.

The naive ||mean g||^2 is biased up by n2/n, so the naive SNR has a floor of about 1/sqrt(n) that draws a bell over unequal bins by
itself. The unbiased estimates (theory notes, "Estimating SNR"; ours) are

    s^2 = (||sum g||^2 - sum ||g||^2) / (n (n - 1)),      n2 = (sum ||g||^2 - ||sum g||^2 / n) / (n - 1).

Their ratio is biased up where few gradients carry n2. `snr_interval` says how its interval is made and where it covers, `snr_estimands`
has the trimmed and the unit-norm SNR, `snr_null` and `snr_flat` the hypotheses, `snr_power` the number of problems needed. All of them can
be imported from here.
"""

import numpy as np
from numpy.typing import ArrayLike

from paced_theory._checks import check_array
from paced_theory._gram import checked_gradients, checked_gram, gram_from_sketch
from paced_theory.snr_estimands import trimmed_snr, unit_norm_snr
from paced_theory.snr_flat import FlatTest, flat_snr_test
from paced_theory.snr_interval import Interval, SNREstimate, combine, jackknife_estimate, signal_and_noise
from paced_theory.snr_null import permutation_null, sign_flip_null
from paced_theory.snr_power import effective_rank, problems_needed

__all__ = [
    "FlatTest",
    "Interval",
    "SNREstimate",
    "checked_gradients",
    "combine",
    "effective_rank",
    "estimate_snr",
    "estimate_snr_from_gram",
    "estimate_snr_from_sums",
    "flat_snr_test",
    "gram_from_sketch",
    "permutation_null",
    "problems_needed",
    "sign_flip_null",
    "signal_and_noise",
    "trimmed_snr",
    "unit_norm_snr",
]


def estimate_snr(gradients: ArrayLike, *, confidence: float = 0.95) -> SNREstimate:
    """Unbiased signal and noise of an (n, d) array of gradients, their ratio, and its interval from a jackknife over rows.

    Raises ValueError for an array that is not (n >= 3, d >= 1), for non-finite entries, and where `estimate_snr_from_sums` does.
    """
    g = checked_gradients(gradients)
    return estimate_snr_from_sums(np.einsum("ij,ij->i", g, g), g @ g.sum(axis=0), confidence=confidence)


def estimate_snr_from_gram(gram: ArrayLike, *, sum_norm_squared: float | None = None, confidence: float = 0.95) -> SNREstimate:
    """The same from the (n, n) Gram matrix of inner products of gradients.

    The diagonal must hold exact squared norms; off-diagonal entries may come from a sketch. `sum_norm_squared` is the exact
    ||sum g||^2 where it is known apart from the sketch: then point estimates are exact and only the interval's width is sketched.
    Raises ValueError for a matrix that is not square, symmetric and finite, and where `estimate_snr_from_sums` does.
    """
    matrix = checked_gram(gram)
    return estimate_snr_from_sums(np.diag(matrix), matrix.sum(axis=1), sum_norm_squared=sum_norm_squared, confidence=confidence)


def estimate_snr_from_sums(
    norms_squared: ArrayLike, projections: ArrayLike, *, sum_norm_squared: float | None = None, confidence: float = 0.95
) -> SNREstimate:
    """The same from ||g_i||^2 and the projections g_i . (sum g), both (n,).

    ||sum g||^2 is the sum of the projections unless `sum_norm_squared` gives it; the jackknife uses Student's t of n - 1 degrees.
    Raises ValueError for arrays of different length, fewer than three gradients, non-finite values, or gradients that are all equal, also
    when only one of them differs (left out, it leaves no noise).
    """
    norms, projected = check_array("norms_squared", norms_squared), check_array("projections", projections)
    if norms.ndim != 1 or norms.shape != projected.shape or len(norms) < 3:
        raise ValueError(f"norms_squared and projections must be of one length >= 3, got shapes {norms.shape} and {projected.shape}")
    if norms.min() < 0:
        raise ValueError(f"norms_squared must be >= 0, got {norms.min():g} at index [{norms.argmin()}]")
    # A sketch or rounding can bring the sum just below zero.
    total = max(0.0, float(projected.sum())) if sum_norm_squared is None else sum_norm_squared
    return jackknife_estimate(norms, projected, total, confidence=confidence)
