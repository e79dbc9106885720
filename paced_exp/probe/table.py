"""A probe's record as a table for the terminal."""

from typing import Any

from paced_exp.probe.fits import fit_lines, flat_words, mixture_of
from paced_exp.probe.gram import gram_lines
from paced_exp.probe.range_law import has_ranges
from paced_exp.probe.range_table import range_lines
from paced_exp.probe.verdict import ENDS, words


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _rate(row: dict[str, Any]) -> str:
    return f"{row['pass_rate']:.3f}" if row.get("range") is None else str(row["range"]["label"])


def table(record: dict[str, Any]) -> str:
    """The record as a table for the terminal."""
    wide = 12 if has_ranges(record) else 9
    lines = [
        f"{'pass rate':>{wide}} {'n':>5} {'SNR':>7}  {'95 % interval':<17} {'naive':>7} {'floor':>7} {'null 95 %':<17} {'SNR^2':>9} {'trimmed':>9} {'unit norm':>9}"
    ]
    for row in record["bins"]:
        others = " ".join(f"{'-' if row.get(name) is None else format(row[name], '.5f'):>9}" for name in ("trimmed", "unit_norm"))
        lines.append(
            f"{_rate(row):>{wide}} {row['n']:>5d} {row['snr']:>7.4f}  [{row['snr_low']:.4f}, {row['snr_high']:.4f}]  {row['snr_naive']:>7.4f} "
            f"{row['floor']:>7.4f} [{_shown(row['null_low'])}, {_shown(row['null_high'])}]  {row['snr_squared']:>9.5f} {others}{' (clipped to SNR 0)' if row['clipped'] else ''}"
        )
    lines += [f"left out: pass rate {row['pass_rate']:.3f}, {row['n']} problems: {row['why']}" for row in record.get("left_out", [])]
    lines += range_lines(record)
    lines += fit_lines(mixture_of(record), record.get("models_problem", ""))
    lines += [f"test of a flat SNR: {flat_words(record['flat'])}"] if "flat" in record else []
    if unsure := [
        f"{row['pass_rate']:.2f}" if row.get("range") is None else row["range"]["label"]
        for row in record["bins"]
        if not row.get("snr_squared_covers", True)
    ]:
        lines.append(f"intervals not known to cover, for few gradients carry the noise: pass rates {', '.join(unsure)}")
    lines += [text[0].upper() + text[1:] for text in (words(record, end) for end in ENDS)]
    lines += gram_lines(record)
    spent = record["seconds"]
    lines.append(
        "seconds: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in spent.items()) + f", total {sum(spent.values()):.1f}"
    )
    return "\n".join(lines)
