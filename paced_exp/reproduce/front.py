"""The first screen of the README: what was found, one number a sentence, and whether to use the weights. From the records and the ledger alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paced_exp.reproduce.advice import at_equal_compute, best_of, repeated
from paced_exp.reproduce.c1 import RANGE_PROBES, probe_records
from paced_exp.reproduce.cells import planned_seeds
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.measures import combined, common_seeds, row_named
from paced_exp.reproduce.printed_table import fixed
from paced_exp.reproduce.probes import probes_of
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import DESK_V1, Scale
from paced_exp.reproduce.significance import Estimate
from paced_theory.claims import counts_by_source

BULLETS = 5
_AKL = "Adaptive KL (AKL) is a loss: it mixes forward and reverse KL token by token, and needs no pass rates. Without weights, it"
_WORDS = {1: "gain accuracy", -1: "lose accuracy", 0: "make no measurable difference"}
_USE_NOTHING = "The runs that would tell are not done yet."


@dataclass(frozen=True)
class Asked:
    """A question that two rows of a table answer. gains, costs: the sentence by the sign of the interval, `{}` for the size in points; open: where it
    holds zero; empty where no bullet says it. where: what the answer is for, in the paragraph of advice; empty where that does not ask it."""

    table: str
    row: str
    against: str
    gains: str = ""
    costs: str = ""
    open: str = ""
    where: str = ""


PACED = Asked(
    "one-pass",
    "paced",
    "uniform",
    "At equal updates, no problem repeated, PACED's weights gain {} of accuracy over no weighting.",
    "At equal updates, no problem repeated, PACED's weights lose {} of accuracy to no weighting.",
    "At equal updates, no problem repeated, PACED's weights cannot be told from no weighting: {}.",
    "if you already have pass counts, at equal updates,",
)
AKL = Asked(
    "one-pass",
    "akl",
    "paced",
    f"{_AKL} gains {{}} over PACED at equal updates.",
    f"{_AKL} loses {{}} to PACED at equal updates.",
    f"{_AKL} cannot be told from PACED at equal updates: {{}}.",
)
ESTIMATE = Asked(
    "one-pass",
    "paced",
    "paced-eb",
    "The plug-in weight w(k/K) gains {} over its empirical Bayes estimate.",
    "The plug-in weight w(k/K) loses {} to its empirical Bayes estimate.",
    "The plug-in weight w(k/K) cannot be told from its empirical Bayes estimate: {}.",
)
FILTER = Asked("one-pass-short", "hard-filter-short", "paced-short")
SELF = Asked("self-one-pass", "paced", "uniform", where="in self-distillation, at equal updates,")


def effect(results: Results, scale: Scale, asked: Asked) -> Estimate | None:
    """The row less the other on the mean of tiers, in points; None before all planned seeds of both have run."""
    rows = [row_named(results, scale, asked.table, name) for name in (asked.row, asked.against)]
    if len(common_seeds(rows)) < planned_seeds(scale, BY_NAME[asked.table]):
        return None
    return combined([(1.0, rows[0]), (-1.0, rows[1])], scale.tiers)


def findings(results: Results, scale: Scale) -> list[str]:
    """At most five Markdown list items, the ones that matter most first. What was not run says nothing."""
    makers: tuple[Callable[[Results, Scale], str], ...] = (
        lambda of, at: _sentence(PACED, effect(of, at, PACED)),
        _compute,
        lambda of, at: _sentence(AKL, effect(of, at, AKL)),
        _both_ends,
        _theory,
        lambda of, at: _sentence(ESTIMATE, effect(of, at, ESTIMATE)),
    )
    said = [sentence for maker in makers if (sentence := maker(results, scale))]
    return [f"- {sentence}" for sentence in said[:BULLETS]]


def use(results: Results, scale: Scale) -> str:
    """Should one use the weights? By the signs of the intervals."""
    answers = [(asked.where, found) for asked in (PACED, SELF) if (found := effect(results, scale, asked)) is not None]
    if (compute := at_equal_compute(results, scale, "paced")) is not None:
        answers.insert(1, ("if you must make rollouts to count, at equal total compute,", compute.estimate))
    if not answers:
        return _USE_NOTHING
    said = [f"{_capital(where)} the weights {_WORDS[_sign(found)]}" for where, found in answers]
    if (best := best_of(results, scale)) is not None and best != "PACED":
        said.insert(0, f"In distillation from a teacher try {best} first: of all that we ran at equal updates it is the best")
    if again := _repeated(results, scale):
        said.append(again)
    if (filtered := effect(results, scale, FILTER)) is not None and filtered.low > 0:
        said.append(
            f"At half the updates the hard filter, which keeps only problems with 0.2 ≤ p ≤ 0.8, beats PACED by {_points(filtered)}"
        )
    if (estimate := effect(results, scale, ESTIMATE)) is not None and estimate.low > 0:
        said.append("Take p = k/K as it is (the plug-in estimate)")
    return ". ".join(said) + "."


def _repeated(results: Results, scale: Scale) -> str:
    """What the weights do where few problems are visited again and again, by the length of training."""
    said: dict[str, list[str]] = {}
    for ending, updates in repeated(scale):
        found = effect(results, scale, Asked("multi-pass", f"paced{ending}", f"uniform{ending}"))
        if found is not None:
            said.setdefault(_WORDS[_sign(found)], []).append(str(updates))
    parts = [f"{words} at {' and '.join(lengths)} updates" for words, lengths in said.items()]
    return f"With an eighth of the problems, visited again and again, the weights {', and '.join(parts)}" if parts else ""


def _sign(found: Estimate) -> int:
    return int(found.low > 0) - int(found.high < 0)


def _sentence(asked: Asked, found: Estimate | None) -> str:
    if found is None:
        return ""
    template = {1: asked.gains, -1: asked.costs, 0: asked.open}[_sign(found)]
    return template.format(_points(found))


def _points(found: Estimate) -> str:
    """The size and its interval where the sentence has the direction; the interval with its signs where it has none."""
    if (sign := _sign(found)) == 0:
        return f"between {fixed(found.low, 1)} and {fixed(found.high, 1)} points"
    low, high = sorted((sign * found.low, sign * found.high))
    return f"**{fixed(abs(found.value), 1)} points** [{fixed(low, 1)}, {fixed(high, 1)}]"


def _compute(results: Results, scale: Scale) -> str:
    found = at_equal_compute(results, scale, "paced")
    if found is None:
        return ""
    words = {1: "they gain {}", -1: "they lose {}", 0: "they make no measurable difference: {}"}[_sign(found.estimate)]
    spent = (
        "At equal total compute"
        if found.plain == found.spent
        else f"Against an unweighted run of {found.plain / found.spent:.0%} of their compute"
    )
    kept = {1: f", and forget {_points(found.kept)} less", -1: f", and forget {_points(found.kept)} more", 0: ""}[_sign(found.kept)]
    return f"{spent}, with the rollouts that count the passes, {words.format(_points(found.estimate))}{kept} (exploratory)."


def _both_ends(results: Results, scale: Scale) -> str:
    """SNR² of problems that are never solved, and of those that always are, beside the middle's, as the newest finished probe of the claim has it."""
    probes = {probe.key: probe for probe in probes_of(scale)}
    ranges = probes.get(RANGE_PROBES["C1.low"][0])
    record: dict[str, Any] | None = None if ranges is None else ranges.record(results.folder)
    when, pending = "Before training", ""
    if ranges is not None and record is None:
        pending = "; the newer test (C1 below) has not run"
    if record is None:
        record = probe_records(results.folder, DESK_V1).get(1, (None, None))[0]
        when = "In an earlier probe, before training"
    if record is None or any(record["verdict"][end]["difference"] is None for end in ("low", "high")):
        return ""
    never, always = (record["bins"][place] for place in (0, -1))
    theory = "In theory the gradient's signal-to-noise ratio (SNR) vanishes at both ends of the pass rate p"
    low, high = (_thousandfold(end, "snr_squared", "**") for end in (never, always))
    between = _thousandfold(record["verdict"]["low"], "middle")
    return f"{theory}. {when}, SNR² times 1,000 is {low} at p = 0, {between} for p from 0.3 to 0.7, and {high} at p = 1{pending}."


def _thousandfold(values: dict[str, Any], name: str, mark: str = "") -> str:
    """The value of this name times 1,000, between two marks, with its interval."""
    value, low, high = (fixed(1000 * values[f"{name}{end}"], 1) for end in ("", "_low", "_high"))
    return f"{mark}{value}{mark} [{low}, {high}]"


def _theory(results: Results, scale: Scale) -> str:
    paper = counts_by_source()["paper"]
    text = f"**{paper['holds']} of {paper.total()}** theoretical statements of the paper hold under the assumptions that they state"
    rest = []
    if paper["conditional"]:
        rest.append(f"{paper['conditional']} need a further one")
    if paper["refuted"]:
        rest.append(f"{paper['refuted']} are refuted")
    return f"{text}; {', '.join(rest)} ([docs/theory.md](docs/theory.md))." if rest else f"{text}."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
