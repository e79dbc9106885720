"""What every model card says in the same words: header, tables of options, measures with intervals, versions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from paced_exp.core.json_files import write_atomically
from paced_exp.evaluation.table import interval_text

CARD = "README.md"


def write_card(folder: Path, text: str) -> Path:
    """Write a card into a model's folder, atomically, and return its path; nothing is written where the folder is gone.

    Call it after the record that the card is made from: a kill in between costs nothing, since the next call with the record writes it.
    """
    if folder.is_dir():
        write_atomically(folder / CARD, text)
    return folder / CARD


def joined(tag: str, sections: Sequence[str]) -> str:
    """The card: the hub's YAML header, with the tag of what made the model, and the sections."""
    # A licence and a base model are the user's to name: a folder is no name on a hub, and its licence is not known here.
    header = yaml.safe_dump({"library_name": "transformers", "tags": ["paced", tag]}, sort_keys=True).strip()
    return "\n\n".join([f"---\n{header}\n---", *sections]) + "\n"


def named(model: str) -> str:
    """A model's name without its folder or owner."""
    return Path(model).name if "/" in model else model


def option_rows(config: dict[str, Any], names: Sequence[str]) -> str:
    """Options with their values, without those that have none."""
    rows = [f"| `{name}` | {shown(config[name])} |" for name in names if config.get(name) is not None]
    return "\n".join(["| option | value |", "|---|---|", *rows])


def shown(value: Any) -> str:
    """A value in a cell of a table."""
    return str(value).replace("|", "\\|")


def measures(sources: list[dict[str, Any]], against: dict[str, Any] | None) -> str:
    """Accuracy and length on each source with intervals, and the differences to another model, where there is one."""
    samples = sources[0]["samples"]
    lines = [f"| source | problems | mean@{samples}, % | pass@{samples}, % | tokens |", "|---|---:|---:|---:|---:|"]
    for row in sources:
        measured = (interval_text(row["mean"], 100), interval_text(row["pass_at"][str(samples)], 100), interval_text(row["tokens"], 1))
        lines.append(f"| `{shown(row['source'])}` | {row['problems']} | {' | '.join(measured)} |")
    lines.append("\n95 % intervals over problems. Sampled with the run's temperature and length limit.")
    if against is not None:
        lines.append(f"\nLess `{against['model']}`, on the same problems, in points:\n")
        lines += [f"- `{row['source']}`: {interval_text(row['mean'], 100, '+')}" for row in against["differences"]]
        lines += [f"- forgotten of `{row['source']}`: {interval_text(row['drop'], 100, '+')}" for row in against["forgetting"]]
    return "\n".join(lines)


def the_same_again(command: str, place: str, provenance: dict[str, Any]) -> str:
    """The command that makes the model again, and with what versions it was made. place: where config.yaml lies, seen from the model."""
    known = [f"{name} {value}" for name, value in sorted(provenance.get("versions", {}).items())]
    made = f"Made with {', '.join(known)}." if known else "The versions of the packages are in `record.json`."
    return (
        f"## The same again\n\nEvery option is in `config.yaml` {place}:\n\n```console\n"
        f"python -m {command} --config config.yaml --out NEW\n```\n\n{made}"
    )
