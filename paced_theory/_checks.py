"""Argument checks shared by the package: each returns the checked value or raises a one-line ValueError.

Every message names the argument, the value received and what is allowed, so that a caller can correct the call without reading the source.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Counts up to here are exact as doubles.
LARGEST_COUNT = 2.0**53


def _describe(value: object) -> str:
    """A short, one-line rendering of a received value for an error message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def _as_float_array(name: str, value: ArrayLike, allowed: str) -> FloatArray:
    try:
        raw = np.asarray(value)
    except ValueError:  # ragged input: numpy's own message does not name the argument
        raise ValueError(f"{name} must be {allowed}, got {_describe(value)}") from None
    if raw.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be {allowed}, got {_describe(value)}")
    return raw.astype(np.float64)


def _first_bad(array: NDArray[Any], bad: NDArray[np.bool_]) -> str:
    """The first offending entry, with its position when the argument is an array."""
    entry = array[bad].flat[0].item()
    if array.ndim == 0:
        return f"{entry!r}"
    position = ", ".join(str(i) for i in np.argwhere(bad)[0])
    return f"{entry!r} at index [{position}]"


def check_array(name: str, value: ArrayLike, *, ndim: int | None = None, min_size: int = 1) -> FloatArray:
    """`value` as a finite float64 array with `ndim` axes (any number if None) and at least `min_size` entries."""
    allowed = "an array of finite real numbers" if ndim is None else f"a {ndim}-dimensional array of finite real numbers"
    array = _as_float_array(name, value, allowed)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must be {allowed}, got one of shape {array.shape}")
    if array.size < min_size:
        raise ValueError(f"{name} must have at least {min_size} entries, got shape {array.shape}")
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(f"{name} must be {allowed}, got {_first_bad(array, bad)}")
    return array


def check_pass_rate(name: str, value: ArrayLike) -> FloatArray:
    """`value` as a float64 array of any shape with entries in [0, 1]."""
    array = _as_float_array(name, value, "pass rates in [0, 1]")
    bad = ~((array >= 0.0) & (array <= 1.0))  # also catches NaN
    if bad.any():
        raise ValueError(f"{name} must be pass rates in [0, 1], got {_first_bad(array, bad)}")
    return array


def check_broadcast(*named: tuple[str, FloatArray]) -> tuple[FloatArray, ...]:
    """The arrays, given as (name, array) pairs, broadcast against each other (views)."""
    try:
        return tuple(np.broadcast_arrays(*(array for _, array in named)))
    except ValueError:
        names, shapes = " and ".join(name for name, _ in named), " and ".join(str(array.shape) for _, array in named)
        raise ValueError(f"{names} must have shapes that broadcast, got {shapes}") from None


def check_real(name: str, value: float) -> float:
    """`value` as a finite float."""
    return _scalar(name, value, "a finite real number")


def check_nonnegative(name: str, value: float) -> float:
    """`value` as a finite float >= 0."""
    number = _scalar(name, value, "a finite number >= 0")
    if number < 0.0:
        raise ValueError(f"{name} must be a finite number >= 0, got {_describe(value)}")
    return number


def check_positive(name: str, value: float) -> float:
    """`value` as a finite float > 0."""
    number = _scalar(name, value, "a finite number > 0")
    if number <= 0.0:
        raise ValueError(f"{name} must be a finite number > 0, got {_describe(value)}")
    return number


def check_fraction(name: str, value: float) -> float:
    """`value` as a float strictly between 0 and 1, such as a confidence level."""
    number = _scalar(name, value, "a number strictly between 0 and 1")
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name} must be a number strictly between 0 and 1, got {_describe(value)}")
    return number


def check_errors(standard_error: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """Standard errors as a float64 array of `shape` with entries > 0."""
    se = check_array("standard_error", standard_error)
    if se.shape != shape:
        raise ValueError(f"standard_error must have shape {shape}, one entry a point, got {se.shape}")
    if (se <= 0).any():
        raise ValueError(f"standard_error must be positive, got {se[se <= 0][0]:g} at index [{np.argmax(se <= 0)}]")
    return se


def normal_quantile(confidence: float) -> float:
    """How many standard errors a two-sided normal interval of this confidence reaches to either side."""
    return float(ndtri(0.5 + check_fraction("confidence", confidence) / 2))


def _scalar(name: str, value: float, allowed: str) -> float:
    array = np.asarray(value)
    if array.ndim != 0 or array.dtype.kind not in "fiu" or not np.isfinite(array):
        raise ValueError(f"{name} must be {allowed}, got {_describe(value)}")
    return float(array)


def check_int(name: str, value: int, minimum: int) -> int:
    """`value` as an int >= `minimum`; 3.0 and True are refused, numpy integers are accepted."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {_describe(value)}")
    return int(value)


def check_prior(prior: tuple[float, float], name: str = "prior") -> tuple[float, float]:
    """The two parameters (a, b) of a Beta law of pass rates, both finite and > 0."""
    allowed = "a pair (a, b) of finite numbers > 0, the parameters of a Beta law"
    try:
        raw = np.asarray(prior) if isinstance(prior, tuple | list | np.ndarray) else np.empty(0)
    except ValueError:  # ragged input: numpy's own message does not name the argument
        raw = np.empty(0)
    if raw.shape != (2,) or raw.dtype.kind not in "fiu" or not np.all(np.isfinite(raw)) or not np.all(raw > 0):
        raise ValueError(f"{name} must be {allowed}, got {_describe(prior)}")
    return float(raw[0]), float(raw[1])


def check_counts(k: ArrayLike, K: ArrayLike, name: str = "K") -> tuple[IntArray, IntArray]:
    """Successes `k` of `K` rollouts (called `name`), broadcast against each other: integers with K >= 1 and 0 <= k <= K."""
    successes = _as_float_array("k", k, f"integers between 0 and {name}")
    rollouts = _as_float_array(name, K, "integers >= 1 and <= 2^53")
    bad = ~((rollouts >= 1) & (rollouts <= LARGEST_COUNT)) | (np.floor(rollouts) != rollouts)
    if bad.any():
        raise ValueError(f"{name} must be integers >= 1 and <= 2^53, got {_first_bad(rollouts, bad)}")
    successes, rollouts = check_broadcast(("k", successes), (name, rollouts))
    bad = ~((successes >= 0) & (successes <= rollouts)) | (np.floor(successes) != successes)
    if bad.any():
        where = _first_bad(successes, bad)
        raise ValueError(f"k must be integers between 0 and {name}, got {where} where {name} is {int(rollouts[bad].flat[0])}")
    return successes.astype(np.int64), rollouts.astype(np.int64)


def check_choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """`value` if it is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {_describe(value)}")
    return value


def as_numpy(array: FloatArray) -> FloatArray:
    """A 0-d array as the NumPy scalar that ufuncs return (a float), any other array unchanged: a scalar in gives a scalar out."""
    return array[()]
