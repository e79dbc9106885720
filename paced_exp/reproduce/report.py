"""The results as one self-contained page: claims, sortable tables, figures, each number linked to its records and their command.

    python -m paced_exp.reproduce.report [--results results] [--figures figures/out] [--out docs/report.html]

The page loads nothing from anywhere; links to records are relative to it.
"""

import argparse
import base64
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_atomically
from paced_exp.reproduce.claims_page import theory_outcomes, theory_sheet
from paced_exp.reproduce.grid_tables import Sheet, Value
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.page_style import PAGE, SCRIPT, STYLE
from paced_exp.reproduce.records import readable
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.tables import all_sheets, scales_with_records
from paced_exp.reproduce.verdict_tables import verdict_sheets
from paced_exp.reproduce.verdicts import outcomes


class Page:
    """Collects the sections of a page that will lie at `out`."""

    def __init__(self, out: Path) -> None:
        self._folder = out.resolve().parent
        self._parts: list[str] = []

    def heading(self, text: str, anchor: str) -> None:
        """A section's heading."""
        self._parts.append(f'<h2 id="{anchor}">{escape(text)}</h2>')

    def sheet(self, sheet: Sheet) -> None:
        """A sortable table, its notes, and the sources that its numbers link to."""
        head = "".join(
            f'<th scope="col" class="{_kind(sheet, column)}"><button type="button">{escape(name)}</button></th>'
            for column, name in enumerate(sheet.head)
        )
        body = "".join(self._row(sheet, number, row) for number, row in enumerate(sheet.rows))
        notes = "".join(f"<p class=note>{escape(note)}</p>" for note in sheet.notes)
        self._parts.append(
            f'<section id="{sheet.name}"><h3 id="{sheet.name}-title">{escape(sheet.title)}</h3>'
            f'<div class=scroll role=region tabindex=0 aria-labelledby="{sheet.name}-title"><table aria-labelledby="{sheet.name}-title">'
            f"<thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>{notes}{self._sources(sheet)}</section>"
        )

    def figure(self, path: Path, caption: str) -> None:
        """A figure from a file, SVG or PNG, kept in the page."""
        media = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
        data = base64.b64encode(path.read_bytes()).decode()
        self._parts.append(
            f'<figure id="{path.stem}"><img alt="{escape(caption)}" src="data:{media};base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
        )

    def html(self, title: str, links: Sequence[tuple[str, str]]) -> str:
        """The whole page. links: (anchor, words) at its top."""
        contents = "".join(f'<a href="#{anchor}">{escape(words)}</a>' for anchor, words in links)
        return PAGE.format(title=escape(title), style=STYLE, script=SCRIPT, contents=contents, body="\n".join(self._parts))

    def _row(self, sheet: Sheet, number: int, row: tuple[Value, ...]) -> str:
        cells = []
        for column, value in enumerate(row):
            text = escape(value.text)
            if value.records:
                text = f'<a href="#{sheet.name}-{number}" title="{escape(value.command)}">{text}</a>'
            key = "" if value.number is None else f' data-number="{value.number:.10g}"'
            tag, scope = ("th", ' scope="row"') if column == 0 else ("td", "")
            kinds = _kind(sheet, column) + (" best" if value.bold else "")
            cells.append(f'<{tag}{scope} class="{kinds}"{key}>{text}</{tag}>')
        return f"<tr>{''.join(cells)}</tr>"

    def _sources(self, sheet: Sheet) -> str:
        items = []
        for number, row in enumerate(sheet.rows):
            records = list(dict.fromkeys(path for value in row for path in value.records))
            if not records:
                continue
            command = next(value.command for value in row if value.records)
            links = " ".join(f'<a href="{escape(self._link(path))}">{escape(f"{path.parent.name}/{path.stem}")}</a>' for path in records)
            items.append(f'<li id="{sheet.name}-{number}"><b>{escape(row[0].text)}</b>: {links}<br><code>{escape(command)}</code></li>')
        if not items:
            return ""
        return f"<details><summary>Records and commands</summary><ul>{''.join(items)}</ul></details>"

    def _link(self, path: Path) -> str:
        return Path(os.path.relpath(path.resolve(), self._folder)).as_posix()


def _kind(sheet: Sheet, column: int) -> str:
    return "text" if sheet.is_text(column) else "number"


def figure_files(folder: Path) -> list[Path]:
    """The drawn figures, numbered ones first; SVG, but PNG for those that are not drawn as SVG."""
    names = sorted({path.stem for path in folder.glob("*.txt")})
    if not names:
        raise UserError(f"--figures {folder} holds no figures; draw them with: make figures")
    return [svg if (svg := folder / f"{name}.svg").exists() else folder / f"{name}.png" for name in names]


def build(results_folder: Path, figures: Path, out: Path) -> str:
    """The page's text. Raises `UserError` for damaged records and where no figures were drawn."""
    results, reported = readable(results_folder), Reported()
    page = Page(out)
    scales = scales_with_records(results_folder)
    links = []
    for name in scales:
        found = outcomes(results, scale_named(name, results_folder))
        page.heading(f"Claims, {name} scale", f"claims-{name}")
        links.append((f"claims-{name}", f"Claims, {name}"))
        for sheet in verdict_sheets(name, found, reported):
            page.sheet(sheet)
    page.heading("Figures", "figures")
    for path in figure_files(figures):
        page.figure(path, path.with_suffix(".txt").read_text(encoding="utf-8").strip())
    links.append(("figures", "Figures"))
    for name in scales:
        page.heading(f"Tables, {name} scale", f"tables-{name}")
        links.append((f"tables-{name}", f"Tables, {name}"))
        for sheet in all_sheets(results, name, reported):
            page.sheet(sheet)
    page.heading("The theory's ledger", "ledger")
    page.sheet(theory_sheet(theory_outcomes()))
    return page.html("PACED, reproduced", [*links, ("ledger", "Theory")])


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: write the page and say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the records")
    parser.add_argument("--figures", type=Path, default=Path("figures/out"), help="folder of the drawn figures")
    parser.add_argument("--out", type=Path, default=Path("docs/report.html"), help="the page to write")
    arguments = parser.parse_args(argv)
    write_atomically(arguments.out, build(arguments.results, arguments.figures, arguments.out))
    print(arguments.out)


if __name__ == "__main__":
    exit_cleanly(main)
