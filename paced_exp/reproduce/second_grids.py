"""The tables of the second protocol (docs/protocol-v2.md): one pass over plentiful data, and many passes as the control.

`one-pass` rows visit no problem twice. `multi-pass` rows pass over a random eighth of the pool again and again. A `-short` row has half the
updates of its setup.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from paced_exp.reproduce.columns import forgetting, mean_of_tiers, retention, tiers
from paced_exp.reproduce.declared import Row, Table, declare
from paced_exp.reproduce.scale import Side

ONE_PASS = {"regime": "one-pass"}
UNIFORM = {"method": "uniform"}
PACED = {"method": "paced"}
BAYES = {"method": "paced", "estimate": "empirical_bayes"}
HARD = {"method": "hard_filter"}
CURVE = {"method": "curve", "estimate": "empirical_bayes"}
_MEASURED = (tiers, mean_of_tiers, forgetting)
_LABS = ("desk", "smoke")  # scales of the lab's shipped models: what students of other sizes, and pools chosen by pass rate, are made for

# name, label, options, the measured kernel it weighs by, the row of the paper's table
_METHODS: dict[str, tuple[str, Mapping[str, Any], str | None, str | None]] = {
    "uniform": ("no weighting", UNIFORM, None, "Forward KL (unweighted)"),
    "paced": ("PACED", PACED, None, "PACED, forward KL"),
    "paced-eb": ("PACED, empirical Bayes", BAYES, None, None),
    "hard-filter": ("hard filter on [0.2, 0.8]", HARD, None, "Hard filter, forward KL"),
    "akl": ("AKL", {**UNIFORM, "stages": "akl"}, None, "AKL"),
    "aligned": ("aligned with accuracy (measured)", CURVE, "aligned", None),
    "fitted": ("fitted to the bins' gradients (measured)", CURVE, "fitted", None),
    "gaussian": ("Gaussian", {"method": "gaussian"}, None, None),
    "grpo": ("GRPO-implied, √(p(1−p))", {"method": "grpo"}, None, None),
    "maxrl": ("MaxRL, (1−(1−p)^K)/p", {"method": "maxrl"}, None, None),
    "focal": ("focal, (1−p)²", {"method": "focal"}, None, None),
    "da-kd": ("DA-KD", {"weights": "da-kd"}, None, None),
    "paced-akl": ("PACED × AKL", {**PACED, "stages": "akl"}, None, None),
}


def _row(
    method: str, ending: str = "", words: str = "", updates: float = 1.0, setup: str = "distillation", pool: float = 1.0, **options: Any
) -> Row:
    label, own, curve, reported = _METHODS[method]
    return Row(f"{method}{ending}", f"{label}{words}", {**ONE_PASS, **own, **options}, setup, updates, None, reported, curve, pool)


def _base(setup: str = "distillation") -> Row:
    return Row("base", "Base", None, setup, reported="Base")


def _published(method: str) -> Row:
    return _row(method, "-published", ", weight zero stays in the batch", accounting="as-published")


def _control(method: str, updates: float) -> Row:
    return _row(method, f"-{updates:g}", f", {updates:g} × the updates", updates, pool=1 / 8, regime="multi-pass")


_SELF = "self-distillation"
_REVERSE = {"stages": "reverse_kl"}


def _self(method: str, ending: str = "", words: str = "", **options: Any) -> Row:
    return _row(method, ending, words, setup=_SELF, **{**_REVERSE, **options})


# Stages make pass rates anew: half the pool, and half the updates.
_HALF = 0.5
_FORWARD, _BACKWARD = "forward_kl", "reverse_kl"


def _staged(name: str, words: str, stages: str, reported: str | None = None) -> Row:
    return Row(name, words, {**ONE_PASS, **PACED, "stages": stages}, updates=0.5, reported=reported, pool=_HALF)


_TWO = _staged("forward-reverse", "PACED KL → PACED RevKL", "forward_kl:0.5,reverse_kl:0.5", "PACED KL -> PACED RevKL")


def _rollouts() -> tuple[Row, ...]:
    return tuple(
        Row(f"k{K}-{name}", f"K = {K}, {words}", {**ONE_PASS, **weighting, "K": K}, updates=0.5)
        for K in (2, 4, 8, 16)
        for name, words, weighting in (("plugin", "plug-in", PACED), ("eb", "empirical Bayes", BAYES))
        # Two rollouts and a plug-in weight drop four problems in five: more than one pass has.
        if (K, name) != (2, "plugin")
    )


def _exponents() -> tuple[Row, ...]:
    pairs = ((1.0, 1.0), (0.5, 0.5), (2.0, 2.0), (0.5, 1.5), (1.5, 0.5), (0.0, 1.0), (1.0, 0.0))
    return tuple(
        Row(f"a{a:g}-b{b:g}", f"α = {a:g}, β = {b:g}", {**ONE_PASS, "method": "paced", "alpha": a, "beta": b}, updates=0.5)
        for a, b in pairs
    )


def _of_size(number: int, size: str) -> Table:
    """A student of another size; its weights `aligned` are measured on itself."""
    setup = f"size-{size}"

    def row(method: str) -> Row:
        made = _row(method, setup=setup)
        return made if made.curve is None else replace(made, curve=f"{made.curve}-{size}")

    title = f"A student of {size.upper()} parameters, one pass, equal updates (exploratory)"
    rows = (replace(_base(setup), reported=None), *(replace(row(method), reported=None) for method in ("uniform", "paced", "aligned")))
    return Table(number, setup, title, rows, "uniform", _MEASURED, scales=_LABS, exploratory=True)


_SIDES: dict[Side, str] = {"beyond": "beyond the student's reach", "mastered": "mastered by the student"}


def _skewed(number: int, side: Side) -> Table:
    """A pool most of whose problems teach little, a quarter of the updates. With weights of zero passed over, and left in the batch."""

    def row(method: str, ending: str = "", words: str = "", **options: Any) -> Row:
        return replace(_row(method, ending, words, updates=0.25, **options), chosen=side, reported=None)

    rows = (
        replace(_base(), reported=None),
        *map(row, ("uniform", "paced", "paced-eb")),
        *(row(method, "-published", ", weight zero stays in the batch", accounting="as-published") for method in ("paced", "hard-filter")),
    )
    title = f"A pool of which 80 % are {_SIDES[side]}, one pass, a quarter of the updates (exploratory)"
    return Table(number, f"skewed-{side}", title, rows, "uniform", _MEASURED, scales=_LABS, exploratory=True)


for _table in (
    Table(
        22,
        "one-pass",
        "Distillation, one pass, equal updates",
        (_base(), *map(_row, ("uniform", "paced", "paced-eb", "akl", "aligned"))),
        "uniform",
        (*_MEASURED, retention),
        "distillation_accuracy",
        main=True,
    ),
    Table(
        23,
        "one-pass-short",
        "Distillation, one pass, equal updates, half as many",
        tuple(_row(method, "-short", updates=0.5) for method in ("uniform", "paced", "paced-eb", "hard-filter", "akl", "aligned")),
        "uniform-short",
        _MEASURED,
        main=True,
    ),
    Table(
        24,
        "as-published",
        "Distillation, one pass, as published: weight zero stays in the batch",
        (_row("uniform"), _published("paced"), _published("hard-filter")),
        "uniform",
        _MEASURED,
    ),
    Table(
        25,
        "kernels-one-pass",
        "Kernels against each other, one pass, equal updates",
        tuple(map(_row, ("uniform", "paced", "gaussian", "grpo", "maxrl", "focal", "da-kd", "paced-akl", "fitted", "aligned"))),
        "uniform",
        _MEASURED,
    ),
    Table(
        26,
        "total-compute",
        "Accuracy against total compute, one pass, rollouts counted",
        (
            *(
                _row("uniform", ending, words, updates)
                for ending, words, updates in (("-short", ", half", 0.5), ("", "", 1.0), ("-whole", ", all problems", 2.56))
            ),
            *(
                _row(method, ending, words, updates)
                for method in ("paced", "paced-eb")
                for ending, words, updates in (("-short", ", half", 0.5), ("", "", 1.0))
            ),
        ),
        "uniform",
        _MEASURED,
    ),
    Table(
        27,
        "multi-pass",
        "Control: many passes over an eighth of the pool, equal updates",
        tuple(_control(method, updates) for updates in (0.5, 1.0, 2.0) for method in ("uniform", "paced", "paced-eb", "hard-filter")),
        "uniform-1",
        _MEASURED,
    ),
    Table(
        28,
        "self-one-pass",
        "Self-distillation, one pass, equal updates",
        (
            _base(_SELF),
            *map(_self, ("uniform", "paced", "paced-eb", "hard-filter")),
            _self("akl", "-rollouts", " on rollouts", stages="akl@rollouts"),
            _self("akl", "-references", " on references", stages="akl@references"),
            _self("aligned"),
        ),
        "uniform",
        (*_MEASURED, retention),
        "self_distillation_accuracy",
        main=True,
    ),
    Table(
        29,
        "order-one-pass",
        "Order of the stages, one pass, half the updates",
        (
            _TWO,
            _staged("forward-forward", "PACED KL → PACED KL", "forward_kl:0.5,forward_kl:0.5", "PACED KL -> PACED KL"),
            _staged("reverse-reverse", "PACED RevKL → PACED RevKL", "reverse_kl:0.5,reverse_kl:0.5", "PACED RevKL -> PACED RevKL"),
            _staged("reverse-forward", "PACED RevKL → PACED KL", "reverse_kl:0.5,forward_kl:0.5", "PACED RevKL -> PACED KL"),
        ),
        "forward-reverse",
        _MEASURED,
        "stage_order",
    ),
    Table(
        30,
        "share-one-pass",
        "Share of the first stage, forward KL, one pass, half the updates",
        (
            _staged("25", "25 %", "forward_kl:0.25,reverse_kl:0.75", "25%"),
            _TWO,
            _staged("75", "75 %", "forward_kl:0.75,reverse_kl:0.25", "75%"),
        ),
        "forward-reverse",
        _MEASURED,
        "stage_ratio_KL_to_RevKL",
    ),
    Table(31, "rollouts-one-pass", "Rollouts K a problem, one pass, half the updates", _rollouts(), "k8-plugin", _MEASURED),
    Table(32, "exponents-one-pass", "Exponents α and β, one pass, half the updates", _exponents(), "a1-b1", _MEASURED),
    Table(
        33,
        "recomputation-one-pass",
        "Recomputing the pass rates, one pass, half the updates",
        (
            Row("never", "never", {**ONE_PASS, **PACED}, updates=0.5, pool=_HALF),
            Row("quarter", "every quarter of the updates", {**ONE_PASS, **PACED}, updates=0.5, recompute_every=1 / 4, pool=_HALF),
        ),
        "never",
        _MEASURED,
    ),
    Table(
        34,
        "llama-one-pass",
        "A second family: Llama, one pass, equal updates",
        (_base("llama"), *(_row(method, setup="llama") for method in ("uniform", "paced", "paced-eb"))),
        "uniform",
        _MEASURED,
    ),
    Table(35, "hyper-parameters-one-pass", "Hyper-parameters, one pass", (), None),
    _of_size(36, "0.1m"),
    _of_size(37, "5m"),
    _skewed(38, "beyond"),
    _skewed(39, "mastered"),
    Table(
        40,
        "kernels-self-one-pass",
        "Self-distillation, kernels against each other, one pass, equal updates (exploratory)",
        tuple(map(_self, ("uniform", "paced", "maxrl", "aligned"))),
        "uniform",
        _MEASURED,
        scales=("smollm2", "smoke"),
        exploratory=True,
    ),
):
    declare(_table)
