"""What the numbers of a record can be: a checksum says that a file is as it was written, this that it can have been measured.

Each check raises `UserError` with one line that names the file, the place and the value. What follows from other numbers of the same record
is recomputed from them: a verdict that a record holds is never believed.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, cast

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.probe.verdict import end_numbers
from paced_exp.reproduce.cells import Cell

RESTORE = "restore it from git, or delete it and run its command again"
_CLOSE = 1e-9  # relative: sums in another order

Problem = str | None


def check_cell(path: Path, content: dict[str, Any], cell: Cell) -> None:
    """Raise `UserError` unless the record is the cell's: its names, its sources, and counts that so many samples can give."""
    home = {"scale": cell.scale.name, "table": cell.table, "row": cell.row, "seed": cell.seed}
    if wrong := [name for name, value in home.items() if content[name] != value]:
        theirs, ours = ("/".join(str(names[name]) for name in wrong) for names in (content, home))
        raise UserError(f"{path} is the record of another cell ({', '.join(wrong)} {theirs}, not {ours}); {RESTORE}")
    if not isinstance(content["options"], dict):
        raise UserError(f"{path} is damaged: options is not an object; {RESTORE}")
    differing = configs.differing(content["options"], cell.options, configs.earlier(type(cell.config)))
    if differing:
        raise UserError(
            f"{path} was made with other options than the grid has now; differing: {', '.join(differing)}; delete it and run: {cell.command}"
        )
    if problem := _cell_problem(content, cell):
        raise UserError(f"{path} is damaged: {problem}; {RESTORE}")


def _cell_problem(content: dict[str, Any], cell: Cell) -> Problem:
    for name in ("flops", "seconds"):
        if not isinstance(content[name], dict) or not all(_is_number(value, 0) for value in content[name].values()):
            return f"{name} must be numbers that are finite and not negative"
    if isinstance(content["training"], dict) != cell.trained:
        return f"training must be {'an object' if cell.trained else 'null'}"
    if cell.trained and (problem := _weights_problem(content["training"].get("weights"))):
        return problem
    scores = content["scores"]
    if not isinstance(scores, dict) or scores.keys() != set(cell.scale.sources):
        return f"scores must be of {', '.join(cell.scale.sources)}"
    found = ((source, _scores_problem(scores[source], cell)) for source in cell.scale.sources)
    return next((f"scores of {source}: {problem}" for source, problem in found if problem), None)


def _weights_problem(weights: Any) -> Problem:
    problems, dropped = (weights.get(name) if isinstance(weights, dict) else None for name in ("problems", "dropped"))
    if _is_whole(problems) and _is_whole(dropped) and 0 <= dropped < problems:
        return None
    return f"training.weights must say how many problems were dropped of how many more; it says {dropped!r} of {problems!r}"


def _scores_problem(scores: Any, cell: Cell) -> Problem:
    if not isinstance(scores, dict) or not isinstance(scores.get("problems"), str):
        return "they are no object with the hash of their problems"
    samples, limit = cell.options["samples"], cell.options.get("evaluate_limit", cell.options.get("limit"))
    if scores.get("samples") != samples:
        return f"samples {scores.get('samples')!r} must be the planned {samples}"
    correct, tokens = scores.get("correct"), scores.get("tokens")
    if not isinstance(correct, list) or not isinstance(tokens, list) or len(correct) != len(tokens) or len(correct) < 2:
        return "correct and tokens must be lists of one length, a number a problem"
    if limit is not None and len(correct) > limit:
        return f"{len(correct)} problems, the plan has {limit}"
    for name, values, most in (("correct", correct, samples), ("tokens", tokens, samples * cell.options["max_new_tokens"])):
        if set(map(type, values)) == {int} and min(values) >= 0 and max(values) <= most:
            continue  # as every record that is whole: no number is looked at by itself
        place, value = next((place, value) for place, value in enumerate(values) if not (_is_whole(value) and 0 <= value <= most))
        return f"{name}[{place}] is {value!r}, and must be a whole number from 0 to {most}"
    return None if _is_number(scores.get("truncated_share"), 0, 1) else "truncated_share must be from 0 to 1"


def check_probe(path: Path, record: dict[str, Any]) -> None:
    """Raise `UserError` unless every curve of a probe's record has bins that can be and the differences that follow from them."""
    for panel in record.get("steps", [record]):
        if "steps" in record and not _is_whole(panel.get("step")):
            raise UserError(f"{path} is damaged: step {panel.get('step')!r} must be the number of an update; {RESTORE}")
        if problem := _panel_problem(panel):
            at = f" (step {panel['step']})" if "step" in panel else ""
            raise UserError(f"{path} is damaged{at}: {problem}; {RESTORE}")


class _Estimate(NamedTuple):
    """A bin's SNR^2 as a record holds it. tail_bias: 0 where the record was made before intervals allowed for the norms' tail."""

    snr_squared: float
    snr_squared_low: float
    snr_squared_high: float
    tail_bias: float


def _panel_problem(panel: dict[str, Any]) -> Problem:
    previous = -1.0
    for number, row in enumerate(panel["bins"]):
        if not isinstance(row, dict) or not _is_number(row.get("pass_rate"), 0, 1) or not row["pass_rate"] > previous:
            return f"bins[{number}] must have a pass rate from 0 to 1 above that of the bin before"
        previous = row["pass_rate"]
        if not _is_whole(row.get("n")) or not _is_whole(row.get("offered")) or not 2 <= row["n"] <= row["offered"]:
            return f"bins[{number}] has n {row.get('n')!r} of {row.get('offered')!r} problems; n must be a whole number, 2 or more, of no fewer"
        numbers = [row.get(name) for name in ("snr_squared_low", "snr_squared", "snr_squared_high")]
        if not all(_is_number(value) for value in numbers) or numbers != sorted(cast(list[float], numbers)):
            return f"bins[{number}] must have a finite SNR² within its interval"
        if not _is_number(row.get("tail_bias", 0.0), 0):
            return f"bins[{number}] has tail_bias {row['tail_bias']!r}, and must have a finite one that is not negative"
        if not _is_range(row.get("range")):
            return f"bins[{number}] must have no range, or an object with `label`, `low` and `high`"
    rates, ranges = ([row.get(name) for row in panel["bins"]] for name in ("pass_rate", "range"))
    for end in ("low", "high"):
        stored, ours = panel["verdict"][end], end_numbers(rates, bin_estimates(panel["bins"]), end, ranges)
        for name, value in ours.items():
            if not _agree(stored.get(name), value):
                return f"verdict {end}: {name} is {stored.get(name)!r}, and {value!r} follows from its bins"
    return None


def _is_range(value: Any) -> bool:
    """Of a screened probe a bin says which range of pass rates it is."""
    named = isinstance(value, dict) and isinstance(value.get("label"), str)
    return value is None or (named and _is_number(value.get("low"), 0, 1) and _is_number(value.get("high"), 0, 1))


def bin_estimates(bins: list[dict[str, Any]]) -> list[_Estimate]:
    """The bins' SNR^2 with their intervals, as `paced_exp.probe.verdict.end_numbers` takes them."""
    fields = ("snr_squared", "snr_squared_low", "snr_squared_high")
    return [_Estimate(**{name: row[name] for name in fields}, tail_bias=row.get("tail_bias", 0.0)) for row in bins]


def _agree(stored: Any, ours: float | None) -> bool:
    if ours is None or stored is None:
        return ours is None and stored is None
    return _is_number(stored) and math.isclose(stored, ours, rel_tol=_CLOSE, abs_tol=1e-15)


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high
