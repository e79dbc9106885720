r"""Numbers of the paper's prose, as LaTeX macros from records and configurations: paper/tables/numbers.tex. None is typed by hand.

    python -m paced_exp.reproduce.macros [--results results] [--out paper/tables/numbers.tex]

Names are letters only, as LaTeX wants: \NumDeskUpdates. A number that was not measured is the words "not run".
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import read_json, write_atomically
from paced_exp.reproduce.architectures import shape_of
from paced_exp.reproduce.c1 import RANGE_PROBES, figure_probe
from paced_exp.reproduce.cells import cell_of, cells_of
from paced_exp.reproduce.claims import MARGIN
from paced_exp.reproduce.findings import LEVEL, VERDICTS
from paced_exp.reproduce.grids import main_table, tables_at
from paced_exp.reproduce.learning_rates import scale_named
from paced_exp.reproduce.measures import combined, primaries, row_named
from paced_exp.reproduce.options import RecordsOptions
from paced_exp.reproduce.printed_table import NOT_RUN, fixed, with_interval
from paced_exp.reproduce.printing import filled
from paced_exp.reproduce.probes import probes_of
from paced_exp.reproduce.protocols import hypotheses_of
from paced_exp.reproduce.records import Results, readable
from paced_exp.reproduce.scales import DESK, PAPER, Scale
from paced_exp.reproduce.significance import CONFIDENCE, mean_and_error
from paced_exp.reproduce.verdict_parts import brief_text
from paced_exp.reproduce.verdicts import LEAST_SEEDS, outcomes
from paced_exp.training.config import DistillConfig


@dataclass(frozen=True, kw_only=True)
class MacrosConfig(RecordsOptions):
    """Macros.

    Attributes:
        out: the file to write
    """

    out: Path = Path("paper/tables/numbers.tex")


def macros(results: Results, scale: Scale) -> dict[str, str]:
    """Every macro by its name without the backslash, as plain text. Raises `UserError` where the claims have not been judged."""
    return {**_protocol(scale), **_theory(results), **_measured(results, scale), **_verdicts(results, scale), **_probe(results, scale)}


def _protocol(scale: Scale) -> dict[str, str]:
    paced, own, paper = (
        cell_of(one, table, table.row("paced"), 0).config
        for one, table in (
            (scale, main_table(scale.protocol, "distillation")),
            (scale, main_table(scale.protocol, "self-distillation")),
            (PAPER, main_table(PAPER.protocol, "distillation")),
        )
    )
    assert isinstance(paced, DistillConfig) and isinstance(own, DistillConfig) and isinstance(paper, DistillConfig)
    # The paper leaves exploratory tables out.
    tables = [table for table in tables_at(scale) if table.rows and not table.exploratory]
    return {
        "NumTables": str(len(tables)),
        "NumCells": str(len({cell.key for table in tables for cell in cells_of(scale, table)})),
        "NumMainSeeds": str(scale.seeds[0]),
        "NumOtherSeeds": str(scale.seeds[1]),
        "NumRollouts": str(paced.K),
        "NumUpdates": str(paced.steps),
        "NumSelfUpdates": str(own.steps),
        "NumBatch": str(paced.batch),
        "NumProblems": f"{scale.limit:,}",
        "NumTiers": str(len(scale.tiers)),
        "NumSamples": str(paced.samples),
        "NumRate": f"{paced.learning_rate:g}",
        "NumSelfRate": f"{own.learning_rate:g}",
        "NumParameters": f"{shape_of(paced.student).parameters:,}",
        "NumConfidence": f"{100 * CONFIDENCE:g}",
        "NumLevel": f"{LEVEL:g}",
        "NumMargin": f"{MARGIN:g}",
        "NumLeastSeeds": str(LEAST_SEEDS),
        "NumPaperResponse": f"{paper.max_new_tokens:,}",
        "NumPaperRate": f"{paper.learning_rate:g}",
        "NumHypotheses": str(len(hypotheses_of(scale.protocol))),
        "NumPrimaries": str(sum(hypothesis.primary for hypothesis in hypotheses_of(scale.protocol))),
    }


def _theory(results: Results) -> dict[str, str]:
    judged = results.folder / "claims.json"
    if not judged.exists():
        raise UserError(f"{judged} does not exist; make it with: make claims")
    counts = Counter(claim["verdict"] for claim in read_json(judged)["theory"])
    return {
        "NumTheory": str(sum(counts.values())),
        "NumTheoryHolds": str(counts["holds"]),
        "NumTheoryConditional": str(counts["conditional"]),
        "NumTheoryRefuted": str(counts["refuted"]),
    }


def _measured(results: Results, scale: Scale) -> dict[str, str]:
    found: dict[str, str] = {}
    for setup, prefix in (("distillation", "NumD"), ("self-distillation", "NumS")):
        table = main_table(scale.protocol, setup)
        rows = {row.name: row_named(results, scale, table.name, row.name) for row in table.rows}
        for name in ("base", "uniform", "paced"):
            values = primaries(rows[name], scale) if rows[name].records else []
            found[f"{prefix}{name.capitalize()}"] = fixed(mean_and_error(values)[0], 1) if values else NOT_RUN
        difference = combined([(1.0, rows["paced"]), (-1.0, rows["uniform"])], scale.tiers)
        found[f"{prefix}Difference"] = NOT_RUN if difference is None else with_interval(difference)
    return found


def _verdicts(results: Results, scale: Scale) -> dict[str, str]:
    found = [outcome for outcome in outcomes(results, scale) if outcome.primary]
    counts, alone = (Counter(verdicts) for verdicts in ([o.verdict for o in found], [o.raw_verdict for o in found]))
    macros = {"NumClaims": str(len(found)), "NumPaperClaims": str(sum(not outcome.claim.statement for outcome in found))}
    for verdict in VERDICTS:
        name = "".join(word.capitalize() for word in verdict.split() if word.isalpha())
        macros |= {f"Num{name}": str(counts[verdict]), f"NumAlone{name}": str(alone[verdict])}
    for outcome in found:
        name = outcome.claim.id.removeprefix("C")
        letters = "".join(chr(ord("A") + int(digit)) for digit in name) if name.isdigit() else f"Own{name}"
        macros[f"Verdict{letters}"] = outcome.both
        macros[f"Found{letters}"] = "; ".join(f"{finding.words}: {brief_text(finding)}" for finding in outcome.primary)
    return macros


def _probe(results: Results, scale: Scale) -> dict[str, str]:
    shown = figure_probe(results.folder, scale)
    bins = (shown[0].get("steps") or [shown[0]])[0]["bins"] if shown else []
    probe = next(one for one in probes_of(scale) if one.key == RANGE_PROBES["C1.low"][0])
    return {
        "NumProbeRanges": str(len(bins)) if bins else NOT_RUN,
        "NumProbePerRange": f"{min(row['n'] for row in bins):,}" if bins else NOT_RUN,
        "NumProbeScreen": str(probe.config.K),
        "NumProbeFresh": str(probe.config.fresh_rollouts),
    }


@configs.command(MacrosConfig, "paced_exp.reproduce.macros", __doc__)
def main(config: MacrosConfig) -> None:
    """Write the file and say where."""
    write_atomically(config.out, filled("numbers.tex", macros=macros(readable(config.results), scale_named(DESK.name, config.results))))
    print(config.out)


if __name__ == "__main__":
    exit_cleanly(main)
