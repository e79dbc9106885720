"""The summary of a training for the terminal."""

from typing import Any

from paced_exp.rollouts.summary import saved_line


def summary(record: dict[str, Any]) -> str:
    """The summary of a training's record: weights, references, updates, losses, cache and seconds."""
    weights, training, spent = record["weights"], record["training"], record["seconds"]
    lines = [
        f"{weights['problems']} problems, {weights['dropped']} dropped (weight zero), effective number {weights['effective_problems']:.0f}; "
        f"references: {', '.join(f'{count} {origin}' for origin, count in record['references'].items())}",
        f"{training['updates']} updates of {record['config']['batch']} problems, {training['flops']:.3g} training FLOPs, loss {training['first_loss']:.4f} "
        f"-> {training['last_loss']:.4f} nats a token",
    ]
    if record["cache"] is not None:
        cache = record["cache"]
        lines.append(
            f"teacher cache: {cache['entries']} entries, {cache['bytes'] / 1e6:.1f} MB, error {cache['error']['mean_nats']:.2g} nats a token on "
            f"average, at most {cache['error']['largest_nats']:.2g}"
        )
    lines += [saved_line(segment["adaptive"]) for segment in record["segments"] if "adaptive" in segment]
    lines.append(
        "seconds: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in spent.items()) + f", total {sum(spent.values()):.1f}"
    )
    return "\n".join(lines)
