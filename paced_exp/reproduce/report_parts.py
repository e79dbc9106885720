"""What the report page is made of: sections of paragraphs, tables and figures, and the summary that opens it."""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paced_exp.reproduce.advice import advice
from paced_exp.reproduce.figure_floats import captions
from paced_exp.reproduce.findings import VERDICTS, Outcome
from paced_exp.reproduce.in_short import in_short
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.printed_table import PrintedTable
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK

_STATUS = {"holds": "hold", "conditional": "hold under a condition", "refuted": "refuted"}
_OF_VERDICTS = ("verdict", "by the interval alone", "by intervals alone")  # how the heads of their columns begin


@dataclass(frozen=True)
class Figure:
    """A figure in the page. source: its file as a data URL."""

    name: str
    caption: str
    source: str


@dataclass(frozen=True)
class Section:
    """A section of the page. link: the words that lead to it from the top. text: paragraphs before its tables. items: a list after them."""

    anchor: str
    link: str
    title: str
    tables: Sequence[PrintedTable] = ()
    figures: Sequence[Figure] = ()
    text: Sequence[str] = ()
    items: Sequence[str] = ()


def summary(results: Results, judged: dict[str, list[Outcome]], theory: Sequence[str]) -> Section:
    """What was found, on one screen: how many claims are how decided, each with its effect, and whether the weights pay.

    judged: the outcomes of every scale. theory: the status of every claim of its ledger.
    """
    scale, found = scale_named(DESK.name, results.folder), judged[DESK.name]
    verdicts = Counter(outcome.verdict for outcome in found if outcome.primary)
    words = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS if verdicts[verdict])
    held = Counter(_STATUS[status] for status in theory)
    text = (
        "PACED weights every problem of a distillation by p(1 − p), p being the share of the student's own answers that are correct. "
        "Below is what came of the paper's claims, and of ours, on models of a million parameters and short arithmetic.",
        f"Of {verdicts.total()} claims about trainings and gradients: {words}. "
        f"Of {held.total()} statements of the theory: {', '.join(f'{held[status]} {status}' for status in _STATUS.values() if held[status])}.",
    )
    short = replace(in_short(results, scale, found), title="Every claim")
    return Section("summary", "Summary", "Summary", [short], text=text, items=[line.removeprefix("- ") for line in advice(results, scale)])


def verdicts_first(table: PrintedTable) -> PrintedTable:
    """The table with the columns of verdicts behind its first one, where a narrow window shows them."""
    chosen = [place for place, head in enumerate(table.head) if place and head.startswith(_OF_VERDICTS)]
    order = [0, *chosen, *(place for place in range(1, len(table.head)) if place not in chosen)]
    return replace(
        table,
        head=tuple(table.head[place] for place in order),
        rows=tuple(tuple(row[place] for place in order) for row in table.rows),
        widths=tuple(table.widths[place] for place in order) if table.widths else (),
    )


def drawn(folder: Path) -> list[Figure]:
    """The drawn figures, numbered ones first; SVG, but PNG for those that are not drawn as SVG."""
    found = []
    for name, caption in captions(folder).items():
        path, media = (folder / f"{name}.svg", "image/svg+xml")
        if not path.exists():
            path, media = (folder / f"{name}.png", "image/png")
        found.append(Figure(name, caption, f"data:{media};base64,{base64.b64encode(path.read_bytes()).decode()}"))
    return found
