"""The tables of the second protocol (docs/protocol-v2.md): one pass over plentiful data, and many passes as the control.

`one-pass` rows visit no problem twice. `multi-pass` rows pass over a random eighth of the pool again and again. A `-short` row has half the
updates of its setup.
"""

from collections.abc import Mapping
from typing import Any

from paced_exp.reproduce.columns import forgetting, mean_of_tiers, retention, tiers
from paced_exp.reproduce.declared import Row, Table, declare

ONE_PASS = {"regime": "one-pass"}
UNIFORM = {"method": "uniform"}
PACED = {"method": "paced"}
BAYES = {"method": "paced", "estimate": "empirical_bayes"}
HARD = {"method": "hard_filter"}
CURVE = {"method": "curve", "estimate": "empirical_bayes"}
MEASURED = (tiers, mean_of_tiers, forgetting)

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
    "da-kd": ("DA-KD's difficulty score as a weight", {"weights": "da-kd"}, None, None),
    "paced-akl": ("PACED × AKL", {**PACED, "stages": "akl"}, None, None),
}


def one_pass_row(
    method: str, ending: str = "", words: str = "", updates: float = 1.0, setup: str = "distillation", pool: float = 1.0, **options: Any
) -> Row:
    """A method by its name, in one pass. ending, words: behind the method's name and label. options: of `DistillConfig`, over the method's."""
    label, own, curve, reported = _METHODS[method]
    return Row(f"{method}{ending}", f"{label}{words}", {**ONE_PASS, **own, **options}, setup, updates, None, reported, curve, pool)


def base_row(setup: str = "distillation") -> Row:
    """The untrained student."""
    return Row("base", "Base", None, setup, reported="Base")


def _published(method: str) -> Row:
    return one_pass_row(method, "-published", ", weight zero stays in the batch", accounting="as-published")


def _control(method: str, updates: float) -> Row:
    return one_pass_row(method, f"-{updates:g}", f", {updates:g} × the updates", updates, pool=1 / 8, regime="multi-pass")


_SELF = "self-distillation"
_REVERSE = {"stages": "reverse_kl"}


def self_row(method: str, ending: str = "", words: str = "", **options: Any) -> Row:
    """The same in self-distillation."""
    return one_pass_row(method, ending, words, setup=_SELF, **{**_REVERSE, **options})


# Stages make pass rates anew: half the pool, and half the updates.
_HALF = 0.5
_FORWARD, _BACKWARD = "forward_kl", "reverse_kl"


def _staged(name: str, words: str, stages: str, reported: str | None = None) -> Row:
    return Row(name, words, {**ONE_PASS, **PACED, "stages": stages}, updates=0.5, reported=reported, pool=_HALF)


_TWO = _staged("forward-reverse", "forward KL → reverse KL", "forward_kl:0.5,reverse_kl:0.5", "PACED KL -> PACED RevKL")


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


for _table in (
    Table(
        22,
        "one-pass",
        "Distillation, one pass, equal updates",
        (base_row(), *map(one_pass_row, ("uniform", "paced", "paced-eb", "akl", "aligned"))),
        "uniform",
        (*MEASURED, retention),
        "distillation_accuracy",
        main=True,
    ),
    Table(
        23,
        "one-pass-short",
        "Distillation, one pass, equal updates, half as many",
        tuple(one_pass_row(method, "-short", updates=0.5) for method in ("uniform", "paced", "paced-eb", "hard-filter", "akl", "aligned")),
        "uniform-short",
        MEASURED,
        main=True,
    ),
    Table(
        24,
        "as-published",
        "Distillation, one pass, as published: weight zero stays in the batch",
        (one_pass_row("uniform"), _published("paced"), _published("hard-filter")),
        "uniform",
        MEASURED,
    ),
    Table(
        25,
        "kernels-one-pass",
        "Kernels against each other, one pass, equal updates",
        tuple(map(one_pass_row, ("uniform", "paced", "gaussian", "grpo", "maxrl", "focal", "da-kd", "paced-akl", "fitted", "aligned"))),
        "uniform",
        MEASURED,
    ),
    Table(
        26,
        "total-compute",
        "Accuracy against total compute, one pass, rollouts counted",
        (
            *(
                one_pass_row("uniform", ending, words, updates)
                for ending, words, updates in (("-short", ", half", 0.5), ("", "", 1.0), ("-whole", ", all problems", 2.56))
            ),
            *(
                one_pass_row(method, ending, words, updates)
                for method in ("paced", "paced-eb")
                for ending, words, updates in (("-short", ", half", 0.5), ("", "", 1.0))
            ),
        ),
        "uniform",
        MEASURED,
    ),
    Table(
        27,
        "multi-pass",
        "Control: many passes over an eighth of the pool, equal updates",
        tuple(_control(method, updates) for updates in (0.5, 1.0, 2.0) for method in ("uniform", "paced", "paced-eb", "hard-filter")),
        "uniform-1",
        MEASURED,
    ),
    Table(
        28,
        "self-one-pass",
        "Self-distillation, one pass, equal updates",
        (
            base_row(_SELF),
            *map(self_row, ("uniform", "paced", "paced-eb", "hard-filter")),
            self_row("akl", "-rollouts", " on rollouts", stages="akl@rollouts"),
            self_row("akl", "-references", " on references", stages="akl@references"),
            self_row("aligned"),
        ),
        "uniform",
        (*MEASURED, retention),
        "self_distillation_accuracy",
        main=True,
    ),
    Table(
        29,
        "order-one-pass",
        "Order of the stages, PACED's weights, one pass, half the updates",
        (
            _TWO,
            _staged("forward-forward", "forward KL throughout", "forward_kl:0.5,forward_kl:0.5", "PACED KL -> PACED KL"),
            _staged("reverse-reverse", "reverse KL throughout", "reverse_kl:0.5,reverse_kl:0.5", "PACED RevKL -> PACED RevKL"),
            _staged("reverse-forward", "reverse KL → forward KL", "reverse_kl:0.5,forward_kl:0.5", "PACED RevKL -> PACED KL"),
        ),
        "forward-reverse",
        MEASURED,
        "stage_order",
    ),
    Table(
        30,
        "share-one-pass",
        "Share of the first stage, forward KL, PACED's weights, one pass, half the updates",
        (
            _staged("25", "25 % forward KL", "forward_kl:0.25,reverse_kl:0.75", "25%"),
            _TWO,
            _staged("75", "75 % forward KL", "forward_kl:0.75,reverse_kl:0.25", "75%"),
        ),
        "forward-reverse",
        MEASURED,
        "stage_ratio_KL_to_RevKL",
    ),
    Table(31, "rollouts-one-pass", "Rollouts K a problem, one pass, half the updates", _rollouts(), "k8-plugin", MEASURED),
    Table(32, "exponents-one-pass", "Exponents α and β, one pass, half the updates", _exponents(), "a1-b1", MEASURED),
    Table(
        33,
        "recomputation-one-pass",
        "Recomputing the pass rates, one pass, half the updates",
        (
            Row("never", "never", {**ONE_PASS, **PACED}, updates=0.5, pool=_HALF),
            Row("quarter", "every quarter of the updates", {**ONE_PASS, **PACED}, updates=0.5, recompute_every=1 / 4, pool=_HALF),
        ),
        "never",
        MEASURED,
    ),
    Table(
        34,
        "llama-one-pass",
        "A second family: Llama, one pass, equal updates",
        (base_row("llama"), *(one_pass_row(method, setup="llama") for method in ("uniform", "paced", "paced-eb"))),
        "uniform",
        MEASURED,
    ),
    Table(35, "hyper-parameters-one-pass", "Hyper-parameters, one pass", (), None),
):
    declare(_table)
