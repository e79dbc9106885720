"""How often each method repeats its data, and what PACED's difference to no weighting does as the repetition grows. Exploratory.

All methods make equally many updates, and those that drop problems of weight zero pass more often over what is left. None of the protocol's
hypotheses asks about it: these tables were made after the runs had been seen, and Holm's method knows nothing of them.
"""

from collections.abc import Sequence
from statistics import mean

from paced_exp.reproduce.grid_tables import table_command
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.measures import Measured, combined, primaries, row_named
from paced_exp.reproduce.printed_table import NONE, NOT_RUN, PrintedTable, Value, fixed, with_interval
from paced_exp.reproduce.records import Record, Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import Estimate, mean_and_error

# (table, row), those that repeat most first.
ROWS = (
    ("rollouts", "k2-plugin"),
    ("distillation", "hard-filter"),
    ("rollouts", "k4-plugin"),
    ("distillation", "paced"),
    ("rollouts", "k16-plugin"),
    ("rollouts", "k2-posterior"),
    ("distillation", "paced-posterior"),
    ("distillation", "uniform"),
)
LENGTHS = (("half", "-half"), ("planned", ""), ("twice", "-double"))  # rows of the table compute: uniform and paced with these endings


def regime_tables(results: Results, scale: Scale) -> list[PrintedTable]:
    """Passes over the data by method, and PACED less uniform by the number of updates: of the first protocol. In the second the regime is planned, and
    a factor of the tables themselves."""
    if scale.protocol == 2:
        return []
    return [passes_table(results, scale), interaction_table(results, scale)]


def passes(record: Record) -> tuple[int, float]:
    """Problems of positive weight, and how often the updates of the run visit each: updates x batch / kept."""
    weights, options = record.content["training"]["weights"], record.content["options"]
    kept = int(weights["problems"] - weights["dropped"])
    return kept, options["steps"] * options["batch"] / kept


def passes_table(results: Results, scale: Scale) -> PrintedTable:
    """A row a method."""
    printed = []
    for table, name in ROWS:
        measured = row_named(results, scale, table, name)
        label = Value(_label(table, measured))
        if not measured.records:
            printed.append((label, *[Value(NOT_RUN)] * 3))
            continue
        paths, command = tuple(record.path for record in measured.records.values()), table_command(scale, BY_NAME[table])
        kept, visits = (mean(numbers) for numbers in zip(*(passes(record) for record in measured.records.values()), strict=True))
        tiers = mean_and_error(primaries(measured, scale))[0]
        texts = ((f"{kept:,.0f}", kept), (fixed(visits, 1), visits), (fixed(tiers, 1), tiers))
        printed.append((label, *(Value(text, number, False, paths, command) for text, number in texts)))
    head = ("method", "problems kept", "passes", "mean of tiers, %")
    notes = (
        "Mean over seeds. Problems kept: those of positive weight. Passes: updates × batch / problems kept. A weight is estimated once, and ages with every pass: "
        "how often a problem is visited is a factor of the comparison, which the planned hypotheses do not vary.",
    )
    return PrintedTable(f"{scale.name}-passes", "Passes over the data", head, tuple(printed), notes)


def _label(table: str, measured: Measured) -> str:
    return f"PACED, {measured.row.label}" if table == "rollouts" else measured.row.label


def interaction_table(results: Results, scale: Scale) -> PrintedTable:
    """PACED less uniform at each number of updates, and the difference between the most and the fewest."""
    printed = []
    command = table_command(scale, BY_NAME["compute"])
    for words, ending in LENGTHS:
        rows = _pair(results, scale, ending)
        found = _difference(rows, scale)
        if found is None:
            printed.append((Value(f"{words} the updates" if ending else "the planned updates"), *[Value(NOT_RUN)] * 4))
            continue
        paths = tuple(record.path for measured in rows for record in measured.records.values())
        visits = [mean(passes(record)[1] for record in measured.records.values()) for measured in rows]
        updates = next(iter(rows[0].records.values())).content["options"]["steps"]
        printed.append(
            (
                Value(f"{updates} updates"),
                *(Value(fixed(number, 1), number) for number in reversed(visits)),
                Value(with_interval(found), found.value, False, paths, command),
                Value(str(len(set(rows[0].seeds) & set(rows[1].seeds)))),
            )
        )
    change = interaction(results, scale)
    printed.append(
        (
            Value("interaction: twice less half the updates"),
            Value(NONE),
            Value(NONE),
            Value(NOT_RUN) if change is None else Value(with_interval(change), change.value, False, (), command),
            Value(NONE),
        )
    )
    head = ("updates", "passes, unweighted", "passes, PACED", "PACED − unweighted, points", "seeds")
    notes = (
        "Forward KL, mean of tiers, with 95 % intervals over seeds and problems; exploratory, and not corrected for the claims' hypotheses. "
        "The rate falls to zero over each length, so that more updates are not the same training gone on with.",
    )
    return PrintedTable(f"{scale.name}-interaction", "PACED less unweighted, by the number of updates", head, tuple(printed), notes)


def interaction(results: Results, scale: Scale) -> Estimate | None:
    """(PACED − uniform) at twice the updates less the same at half, over the seeds that all four rows share; None where they are not there."""
    (few_paced, few_uniform), (many_paced, many_uniform) = (_pair(results, scale, ending) for ending in ("-half", "-double"))
    return combined([(1.0, many_paced), (-1.0, many_uniform), (-1.0, few_paced), (1.0, few_uniform)], scale.tiers)


def _pair(results: Results, scale: Scale, ending: str) -> tuple[Measured, Measured]:
    """PACED and uniform of one length."""
    paced, uniform = (row_named(results, scale, "compute", f"{name}{ending}") for name in ("paced", "uniform"))
    return paced, uniform


def _difference(rows: Sequence[Measured], scale: Scale) -> Estimate | None:
    return combined([(1.0, rows[0]), (-1.0, rows[1])], scale.tiers)
