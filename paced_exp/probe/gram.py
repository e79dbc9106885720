"""The Gram matrix of a probe's bins: do problems of different pass rates pull in one direction, and which weight follows from it?

An SNR says how far the problems of one bin agree with each other. It does not say whether they agree with other bins: problems that are never
solved can share a direction that a step for all problems does not need. The record's `gram` holds, for the bins with pass rates `pass_rate`:

- inner, cosine, cosine_low, cosine_high (B, B): of the bins' true mean gradients (`paced_theory.gram`); a cosine that does not exist is None.
- groups: cosines between the lowest bin, the mean of the middle bins, and the highest bin.
- second_moment (B,): mean |g|^2. share (B,): share of the problems drawn that fell into the bin.
- alignment, alignment_low, alignment_high (B,): <mu_b, G> with G = sum_b share_b mu_b, the gradient of the unweighted pool.
- fitted (B,): max(0, alignment / second_moment), with mean one over the bins: the weight >= 0 of most progress along G per unit of noise
  (`paced_theory.progress`). curve: the same as "p:w,p:w,...", None if no bin has a positive alignment. usable: its efficiency among weights of
  either sign, on the data it was fitted to.
- efficiency, efficiency_own: for every weighting method at its default options, the share of the best progress per noise, with an interval.
  Progress is along G, or along each bin's own mean gradient. None for a method that gives every bin zero.

Intervals are 95 % intervals over problems; the shares of the pool are treated as known. Source: ours.
"""

from typing import Any

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.probe.curve import MINIMUM, BinData
from paced_exp.probe.fits import CONFIDENCE, plain
from paced_exp.probe.verdict import MIDDLE
from paced_exp.weighting import METHODS, Weighting
from paced_theory.curve import curve_text
from paced_theory.gram import BinGram, bin_gram, cosines
from paced_theory.progress import Estimates, alignments, best_weight, efficiencies

#: Pairs of groups in the record, with their names in the table.
GROUPS = {
    "low_middle": "lowest bin with the middle",
    "middle_high": "middle with the highest bin",
    "low_high": "lowest bin with the highest",
}


def gram_record(data: list[BinData], K: int) -> dict[str, Any]:
    """The record's `gram` as plain values, as described in the module's docstring. `problem` is "" or says why there is none.

    K: rollouts per problem, the default order of maxrl. Bins of fewer than three problems, or whose gradients are not finite or all zero, are
    left out.
    """
    usable = [bin_data for bin_data in data if _usable(bin_data)]
    if not usable:
        return {"pass_rate": [], "problem": f"no Gram matrix: no bin has {MINIMUM} problems with finite gradients"}
    sums = [bin_data.sums for bin_data in usable]
    gram = bin_gram(
        [one.sketches for one in sums],
        norms_squared=[one.norms_squared for one in sums],
        sums_norm_squared=[one.sum_norm_squared for one in sums],
    )
    rates = np.array([bin_data.pass_rate for bin_data in usable])
    offered = np.array([bin_data.offered for bin_data in usable], dtype=np.float64)
    share = offered / offered.sum()
    cosine, alignment = cosines(gram, confidence=CONFIDENCE), alignments(gram, share, confidence=CONFIDENCE)
    record = {
        "pass_rate": rates,
        "inner": gram.inner,
        "cosine": cosine.value,
        "cosine_low": cosine.low,
        "cosine_high": cosine.high,
        "groups": _groups(gram, rates),
        "second_moment": gram.second_moment,
        "share": share,
        "alignment": alignment.value,
        "alignment_low": alignment.low,
        "alignment_high": alignment.high,
        **_fitted(gram, rates, share, alignment.value),
        "efficiency": _by_method(gram, rates, share, K, own=False),
        "efficiency_own": _by_method(gram, rates, share, K, own=True),
        "problem": "",
    }
    return dict(plain(record))


def _usable(bin_data: BinData) -> bool:
    sums = bin_data.sums
    finite = np.isfinite(sums.norms_squared).all() and np.isfinite(sums.sketches).all() and np.isfinite(sums.sum_norm_squared)
    return len(sums.norms_squared) >= MINIMUM and bool(finite) and bool(sums.norms_squared.any())


def _groups(gram: BinGram, rates: np.ndarray) -> dict[str, dict[str, float] | None]:
    """Cosines between the lowest bin, the mean of the middle bins, and the highest bin; None if a group has no bin."""
    low, high = (rates <= 0.1) & (rates == rates[0]), (rates >= 0.9) & (rates == rates[-1])
    members = {"low": low, "middle": (rates >= MIDDLE[0]) & (rates <= MIDDLE[1]), "high": high}
    there = {name: chosen / chosen.sum() for name, chosen in members.items() if chosen.any()}
    if not there:
        return dict.fromkeys(GROUPS)
    found, order = cosines(gram, np.array(list(there.values())), confidence=CONFIDENCE), list(there)
    result: dict[str, dict[str, float] | None] = {}
    for pair in GROUPS:
        one, two = pair.split("_")
        if one in there and two in there:
            where = order.index(one), order.index(two)
            result[pair] = {"cosine": found.value[where], "low": found.low[where], "high": found.high[where]}
        else:
            result[pair] = None
    return result


def _fitted(gram: BinGram, rates: np.ndarray, share: np.ndarray, alignment: np.ndarray) -> dict[str, Any]:
    if not (alignment > 0).any():
        return {"fitted": None, "curve": None, "usable": None}
    weight = best_weight(alignment, gram.second_moment)
    progress = share * alignment**2 / gram.second_moment
    curve = curve_text(rates.tolist(), weight.tolist())
    return {"fitted": weight, "curve": curve, "usable": float(progress[weight > 0].sum() / progress.sum())}


def _by_method(gram: BinGram, rates: np.ndarray, share: np.ndarray, K: int, *, own: bool) -> dict[str, dict[str, float]]:
    weights = {}
    for name in METHODS:
        try:
            weights[name] = np.asarray(Weighting(name).kernel(np.array([K]))(rates))
        except UserError:
            continue  # a method that has options without a default
    found: Estimates = efficiencies(gram, share, np.array(list(weights.values())), own=own, confidence=CONFIDENCE)
    return {
        name: {"value": value, "low": low, "high": high}
        for name, value, low, high in zip(weights, found.value, found.low, found.high, strict=True)
    }


def gram_lines(record: dict[str, Any]) -> list[str]:
    """Lines on the cosines of groups and on the efficiencies, from a probe's record; no lines for an old one."""
    gram = record.get("gram")
    if gram is None or gram["problem"]:
        return [] if gram is None else [gram["problem"]]
    pairs = [f"{name} {_shown(gram['groups'][pair], 'cosine')}" for pair, name in GROUPS.items()]
    kept = [f"{name} {_shown(found, 'value')}" for name, found in gram["efficiency"].items()]
    return [
        f"cosine of mean gradients: {', '.join(pairs)}",
        f"share of the best progress per noise along the pool's mean gradient: {', '.join(kept)}",
    ]


def _shown(found: dict[str, float | None] | None, name: str) -> str:
    if found is None:
        return "no such bins"
    value = "none" if found[name] is None else f"{found[name]:.2f}"
    return value if found["low"] is None else f"{value} [{found['low']:.2f}, {found['high']:.2f}]"
