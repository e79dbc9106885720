"""The model card beside a teacher trained by policy gradient: its data, its method, its command and its measures, from the run's record alone."""

from typing import Any

from paced_exp.evaluation.card_parts import joined, measures, named, option_rows, the_same_again

_METHOD = ("advantage", "positive_weight", "error_penalty", "group_weight", "guide", "K", "clip", "kl")
_TRAINING = ("learning_rate", "schedule", "warmup", "batch", "max_grad_norm", "max_new_tokens", "temperature", "precision", "seed")


def card(record: dict[str, Any]) -> str:
    """The card as Markdown with the hub's YAML header; equal records give equal text."""
    config, training, evaluation = record["config"], record["training"], record["evaluation"]
    rollouts = training["rollouts"]
    skipped = record["skipped_long"]
    sections = [
        f"# {named(config['student'])}, trained by policy gradient",
        f"The model `{config['student']}` after {training['updates']} updates of {config['batch']} problems, each with a group of {config['K']} "
        "rollouts that were graded by rules (docs/neighbours.md).",
        f"## Data\n\n- Problems: `{config['problems']}`, {training['problems']} of them.\n"
        f"- Rollouts: {rollouts['responses']}, {rollouts['guided']} of them with a hint."
        + (f"\n- Left out, for their length: {skipped}." if skipped else ""),
        "## Method\n\n" + option_rows(config, _METHOD),
        "## Training\n\n"
        + option_rows(config, _TRAINING)
        + f"\n\nCorrect rollouts: {training['first_pass_rate']:.1%} of the first update's, {training['last_pass_rate']:.1%} of the last's. "
        f"{sum(training['flops'].values()):.3g} FLOPs, rollouts among them.",
        "## Measures\n\n" + ("Not evaluated." if evaluation is None else measures(evaluation["sources"], evaluation["against"])),
        the_same_again("paced_exp.teacher", "beside this folder", record["provenance"]),
    ]
    return joined("policy-gradient", sections)
