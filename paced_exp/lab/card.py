"""The model card of a lab checkpoint: the command that rebuilds it, and its measured pass rates.

Pass rates are measured at temperature 1, with responses graded by the verifiers of reasoning-gym.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_checked, read_json, write_atomically, write_json
from paced_exp.core.progress import progress
from paced_exp.data import prompts
from paced_exp.data.lab.splits import lab_problems
from paced_exp.data.problem import Problem
from paced_exp.grading.grader import Grader
from paced_exp.lab.pretrain import KIND
from paced_exp.lab.recipes import RECIPES
from paced_exp.models.loading import LoadedModel, load_model
from paced_exp.rollouts.engine import Prompt, Sampling
from paced_exp.rollouts.hf import HFEngine

SAMPLES = 10  # gives each fifth of the pass rates two values of k (the last three); with 8 samples, the middle fifth would only have k = 4
SEED = 7  # of problems and rollouts; no other evaluation uses it
SIZES = {"train": 600, "mid": 300, "hard-a": 300, "hard-b": 300, "retention": 300}
MAX_NEW_TOKENS = 128


def pass_counts(
    model: LoadedModel, grader: Grader, problems: list[Problem], kind: prompts.PromptKind, *, max_new_tokens: int = MAX_NEW_TOKENS
) -> tuple[np.ndarray, float]:
    """How many of `SAMPLES` rollouts of each problem are correct, and the mean response length in tokens."""
    by_id = {problem.id: problem for problem in problems}
    asked = [Prompt(problem.id, prompts.prompt_ids(model.tokenizer, problem, kind)) for problem in problems]
    passes: dict[str, int] = {}
    tokens = 0
    bar = progress(len(asked), "problems", f"{kind} {problems[0].split}")
    for group in HFEngine(model).generate(asked, Sampling(SAMPLES, max_new_tokens, temperature=1.0, seed=SEED)):
        problem = by_id[group[0].problem_id]
        texts = [model.tokenizer.decode(rollout.token_ids, skip_special_tokens=True) for rollout in group]
        graded = grader.grade([problem] * len(group), texts)
        passes[problem.id] = sum(rollout.finished and correct for rollout, correct in zip(group, graded, strict=True))
        tokens += sum(len(rollout.token_ids) for rollout in group)
        bar.update()
    bar.close()
    return np.array([passes[problem.id] for problem in problems]), tokens / (len(asked) * SAMPLES)


def measure(model: LoadedModel) -> dict[str, Any]:
    """Mean pass rate and its standard error over problems, for each split with the plain prompt, and for train also with the other prompts.

    train also gets the share of problems in each fifth of the pass rate k/10: [0, 0.2), [0.2, 0.4), ..., [0.8, 1].
    """
    figures: dict[str, Any] = {}
    with Grader() as grader:
        for split, size in SIZES.items():
            problems = list(itertools.islice(lab_problems(split, SEED), size))
            kinds: tuple[prompts.PromptKind, ...] = ("plain", "privileged", "concise") if split == "train" else ("plain",)
            for kind in kinds:
                passes, tokens = pass_counts(model, grader, problems, kind)
                name = split if kind == "plain" else f"{split}, {kind}"
                figures[name] = pass_rate_row(passes, tokens, fifths=name == "train")
    return figures


def pass_rate_row(passes: np.ndarray, tokens: float, *, fifths: bool) -> dict[str, Any]:
    """Mean pass rate and standard error over problems, from `pass_counts`. fifths: also the share of problems in each fifth of the pass rate."""
    rates = passes / SAMPLES
    row: dict[str, Any] = {
        "pass_rate": round(float(rates.mean()), 4),
        "standard_error": round(float(rates.std(ddof=1) / np.sqrt(len(rates))), 4),
        "problems": len(passes),
        "response_tokens": round(tokens, 1),
    }
    if fifths:
        counts = np.bincount(np.minimum((5 * passes) // SAMPLES, 4), minlength=5)
        row["share_in_each_fifth"] = [round(float(share), 4) for share in counts / len(passes)]
    return row


def training_of(folder: Path, kind: str, names: Sequence[str], what: str) -> dict[str, Any]:
    """Seconds and the `names` of the training's record beside `folder`; a shipped model has none there, and its card has kept them.

    kind: the record's. what: the training in a word. Raises `UserError` where there is neither.
    """
    trained = folder.parent / "record.json"
    if trained.exists():
        record = read_checked(trained, kind)
        return {"seconds": round(record["seconds"], 1)} | {name: record[name] for name in names}
    if (folder / "card.json").exists():
        return dict(read_json(folder / "card.json")["training"])
    raise UserError(
        f"`checkpoint` {folder} has no card.json, and there is no record.json of its {what} beside it; give the folder inside its run"
    )


def pass_rate_lines(card: dict[str, Any], command: str) -> list[str]:
    """How the card's pass rates were measured, and their table. command: that which measured them."""
    return [
        f"Measured with `{command}`: pass rate at temperature 1, {card['samples']} rollouts a problem.",
        "",
        "| problems | pass rate | standard error | problems | tokens a response |",
        "|---|---|---|---|---|",
        *(
            f"| {split} | {row['pass_rate']:.3f} | {row['standard_error']:.3f} | {row['problems']} | {row['response_tokens']} |"
            for split, row in card["measured"].items()
        ),
    ]


def fifths_line(card: dict[str, Any], split: str) -> str:
    """The share of a split's problems in each fifth of the pass-rate range."""
    fifths = ", ".join(f"{share:.3f}" for share in card["measured"][split]["share_in_each_fifth"])
    return f"Share of {split} problems in each fifth of the pass-rate range, from [0, 0.2) to [0.8, 1]: {fifths}."


def write_card(name: str, folder: Path) -> Path:
    """Measure the checkpoint in `folder`, and write card.json and README.md into it. Returns the path of README.md."""
    model = load_model(str(folder), device="cpu", dtype="float32")
    training = training_of(folder, KIND, ("solution_probability", "versions", "machine"), "pretraining")
    card = {
        "name": f"lab:{name}",
        "command": f"python -m paced_exp.lab pretrain {name}",
        "recipe": asdict(RECIPES[name]),
        "weights": model.fingerprint,
        "parameters": int(sum(p.numel() for p in model.model.parameters())),
        "training": training,
        "samples": SAMPLES,
        "measured": measure(model),
    }
    write_json(folder / "card.json", card)
    write_atomically(folder / "README.md", _markdown(card))
    return folder / "README.md"


def _markdown(card: dict[str, Any]) -> str:
    recipe = card["recipe"]
    exact, rounded = (card["training"]["solution_probability"][dtype] for dtype in ("float32", "bfloat16"))
    rounding = ", ".join(f"{name} {exact[name]:.4f} to {rounded[name]:.4f}" for name in exact)
    lines = [
        "---",
        "license: mit",
        "---",
        f"# {card['name']}",
        "",
        f"A {recipe['architecture']} model of {card['parameters']:,} parameters for experiments on PACED: it solves and fails short arithmetic",
        "problems of reasoning-gym. Pretrained from scratch on generated problems with worked solutions; no other data. Not useful elsewhere.",
        "",
        f"- Rebuild: `{card['command']}` (seed {recipe['seed']}, {recipe['pools']} pools of {recipe['pool_size']:,} examples)",
        f"- Pretraining took {card['training']['seconds'] / 60:.0f} minutes of wall time on {card['training']['machine']['processor']}, "
        "which other work shared",
        f"- Weights: safetensors, bfloat16. What rounding to it changes, in the mean probability of writing the worked solution: {rounding}",
        "",
        *pass_rate_lines(card, f"python -m paced_exp.lab card {card['name'].removeprefix('lab:')}"),
        "",
        fifths_line(card, "train"),
        "",
        "Recipe:",
        "",
    ]
    lines += ["```json", json.dumps(recipe, indent=1), "```", ""]
    return "\n".join(lines)
