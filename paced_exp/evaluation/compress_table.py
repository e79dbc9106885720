"""The table of a compression for the terminal."""

from typing import Any


def compress_table(record: dict[str, Any]) -> str:
    """A line for each method: size, share of bfloat16's, and for each source mean@n and its difference to the model as it was, in points."""
    sources = [row["source"] for row in record["methods"][0]["sources"]]
    lines = [f"{'method':<20} {'kB':>9} {'share':>6}  " + "  ".join(f"{source:>28}" for source in sources)]
    for entry in record["methods"]:
        cells = []
        for row in entry["sources"]:
            text = f"{100 * row['mean']['value']:.1f} %"
            if entry["against"] is not None:
                found = next(each["mean"] for each in entry["against"]["differences"] if each["source"] == row["source"])
                value, low, high = (None if found[end] is None else 100 * found[end] for end in ("value", "low", "high"))
                text += f"  {value:+.1f}" + ("" if low is None or high is None else f" [{low:+.1f}, {high:+.1f}]")
            cells.append(f"{text:>28}")
        lines.append(f"{entry['method']:<20} {entry['bytes'] / 1e3:>9.0f} {entry['share']:>6.0%}  " + "  ".join(cells))
    return "\n".join(lines)
