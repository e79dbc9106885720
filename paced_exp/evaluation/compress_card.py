"""The model card beside a compressed model: how it was compressed, its size, its command and its measures, from the run's record alone."""

from typing import Any

from paced_exp.evaluation.card_parts import joined, measures, named, the_same_again
from paced_exp.evaluation.compress_config import WHOLE


def cards(record: dict[str, Any]) -> dict[str, str]:
    """The card of each method's model, by method; equal records give equal text."""
    return {entry["method"]: _card(record, entry) for entry in record["methods"] if entry["method"] != WHOLE}


def _card(record: dict[str, Any], entry: dict[str, Any]) -> str:
    config, counts = record["config"], record["parameters"]
    sections = [
        f"# {named(config['model'])}, compressed by {entry['method']}",
        f"The model `{config['model']}` with the weights of its blocks' linear layers compressed, {counts['compressed']} of {counts['all']} in all, "
        "and nothing trained afterwards. This folder holds them unpacked; `packed.safetensors` beside it holds them packed.",
        f"## Size\n\n{entry['bytes']} bytes packed, {entry['share']:.1%} of the whole model in bfloat16.",
        "## Measures\n\n" + measures(entry["sources"], entry["against"]),
        the_same_again("paced_exp.compress", "two folders up", record["provenance"]),
    ]
    return joined("compression", sections)
