"""The first screen of the README: the setting, and what was found, one result a bullet. From the records and the ledger alone."""

import math
from collections.abc import Callable
from typing import Any

from paced_exp.probe.verdict import ends_to_middle
from paced_exp.reproduce.advice import at_equal_compute
from paced_exp.reproduce.c1 import RANGE_PROBES, probe_records
from paced_exp.reproduce.front_effects import AKL, PACED, SELF, Asked, effect, measured_rows, points, sign
from paced_exp.reproduce.measures import primaries, row_named
from paced_exp.reproduce.printed_table import fixed
from paced_exp.reproduce.probes import probes_of
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK_V1, Scale
from paced_exp.reproduce.significance import Estimate, mean_and_error
from paced_theory.claims import counts_by_source

_FORGETTING = "Forgetting: accuracy lost on skills left out of training."
_AKL = "Adaptive KL (AKL), a loss that mixes forward and reverse KL token by token,"
_IN_THEORY = (
    "In theory the gradient signal-to-noise ratio (SNR) vanishes at p = 1 and, if unsolved problems share no gradient direction, at p = 0"
)


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
    return f"At equal updates on fresh problems, those of weight zero replaced, PACED's weights {_against_none(found)}."


def elsewhere(results: Results, scale: Scale) -> list[str]:
    """The same of another scale's models in self-distillation, where no claim of ours or the paper's is primary."""
    rows = measured_rows(results, scale, SELF)
    found = effect(results, scale, SELF)
    if rows is None or found is None:
        return []
    return [f"- Exploratory: {scale.models}, in self-distillation. PACED's weights {_against_none(found)} ({len(rows[0].seeds)} seeds)."]


def _against_none(found: Estimate) -> str:
    words = {1: "gain {} over", -1: "lose {} to", 0: "cannot be told from"}[sign(found)].format(points(found))
    left = f": {points(found)}" if sign(found) == 0 else ""
    return f"{words} no weighting{left}"


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
    words = {1: "lose {} to", -1: "gain {} over", 0: "cannot be told from"}[sign(found.estimate)].format(points(found.estimate))
    kept = {1: f", and forget {points(found.kept)} more", -1: f", and forget {points(found.kept)} less", 0: ""}[sign(found.kept)]
    return f"Exploratory: more updates without weights, on {share}, {words} PACED{kept}."


def _akl(results: Results, scale: Scale) -> str:
    found = effect(results, scale, AKL)
    if found is None:
        return ""
    words = {1: "gains {} over", -1: "loses {} to", 0: "cannot be told from"}[sign(found)].format(points(found))
    return f"{_AKL} {words} PACED at equal updates, without any weights."


def _both_ends(results: Results, scale: Scale) -> str:
    """SNR where problems are hardly ever and nearly always solved beside the middle's, by the newest finished probe of the claim."""
    first: dict[str, Any] | None = probe_records(results.folder, DESK_V1).get(1, (None, None))[0]
    probes = {probe.key: probe for probe in probes_of(scale)}
    ranges = probes.get(RANGE_PROBES["C1.low"][0])
    record: dict[str, Any] | None = None if ranges is None else ranges.record(results.folder)
    if record is not None:
        low, high = (record["bins"][place]["range"]["label"] for place in (0, -1))
        drawn = "" if first is None else f" In the picture's bins, {ends_to_middle(first, ('k = 0', 'k = K'))}."
        probe, places, note = "The planned probe", (f"in {low}", f"in {high}"), drawn
    else:
        if first is None:
            return ""
        record = first
        probe, places, note = "A probe (the planned one has not run)", ("at k = 0", "at k = K"), ""
    never, always, verdict = record["bins"][0], record["bins"][-1], record["verdict"]
    if any(verdict[end]["difference"] is None for end in ("low", "high")):
        return ""
    ends = [f"{_snr(row, 'snr_squared')} {place}" for row, place in zip((never, always), places, strict=True)]
    measured = f"{probe} measures {ends[0]}, {_snr(verdict['low'], 'middle')} in the middle, and {ends[1]}"
    return f"{_IN_THEORY}. {measured}: {ends_to_middle(record, ('the lower end', 'the upper end'))}.{note}"


def _snr(values: dict[str, Any], name: str) -> str:
    """The SNR with its interval, from its square's; below zero it is zero."""
    value, low, high = (fixed(math.sqrt(max(0.0, values[name + end])), 3) for end in ("", "_low", "_high"))
    return f"**{value}** [{low}, {high}]"


def _theory(results: Results, scale: Scale) -> str:
    paper = counts_by_source()["paper"]
    text = f"**{paper['holds']} of {paper.total()}** theoretical statements of the paper [hold as stated](docs/theory.md), by symbolic or numeric checks"
    rest = [f"{paper['conditional']} hold under a further assumption"] if paper["conditional"] else []
    if paper["refuted"]:
        rest.append(f"{paper['refuted']} {'is' if paper['refuted'] == 1 else 'are'} refuted")
    return f"{'; '.join((text, *rest))}."
