"""The curve of SNR over the pass rate from the gradient sums of each bin, with its nulls and the numbers behind the verdict on both ends.

A bin without an estimate is left out, and the record says why, so that a probe always ends with a record.
"""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paced_exp.probe.fits import CONFIDENCE, plain, rivals
from paced_exp.probe.heavy_tails import other_estimands
from paced_exp.probe.verdict import ENDS, judge
from paced_theory.snr import (
    SNREstimate,
    effective_rank,
    estimate_snr_from_gram,
    flat_snr_test,
    gram_from_sketch,
    permutation_null,
    sign_flip_null,
)

if TYPE_CHECKING:
    from paced_exp.gradients.engine import GradientSums  # loads torch, which a record's readers do without

MINIMUM = 3  # gradients; fewer give no interval
NULL_REPLICATES = 200
INTERVAL = "jackknife over problems, its lower limit moved down for the part of the norms' tail that a sample has not shown"


@dataclass(frozen=True)
class BinData:
    """One bin's problems: mean p-hat, mean posterior pass rate (Jeffreys), gradients, and how many problems drawn belong to the bin. For a
    range of a screened probe, also what its record says of it (`paced_exp.probe.ranges.Ranges.facts`)."""

    pass_rate: float
    posterior_pass_rate: float
    sums: "GradientSums"
    offered: int
    range: dict[str, Any] | None = None


@dataclass(frozen=True)
class BinEstimate:
    """One row of the result. See `SNREstimate` for the estimates. null_low..null_high: central 95 % of SNR under permuted pass rates.
    zero_high: 97.5 % quantile of SNR under random signs, that is, without a common direction. mean_squared_norm: E ||g||^2, the m of the theory's
    gain 2 w s - w^2 m. trimmed, unit_norm: SNR^2 without the 1 % of gradients with the largest norm, and of directions alone
    (`paced_exp.probe.heavy_tails`); None if `others_problem` gives a reason. largest_share: the part of the squared norm in that 1 %.
    log_norm_sd: standard deviation of log ||g||, which shows how heavy the tails are."""

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
    bias: float
    tail_bias: float
    effective_n: float
    snr_squared_covers: bool
    largest_share: float
    log_norm_sd: float
    others_problem: str
    trimmed: float | None
    trimmed_low: float | None
    trimmed_high: float | None
    trimmed_covers: bool | None
    unit_norm: float | None
    unit_norm_low: float | None
    unit_norm_high: float | None
    unit_norm_covers: bool | None
    range: dict[str, Any] | None


@dataclass(frozen=True)
class Curve:
    """The whole result: a row for each bin with an estimate; left_out: pass rate, n and `why` of the others; rival shapes of the curve by AIC,
    or why there are none; the test of a flat SNR; the numbers and the verdict of each end; and the curve of the naive estimate on unequal bins.
    interval: how the intervals were made; older records lack it."""

    bins: list[BinEstimate]
    left_out: list[dict[str, Any]]
    models: list[dict[str, Any]]
    models_problem: str
    flat: dict[str, Any]
    verdict: dict[str, Any]
    artefact: list[dict[str, Any]]
    interval: str = INTERVAL


def _root(value: float) -> float:
    return value if math.isnan(value) else math.sqrt(max(0.0, value))


def estimate_curve(data: list[BinData], *, replicates: int, seed: int) -> Curve:
    """Estimate every bin, compare shapes, and judge both ends.

    replicates: number of draws of the random-sign null. Bins of fewer than three problems, or whose gradients do not differ or are not finite,
    are left out and named in the result.
    """
    rng = np.random.default_rng(seed)
    usable: list[BinData] = []
    estimates: list[SNREstimate] = []
    zero_high: list[float] = []
    ranks: list[float] = []
    others: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for bin_data in data:
        n = len(bin_data.sums.norms_squared)
        try:
            if n < MINIMUM:
                raise ValueError(f"an interval needs at least {MINIMUM} problems")
            gram = gram_from_sketch(bin_data.sums.sketches, bin_data.sums.norms_squared)
            estimate = estimate_snr_from_gram(gram, sum_norm_squared=bin_data.sums.sum_norm_squared, confidence=CONFIDENCE)
            rank = effective_rank(gram)
        except ValueError as error:
            left_out.append({"pass_rate": bin_data.pass_rate, "n": n, "why": str(error)})
            continue
        usable.append(bin_data)
        estimates.append(estimate)
        zero_high.append(_root(float(_quantiles(sign_flip_null(gram, replicates=replicates, rng=rng), [0.975])[0])))
        ranks.append(rank)
        others.append(other_estimands(gram, confidence=CONFIDENCE))
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
            bias=estimate.bias,
            tail_bias=estimate.tail_bias,
            effective_n=estimate.effective_n,
            snr_squared_covers=estimate.trusted,
            range=bin_data.range,
            **other,
        )
        for bin_data, estimate, (low, high), zero, rank, other in zip(usable, estimates, null, zero_high, ranks, others, strict=True)
    ]
    models, problem = rivals([asdict(row) for row in rows])
    verdict = {end: judge(rows, estimates, end) for end in ENDS}
    return Curve(rows, left_out, models, problem, _flat(estimates), verdict, _artefact(usable))


def _flat(estimates: list[SNREstimate]) -> dict[str, Any]:
    """The test that SNR^2 is the same in all bins, or the reason under `problem` why there is none."""
    try:
        return {**asdict(flat_snr_test(estimates)), "problem": ""}
    except ValueError as error:
        return {"problem": f"no test of a flat SNR: {error}"}


def _null_band(usable: list[BinData], rng: np.random.Generator) -> list[tuple[float, float]]:
    if not usable:
        return []
    pool = np.concatenate([bin_data.sums.sketches for bin_data in usable])
    pool = pool / max(
        float(np.abs(pool).max()), np.finfo(float).tiny
    )  # SNR does not depend on the scale, but single precision has a limited range
    draws = permutation_null(pool, [len(bin_data.sums.norms_squared) for bin_data in usable], replicates=NULL_REPLICATES, rng=rng)
    return [(float(low), float(high)) for low, high in _quantiles(draws, [0.025, 0.975]).T]


def _quantiles(draws: np.ndarray, at: list[float]) -> np.ndarray:
    """Quantiles along the first axis. Between infinite draws they are NaN, which a record holds as None."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.quantile(draws, at, axis=0))


def _artefact(usable: list[BinData]) -> list[dict[str, Any]]:
    """The naive estimate on the same gradients, with bins of the sizes in which random problems fall into them.

    The fullest bin keeps all of its gradients, and the others keep their first n in proportion. ||sum g||^2 is computed from summed sketches,
    with a relative error of about sqrt(2 / sketch size). `snr_naive` is None if this exceeds what n vectors of these norms can sum to. Ranges
    have no such estimate, since they have unequal widths, and only some of the problems at the ends were rolled out again.
    """
    if not usable or any(bin_data.range is not None for bin_data in usable):
        return []
    most = max(bin_data.offered for bin_data in usable)
    rows = []
    for bin_data in usable:
        n = max(2, len(bin_data.sums.norms_squared) * bin_data.offered // most)
        n = min(n, len(bin_data.sums.norms_squared))
        total = float(np.square(bin_data.sums.sketches[:n].sum(0, dtype=np.float64)).sum())
        noise = (float(bin_data.sums.norms_squared[:n].sum(dtype=np.float64)) - total / n) / (n - 1)
        naive = math.sqrt(total / noise) / n if noise > 0 else None
        rows.append({"pass_rate": bin_data.pass_rate, "n": n, "snr_naive": naive, "floor": n**-0.5})
    return rows


def curve_record(curve: Curve) -> dict[str, Any]:
    """The curve as plain values for record.json. A number that is not finite, such as the null of three equal directions, becomes None.
    Only the rows of ranges have a `range`."""
    record = {name: plain(value) for name, value in asdict(curve).items()}
    record["bins"] = [{name: value for name, value in row.items() if name != "range" or value is not None} for row in record["bins"]]
    return record
