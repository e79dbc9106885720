"""Two kin of the SNR that heavy tails of the gradients' norms do not rule: the trimmed and the unit-norm SNR.

They are other quantities than the SNR of a bin, not better estimates of it. Both work from the Gram matrix of a bin's gradients, exact or
from sketches with exact norms (`gram_from_sketch`). Source: ours.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from paced_theory._checks import check_fraction, check_nonnegative
from paced_theory._gram import checked_gram
from paced_theory.snr_interval import SNREstimate, jackknife_estimate


def trimmed_snr(gram: ArrayLike, *, share: float = 0.01, sum_norm_squared: float | None = None, confidence: float = 0.95) -> SNREstimate:
    """SNR^2 of the law of the gradients of one bin without the `share` of largest norm, that is given ||g|| <= its (1 - share) quantile.

    gram (n, n): inner products. The ceil(share n) largest are left out, and n of the result is what remains. sum_norm_squared: the exact
    ||sum g||^2 of all n where it is known apart from a sketch; what the gradients left out hold of it is taken from `gram`. The interval
    is the jackknife's over all n, each value trimmed anew, so it allows for the quantile being estimated; there is no tail to allow for. At nominal 0.95 it
    covers 0.90 at least (`paced_theory.coverage`).
    Raises ValueError for a share outside (0, 1), fewer than three gradients left, and where `estimate_snr_from_gram` does.
    """
    matrix = checked_gram(gram)
    n = len(matrix)
    left_out = math.ceil(check_fraction("share", share) * n)
    if n - left_out < 3:
        raise ValueError(
            f"a trimmed SNR needs at least 3 gradients, got {n} less the {left_out} largest; give more problems or a smaller share"
        )
    kept = np.argsort(np.diag(matrix), kind="stable")[: n - left_out]
    inner = matrix[np.ix_(kept, kept)]
    norms, projected = np.diag(inner).copy(), inner.sum(axis=1)
    total = float(projected.sum())
    if sum_norm_squared is not None:
        total += check_nonnegative("sum_norm_squared", sum_norm_squared) - float(matrix.sum())
    # Without one of those left out, the largest of the kept is trimmed in its place: their values are that one's.
    copies = np.ones(len(kept), dtype=np.int64)
    copies[-1] += left_out
    return jackknife_estimate(norms, projected, max(0.0, total), confidence=confidence, copies=copies, tail=False)


def unit_norm_snr(gram: ArrayLike, *, confidence: float = 0.95) -> SNREstimate:
    """SNR^2 of the directions g/||g|| of one bin: how far its problems agree where to go, whatever the length of their gradients.

    With c = ||E g/||g|| ||^2, the mean cosine of two problems' gradients, it is c / (1 - c). gram (n, n): inner products of the gradients
    themselves. From sketches of size m each cosine has an error of about 1/sqrt(m), which the estimate has too, at most about
    sqrt(2/m) (SNR^2 + 1/n). Raises ValueError for a gradient of norm zero, which has no direction, and where `estimate_snr_from_gram` does.
    """
    matrix = checked_gram(gram)
    norms = np.diag(matrix)
    if not norms.min() > 0:
        raise ValueError(f"gradient [{norms.argmin()}] has squared norm {norms.min():g}, so it has no direction; leave its problem out")
    if len(matrix) < 3:
        raise ValueError(f"gram must be of at least 3 gradients, got {len(matrix)}")
    lengths = np.sqrt(norms)
    cosines = matrix / lengths / lengths[:, None]
    np.fill_diagonal(cosines, 1.0)
    projected = cosines.sum(axis=1)
    return jackknife_estimate(np.ones(len(matrix)), projected, max(0.0, float(projected.sum())), confidence=confidence, tail=False)
