"""From each bin's gradient sums to the curve of SNR over the pass rate, its nulls, its fit and a verdict for each end.

The rule for the verdict was fixed before any run: the middle is the mean SNR^2 of the bins whose pass rate lies in [0.3, 0.7]; an end
collapses when the 95 % interval of SNR^2(end) - SNR^2(middle) / 2 lies below zero, does not when it lies above, and is not decided
otherwise, or when the middle itself cannot be told from zero.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from paced_exp.errors import UserError
from paced_exp.gradients import GradientSums
from paced_theory.representation import compare_models, fit_leading_order_linear
from paced_theory.snr import (
    SNREstimate,
    combine,
    effective_rank,
    estimate_snr_from_gram,
    gram_from_sketch,
    permutation_null,
    problems_needed,
    sign_flip_null,
)

MIDDLE = (0.3, 0.7)
COLLAPSE_SHARE = 0.5
CONFIDENCE = 0.95
MINIMUM = 3  # gradients; fewer give no interval
NULL_REPLICATES = 200


@dataclass(frozen=True)
class BinData:
    """One bin's problems: mean p-hat, mean posterior pass rate (Jeffreys), gradients, and how many problems had fallen into the bin."""

    pass_rate: float
    posterior_pass_rate: float
    sums: GradientSums
    offered: int


@dataclass(frozen=True)
class BinEstimate:
    """One row of the result. See `SNREstimate` for the estimates; null_low..null_high: 95 % of what label permutation gives (SNR);
    zero_high: 97.5 % quantile of SNR under random signs, what no common direction would show;
    mean_squared_norm: E ||g||^2, the m of the theory's gain 2 w s - w^2 m."""

    pass_rate: float
    n: int
    offered: int
    snr: float
    snr_low: float
    snr_high: float
    snr_squared: float
    snr_squared_low: float
    snr_squared_high: float
    snr_naive: float
    floor: float
    null_low: float
    null_high: float
    zero_high: float
    clipped: bool
    effective_rank: float
    mean_squared_norm: float
    posterior_pass_rate: float


@dataclass(frozen=True)
class Curve:
    """The whole result: rows for bins with enough problems, the fit (None where there is no signal to fit), the verdict of each end, and
    what the naive estimate on unequal bins would have drawn."""

    bins: list[BinEstimate]
    fit: dict[str, Any] | None
    models: list[dict[str, Any]]
    verdict: dict[str, Any]
    artefact: list[dict[str, Any]]


def _root(value: float) -> float:
    return math.sqrt(max(0.0, value))


def estimate_curve(data: list[BinData], *, replicates: int, seed: int) -> Curve:
    """Estimate every bin, fit the leading order, judge both ends. Bins of fewer than three problems are left out.

    replicates: draws of the random-sign null. Raises `UserError` for a bin whose gradients do not differ or are not finite.
    """
    usable = [bin_data for bin_data in data if len(bin_data.sums.norms_squared) >= MINIMUM]
    rng = np.random.default_rng(seed)
    estimates: list[SNREstimate] = []
    zero_high: list[float] = []
    ranks: list[float] = []
    for bin_data in usable:
        try:
            gram = gram_from_sketch(bin_data.sums.sketches, bin_data.sums.norms_squared)
            estimates.append(estimate_snr_from_gram(gram, sum_norm_squared=bin_data.sums.sum_norm_squared, confidence=CONFIDENCE))
        except ValueError as error:
            raise UserError(f"the {bin_data.offered} problems of pass rate {bin_data.pass_rate:.2f} give no SNR: {error}") from error
        zero_high.append(_root(float(np.quantile(sign_flip_null(gram, replicates=replicates, rng=rng), 0.975))))
        ranks.append(effective_rank(gram))
    null = _null_band(usable, rng)
    rows = [
        BinEstimate(
            pass_rate=bin_data.pass_rate,
            n=estimate.n,
            offered=bin_data.offered,
            snr=estimate.snr,
            snr_low=estimate.snr_low,
            snr_high=estimate.snr_high,
            snr_squared=estimate.snr_squared,
            snr_squared_low=estimate.snr_squared_low,
            snr_squared_high=estimate.snr_squared_high,
            snr_naive=estimate.naive_snr,
            floor=estimate.floor,
            null_low=_root(low),
            null_high=_root(high),
            zero_high=zero,
            clipped=estimate.clipped,
            effective_rank=rank,
            mean_squared_norm=float(bin_data.sums.norms_squared.mean(dtype=np.float64)),
            posterior_pass_rate=bin_data.posterior_pass_rate,
        )
        for bin_data, estimate, (low, high), zero, rank in zip(usable, estimates, null, zero_high, ranks, strict=True)
    ]
    fit, models = _fit(rows)
    return Curve(rows, fit, models, {end: _judge(rows, estimates, end) for end in ("low", "high")}, _artefact(usable))


def _null_band(usable: list[BinData], rng: np.random.Generator) -> list[tuple[float, float]]:
    if not usable:
        return []
    pool = np.concatenate([bin_data.sums.sketches for bin_data in usable])
    draws = permutation_null(pool, [len(bin_data.sums.norms_squared) for bin_data in usable], replicates=NULL_REPLICATES, rng=rng)
    return [(float(low), float(high)) for low, high in np.quantile(draws, [0.025, 0.975], axis=0).T]


def _artefact(usable: list[BinData]) -> list[dict[str, Any]]:
    """What the naive estimate draws of the same gradients if bins keep the sizes in which random problems fall into them.

    The fullest bin keeps all of its gradients, the others their first n in proportion. ||sum g||^2 is that of the summed sketches, whose
    relative error is about sqrt(2 / sketch size).
    """
    if not usable:
        return []
    most = max(bin_data.offered for bin_data in usable)
    rows = []
    for bin_data in usable:
        n = max(2, len(bin_data.sums.norms_squared) * bin_data.offered // most)
        n = min(n, len(bin_data.sums.norms_squared))
        total = float(np.square(bin_data.sums.sketches[:n].sum(0, dtype=np.float64)).sum())
        noise = (float(bin_data.sums.norms_squared[:n].sum(dtype=np.float64)) - total / n) / (n - 1)
        rows.append({"pass_rate": bin_data.pass_rate, "n": n, "snr_naive": math.sqrt(total / noise) / n, "floor": n**-0.5})
    return rows


def _fit(rows: list[BinEstimate]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """SNR^2 = c p^a (1-p)^b on the posterior pass rates (p-hat itself is 0 and 1 at the ends, where the form is 0 whatever a and b)."""
    if len(rows) < 4:
        return None, []
    z = float(ndtri(0.5 + CONFIDENCE / 2))
    rates = [row.posterior_pass_rate for row in rows]
    values = [row.snr_squared for row in rows]
    errors = [(row.snr_squared_high - row.snr_squared_low) / (2 * z) for row in rows]
    # Noise can fit best by a shape one bin wide, whose curvature underflows (Newton's step is 0/0 and the search rests), or by a bump whose
    # peak, far outside, overflows (`_finite` makes it null).
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        try:
            fit = fit_leading_order_linear(rates, values, errors)
        except ValueError:  # no exponents give a positive scale: there is no signal to fit, which the record says by its absence
            return None, []
        compared = compare_models(rates, values, errors)
    kept = ("log_c", "a", "a_low", "a_high", "b", "b_low", "b_high", "r_squared", "chi_squared", "oscillation", "guaranteed_efficiency")
    summary = {name: _finite(getattr(fit, name)) for name in kept} | {"at_bound": list(fit.at_bound)}
    models = [
        {
            "name": model.name,
            "parameters": {k: _finite(v) for k, v in model.parameters.items()},
            "aic": model.aic,
            "bic": model.bic,
            "delta_aic": model.delta_aic,
        }
        for model in compared
    ]
    return summary, models


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _judge(rows: list[BinEstimate], estimates: list[SNREstimate], end: str) -> dict[str, Any]:
    """The verdict of one end by the rule at the head of this file, with the numbers behind it."""
    middle = [i for i, row in enumerate(rows) if MIDDLE[0] <= row.pass_rate <= MIDDLE[1]]
    edge = 0 if end == "low" else len(rows) - 1
    reached = bool(rows) and (rows[edge].pass_rate <= 0.1 if end == "low" else rows[edge].pass_rate >= 0.9)
    name = f"p -> {0 if end == 'low' else 1}"
    if not middle or not reached:
        return {
            "end": name,
            "verdict": "not decided",
            "words": f"{name}: not decided, the bins there or in the middle hold too few problems",
            "difference": None,
        }
    in_middle, share = [estimates[i] for i in middle], 1 / len(middle)
    middle_value, middle_low, middle_high = combine(in_middle, [share] * len(middle))
    difference, low, high = combine([estimates[edge], *in_middle], [1.0, *[-COLLAPSE_SHARE * share] * len(middle)])
    n = rows[edge].n
    if middle_low <= 0:
        verdict, because = (
            "not decided",
            f"the middle's own SNR^2 {middle_value:.4f} [{middle_low:.4f}, {middle_high:.4f}] is not told from zero",
        )
    else:
        verdict = "collapses" if high < 0 else "does not collapse" if low > 0 else "not decided"
        because = (
            f"SNR^2 {rows[edge].snr_squared:.4f} [{rows[edge].snr_squared_low:.4f}, {rows[edge].snr_squared_high:.4f}] at p = {rows[edge].pass_rate:.2f} "
            f"against {middle_value:.4f} [{middle_low:.4f}, {middle_high:.4f}] in the middle"
        )
    result: dict[str, Any] = {
        "end": name,
        "verdict": verdict,
        "words": f"{name}: {verdict} with {n} problems a bin ({because})",
        "snr_squared": rows[edge].snr_squared,
        "middle": middle_value,
        "middle_low": middle_low,
        "middle_high": middle_high,
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
    }
    if verdict == "not decided" and middle_value > 0:
        # Telling a half from a whole of the middle's SNR^2 is at least as hard as telling half of it from zero.
        result["problems_needed"] = problems_needed(COLLAPSE_SHARE * middle_value, effective_rank=rows[edge].effective_rank)
    return result


def curve_record(curve: Curve) -> dict[str, Any]:
    """The curve as plain values for record.json."""
    return {
        "bins": [asdict(row) for row in curve.bins],
        "fit": curve.fit,
        "models": curve.models,
        "verdict": curve.verdict,
        "artefact": curve.artefact,
    }
