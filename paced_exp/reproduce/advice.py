"""Should one use the weights? In sentences, each from the records of a scale of the second protocol: what PACED gains, and where it costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paced_exp.reproduce.cells import planned_seeds
from paced_exp.reproduce.grids import BY_NAME
from paced_exp.reproduce.in_short import gain
from paced_exp.reproduce.measures import Measured, combined, common_seeds, primaries, row_named
from paced_exp.reproduce.printed_table import fixed, with_interval
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.significance import Estimate, mean_and_error

PLAIN = (
    ("one-pass-short", "uniform-short"),
    ("one-pass", "uniform"),
    ("total-compute", "uniform-whole"),
)  # no weighting, by rising compute
_METHODS = (("paced", "PACED (plug-in)"), ("paced-eb", "PACED by empirical Bayes"))
_KERNELS = (  # where ways to weigh are compared: words, tables
    ("at equal updates", ("one-pass", "kernels-one-pass")),
    ("at half the updates", ("one-pass-short",)),
)


def advice(results: Results, scale: Scale) -> list[str]:
    """A sentence for each question that the records can answer, as Markdown list items; one that says so where they answer none."""
    found = [
        _compared(results, scale, "At equal updates, no problem visited twice", "one-pass", ""),
        _at_equal_compute(results, scale),
        _compared(results, scale, "As published, where problems of weight zero stay in the batch", "as-published", "-published", "uniform"),
        *(
            _compared(results, scale, f"With an eighth of the problems, {updates} updates", "multi-pass", ending)
            for ending, updates in repeated(scale)
        ),
        _compared(results, scale, "In self-distillation, no problem visited twice", "self-one-pass", ""),
        _estimates(results, scale),
        *(_best_kernel(results, scale, words, tables) for words, tables in _KERNELS),
    ]
    return [f"- {sentence}" for sentence in found if sentence] or ["- The runs that would tell are not done yet."]


def judged(estimate: Estimate, what: str, against: str) -> str:
    """A difference in words: it gains, it costs, or it cannot be told from what it is compared to."""
    if estimate.low > 0:
        return f"{what} gains {with_interval(estimate)} points over {against}"
    if estimate.high < 0:
        return f"{what} loses to {against}: {with_interval(estimate)} points"
    return f"{what} cannot be told from {against}: {with_interval(estimate)} points"


@dataclass(frozen=True)
class AtCompute:
    """A method less no weighting. kept: the same of retention. spent: FLOPs of the method in all; plain: those of no weighting, which are fewer where
    no longer run was made."""

    estimate: Estimate
    kept: Estimate
    spent: float
    plain: float


def at_equal_compute(results: Results, scale: Scale, method: str) -> AtCompute | None:
    """A method of the table one-pass less no weighting with as many FLOPs in all, or with fewer where the method spends more than the longest run.

    No weighting is interpolated between its two nearest lengths, linear in the logarithm of FLOPs. Each length is a run of its own. None where a
    row was not run, and for a method that spends less than the shortest.
    """
    row = row_named(results, scale, "one-pass", method)
    plain = [row_named(results, scale, *place) for place in PLAIN]
    if not row.records or not all(measured.records for measured in plain):
        return None
    spent = flops_of(row)
    lengths = [flops_of(measured) for measured in plain]

    def judged_at(terms: Sequence[tuple[float, Measured]], of_plain: float) -> AtCompute | None:
        found, kept = combined(terms, scale.tiers), combined(terms, (scale.retention,))
        return None if found is None or kept is None else AtCompute(found, kept, spent, of_plain)

    if spent > lengths[-1]:
        return judged_at([(1.0, row), (-1.0, plain[-1])], lengths[-1])
    for fewer, more, low, high in zip(plain, plain[1:], lengths, lengths[1:], strict=False):
        if low <= spent <= high:
            share = math.log(spent / low) / math.log(high / low)
            return judged_at([(1.0, row), (share - 1.0, fewer), (-share, more)], spent)
    return None


def flops_of(measured: Measured) -> float:
    """A row's FLOPs, those of its rollouts among them: the mean over seeds."""
    return mean_and_error([measured.of(seed).flops for seed in measured.seeds])[0]


def _compared(results: Results, scale: Scale, where: str, table: str, ending: str, uniform: str | None = None) -> str:
    """Each PACED row of a table against its unweighted row."""
    said = []
    rows = {row.name for row in BY_NAME[table].rows}
    for method, label in _METHODS:
        if f"{method}{ending}" in rows:
            pair = row_named(results, scale, table, f"{method}{ending}"), row_named(results, scale, table, uniform or f"uniform{ending}")
            # Nothing is advised before all planned seeds have run.
            if len(common_seeds(pair)) < planned_seeds(scale, BY_NAME[table]):
                continue
            if (found := combined([(1.0, pair[0]), (-1.0, pair[1])], scale.tiers)) is not None:
                said.append(judged(found, label, "no weighting") + _share(results, scale, found, pair[0]))
    return f"{where}: {'; '.join(said)}." if said else ""


def _share(results: Results, scale: Scale, found: Estimate, row: Measured) -> str:
    gained = gain(results, scale, row.row.setup)
    if found.low <= 0 or gained is None or gained.low <= 0 or row.row.updates != 1.0:
        return ""
    return f", {fixed(100 * found.value / gained.value, 0)} % of what no weighting gains over the untrained student"


def repeated(scale: Scale) -> list[tuple[str, int]]:
    """The lengths of training over few problems again and again: the ending of a row's name, and its updates."""
    lengths = {row.updates for row in BY_NAME["multi-pass"].rows if row.options is not None}
    return [(f"-{updates:g}", round(updates * scale.setups["distillation"].updates)) for updates in sorted(lengths)]


def _at_equal_compute(results: Results, scale: Scale) -> str:
    said = []
    for method, label in _METHODS:
        if (found := at_equal_compute(results, scale, method)) is not None:
            spent = f"{found.spent / 1e12:.3g} TFLOPs"
            both = f"both spend {spent}" if found.plain == found.spent else f"it spends {spent}, no weighting {found.plain / 1e12:.3g}"
            said.append(f"{judged(found.estimate, label, 'no weighting')} ({both})")
    return f"At equal total compute, with the rollouts that make the weights: {'; '.join(said)}." if said else ""


def _estimates(results: Results, scale: Scale) -> str:
    """The two estimates of PACED's weight against each other."""
    pair = [row_named(results, scale, "one-pass", method) for method, _ in _METHODS]
    found = combined([(1.0, pair[0]), (-1.0, pair[1])], scale.tiers)
    return "" if found is None else f"Which estimate: {judged(found, 'the plug-in, w(k/K),', 'empirical Bayes')}."


def _best_kernel(results: Results, scale: Scale, where: str, tables: Sequence[str]) -> str:
    """The best row of one pass, and those that cannot be told from it."""
    rows, means = _ways(results, scale, tables)
    if len(means) < 2:
        return ""
    best = max(means, key=means.__getitem__)
    near = [
        rows[name].row.label
        for name in means
        if name != best
        and ((found := combined([(1.0, rows[best]), (-1.0, rows[name])], scale.tiers)) is None or found.low <= 0 <= found.high)
    ]
    label = rows[best].row.label
    words = f"not told from it: {_listed(near)}" if near else "its 95 % intervals tell it from all others"
    return f"Of {len(means)} methods compared {where}, “{label}” has the highest accuracy, {fixed(means[best], 1)} %; {words}."


def compared_at_equal_updates(results: Results, scale: Scale) -> tuple[str | None, int]:
    """The label of the best method in one pass, and how many were compared; no label where fewer than two were run."""
    rows, means = _ways(results, scale, _KERNELS[0][1])
    return (rows[max(means, key=means.__getitem__)].row.label if len(means) > 1 else None), len(means)


def _ways(results: Results, scale: Scale, tables: Sequence[str]) -> tuple[dict[str, Measured], dict[str, float]]:
    """Trained rows with records, and the mean of tiers of each."""
    rows: dict[str, Measured] = {}
    for table in tables:
        for row in BY_NAME[table].rows:
            measured = row_named(results, scale, table, row.name)
            if row.options is not None and measured.records:
                rows[row.name] = measured
    return rows, {name: mean_and_error(primaries(measured, scale))[0] for name, measured in rows.items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"“{name}”" for name in names)
