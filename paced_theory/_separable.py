"""Weighted least squares of y = c exp(theta_1 phi_1(p) + theta_2 phi_2(p)) with c >= 0, for many y at once.

The leading-order form c p^a (1-p)^b, the Gaussian bump and the quadratic in logit p are all of this kind. For given theta the best c is
in closed form (variable projection: Golub and Pereyra 1973), which leaves two parameters. A coarse grid finds the basin of the global
minimum; Newton steps with the exact reduced Hessian, damped and kept inside a box, then converge quadratically.

Axes: B problems (rows of y), m points, G grid nodes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_MAX_STEPS = 500
_STEP_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Family:
    """Shapes exp(theta . features) over m points, with theta in a box.

    features: (m, 2); lower, upper: (2,) ends of the box; grid: (G, 2) nodes inside the box for the coarse search.
    """

    features: FloatArray
    lower: FloatArray
    upper: FloatArray
    grid: FloatArray


@dataclass(frozen=True)
class Solution:
    """Minimiser of chi^2 = sum_i ((y_i - c f_i(theta)) / se_i)^2 for each row.

    log_c: (B,); theta: (B, 2); chi_squared: (B,). A row that no shape with c > 0 fits better than zero has log_c = -inf, theta = nan.
    """

    log_c: FloatArray
    theta: FloatArray
    chi_squared: FloatArray


def box_grid(lower: FloatArray, upper: FloatArray, nodes: int) -> FloatArray:
    """All pairs of `nodes` equidistant values a side, shape (nodes^2, 2)."""
    first, second = np.meshgrid(np.linspace(lower[0], upper[0], nodes), np.linspace(lower[1], upper[1], nodes), indexing="ij")
    return np.stack([first.ravel(), second.ravel()], axis=1)


def _shape(family: Family, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Whitened shapes f_i / se_i, scaled so that the largest f_i is 1 (no overflow for any theta), and the log of that scale."""
    exponent = theta @ family.features.T
    log_scale = exponent.max(axis=1)
    return np.exp(exponent - log_scale[:, None]) * weight, log_scale


def _project(f: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Best c >= 0 for whitened shapes f and data y, row by row, and the chi^2 it leaves."""
    c = np.maximum(np.einsum("ij,ij->i", f, y), 0.0) / np.einsum("ij,ij->i", f, f)
    residual = y - c[:, None] * f
    return c, np.einsum("ij,ij->i", residual, residual)


def _grid_start(family: Family, y: FloatArray, weight: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """For each row the grid node with the least chi^2, and whether any node lowers chi^2 below that of c = 0."""
    f, _ = _shape(family, family.grid, weight)
    unit = f / np.linalg.norm(f, axis=1, keepdims=True)
    gain = unit @ y.T  # (G, B): chi^2 falls by gain^2 where gain > 0
    return family.grid[gain.argmax(axis=0)], gain.max(axis=0) > 0


def _newton_step(
    family: Family, theta: FloatArray, mu: FloatArray, y: FloatArray, damping: FloatArray, lower: FloatArray, upper: FloatArray
) -> FloatArray:
    """Damped Newton step of chi^2 / 2 in theta, with log c eliminated; coordinates that press against the box stay.

    In (log c, theta) the Hessian is sum_i phi phi' mu_i (2 mu_i - y_i) with phi_0 = 1; its Schur complement is the reduced Hessian.
    """
    phi_1, phi_2 = family.features.T
    gradient = np.stack([((mu - y) * mu) @ phi_1, ((mu - y) * mu) @ phi_2], axis=1)
    curvature = mu * (2 * mu - y)
    h_0 = curvature.sum(axis=1)
    h_01, h_02 = curvature @ phi_1, curvature @ phi_2
    h_11 = curvature @ phi_1**2 - h_01**2 / h_0
    h_12 = curvature @ (phi_1 * phi_2) - h_01 * h_02 / h_0
    h_22 = curvature @ phi_2**2 - h_02**2 / h_0

    pressed = ((theta <= lower) & (gradient > 0)) | ((theta >= upper) & (gradient < 0))
    h_12 = np.where(pressed.any(axis=1), 0.0, h_12)
    # A coordinate that stays must not lend its curvature to the free one's damping: it takes over the free one's.
    h_11, h_22 = np.where(pressed[:, 0], h_22, h_11), np.where(pressed[:, 1], h_11, h_22)
    gradient = np.where(pressed, 0.0, gradient)

    centre, radius = (h_11 + h_22) / 2, np.hypot((h_11 - h_22) / 2, h_12)
    scale = np.abs(centre) + radius + np.finfo(float).tiny
    # Where the smallest eigenvalue is negative, reflect it; where it is nearly zero, raise it to a small share of the scale.
    smallest = centre - radius
    shift = np.maximum.reduce([np.zeros_like(scale), -2 * smallest, 1e-6 * scale - smallest]) + damping * scale
    d_11, d_22 = h_11 + shift, h_22 + shift
    determinant = d_11 * d_22 - h_12**2
    step = np.stack([h_12 * gradient[:, 1] - d_22 * gradient[:, 0], h_12 * gradient[:, 0] - d_11 * gradient[:, 1]], axis=1)
    moved: FloatArray = np.clip(theta + step / determinant[:, None], lower, upper) - theta
    return moved


def solve(
    family: Family,
    y: FloatArray,
    standard_error: FloatArray,
    *,
    start: FloatArray | None = None,
    lower: FloatArray | None = None,
    upper: FloatArray | None = None,
) -> Solution:
    """Fit every row of y, shape (B, m), with standard errors (m,).

    Without `start` the family's grid gives the starts. With `start`, shape (B, 2), the search is local from there; `lower` and `upper`,
    shape (B, 2), may then narrow the box row by row (equal ends hold a parameter fixed, as profile likelihood needs).
    Raises ArithmeticError if a row has not converged after 500 steps.
    """
    weight = 1.0 / standard_error
    whitened = y * weight
    rows = y.shape[0]
    if start is None:
        theta, fitted = _grid_start(family, whitened, weight)
    else:
        theta, fitted = start.copy(), np.ones(rows, dtype=bool)
    low = np.broadcast_to(family.lower if lower is None else lower, (rows, 2))
    high = np.broadcast_to(family.upper if upper is None else upper, (rows, 2))

    f, log_scale = _shape(family, theta, weight)
    c, chi_squared = _project(f, whitened)
    damping = np.zeros(rows)
    active = np.flatnonzero(fitted & (c > 0))
    for _ in range(_MAX_STEPS):
        if active.size == 0:
            break
        mu = c[active, None] * f[active]
        step = _newton_step(family, theta[active], mu, whitened[active], damping[active], low[active], high[active])
        trial = theta[active] + step
        trial_f, trial_scale = _shape(family, trial, weight)
        trial_c, trial_chi = _project(trial_f, whitened[active])
        # Rounding in chi^2 must not turn the last, tiny steps into rejections.
        better = (trial_chi <= chi_squared[active] * (1 + 1e-14)) & (trial_c > 0)
        kept = active[better]
        theta[kept], f[kept], log_scale[kept] = trial[better], trial_f[better], trial_scale[better]
        c[kept], chi_squared[kept] = trial_c[better], trial_chi[better]
        damping[active] = np.where(better, damping[active] / 10, np.maximum(10 * damping[active], 1e-4))
        active = active[np.abs(step).max(axis=1) > _STEP_TOLERANCE * (1 + np.abs(trial).max(axis=1))]
    else:
        raise ArithmeticError(f"separable least squares: {active.size} of {rows} rows had not converged after {_MAX_STEPS} steps")

    positive = fitted & (c > 0)
    log_c = np.full(rows, -np.inf)
    log_c[positive] = np.log(c[positive]) - log_scale[positive]
    theta[~positive] = np.nan
    chi_squared[~positive] = np.einsum("ij,ij->i", whitened[~positive], whitened[~positive])
    return Solution(log_c, theta, chi_squared)
