"""The fit of SNR^2 = c p^a (1-p)^b to a probe's bins, which accounts for the mixture of pass rates in each bin. Made from the record alone.

The distribution ("law") of pass rates is estimated from the counts of all problems drawn, and the fit uses the SNR^2 of the bins
(`paced_theory.mixture`). For the ranges of a screened probe, the mixture follows from each problem's counts (`paced_exp.probe.range_law`).
Numbers that cannot be fitted raise no error: the result says in words what failed and why, so that a probe finishes its record.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.special import ndtri

from paced_exp.probe.binning import bin_index
from paced_exp.probe.range_law import bounds_of, has_ranges, inside_of, law_of_ranges
from paced_exp.probe.step_noise import noise_of
from paced_theory.mixture import PassRateLaw, fit_pass_rate_law, fit_through_posterior
from paced_theory.representation import compare_models

CONFIDENCE = 0.95
_LAW = [
    "kind",
    "alpha",
    "beta",
    "tilt",
    "chi_squared",
    "degrees_of_freedom",
    "chi_squared_p",
    "beta_chi_squared",
    "beta_degrees_of_freedom",
    "beta_chi_squared_p",
]
_UNFIT = (ValueError, ArithmeticError, np.linalg.LinAlgError)


@dataclass(frozen=True)
class Counts:
    """cells: the counts k of each bin that some k/K falls into. offered: number of problems drawn there. rows: the cell of each row of the record."""

    cells: list[list[int]]
    offered: list[int]
    rows: list[int]


def counts_of(panel: dict[str, Any]) -> Counts:
    """How the problems that a probe drew fell into bins. Raises ValueError if the record lacks this for a bin."""
    config, rows = panel["config"], panel["bins"]
    K, bins = config["K"], config["bins"]
    by_bin: dict[int, list[int]] = {}
    for k in range(K + 1):
        by_bin.setdefault(bin_index(k, K, bins), []).append(k)
    # A bin's mean of k/K lies in the bin. 1e-9 is more than the rounding error of a mean on its edge.
    own = [min(int(row["pass_rate"] * bins + 1e-9), bins - 1) for row in rows]
    if "rollouts" in panel:
        offered = {index: panel["rollouts"]["offered"][index] for index in by_bin}
    else:
        offered = {index: row["offered"] for index, row in zip(own, rows, strict=True)}
        if offered.keys() != by_bin.keys():
            raise ValueError("the record does not say how many problems fell into every bin")
    order = sorted(by_bin)
    return Counts([by_bin[index] for index in order], [offered[index] for index in order], [order.index(index) for index in own])


def law_of(panel: dict[str, Any]) -> tuple[PassRateLaw, np.ndarray]:
    """The law of the pass rates of all problems drawn, and the law over its nodes within the bin of each row, (m, J).

    Raises ValueError or ArithmeticError if the counts determine no law.
    """
    if has_ranges(panel):
        return law_of_ranges(panel)
    counts = counts_of(panel)
    law = fit_pass_rate_law(counts.offered, panel["config"]["K"], counts.cells)
    return law, law.posterior(counts.cells)[counts.rows]


def mixture_of(panel: dict[str, Any]) -> dict[str, Any]:
    """The law of pass rates and the fit, as plain values: from the record or, for an old one, computed now.

    panel: a probe's record (or one of its steps) with config and bins. The result holds `law` and `fit` (None if there is none),
    `posterior_pass_rate` (mean pass rate of the problems of each bin under the law) and `problem`, "" or what failed, in words. For ranges it
    also holds `inside` (the share of each range's problems whose pass rate is within the edges, under the law) and `upper_bounds` on a and b.
    """
    if "mixture" in panel:
        return dict(panel["mixture"])
    try:
        law, posterior = law_of(panel)
    except _UNFIT as error:
        return {"law": None, "fit": None, "posterior_pass_rate": None, "problem": f"no law of pass rates: {error}"}
    found = {name: plain(getattr(law, name)) for name in _LAW}
    result = {"law": found, "fit": None, "posterior_pass_rate": (posterior @ law.pass_rate).tolist(), "problem": ""}
    rows = panel["bins"]
    if has_ranges(panel):
        result |= {"inside": inside_of(panel, law, posterior), "upper_bounds": None}
    try:
        fit = fit_through_posterior(
            law,
            posterior,
            [row["snr_squared"] for row in rows],
            standard_errors(rows),
            noise=noise_of(panel),
            confidence=CONFIDENCE,
        )
    except _UNFIT as error:
        return {**result, "problem": f"no fit of c p^a (1-p)^b: {error}"}
    result |= {"fit": {field.name: plain(getattr(fit, field.name)) for field in fields(fit)}, "problem": fit.problem}
    return result | ({"upper_bounds": bounds_of(fit)} if has_ranges(panel) else {})


def standard_errors(rows: list[dict[str, Any]]) -> list[float]:
    """Standard error of each bin's SNR^2, (m,): half the width of its 95 % interval over 1.96."""
    z = float(ndtri(0.5 + CONFIDENCE / 2))
    return [(row["snr_squared_high"] - row["snr_squared_low"]) / (2 * z) for row in rows]


def rivals(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Other shapes of the curve in order of AIC, and "" or the reason why there are none.

    Unlike the fit through the mixture, they use one pass rate per bin, the posterior rate (k + 1/2)/(K + 1).
    """
    try:
        compared = compare_models([row["posterior_pass_rate"] for row in rows], [row["snr_squared"] for row in rows], standard_errors(rows))
    except _UNFIT as error:
        return [], f"no comparison with other shapes: {error}"
    kept = ("chi_squared", "aic", "bic", "delta_aic")
    return [
        {"name": model.name, "parameters": plain(model.parameters), "problem": model.problem}
        | {name: plain(getattr(model, name)) for name in kept}
        for model in compared
    ], ""


def exponent_words(fit: dict[str, Any], name: str) -> str:
    """An exponent with its interval and its one-sided 95 % upper bound, such as "a = 0.13 [0.00, 0.35] (at most 0.31)"."""

    def shown(value: float) -> str:
        return "no bound" if value <= -1.0 or value >= 10.0 else f"{value:.2f}"

    low, high, upper = (shown(fit[f"{name}_{end}"]) for end in ("low", "high", "upper"))
    return f"{name} = {fit[name]:.2f} [{low}, {high}] ({upper if upper == 'no bound' else f'at most {upper}'})"


def quality_words(fit: dict[str, Any]) -> str:
    """Chi-squared, degrees of freedom and p-value of the fit. The intervals are widened by sqrt(chi-squared / df) where that exceeds 1."""
    return f"χ² = {fit['chi_squared']:.1f} on {fit['degrees_of_freedom']} df, p = {fit['chi_squared_p']:.2g}"


def flat_words(flat: dict[str, Any]) -> str:
    """The test that SNR^2 is the same in all bins, from a record's `flat`."""
    if flat["problem"]:
        return str(flat["problem"])
    return f"SNR² = {flat['snr_squared']:.4f} in all bins: Q = {flat['statistic']:.1f} on {flat['degrees']} df, p = {flat['p_value']:.2g}"


def law_words(law: dict[str, Any]) -> str:
    """The law of pass rates in words, with its test and the plain Beta law's."""
    if law["kind"] == "mixture":
        quality = f"χ² = {law['chi_squared']:.0f} on {law['degrees_of_freedom']} df"
        return f"one a family, {quality} together (Beta laws {law['beta_chi_squared']:.0f} on {law['beta_degrees_of_freedom']})"
    beta = f"Beta law χ² = {law['beta_chi_squared']:.0f} on {law['beta_degrees_of_freedom']} df"
    if law["kind"] == "beta":
        return f"Beta({law['alpha']:.2f}, {law['beta']:.2f}): {beta}"
    freedom, chi_squared = law["degrees_of_freedom"], law["chi_squared"]
    return f"{beta}, rejected; with {len(law['tilt'])} further terms χ² = {chi_squared:.0f} on {freedom}"


def fit_lines(mixture: dict[str, Any], models_problem: str = "") -> list[str]:
    """Lines on the law, on the fit with its test, and on what could not be fitted, from `mixture_of`."""
    lines = []
    if (law := mixture["law"]) is not None:
        lines.append(f"law of pass rates: {law_words(law)}")
    if (fit := mixture["fit"]) is not None:
        exponents = "; ".join(exponent_words(fit, name) for name in ("a", "b"))
        lines.append(f"fit SNR² = c p^a (1-p)^b through the mixture: {exponents}; {quality_words(fit)} (the paper's kernel: a = b = 1)")
    if (bounds := mixture.get("upper_bounds")) is not None:
        shown = ", ".join(f"{name} {'without bound' if bounds[name] is None else f'≤ {bounds[name]:.2f}'}" for name in ("a", "b"))
        lines.append(f"one-sided {100 * bounds['confidence']:g} % upper bounds: {shown}")
    return lines + [f"not fitted: {why}" for why in (mixture["problem"], models_problem) if why]


def plain(value: Any) -> Any:
    """`value` in a form for JSON: arrays and tuples become lists, and numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
