"""The first screen of the README: the setting, and what was found, one result a bullet. From the records and the ledger alone."""

import math
from collections.abc import Callable
from typing import Any

from paced_exp.probe.verdict import ends_to_middle
from paced_exp.reproduce.advice import at_equal_compute
from paced_exp.reproduce.c1 import RANGE_PROBES, probe_records
from paced_exp.reproduce.front_effects import AKL, PACED, Asked, effect, measured_rows, points, sign
from paced_exp.reproduce.measures import primaries, row_named
from paced_exp.reproduce.printed_table import fixed
from paced_exp.reproduce.probes import probes_of
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK_V1, Scale
from paced_exp.reproduce.significance import mean_and_error
from paced_theory.claims import counts_by_source

_FORGETTING = "Forgetting: accuracy lost on skills left out of training."
_AKL = "Without weights, adaptive KL (AKL), a loss that mixes forward and reverse KL token by token,"
_IN_THEORY = "In theory the gradient's signal-to-noise ratio (SNR) vanishes as p nears 1 and, if unsolved problems share no gradient direction, as p nears 0"


def setting(results: Results, scale: Scale) -> str:
    """What was trained, and the accuracies before and after it without weights, where they were run."""
    setup = scale.setups["distillation"]
    text = (
        f"Students train for {setup.updates} updates, by forward KL on responses of a teacher that is shown the worked solution. "
        "Points are percentage points of accuracy on held-out problems"
    )
    rows = measured_rows(results, scale, Asked("one-pass/uniform", "one-pass/uniform"))
    base = row_named(results, scale, "one-pass", "base")
    if rows is None or not base.records:
        return f"{text}. {_FORGETTING}"
    before, after = (fixed(mean_and_error(primaries(row, scale))[0], 1) for row in (base, rows[0]))
    return f"{text}: {before} % before training, {after} % after unweighted training ({len(rows[0].seeds)} seeds). {_FORGETTING}"


def findings(results: Results, scale: Scale) -> list[str]:
    """Markdown list items, the ones that matter most first. What was not run says nothing."""
    makers: tuple[Callable[[Results, Scale], str], ...] = (_weights, _compute, _akl, _both_ends, _theory)
    return [f"- {sentence}" for maker in makers if (sentence := maker(results, scale))]


def _weights(results: Results, scale: Scale) -> str:
    found = effect(results, scale, PACED)
    if found is None:
        return ""
    words = {1: "gain {} over", -1: "lose {} to", 0: "cannot be told from"}[sign(found)].format(points(found))
    left = f": {points(found)}" if sign(found) == 0 else ""
    return f"At equal updates on fresh problems, with others in place of those of weight zero, PACED's weights {words} no weighting{left}."


def _compute(results: Results, scale: Scale) -> str:
    found = at_equal_compute(results, scale, "paced")
    if found is None:
        return ""
    share = (
        "PACED's compute"
        if found.plain == found.spent
        else f"{fixed(100 * found.plain / found.spent, 0)} % of PACED's compute (rollouts included)"
    )
    # Of the longer training, so the signs turn.
    words = {1: "loses {} to", -1: "gains {} over", 0: "cannot be told from"}[sign(found.estimate)].format(points(found.estimate))
    kept = {1: f", and forgets {points(found.kept)} more", -1: f", and forgets {points(found.kept)} less", 0: ""}[sign(found.kept)]
    return f"Exploratory: longer unweighted training, on {share}, {words} PACED{kept}."


def _akl(results: Results, scale: Scale) -> str:
    found = effect(results, scale, AKL)
    if found is None:
        return ""
    words = {1: "gains {} over", -1: "loses {} to", 0: "cannot be told from"}[sign(found)].format(points(found))
    return f"{_AKL} {words} PACED at equal updates."


def _both_ends(results: Results, scale: Scale) -> str:
    """SNR where problems are hardly ever and nearly always solved beside the middle's, by the newest finished probe of the claim."""
    probes = {probe.key: probe for probe in probes_of(scale)}
    ranges = probes.get(RANGE_PROBES["C1.low"][0])
    record: dict[str, Any] | None = None if ranges is None else ranges.record(results.folder)
    if record is not None:
        outermost = " and ".join(record["bins"][place]["range"]["label"] for place in (0, -1))
        when = f"In the planned probe, whose outermost ranges of p ({outermost}) are narrower than the picture's bins"
    else:
        record = probe_records(results.folder, DESK_V1).get(1, (None, None))[0]
        if record is None:
            return ""
        when = "In a probe (the planned test, C1, has not run)"
    never, always, verdict = record["bins"][0], record["bins"][-1], record["verdict"]
    if any(verdict[end]["difference"] is None for end in ("low", "high")):
        return ""
    numbers = f"**{_root(never)}** at the lower, {_root(verdict['low'], 'middle')} in the middle, {_root(always)} at the upper"
    return f"{_IN_THEORY}. {when}, {ends_to_middle(record, ('the lower end', 'the upper'))}: {numbers}."


def _root(values: dict[str, Any], name: str = "snr_squared") -> str:
    """The SNR from its square; below zero it is zero."""
    return fixed(math.sqrt(max(0.0, values[name])), 3)


def _theory(results: Results, scale: Scale) -> str:
    paper = counts_by_source()["paper"]
    text = f"**{paper['holds']} of {paper.total()}** theoretical statements of the paper [hold as stated](docs/theory.md), by symbolic or numeric checks"
    rest = [f"{paper['conditional']} hold under a further assumption"] if paper["conditional"] else []
    if paper["refuted"]:
        rest.append(f"{paper['refuted']} {'is' if paper['refuted'] == 1 else 'are'} refuted")
    return f"{'; '.join((text, *rest))}."
