"""Where the names of curves go, so that none covers another."""

import numpy as np
from scipy.optimize import isotonic_regression


def spread(values: list[float], gap: float) -> list[float]:
    """The values moved apart to be at least `gap` from each other, in their order, and as near to where they were as least squares has it.

    Less i x gap, the sorted values must not fall: isotonic regression.
    """
    order = np.argsort(values, kind="stable")
    steps = gap * np.arange(len(values))
    moved = isotonic_regression(np.asarray(values, dtype=float)[order] - steps).x + steps
    return [float(moved[place]) for place in np.argsort(order)]
