"""The accuracy-aligned part of a probe's record as a table for the terminal."""

from typing import Any


def accuracy_table(record: dict[str, Any]) -> str:
    """A row for each bin: utility in both metrics with intervals, relative to the pool, and the means behind it."""
    found = record["accuracy"]
    lines = [
        f"expected accuracy {found['expected_accuracy']:.3f} on {found['problems']} held-out problems, "
        f"{found['problems_with_both_outcomes']} with both outcomes; second moment of Adam from {_origin(found['second_moment'])}"
    ]
    for metric, measured in found["metrics"].items():
        pool = measured["pool"]["utility"]
        lines.append(
            f"utility of a step of {metric} (pool {pool['value']:.3g} [{pool['low']:.3g}, {pool['high']:.3g}]):\n"
            f"{'pass rate':>9} {'n':>5} {'utility':>10}  {'95 % interval':<22} {'over pool':>9} {'inner':>10} {'||g||^2':>10}"
        )
        for row in measured["bins"]:
            relative = "-" if row["relative"] is None else f"{row['relative']:.2f}"
            interval = f"[{row['low']:.3g}, {row['high']:.3g}]"
            lines.append(
                f"{row['pass_rate']:>9.3f} {row['count']:>5d} {row['utility']:>10.3g}  {interval:<22} {relative:>9} "
                f"{row['inner']:>10.3g} {row['norm_squared']:>10.3g}"
            )
    lines.append(f"weights over the pass rate: {found['curve']}" if found["curve"] else f"no weights: {found['problem']}")
    return "\n".join(lines)


def _origin(origin: dict[str, Any]) -> str:
    if origin["from"] == "checkpoint":
        return f"the checkpoint after {origin['updates']} updates"
    return f"{origin['count']} mini-batches of {origin['size']}"
