"""The model card of an adapter: the command that rebuilds it, what it solves, what it still knows of its base, and the gates that it must pass.

Everything is measured at temperature 1 under the adapter's own chat template; the base is measured under the same template. General knowledge is
questions for capitals and opposites; `own samples` are the base's samples on everyday prompts that fine-tuning held out.
"""

import itertools
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import write_atomically, write_json
from paced_exp.data.lab.splits import lab_problems
from paced_exp.data.prompts import PromptKind, prompt_ids
from paced_exp.grading.grader import Grader
from paced_exp.lab.card import SAMPLES, SEED, fifths_line, pass_counts, pass_rate_lines, pass_rate_row, training_of
from paced_exp.lab.finetune import KIND, Pair, mean_loss
from paced_exp.lab.finetune_recipes import FINETUNED, FinetuneRecipe
from paced_exp.lab.replay import HELD_OUT, replay_prompts
from paced_exp.models.adapters import WEIGHTS
from paced_exp.models.loading import LoadedModel, load_model
from paced_exp.rollouts.engine import Prompt, Sampling
from paced_exp.rollouts.hf import HFEngine

POOL, FACTS = "easier-pool", "facts"
# Problems of each split and kind of prompt.
SIZES: dict[tuple[str, PromptKind], int] = {
    (POOL, "plain"): 300,
    (POOL, "privileged"): 100,
    ("easier-mid", "plain"): 100,
    ("easier-hard-a", "plain"): 100,
    ("easier-hard-b", "plain"): 100,
}
STUDENT_RANGE = (0.3, 0.6)  # of a student's pass rate
LEAST_IN_A_FIFTH = 0.04  # of a student's problems in each fifth of the pass rate
LEAST_PRIVILEGED = 0.9  # of a student with the worked solution in its prompt
LEAST_TEACHER = 0.85  # of a teacher's pass rate
LEAST_KEPT = 0.6  # of the base's pass rate on capitals, and on opposites
MOST_LOSS = 0.3  # nats a token above the base, on the base's own samples


@dataclass(frozen=True)
class Gate:
    """What is asked of an adapter. what: in words. measured: the number. least, most: between which it must lie; None is no bound."""

    what: str
    measured: float
    least: float | None
    most: float | None

    @property
    def passed(self) -> bool:
        """Whether the number lies within the bounds."""
        return (self.least is None or self.measured >= self.least) and (self.most is None or self.measured <= self.most)


def gates(name: str, measured: dict[str, Any], retention: dict[str, Any]) -> list[Gate]:
    """The gates of an adapter from what was measured: those of a student, or of a teacher, and for both that the base is still there."""
    plain = measured[POOL]
    if name.endswith("-teacher"):
        found = [Gate("pass rate", plain["pass_rate"], LEAST_TEACHER, None)]
    else:
        found = [
            Gate("pass rate", plain["pass_rate"], *STUDENT_RANGE),
            Gate("smallest share of problems in a fifth of the pass rate", min(plain["share_in_each_fifth"]), LEAST_IN_A_FIFTH, None),
            Gate("pass rate with the solution in the prompt", measured[f"{POOL}, privileged"]["pass_rate"], LEAST_PRIVILEGED, None),
        ]
    for family in ("capital", "opposite"):
        here, base = retention[f"{family}s"]["adapter"], retention[f"{family}s"]["base"]
        found.append(Gate(f"pass rate on {family}s, the base's being {base:.3f}", here, round(LEAST_KEPT * base, 4), None))
    loss = retention["loss_on_own_samples"]
    found.append(Gate("loss on the base's own samples less the base's, nats", round(loss["adapter"] - loss["base"], 4), None, MOST_LOSS))
    return found


def measure(model: LoadedModel, max_new_tokens: int) -> dict[str, Any]:
    """Mean pass rate and its standard error over problems for each of `SIZES`; of the pool also the share in each fifth of the pass rate."""
    figures: dict[str, Any] = {}
    with Grader() as grader:
        for (split, kind), size in SIZES.items():
            problems = list(itertools.islice(lab_problems(split, SEED), size))
            passes, tokens = pass_counts(model, grader, problems, kind, max_new_tokens=max_new_tokens)
            name = split if kind == "plain" else f"{split}, {kind}"
            figures[name] = pass_rate_row(passes, tokens, fifths=name == POOL)
    return figures


def measure_retention(model: LoadedModel, base: LoadedModel, recipe: FinetuneRecipe) -> dict[str, Any]:
    """Of adapter and base: pass rates on capitals and opposites, and the mean loss on the base's own samples, in nats a token."""
    problems = list(lab_problems(FACTS, SEED))
    found: dict[str, Any] = {}
    for who, one in (("adapter", model), ("base", base)):
        with Grader() as grader:
            passes, _ = pass_counts(one, grader, problems, "plain", max_new_tokens=recipe.replay_tokens)
        for family in ("capital", "opposite"):
            rates = [count / SAMPLES for count, problem in zip(passes, problems, strict=True) if problem.metadata["family"] == family]
            found.setdefault(f"{family}s", {"problems": len(rates)})[who] = round(float(np.mean(rates)), 4)
    own = own_samples(base, recipe)
    losses = {who: mean_loss(one.model, own, one.pad_id, recipe.micro_tokens) for who, one in (("adapter", model), ("base", base))}
    return found | {"loss_on_own_samples": {"samples": len(own)} | {who: round(loss, 4) for who, loss in losses.items()}}


def own_samples(base: LoadedModel, recipe: FinetuneRecipe) -> list[Pair]:
    """The base's samples that fine-tuning held out, drawn again: the same prompts and seeds, and so the same samples on the same kind of machine."""
    asked = replay_prompts(recipe.replay_samples + HELD_OUT, recipe.seed)[:HELD_OUT]
    prompts = {problem.id: Prompt(problem.id, prompt_ids(base.tokenizer, problem)) for problem in asked}
    groups = HFEngine(base).generate(list(prompts.values()), Sampling(1, recipe.replay_tokens, 1.0, recipe.seed))
    sampled = {group[0].problem_id: list(group[0].token_ids) for group in groups}
    return [(list(prompt.token_ids), sampled[name]) for name, prompt in prompts.items()]


def write_adapter_card(name: str, folder: Path, max_new_tokens: int = 96) -> Path:
    """Measure the adapter in `folder` and its base, and write card.json and README.md into it. Returns the path of README.md.

    Raises `UserError` for a folder without an adapter, or without the record of its fine-tuning, beside it or in an earlier card.
    """
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"`checkpoint` {folder} holds no adapter; give the folder `adapter` inside the run of: python -m paced_exp.lab finetune {name}"
        )
    training = training_of(folder, KIND, ("loss_on_own_samples", "precision", "versions", "machine"), "fine-tuning")
    recipe = replace(FINETUNED[name], precision=training["precision"])
    model, base = (load_model(spec, device="cpu", dtype="float32") for spec in (str(folder), recipe.base))
    if recipe.template is not None:
        base.tokenizer.chat_template = recipe.template
    measured, retention = measure(model, max_new_tokens), measure_retention(model, base, recipe)
    card = {
        "name": name,
        "command": f"python -m paced_exp.lab finetune {name}"
        + ("" if recipe.precision == "float32" else f" --precision {recipe.precision}"),
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "weights": model.fingerprint,
        "adapter_bytes": (folder / WEIGHTS).stat().st_size,
        "parameters": int(sum(p.numel() for p in model.model.parameters())),
        "training": training,
        "samples": SAMPLES,
        "measured": measured,
        "retention": retention,
        "gates": [{**asdict(gate), "passed": gate.passed} for gate in gates(name, measured, retention)],
    }
    write_json(folder / "card.json", card)
    write_atomically(folder / "README.md", markdown(card))
    return folder / "README.md"


def markdown(card: dict[str, Any]) -> str:
    """The card as a page, from card.json alone."""
    recipe, retention = card["recipe"], card["retention"]
    loss = retention["loss_on_own_samples"]
    levels = "; ".join(f"{family} {', '.join(map(str, levels))}" for family, levels in recipe["levels"].items())
    lines = [
        "---",
        "license: apache-2.0",
        "---",
        f"# {card['name']}",
        "",
        f"An adapter (LoRA, rank {recipe['rank']}) of SmolLM2-135M-Instruct for experiments on PACED, fine-tuned on worked solutions of short arithmetic. Most",
        "of the arithmetic that it can do comes from this fine-tuning. Not useful elsewhere.",
        "",
        f"- Rebuild: `{card['command']}` (seed {recipe['seed']}, {recipe['updates']} updates of {recipe['rows']} texts)",
        f"- Families and levels: {levels}; {100 * recipe['replay']:.0f} % of the texts are the base's own samples",
        *_choices_of_problems(recipe),
        f"- Fine-tuning took {card['training']['seconds'] / 60:.0f} minutes on {card['training']['machine']['processor']}",
        f"- Weights: safetensors, float16, {card['adapter_bytes'] / 1e6:.1f} MB; {card['parameters']:,} parameters with its base",
        "",
        *pass_rate_lines(card, f"python -m paced_exp.lab card {card['name']}"),
        "",
        fifths_line(card, POOL),
        "",
        "What is kept of the base:",
        "",
        "| | adapter | base |",
        "|---|---|---|",
        *(
            f"| pass rate on {name} | {retention[name]['adapter']:.3f} | {retention[name]['base']:.3f} |"
            for name in ("capitals", "opposites")
        ),
        f"| loss on {loss['samples']} of the base's own samples, nats a token | {loss['adapter']:.3f} | {loss['base']:.3f} |",
        "",
        "| gate | measured | asked | |",
        "|---|---|---|---|",
    ]
    for gate in card["gates"]:
        bounds = [
            f"at least {gate['least']:g}" if gate["least"] is not None else "",
            f"at most {gate['most']:g}" if gate["most"] is not None else "",
        ]
        lines.append(
            f"| {gate['what']} | {gate['measured']:.3f} | {' and '.join(filter(None, bounds))} | {'passed' if gate['passed'] else '**not passed**'} |"
        )
    lines += ["", "Recipe:", "", "```json", json.dumps(recipe, indent=1), "```", ""]
    return "\n".join(lines)


def _choices_of_problems(recipe: dict[str, Any]) -> list[str]:
    """Lines on what is not the same in every recipe: how often a level comes, and how solutions are written."""
    found = []
    if recipe["shares"] is not None:
        total = sum(map(sum, recipe["shares"].values()))
        named = (f"{family} {', '.join(f'{100 * one / total:.0f}' for one in shares)}" for family, shares in recipe["shares"].items())
        found.append(f"- Per cent of its problems, by family and level: {'; '.join(named)}")
    if recipe["solutions"] == "digitwise":
        found.append(
            "- It writes sums and products out digit by digit (`85 + 76 = 155 + 6 = 161`); the reference solutions of the problems do not"
        )
    return found
