"""What the modules about the gradient SNR share: checked gradients and Gram matrices, ratios of many samples at once."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paced_theory._checks import check_array

Array = NDArray[np.float64]

#: Equal gradients leave rounding errors of about 1e-16 of their mean squared norm in tr Cov, of either sign.
ROUNDING = 1e-13


def checked_gradients(gradients: ArrayLike) -> Array:
    """An (n, d) array of gradients as float64. ValueError unless n >= 3, d >= 1, finite, with squares within the range of doubles."""
    g = check_array("gradients", gradients)
    if g.ndim != 2 or g.shape[0] < 3:
        raise ValueError(f"gradients must be an (n, d) array with n >= 3 and d >= 1, got shape {g.shape}")
    largest = float(np.abs(g).max())
    if largest != 0 and not 1e-140 < largest < 1e140:
        raise ValueError(f"gradients must have a largest entry between 1e-140 and 1e140, got {largest:g}; rescale them, SNR stays the same")
    return g


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


def checked_gram(gram: ArrayLike) -> Array:
    """A Gram matrix as float64. ValueError unless it is square, of two gradients at least, finite and symmetric."""
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


def check_noise(noise: float, mean_norm_squared: float) -> None:
    """ValueError unless tr Cov is larger than rounding of the mean squared norm."""
    if not noise > ROUNDING * mean_norm_squared:
        raise ValueError(f"the gradients do not differ beyond rounding (tr Cov = {noise:g}), so SNR is undefined; give distinct problems")


def ratios(sum_norms_squared: ArrayLike, norms_squared_sums: ArrayLike, n: ArrayLike) -> Array:
    """Unbiased SNR^2 of many sets of n gradients at once; inf where they do not differ."""
    totals, traces, counts = np.asarray(sum_norms_squared), np.asarray(norms_squared_sums), np.asarray(n, dtype=np.float64)
    signal = (totals - traces) / (counts * (counts - 1))
    noise = (traces - totals / counts) / (counts - 1)
    found: Array = np.divide(signal, noise, out=np.full_like(noise, np.inf), where=noise > ROUNDING * traces / counts)
    return found
