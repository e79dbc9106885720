"""The learning rates of a scale that leaves them open: selected on the unweighted baseline, then frozen for every method.

    python -m paced_exp.reproduce.learning_rates --scale gpu     # train the baselines that are missing, print what was chosen

The rates tried are rungs of 1, 3, 10, 30, ...: first the one that the scale names and its two neighbours, then, while the best has a neighbour
that was not tried, that one too. The best has the highest mean of tiers; in the second protocol, among the rates that cost at most 2 points of
retention. The records lie under results/SCALE/selection; the grids read them there. Distillation and self-distillation are selected; Llama
takes the rate of the former (docs/protocol-v2.md).
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.reproduce.cells import cell_of
from paced_exp.reproduce.curves import with_curves
from paced_exp.reproduce.grids import main_table
from paced_exp.reproduce.options import RecordsOptions
from paced_exp.reproduce.scales import SCALES, Scale
from paced_exp.training.config import DistillConfig
from paced_exp.training.selection_grid import SETTINGS, SelectionConfig, finished, line

MOST_COST = 0.02  # of retention, as a share: what a rate of the second protocol may cost
SEED = 90  # of the second protocol's selection; its cells begin at 100
_SPARE = 1.1  # problems of a selection that passes over them once, per problem that its updates visit
RUNGS = tuple(float(f"{digit}e{power}") for power in range(-6, -1) for digit in (1, 3))


@dataclass(frozen=True, kw_only=True)
class RatesConfig(RecordsOptions):
    """Selection.

    Attributes:
        scale: a scale whose rates are selected
        work: where runs go
    """

    scale: str = "gpu"
    work: Path = Path("runs/reproduce")


def scale_named(name: str, results: Path) -> Scale:
    """A scale by name, with the rates and the measured kernels that the records under `results` give where it leaves them open.

    While they do not, its notes say so. Raises `UserError` listing the scales for an unknown one.
    """
    if name not in SCALES:
        raise UserError(f"`scale` {name} is not known; known: {', '.join(SCALES)}")
    scale = with_curves(SCALES[name], results)
    if not scale.selected:
        return scale
    chosen = selected_rates(scale, results)
    setups = {
        key: dataclasses.replace(setup, learning_rate=chosen.get(_setting(scale, key), setup.learning_rate))
        for key, setup in scale.setups.items()
    }
    notes = scale.notes if len(chosen) == len(SETTINGS) else (*scale.notes, f"learning rates are not selected yet: {command(scale)}")
    return dataclasses.replace(scale, setups=setups, notes=notes)


def check_rates(scale: Scale, results: Path, setups: Iterable[str]) -> None:
    """Raise `UserError` where the scale leaves its rates open and the records have not selected those that `setups` train at."""
    needed = {_setting(scale, setup) for setup in setups}
    if scale.selected and (lacking := sorted(needed - selected_rates(scale, results).keys())):
        raise UserError(
            f"`scale` {scale.name}: no learning rate has been selected for {' and '.join(lacking)} under {results}; run first: {command(scale)}"
        )


def command(scale: Scale) -> str:
    """The command that selects the rates of a scale."""
    return f"python -m paced_exp.reproduce.learning_rates --scale {scale.name}"


def selected_rates(scale: Scale, results: Path) -> dict[str, float]:
    """The rate of every setting whose selection is complete: the best of the records, and both its neighbours were tried."""
    found = {setting: finished(selection_of(scale, setting, results)) for setting in SETTINGS}
    return {
        setting: allowed[0]["learning_rate"]
        for setting, records in found.items()
        if (allowed := _allowed(scale, records)) and not _untried(scale, records)
    }


def selection_of(scale: Scale, setting: str, results: Path, work: Path = Path("runs/reproduce")) -> SelectionConfig:
    """The selection of one setting: the unweighted cell of its table, with three rates to begin with."""
    setup = SCALES[scale.name].setups[setting]
    if setup.learning_rate not in RUNGS[1:-1]:
        raise UserError(f"scale {scale.name}, {setting}: the first rate, {setup.learning_rate:g}, must be a rung between 3e-06 and 0.01")
    at = RUNGS.index(setup.learning_rate)
    table = main_table(scale.protocol, setting)
    cell = cell_of(SCALES[scale.name], table, table.row("uniform"), 0)
    defaults, decided = configs.earlier(DistillConfig), {"method", "seed", "learning_rate", "steps", "samples", *SETTINGS[setting]}
    options = configs.as_dict(cell.config)
    if options["regime"] == "one-pass":  # references are sampled for all of the pool, of which these updates see a part
        options["limit"] = min(options["limit"], round(_SPARE * setup.updates * options["batch"]))
    return SelectionConfig(
        setting=setting,
        rates=RUNGS[at - 1 : at + 2],
        steps=(setup.updates,),
        training={name: value for name, value in options.items() if name not in decided and value != defaults[name]},
        samples=options["samples"],
        seed=SelectionConfig.seed if scale.protocol == 1 else SEED,
        out=str(work / scale.name / "selection"),
        records=str(results / scale.name / "selection"),
    )


def select_rate(scale: Scale, config: SelectionConfig) -> list[dict[str, Any]]:
    """Train the pairs of `config`, and neighbours of the best while there are any; returns all records, the best first.

    Raises `UserError` where no rate of the ladder costs little enough.
    """
    from paced_exp.training.select_rate import select  # torch takes seconds to load

    records = select(config)
    while further := _untried(scale, records):
        select(dataclasses.replace(config, rates=further))
        records = finished(config)
    if not _allowed(scale, records):
        raise UserError(
            f"`scale` {scale.name}, {config.setting}: every rate down to {RUNGS[0]:g} costs more than {100 * MOST_COST:g} points of "
            "retention; look at the records of the selection before running anything"
        )
    return records


def _allowed(scale: Scale, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records among which the best is chosen, in their order. Raises `UserError` for one that does not say what its rate costs."""
    if scale.protocol == 1:
        return list(records)
    return [record for record in records if _gain(scale, record) >= -MOST_COST]


def _gain(scale: Scale, record: dict[str, Any]) -> float:
    """The change of retention."""
    value = record["difference_to_base"].get(scale.retention, {}).get("value")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UserError(
            f"the record of rate {record['learning_rate']:g} under results/{scale.name}/selection does not say what it costs of "
            f"{scale.retention}; restore it from git, or delete it and run: {command(scale)}"
        )
    return float(value)


def _untried(scale: Scale, records: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    """Rates to try next: the neighbours of the best that have no record; where none costs little enough, the rung below all."""
    tried = {record["learning_rate"] for record in records}
    allowed = _allowed(scale, records)
    if not records or not allowed:
        lowest = RUNGS.index(min(tried)) if tried else 0
        return RUNGS[max(0, lowest - 1) : lowest]
    best = RUNGS.index(allowed[0]["learning_rate"])
    return tuple(rate for rate in RUNGS[max(0, best - 1) : best + 2] if rate not in tried)


def _setting(scale: Scale, setup: str) -> str:
    """Whose rate a setup takes."""
    return "self-distillation" if scale.setups[setup].teacher == "self" else "distillation"


@configs.command(RatesConfig, "paced_exp.reproduce.learning_rates", __doc__)
def main(config: RatesConfig) -> None:
    """Select for both settings and print every pair, the best first."""
    scale = scale_named(config.scale, config.results)
    if not scale.selected:
        selected = ", ".join(name for name, other in SCALES.items() if other.selected)
        raise UserError(f"`scale` {scale.name} has fixed learning rates; selected are those of: {selected}")
    for setting in SETTINGS:
        print(f"{setting}:")
        for record in select_rate(scale, selection_of(scale, setting, config.results, config.work)):
            print(f"  {line(record)}")


if __name__ == "__main__":
    exit_cleanly(main)
