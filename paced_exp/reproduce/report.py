"""The results as one self-contained page: a summary, claims, sortable tables, figures, each number linked to its records and their command.

    python -m paced_exp.reproduce.report [--results results] [--figures figures/out] [--out docs/report.html]

The page loads nothing from anywhere; links to records are relative to it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.core.json_files import write_atomically
from paced_exp.reproduce.claims_page import theory_outcomes, theory_table
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.options import RecordsOptions
from paced_exp.reproduce.printed_table import PrintedTable
from paced_exp.reproduce.printing import filled
from paced_exp.reproduce.records import readable
from paced_exp.reproduce.report_parts import Section, drawn, summary, verdicts_first
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.tables import all_tables, scales_to_print
from paced_exp.reproduce.verdict_tables import verdict_tables
from paced_exp.reproduce.verdicts import outcomes


@dataclass(frozen=True, kw_only=True)
class ReportConfig(RecordsOptions):
    """Report.

    Attributes:
        figures: folder of the drawn figures
        out: the page to write
    """

    figures: Path = Path("figures/out")
    out: Path = Path("docs/report.html")


def sources(table: PrintedTable, folder: Path) -> list[dict[str, object]]:
    """Of every row with records: what they are and the command that makes them, for a page that lies in `folder`."""
    found: list[dict[str, object]] = []
    for number, row in enumerate(table.rows):
        if records := dict.fromkeys(path for value in row for path in value.records):
            links = {Path(os.path.relpath(path.resolve(), folder)).as_posix(): f"{path.parent.name}/{path.stem}" for path in records}
            command = next(value.command for value in row if value.records)
            found.append({"anchor": f"{table.name}-{number}", "row": row[0].text, "links": links, "command": command})
    return found


def build(results_folder: Path, figures: Path, out: Path) -> str:
    """The page's text. Raises `UserError` for damaged records and where no figures were drawn."""
    results, reported = readable(results_folder), Reported()
    scales = scales_to_print(results_folder, None)
    judged = {name: outcomes(results, scale_named(name, results_folder)) for name in scales}
    theory = theory_outcomes()
    sections = [
        summary(results, judged, [outcome.status for outcome in theory]),
        *(
            Section(
                f"claims-{name}",
                f"Claims, {name}",
                f"Claims, {name} scale",
                [*map(verdicts_first, verdict_tables(name, judged[name], reported))],
            )
            for name in scales
        ),
        Section("figures", "Figures", "Figures", figures=drawn(figures)),
        *(Section(f"tables-{name}", f"Tables, {name}", f"Tables, {name} scale", all_tables(results, name, reported)) for name in scales),
        Section("ledger", "Theory", "The theory's ledger", [verdicts_first(theory_table(theory))]),
    ]
    folder = out.resolve().parent
    return filled("report.html", title="PACED, reproduced", sections=sections, sources=lambda table: sources(table, folder))


@configs.command(ReportConfig, "paced_exp.reproduce.report", __doc__)
def main(config: ReportConfig) -> None:
    """Write the page and say where."""
    write_atomically(config.out, build(config.results, config.figures, config.out))
    print(config.out)


if __name__ == "__main__":
    exit_cleanly(main)
