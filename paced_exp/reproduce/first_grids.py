"""The tables of the first protocol (docs/protocol.md): many passes over a pool of 2,000 problems. They are printed, and not run again."""

from dataclasses import replace
from typing import Any

from paced_exp.reproduce.columns import forgetting, mean_of_tiers, retention, tiers, tokens
from paced_exp.reproduce.declared import Row, Table, declare


def _weighting(**options: Any) -> dict[str, Any]:
    return {"method": "paced", **options}


UNIFORM = {"method": "uniform"}
HARD = {"method": "hard_filter"}
PACED = _weighting()
POSTERIOR = _weighting(estimate="posterior")
REVERSE = {"stages": "reverse_kl"}
FORWARD_REVERSE = {"stages": "forward_kl:0.5,reverse_kl:0.5"}

_BASE = Row("base", "Base", None, reported="Base")

DISTILLATION = (
    _BASE,
    Row("uniform", "Forward KL (unweighted)", UNIFORM, reported="Forward KL (unweighted)"),
    Row("hard-filter", "Hard filter, forward KL", HARD, reported="Hard filter, forward KL"),
    Row("akl", "AKL", {**UNIFORM, "stages": "akl"}, reported="AKL"),
    Row("paced", "PACED, forward KL", PACED, reported="PACED, forward KL"),
    Row("paced-posterior", "PACED (posterior), forward KL", POSTERIOR),
)

_SELF = "self-distillation"
SELF_DISTILLATION = (
    Row("base", "Base", None, _SELF, reported="Base"),
    Row("uniform", "Reverse KL (unweighted)", {**UNIFORM, **REVERSE}, _SELF, reported="Reverse KL (unweighted)"),
    Row("hard-filter", "Hard filter, reverse KL", {**HARD, **REVERSE}, _SELF, reported="Hard filter, reverse KL"),
    Row("akl", "AKL", {**UNIFORM, "stages": "akl@rollouts"}, _SELF, reported="AKL"),
    Row("paced", "PACED, reverse KL", {**PACED, **REVERSE}, _SELF, reported="PACED, reverse KL"),
    Row("paced-posterior", "PACED (posterior), reverse KL", {**POSTERIOR, **REVERSE}, _SELF),
)

_TWO_STAGES = Row("forward-reverse", "PACED KL → PACED RevKL", {**PACED, **FORWARD_REVERSE}, reported="PACED KL -> PACED RevKL")


def _stages(first: str, share: float) -> dict[str, Any]:
    second = "reverse_kl" if first == "forward_kl" else "forward_kl"
    return {**PACED, "stages": f"{first}:{share},{second}:{1 - share}"}


def _exponents() -> tuple[Row, ...]:
    """alpha and beta in {0, 0.5, 1, 2}, and the peak alpha / (alpha + beta) moved at alpha + beta = 2; (0, 0) is no weighting at all."""
    pairs = [(a, b) for a in (0.0, 0.5, 1.0, 2.0) for b in (0.0, 0.5, 1.0, 2.0)] + [(0.5, 1.5), (1.5, 0.5)]
    return tuple(Row(f"a{a:g}-b{b:g}", f"α = {a:g}, β = {b:g}", _weighting(alpha=a, beta=b) if a or b else UNIFORM) for a, b in pairs)


def _rollouts() -> tuple[Row, ...]:
    return tuple(
        Row(f"k{K}-{name}", f"K = {K}, {name}", {**weighting, "K": K})
        for K in (2, 4, 8, 16)
        for name, weighting in (("plugin", PACED), ("posterior", POSTERIOR))
    )


def _masks() -> tuple[Row, ...]:
    masks = (("all", "all tokens"), ("steps", "steps only"), ("first:0.5", "first half"))
    return tuple(
        Row(f"{name}-{mask.replace(':', '').replace('.', '')}", f"{label}, {words}", {**weighting, "supervise": mask})
        for name, label, weighting in (("uniform", "unweighted", UNIFORM), ("paced", "PACED", PACED))
        for mask, words in masks
    )


def _on_llama(row: Row) -> Row:
    return Row(row.name, row.label, row.options, "llama")


_CONCISE = {"teacher_prompt": "concise", **REVERSE}
_FORGETTING = (retention, forgetting)

for _table in (
    Table(1, "distillation", "Distillation: accuracy", DISTILLATION, "uniform", reported="distillation_accuracy", main=True),
    Table(
        2,
        "self-distillation",
        "Self-distillation: accuracy",
        SELF_DISTILLATION,
        "uniform",
        reported="self_distillation_accuracy",
        main=True,
    ),
    Table(
        3, "forgetting-distillation", "Distillation: forgetting", DISTILLATION, "uniform", _FORGETTING, "forgetting_distillation", main=True
    ),
    Table(
        4,
        "forgetting-self",
        "Self-distillation: forgetting",
        SELF_DISTILLATION,
        "uniform",
        _FORGETTING,
        "forgetting_self_distillation",
        main=True,
    ),
    Table(
        5,
        "two-stage",
        "Forward then reverse KL against single losses",
        (
            Row("uniform", "Forward KL (unweighted)", UNIFORM),
            Row("paced", "PACED, forward KL", PACED),
            Row("paced-reverse", "PACED, reverse KL", {**PACED, **REVERSE}),
            Row("uniform-forward-reverse", "KL → RevKL (unweighted)", {**UNIFORM, **FORWARD_REVERSE}),
            _TWO_STAGES,
        ),
        "uniform",
        columns=(tiers, mean_of_tiers, forgetting),
        reported="stage_order",
        main=True,
    ),
    Table(6, "hyper-parameters", "Hyper-parameters", (), None),
    Table(7, "exponents", "Exponents α and β", _exponents(), "a1-b1", main=True),
    Table(8, "rollouts", "Rollouts K a problem, plug-in and posterior weights", _rollouts(), "k8-plugin", main=True),
    Table(
        9,
        "recomputation",
        "Recomputing the pass rates",
        (
            Row("never", "never", PACED),
            Row("half", "once, at half the updates", PACED, recompute_every=1 / 2),
            Row("quarter", "every quarter of the updates", PACED, recompute_every=1 / 4),
            Row("eighth", "every eighth of the updates", PACED, recompute_every=1 / 8),
        ),
        "never",
        main=True,
    ),
    Table(
        10,
        "stage-order",
        "Order of the stages",
        (
            # Two equal stages are one with the pass rates taken again between them: the cell of table 9.
            Row("forward-forward", "PACED KL → PACED KL", PACED, recompute_every=1 / 2, reported="PACED KL -> PACED KL"),
            Row(
                "reverse-reverse",
                "PACED RevKL → PACED RevKL",
                {**PACED, "stages": "reverse_kl:0.5,reverse_kl:0.5"},
                reported="PACED RevKL -> PACED RevKL",
            ),
            _TWO_STAGES,
            Row("reverse-forward", "PACED RevKL → PACED KL", _stages("reverse_kl", 0.5), reported="PACED RevKL -> PACED KL"),
        ),
        "forward-reverse",
        columns=(tiers, mean_of_tiers, forgetting),
        reported="stage_order",
        main=True,
    ),
    Table(
        11,
        "stage-ratio",
        "Share of the first stage, forward KL",
        (
            Row("25", "25 %", _stages("forward_kl", 0.25), reported="25%"),
            Row("50", "50 %", FORWARD_REVERSE | PACED, reported="50%"),
            Row("75", "75 %", _stages("forward_kl", 0.75), reported="75%"),
        ),
        "50",
        columns=(tiers, mean_of_tiers, forgetting),
        reported="stage_ratio_KL_to_RevKL",
        main=True,
    ),
    Table(12, "llama", "A second family: Llama", tuple(_on_llama(row) for row in DISTILLATION[:5]), "uniform", main=True),
    Table(
        13,
        "kernels",
        "Kernels against each other",
        (
            Row("uniform", "uniform", UNIFORM),
            Row("hard-filter", "hard filter on [0.2, 0.8]", HARD),
            Row("gaussian", "Gaussian", {"method": "gaussian"}),
            Row("grpo", "GRPO, √(p(1−p))", {"method": "grpo"}),
            Row("paced", "PACED, p(1−p)", PACED),
        ),
        "uniform",
    ),
    Table(
        14,
        "sampling",
        "Weighting the loss against sampling in proportion",
        (
            Row("loss", "PACED, in the loss", PACED),
            Row("sampling", "PACED, by sampling", {**PACED, "weight_by": "sampling"}),
            Row("posterior-loss", "PACED (posterior), in the loss", POSTERIOR),
            Row("posterior-sampling", "PACED (posterior), by sampling", {**POSTERIOR, "weight_by": "sampling"}),
        ),
        "loss",
    ),
    Table(15, "masks", "Supervised tokens", _masks(), "uniform-all"),
    Table(
        16,
        "concise",
        "Concise self-distillation: accuracy and length",
        (
            Row("base", "Base", None, "concise"),
            Row("uniform", "reverse KL to the concise prompt", {**UNIFORM, **_CONCISE}, "concise"),
            Row("paced", "the same, PACED", {**PACED, **_CONCISE}, "concise"),
        ),
        "base",
        (tiers, mean_of_tiers, tokens),
    ),
    Table(
        17,
        "compute",
        "More and fewer updates",
        (
            Row("uniform-half", "unweighted, half the updates", UNIFORM, updates=0.5),
            Row("uniform", "unweighted", UNIFORM),
            Row("uniform-double", "unweighted, twice the updates", UNIFORM, updates=2.0),
            Row("paced-half", "PACED, half the updates", PACED, updates=0.5),
            Row("paced", "PACED", PACED),
            Row("paced-double", "PACED, twice the updates", PACED, updates=2.0),
        ),
        "uniform",
    ),
):
    declare(replace(_table, protocol=1))
