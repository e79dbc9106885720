"""Summary of pass rates, for the record and the terminal."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from paced_exp.core.intervals import bounded_interval, few_differ

FIFTHS = ("0.0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1.0")


def summary(rates: pd.DataFrame, sources: Sequence[str]) -> dict[str, Any]:
    """A row for each source and one for all problems, and the number of problems in each fifth of the pass-rate range.

    pass_rate is the mean of k/K, or of the column `unbiased` where there is one: of rollouts that were stopped early, k/K is biased.
    pass_rate_low, pass_rate_high: 95 % interval of the mean pass rate over problems. It is Student's interval, or `bounded_interval` if few
    problems differ from the commonest pass rate, or None for a single problem.
    """
    names = np.array(sources)
    distinct = sorted(set(sources))
    chosen = [(name, names == name) for name in distinct] if len(distinct) > 1 else []
    rows = []
    for name, mask in [*chosen, ("all", np.ones(len(names), dtype=bool))]:
        part = rates[mask]
        p, n = part["unbiased" if "unbiased" in part else "p_hat"].to_numpy(), len(part)
        ends: tuple[float | None, float | None] = None, None
        if n > 1 and few_differ(p):
            ends = bounded_interval(p, 0.0, 1.0, replicates=10_000, rng=np.random.default_rng(0))
        elif n > 1:
            half = float(t.ppf(0.975, n - 1)) * float(p.std(ddof=1)) / math.sqrt(n)
            ends = max(0.0, float(p.mean()) - half), min(1.0, float(p.mean()) + half)
        rows.append(
            {
                "source": name,
                "problems": n,
                "rollouts": int(part["K"].sum()),
                "pass_rate": float(p.mean()),
                "pass_rate_low": ends[0],
                "pass_rate_high": ends[1],
                "never_passed": int((part["k"] == 0).sum()),
                "always_passed": int((part["k"] == part["K"]).sum()),
                "truncated_share": float((part["truncated_share"] * part["K"]).sum() / part["K"].sum()),
                "mean_tokens": float((part["mean_tokens"] * part["K"]).sum() / part["K"].sum()),
            }
        )
    # 5 k // K is the fifth of k / K, exact in integers. The last fifth includes 1.
    fifths = np.bincount(np.minimum(5 * rates["k"].to_numpy() // rates["K"].to_numpy(), 4), minlength=5)
    return {"sources": rows, "fifths": dict(zip(FIFTHS, fifths.tolist(), strict=True))}


def saved_line(saved: dict[str, Any]) -> str:
    """What stopping early saved, from `Stopping.record`."""
    law = ", ".join(f"{value:.2f}" for value in saved["law"])
    return (
        f"stopped early ({saved['criterion']}): {saved['rollouts']} rollouts where K = {saved['as_exact_as']} for all has {saved['rollouts_of_k_for_all']}, "
        f"{saved['saved_share']:.1%} fewer; theory expects {saved['saved_share_expected']:.1%} under the law Beta({law}), {saved['law_from']}"
    )


def table(record: dict[str, Any]) -> str:
    """The record as a table for the terminal."""
    width = max(len(row["source"]) for row in record["sources"])
    lines = [
        f"{'source':<{width}} {'problems':>8}  pass rate  {'95 % interval':<14}  {'k = 0':>6} {'k = K':>6}  {'cut off':>7} {'tokens':>7}"
    ]
    for row in record["sources"]:
        low, high = row["pass_rate_low"], row["pass_rate_high"]
        interval = "-" if low is None else f"[{low:.3f}, {high:.3f}]"
        lines.append(
            f"{row['source']:<{width}} {row['problems']:>8}  {row['pass_rate']:>9.3f}  {interval:<14}  {row['never_passed']:>6} "
            f"{row['always_passed']:>6}  {row['truncated_share']:>7.1%} {row['mean_tokens']:>7.1f}"
        )
    lines.append("problems by pass rate: " + ", ".join(f"{name}: {count}" for name, count in record["fifths"].items()))
    if saved := record.get("adaptive"):
        lines.append(saved_line(saved))
    session = record["session"]
    if session["rollouts"]:
        start = session["start_seconds"]
        seconds = session["seconds"] - start
        began = f", after {start:.1f} s in which the engine started" if start else ""
        lines.append(
            f"{session['rollouts']} rollouts in {seconds:.1f} s{began}: {session['rollouts'] / seconds:.0f} rollouts/s, "
            f"{session['tokens'] / seconds:.0f} tokens/s"
        )
    return "\n".join(lines)
