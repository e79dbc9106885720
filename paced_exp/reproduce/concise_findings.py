"""What concise self-distillation saves, and what it costs, by difficulty: the table `concise-one-pass` in fifths of the untrained student's pass rate.

The claim of its paper (arXiv 2603.05433) is that easy problems are compressed most. It is exploratory here: no claim of PACED rests on it.
docs/neighbours.md prints the block between two markers, and figure 12 draws it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paced_exp.reproduce.cells import planned_seeds
from paced_exp.reproduce.findings import Finding, exploratory
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.measures import measure_row
from paced_exp.reproduce.printed_table import NONE, fixed, with_interval
from paced_exp.reproduce.records import Record, Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import Estimate, crossed
from paced_exp.reproduce.verdict_parts import finding_text

TABLE = "concise-one-pass"
BASE, TOLD, TRAINED = "base", "told", ("uniform", "paced", "rate-2e-4", "rate-2e-3")
BEGIN, END = "<!-- concise:begin -->", "<!-- concise:end -->"
FIFTHS = 5
CLAIM = "share of tokens saved: easiest band − hardest band, in points"


@dataclass(frozen=True)
class Fifth:
    """Problems whose pass rate, of the untrained student, lies in [low, high), the last fifth closed.

    tokens, accuracy: of the untrained student, the latter in per cent. saved: share of the tokens that the row saves, in per cent. gained: accuracy
    over the untrained student's, in points. Estimates over seeds and problems; None where the row has one record alone, whose values are
    `saved_once` and `gained_once`. differences: of every seed and problem (S, P), whose mean is `saved` (by the delta method).
    """

    low: float
    high: float
    problems: int
    tokens: float
    accuracy: float
    saved_once: float
    gained_once: float
    saved: Estimate | None
    gained: Estimate | None
    differences: np.ndarray


def by_difficulty(results: Results, scale: Scale, row: str) -> list[Fifth]:
    """The fifths that hold at least two problems, hardest first, over all tiers; none where the row or the untrained student was not run."""
    table = BY_NAME[TABLE]
    base, measured = (measure_row(results, scale, table, table.row(name)) for name in (BASE, row))
    if not base.records or not measured.records:
        return []
    before = base.of(0)
    records = [measured.of(seed) for seed in measured.seeds]
    accuracy, tokens = _accuracy([before], scale)[0], _tokens([before], scale)[0]
    after, lengths = _accuracy(records, scale), _tokens(records, scale)
    place = np.minimum((FIFTHS * accuracy).astype(int), FIFTHS - 1)
    chosen = [(number, place == number) for number in range(FIFTHS) if np.count_nonzero(place == number) >= 2]
    return [_fifth(number, accuracy[here], tokens[here], after[:, here], lengths[:, here]) for number, here in chosen]


def _fifth(number: int, accuracy: np.ndarray, tokens: np.ndarray, after: np.ndarray, lengths: np.ndarray) -> Fifth:
    saved = 1 - lengths.mean() / tokens.mean()
    # Linear in lengths and tokens around their means: the mean is the ratio itself, the spread its error to first order.
    differences = 100 * (saved + ((1 - saved) * tokens - lengths) / tokens.mean())
    gains = 100 * (after - accuracy)
    several = len(lengths) >= 2
    return Fifth(
        number / FIFTHS,
        (number + 1) / FIFTHS,
        tokens.size,
        float(tokens.mean()),
        100 * float(accuracy.mean()),
        100 * float(saved),
        float(gains.mean()),
        crossed([differences]) if several else None,
        crossed([gains]) if several else None,
        differences,
    )


def _accuracy(records: Sequence[Record], scale: Scale) -> np.ndarray:
    return np.array([np.concatenate([record.accuracy(tier) for tier in scale.tiers]) for record in records])


def _tokens(records: Sequence[Record], scale: Scale) -> np.ndarray:
    return np.array([np.concatenate([record.tokens(tier) for tier in scale.tiers]) for record in records])


def easiest_against_hardest(fifths: Sequence[Fifth]) -> Estimate | None:
    """The share saved in the easiest fifth less that in the hardest, in points; None without two fifths or two seeds."""
    if len(fifths) < 2 or len(fifths[0].differences) < 2:
        return None
    return crossed([2 * fifths[-1].differences, -2 * fifths[0].differences])  # a mean over two strata: their difference


def finding(estimate: Estimate | None, seeds: int, planned: int) -> Finding:
    """The claim of the paper as a finding, with the words of the protocol. seeds: of the `planned` ones, those that the estimate is over."""
    if estimate is None:
        return Finding(TABLE, CLAIM, "points", missing="not run", primary=False)
    return exploratory(TABLE, CLAIM, estimate, seeds=seeds, planned=planned)


def concise_block(results: Results, scale: Scale) -> str:
    """A line on the claim for each trained row, and a table of all rows by fifths."""
    table = BY_NAME[TABLE]
    found = {name: by_difficulty(results, scale, name) for name in (TOLD, *TRAINED)}
    lines = ["| method | difference, claimed to be above zero | measured, 95 % interval | by the interval alone |", "|---|---|---|---|"]
    for name in TRAINED:
        seeds = len(found[name][0].differences) if found[name] else 0
        one = finding(easiest_against_hardest(found[name]), seeds, planned_seeds(scale, table))
        lines.append(f"| {table.row(name).label} | {one.words} | {finding_text(one)} | {one.verdict} |")
    fifths_told = found[TOLD]
    if not fifths_told:
        return "\n".join(lines)
    lines += [
        "",
        "| pass rate before | problems | tokens before | accuracy before, % |" + "".join(_heads(table.row(name).label) for name in found),
    ]
    lines.append("|---|---:|---:|---:|" + "---:|---:|" * len(found))
    for told in fifths_told:
        cells = [_cells(next((other for other in fifths if other.low == told.low), None)) for fifths in found.values()]
        close = "]" if told.high == 1 else ")"
        head = f"| [{told.low:g}, {told.high:g}{close} | {told.problems} | {fixed(told.tokens, 1)} | {fixed(told.accuracy, 1)} |"
        lines.append(head + "".join(cells))
    return "\n".join(lines)


def _heads(label: str) -> str:
    return f" {label}: tokens saved, % | accuracy, points |"


def _cells(fifth: Fifth | None) -> str:
    if fifth is None:
        return f" {NONE} | {NONE} |"
    saved = fixed(fifth.saved_once, 1) if fifth.saved is None else with_interval(fifth.saved).removeprefix("+")
    gained = fixed(fifth.gained_once, 1) if fifth.gained is None else with_interval(fifth.gained)
    return f" {saved} | {gained} |"
