"""The model card beside a distilled model: what it is, its data, its method, its command and its measures, from the run's record alone."""

from pathlib import Path
from typing import Any

import yaml

from paced_exp.core.json_files import write_atomically
from paced_exp.evaluation.table import interval_text

CARD = "README.md"
_METHOD = ("method", "alpha", "beta", "estimate", "K", "stages", "regime", "accounting", "teacher_prompt", "recompute")
_TRAINING = ("learning_rate", "batch", "max_new_tokens", "temperature", "precision", "loss", "seed")
_ARXIV = "[PACED](https://arxiv.org/abs/2603.11178)"


def write_card(folder: Path, record: dict[str, Any]) -> Path:
    """Write folder/README.md, atomically; equal records give equal bytes. folder: of the model. Returns its path."""
    write_atomically(folder / CARD, card(record))
    return folder / CARD


def card(record: dict[str, Any]) -> str:
    """The card as Markdown with the hub's YAML header."""
    config = record["config"]
    sections = [
        _header(),
        f"# {_named(config['student'])}, distilled from {_teacher(config)}",
        f"The student `{config['student']}` after {record['training']['updates']} updates of {config['batch']} problems. Each problem has the weight "
        f"of its pass rate, after {_ARXIV}. Weights: `{config['method'] if config['weights'] is None else config['weights']}`.",
        "## Data\n\n" + _data(record),
        "## Method\n\n" + _rows(config, _METHOD),
        "## Training\n\n" + _rows(config, _TRAINING) + _trained(record["training"]),
        "## Measures\n\n" + _measures(record["evaluation"]),
        "## The same again\n\nEvery option is in `config.yaml` beside this folder:\n\n```console\npython -m paced_exp.distill --config config.yaml --out NEW\n```\n\n"
        f"{_made_with(record['provenance'])}",
    ]
    return "\n\n".join(sections) + "\n"


def _header() -> str:
    # A licence and a base model are the user's to name: a folder is no name on a hub, and its licence is not known here.
    return f"---\n{yaml.safe_dump({'library_name': 'transformers', 'tags': ['paced', 'distillation']}, sort_keys=True).strip()}\n---"


def _named(model: str) -> str:
    return Path(model).name if "/" in model else model


def _teacher(config: dict[str, Any]) -> str:
    return "itself" if config["teacher"] == "self" else _named(config["teacher"])


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


def _rows(config: dict[str, Any], names: tuple[str, ...]) -> str:
    rows = [f"| `{name}` | {_shown(config[name])} |" for name in names if config.get(name) is not None]
    return "\n".join(["| option | value |", "|---|---|", *rows])


def _shown(value: Any) -> str:
    return str(value).replace("|", "\\|")


def _trained(training: dict[str, Any]) -> str:
    return (
        f"\n\nLoss {training['first_loss']:.4f} before the first update, {training['last_loss']:.4f} at the last, in nats a token. "
        f"{training['flops']:.3g} FLOPs of training."
    )


def _measures(evaluation: dict[str, Any] | None) -> str:
    if evaluation is None:
        return "Not evaluated."
    samples = evaluation["sources"][0]["samples"]
    lines = [f"| source | problems | mean@{samples}, % | pass@{samples}, % | tokens |", "|---|---:|---:|---:|---:|"]
    for row in evaluation["sources"]:
        measured = (interval_text(row["mean"], 100), interval_text(row["pass_at"][str(samples)], 100), interval_text(row["tokens"], 1))
        lines.append(f"| `{_shown(row['source'])}` | {row['problems']} | {' | '.join(measured)} |")
    lines.append("\n95 % intervals over problems. Sampled with the training's temperature and length limit.")
    against = evaluation["against"]
    if against is not None:
        lines.append(f"\nLess `{against['model']}`, on the same problems, in points:\n")
        lines += [f"- `{row['source']}`: {interval_text(row['mean'], 100, '+')}" for row in against["differences"]]
        lines += [f"- forgotten of `{row['source']}`: {interval_text(row['drop'], 100, '+')}" for row in against["forgetting"]]
    return "\n".join(lines)


def _made_with(provenance: dict[str, Any]) -> str:
    known = [f"{name} {value}" for name, value in sorted(provenance.get("versions", {}).items())]
    return f"Made with {', '.join(known)}." if known else "The versions of the packages are in `record.json`."
