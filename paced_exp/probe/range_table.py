"""The ranges of a screened probe as lines for the terminal: ratios to the middle, what each range holds, and what was rolled out again."""

from typing import Any

from paced_exp.probe.fits import mixture_of
from paced_exp.probe.range_law import has_ranges
from paced_exp.probe.ratios import ESTIMANDS

_ENDS = (("low", "k <= 1"), ("high", "k >= K - 1"))


def range_lines(record: dict[str, Any]) -> list[str]:
    """All lines; none for a probe with bins."""
    return [*_ratios(record["ratios"]), *_contents(record), *_again(record)] if has_ranges(record) else []


def _ratios(ratios: list[dict[str, Any]]) -> list[str]:
    """A line for each outer range: its SNR^2 over that of the middle."""
    if all(row[name] is None for row in ratios for name in ESTIMANDS):
        return ["no ratio to the middle: its SNR² is not told from zero"] if ratios else []
    lines = [f"{'over the middle':<15} {'n':>5}  " + "".join(f"{words:<24}" for words in ESTIMANDS.values()).rstrip()]
    for row in ratios:
        shown = (
            "none" if row[name] is None else f"{row[name]['ratio']:.2f} [{row[name]['low']:.2f}, {row[name]['high']:.2f}]"
            for name in ESTIMANDS
        )
        lines.append(f"{row['range']:<15} {row['n']:>5d}  " + "".join(f"{text:<24}" for text in shown).rstrip())
    return lines


def _contents(record: dict[str, Any]) -> list[str]:
    """For each range, the mean pass rate and the share within its edges under the law of pass rates, and its families."""
    mixture, rows = mixture_of(record), record["bins"]
    names = sorted({name for row in rows for name in row["range"]["families"]})
    names = names if len(names) > 1 else []
    known = mixture["law"] is not None
    lines = [" ".join([f"{'under the law':<15} {'mean p':>7} {'inside':>6}", *names])] if known or names else []
    for index, row in enumerate(rows if lines else []):
        law = f"{mixture['posterior_pass_rate'][index]:>7.4f} {mixture['inside'][index]:>6.0%}" if known else f"{'-':>7} {'-':>6}"
        families = (f"{row['range']['families'].get(name, 0):>{len(name)}d}" for name in names)
        lines.append(" ".join([f"{row['range']['label']:<15} {law}", *families]))
    return lines


def _again(record: dict[str, Any]) -> list[str]:
    drawn, fresh = record["rollouts"]["problems_drawn"], record["config"]["fresh_rollouts"]
    lines = []
    for side, words in _ENDS:
        found = record["rollouts"]["fresh"][side]
        lines.append(
            f"{words}: {found['screened']} of {drawn} problems, {found['rolled_out']} rolled out {fresh} times more, "
            f"{found['dropped']} of them beyond the ranges of that end and dropped"
        )
    return lines
