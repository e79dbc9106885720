"""An evaluation's record as a table for the terminal."""

from typing import Any


def table(record: dict[str, Any]) -> str:
    """The record as a table, in per cent and tokens."""
    samples = record["sources"][0]["samples"]
    mean, last = f"mean@{samples}", f"pass@{samples}"
    width = max(len("source"), *(len(row["source"]) for row in record["sources"]))
    lines = [f"{'source':<{width}} {'problems':>8}  {mean + ' %':<21}  {last + ' %':<21}  {'tokens':<22} {'cut off':>7}"]
    for row in record["sources"]:
        lines.append(
            f"{row['source']:<{width}} {row['problems']:>8}  {interval_text(row['mean'], 100):<21}  {interval_text(row['pass_at'][str(samples)], 100):<21}  "
            f"{interval_text(row['tokens'], 1):<22} {row['truncated_share']:>7.1%}"
        )
    if record["against"] is not None:
        lines.append(f"paired differences to {record['against']['model']}:")
        for row in record["against"]["differences"]:
            lines.append(
                f"{row['source']:<{width}} {'':>8}  {interval_text(row['mean'], 100, '+'):<21}  "
                f"{interval_text(row['pass_at'][str(samples)], 100, '+'):<21}  {interval_text(row['tokens'], 1, '+'):<22}"
            )
        if not record["against"]["forgetting"]:
            lines.append("forgetting: not measured, since `retention` names no source that is evaluated")
        for row in record["against"]["forgetting"]:
            lines.append(f"forgetting on {row['source']}: {interval_text(row['drop'], 100, '+')} points")
    return "\n".join(lines)


def interval_text(interval: dict[str, float | None], scale: float, sign: str = "") -> str:
    """A value with its interval, if it has one, both times `scale`. sign: `+` for a difference."""
    value, low, high = (None if number is None else scale * number for number in interval.values())
    text = f"{value:{sign}.1f}"
    return text if low is None else f"{text} [{low:{sign}.1f}, {high:{sign}.1f}]"
