"""The model card beside a distilled model: what it is, its data, its method, its command and its measures, from the run's record alone."""

from typing import Any

from paced_exp.evaluation.card_parts import joined, measures, named, option_rows, the_same_again

_METHOD = ("method", "alpha", "beta", "estimate", "K", "adaptive", "stages", "regime", "accounting", "teacher_prompt", "recompute")
_TRAINING = ("learning_rate", "batch", "max_new_tokens", "temperature", "precision", "loss", "seed")
_ARXIV = "[PACED](https://arxiv.org/abs/2603.11178)"


def card(record: dict[str, Any]) -> str:
    """The card as Markdown with the hub's YAML header; equal records give equal text."""
    config, evaluation = record["config"], record["evaluation"]
    teacher = "itself" if config["teacher"] == "self" else named(config["teacher"])
    sections = [
        f"# {named(config['student'])}, distilled from {teacher}",
        f"The student `{config['student']}` after {record['training']['updates']} updates of {config['batch']} problems. Each problem has the weight "
        f"of its pass rate, after {_ARXIV}. Weights: `{config['method'] if config['weights'] is None else config['weights']}`.",
        "## Data\n\n" + _data(record),
        "## Method\n\n" + option_rows(config, _METHOD),
        "## Training\n\n" + option_rows(config, _TRAINING) + _trained(record["training"]),
        "## Measures\n\n" + ("Not evaluated." if evaluation is None else measures(evaluation["sources"], evaluation["against"])),
        the_same_again("paced_exp.distill", "beside this folder", record["provenance"]),
    ]
    return joined("distillation", sections)


def _data(record: dict[str, Any]) -> str:
    weights, config = record["weights"], record["config"]
    origins = ", ".join(f"{count} {origin}" for origin, count in record["references"].items())
    lines = [
        f"- Problems: `{config['problems']}`, {weights['problems']} of them.",
        f"- Left out, for a weight of zero: {weights['dropped']}. Effective number of problems: {weights['effective_problems']:.0f}.",
    ]
    if origins:
        lines.append(f"- References: {origins}.")
    if record["skipped_long"]:
        lines.append(f"- Left out, for their length: {record['skipped_long']}.")
    return "\n".join(lines)


def _trained(training: dict[str, Any]) -> str:
    return (
        f"\n\nLoss {training['first_loss']:.4f} before the first update, {training['last_loss']:.4f} at the last, in nats a token. "
        f"{training['flops']:.3g} FLOPs of training."
    )
