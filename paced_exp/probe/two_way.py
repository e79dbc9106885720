"""Means of a matrix whose rows (problems) and columns (groups of problems) are both samples, with intervals that account for both.

    u_ij = m + a_i + b_j + e_ij,   i < n, j < J,   Var(mean) = Va/n + Vb/J + Ve/(nJ).

With R the variance of row means, C of column means and E = Ve estimated from the residuals (ddof (n-1)(J-1)), R/n estimates Va/n + Ve/(nJ),
and C/J estimates Vb/J + Ve/(nJ). So R/n + C/J - E/(nJ) is unbiased, since R/n + C/J counts the residuals twice. It is kept at least as large as the
larger of the two. Degrees of freedom are Satterthwaite's (crossed random effects: Searle, Casella and McCulloch 1992). For inner products of
vectors, u_ij = <x_i, y_j>, the four parts are uncorrelated by construction, and e_ij is the product of two deviations, large in many dimensions.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as t_law

CONFIDENCE = 0.95


class Spread(NamedTuple):
    """A weighted sum of means, with half the width of its 95 % interval."""

    value: float
    half: float

    @property
    def low(self) -> float:
        """The lower end."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """The upper end."""
        return self.value + self.half


def weighted_mean(tables: Sequence[np.ndarray], weights: Sequence[float]) -> Spread:
    """sum_b weights[b] * mean(tables[b]), with its interval.

    tables: (n_b, J) each, with at least two rows and two columns. Rows of different tables are independent; column j is the same sample in all.
    """
    groups = tables[0].shape[1]
    parts: list[tuple[float, int]] = []  # an estimated variance with its degrees of freedom
    rows = residuals = 0.0
    columns = np.zeros(groups)
    for table, weight in zip(tables, weights, strict=True):
        n = len(table)
        by_row, by_column = table.mean(1), table.mean(0)
        residual = table - by_row[:, None] - by_column + table.mean()
        row = weight**2 * float(by_row.var(ddof=1)) / n
        left = weight**2 * float((residual**2).sum()) / ((n - 1) * (groups - 1)) / (n * groups)
        rows, residuals, columns = rows + row, residuals + left, columns + weight * by_column
        parts += [(row, n - 1), (left, (n - 1) * (groups - 1))]
    column = float(columns.var(ddof=1)) / groups
    parts.append((column, groups - 1))
    variance = max(rows + column - residuals, rows, column)
    uncertain = sum(part**2 / freedom for part, freedom in parts)
    value = float(sum(weight * table.mean() for table, weight in zip(tables, weights, strict=True)))
    if uncertain == 0:
        return Spread(value, 0.0)
    return Spread(value, float(t_law.ppf((1 + CONFIDENCE) / 2, max(1.0, variance**2 / uncertain))) * math.sqrt(variance))


def ratio(tables: Sequence[np.ndarray], one: int, weights: Sequence[float]) -> Spread | None:
    """The mean of table `one` over the weighted mean of all, by the delta method; None if the interval of the latter contains zero."""
    whole = weighted_mean(tables, weights)
    if whole.low <= 0 <= whole.high:
        return None
    value = float(tables[one].mean()) / whole.value
    line = [((index == one) - value * weight) / whole.value for index, weight in enumerate(weights)]
    return Spread(value, weighted_mean(tables, line).half)
