"""The pass rates within the ranges of a screened probe: the distribution ("law") of pass rates, and its part in every range, from a record's counts.

The counts of a problem give the law of its pass rate: k + f passes of K + F rollouts at an end, k of K in the middle
(`paced_theory.screened_law`). The law of a range is the mean over its problems. The prior is estimated from the counts of all problems drawn,
screened and fresh together, since below 1/K the screen alone would have to be extrapolated. If families are capped, each has a law of its own,
since its problems are no longer in a range by chance alone. A family that is too small for this takes the law of all families.
"""

from typing import Any

import numpy as np

from paced_exp.probe.ranges import cells_of_fresh, side_of
from paced_theory._checks import FloatArray
from paced_theory.mixture import EXPONENT_UPPER, MixtureFit
from paced_theory.pass_rate_law import PassRateLaw
from paced_theory.screened_law import fit_screened_law, mixed_law, outcome_posterior, share_between

LEAST_FOR_A_LAW = 200  # problems drawn of a family; a law from fewer would be noise


def has_ranges(panel: dict[str, Any]) -> bool:
    """Whether a record (or one of its steps) is that of a screened probe."""
    return bool(panel["config"].get("fresh_rollouts", 0)) if "config" in panel else False


def law_of_ranges(panel: dict[str, Any]) -> tuple[PassRateLaw, FloatArray]:
    """The law of the pass rates of all problems drawn, and the law over its nodes within the range of each row, (m, J).

    Raises ValueError or ArithmeticError if the counts determine no law.
    """
    counts = panel["rollouts"]
    laws = _laws(panel["config"], counts["screened"], counts["landed"])
    rows = []
    for row in panel["bins"]:
        posterior = np.zeros(next(iter(laws.values())).mass.size)
        for group, passes, rollouts, problems in row["range"]["outcomes"]:
            posterior += problems * outcome_posterior(laws[group], [passes], [rollouts])[0]
        rows.append(posterior / posterior.sum())
    shares = [sum(counts["screened"][group]) for group in laws]
    return mixed_law(list(laws.values()), shares), np.array(rows).reshape(len(rows), -1)


def _laws(config: dict[str, Any], screened: dict[str, list[int]], landed: dict[str, dict[str, list[int]]]) -> dict[str, PassRateLaw]:
    pooled: PassRateLaw | None = None
    laws = {}
    for group in screened:
        try:
            if len(screened) > 1 and sum(screened[group]) < LEAST_FOR_A_LAW:
                raise ValueError(f"{group} has fewer than {LEAST_FOR_A_LAW} problems")
            laws[group] = _law(config, screened[group], landed.get(group, {}))
        except ValueError:
            if len(screened) == 1:
                raise
            pooled = _law(config, np.sum(list(screened.values()), axis=0).tolist(), {}) if pooled is None else pooled
            laws[group] = pooled
    return laws


def _law(config: dict[str, Any], screened: list[int], landed: dict[str, list[int]]) -> PassRateLaw:
    K, fresh = config["K"], config["fresh_rollouts"]
    by_k = {int(k): np.array(cells) for k, cells in landed.items()}
    return fit_screened_law(screened, K, fresh, {k: cells_of_fresh(side_of(k, K), fresh) for k in by_k}, by_k)


def inside_of(panel: dict[str, Any], law: PassRateLaw, posterior: FloatArray) -> list[float]:
    """The share of each range's problems whose pass rate lies within the range's edges, under the law."""
    edges = [(row["range"]["low"], row["range"]["high"]) for row in panel["bins"]]
    return [float(share_between(law, posterior[[index]], low, high)[0]) for index, (low, high) in enumerate(edges)]


def bounds_of(fit: MixtureFit) -> dict[str, float | None]:
    """One-sided upper bounds on the exponents: the upper ends of their two-sided intervals; None if there is none."""

    def bound(value: float) -> float | None:
        return None if value >= EXPONENT_UPPER else value

    return {"confidence": (1 + fit.confidence) / 2, "a": bound(fit.a_high), "b": bound(fit.b_high)}
