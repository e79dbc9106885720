"""Fine-tuning of a pretrained model on the lab's worked solutions by LoRA: resumable, logged, and determined by the recipe's seed.

An update takes `rows` texts. A share of them is the base's own samples (replay), the others are problems of the split `pretrain` with their worked
solutions. The loss is the mean cross-entropy over the response tokens of the update, in nats. The adapter is written in float16 with the short chat
template, as a folder of the library peft; `--student FOLDER` takes it anywhere.
"""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from paced_exp.core.atomic import atomic_file
from paced_exp.core.checkpoints import ASIDE, keep, last_whole, written_whole
from paced_exp.core.config import as_dict
from paced_exp.core.json_files import read_object, write_atomically, write_checked
from paced_exp.core.progress import progress
from paced_exp.core.run_folder import RunFolder
from paced_exp.data import prompts
from paced_exp.data.lab import solutions
from paced_exp.data.lab.families import FAMILIES
from paced_exp.data.lab.splits import SPLITS, draw, to_problem
from paced_exp.lab.corpus import IGNORE, Batch, collate
from paced_exp.lab.finetune_recipes import FinetuneRecipe
from paced_exp.lab.replay import HELD_OUT, replay_prompts, replay_samples
from paced_exp.models.attention import attention_spelt_out
from paced_exp.models.loading import LoadedModel, load_model

KIND = "fine-tuning"
STATE, METRICS, ADAPTER = "state.pt", "metrics.jsonl", "adapter"
_SPLIT = "pretrain"
_WRITTEN = {"worked": solutions.worked, "digitwise": solutions.digitwise}

Pair = tuple[list[int], list[int]]  # token ids of a prompt and of its response


def update_texts(recipe: FinetuneRecipe, update: int, tokenizer: Any, replay: list[Pair]) -> list[Pair]:
    """The texts of an update, from the seed and the update's number alone. replay: the samples that may be trained on."""
    rng = random.Random(f"finetune/{recipe.seed}/{update}")
    texts = []
    for _ in range(recipe.rows):
        if rng.random() < recipe.replay:
            texts.append(rng.choice(replay))
            continue
        family, level = _cell(recipe, rng)
        _, _, entry = draw(SPLITS[_SPLIT], rng, cell=(family, level))
        problem = to_problem("", _SPLIT, family, level, entry)
        kind, steps = _kind(rng.random(), recipe), FAMILIES[family].steps
        response = solutions.concise(steps, entry) if kind == "concise" else _WRITTEN[recipe.solutions](steps, entry)
        ids = tokenizer(response, add_special_tokens=False)["input_ids"]
        texts.append((prompts.prompt_ids(tokenizer, problem, kind), [*ids, tokenizer.eos_token_id]))
    return texts


def _cell(recipe: FinetuneRecipe, rng: random.Random) -> tuple[str, int]:
    """Family and level of a problem."""
    if recipe.shares is None:
        family = rng.choice(sorted(recipe.levels))
        return family, rng.choice(recipe.levels[family])
    cells = [(family, level) for family in sorted(recipe.levels) for level in recipe.levels[family]]
    shares = [share for family in sorted(recipe.levels) for share in recipe.shares[family]]
    return rng.choices(cells, shares)[0]


def _kind(drawn: float, recipe: FinetuneRecipe) -> prompts.PromptKind:
    if drawn < recipe.privileged:
        return "privileged"
    return "concise" if drawn < recipe.privileged + recipe.concise else "plain"


def micro_batches(texts: list[Pair], pad_id: int, micro_tokens: int) -> list[Batch]:
    """The texts by length, in batches of at most `micro_tokens` padded tokens, or of one text that is longer."""
    groups: list[list[Pair]] = [[]]
    for pair in sorted(texts, key=lambda pair: len(pair[0]) + len(pair[1])):
        if groups[-1] and (len(groups[-1]) + 1) * (len(pair[0]) + len(pair[1])) > micro_tokens:
            groups.append([])
        groups[-1].append(pair)
    return [collate(group, pad_id) for group in groups if group]


def summed_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Sum of the cross-entropy over response tokens, in nats. The head is only applied where a token is predicted."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = base.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    labelled = batch.labels != IGNORE
    return F.cross_entropy(base.lm_head(hidden[labelled]).float(), batch.labels[labelled], reduction="sum")


@contextmanager
def computed_in(precision: str, device: torch.device, tokens: int) -> Iterator[None]:
    """Forward and backward passes in it, of rows of at most so many tokens."""
    if precision == "float32":
        yield
        return
    with torch.autocast(device.type, torch.bfloat16), attention_spelt_out(device.type, precision, tokens):
        yield


@torch.no_grad()
def mean_loss(model: Any, texts: list[Pair], pad_id: int, micro_tokens: int, precision: str = "float32") -> float:
    """Mean cross-entropy over the response tokens of `texts`, in nats."""
    total = 0.0
    for batch in micro_batches(texts, pad_id, micro_tokens):
        with computed_in(precision, model.device, batch.ids.shape[1]):
            total += float(summed_loss(model, batch.to(model.device)))
    return total / sum(len(response) for _, response in texts)


def rate(recipe: FinetuneRecipe, update: int) -> float:
    """The learning rate of update `update` (from 0): linear warm-up, then linear decay to zero over the rest."""
    up = (update + 1) / max(recipe.warmup, 1)
    down = (recipe.updates - update) / max(recipe.updates - recipe.warmup, 1)
    return recipe.learning_rate * min(1.0, up, down)


def finetune(name: str, recipe: FinetuneRecipe, folder: Path, threads: int, *, device: str = "cpu") -> Path:
    """Train `recipe` in `folder` and write the adapter to folder/adapter; returns that path. A run that was stopped goes on from its last save.

    The weights depend on the seed, the number of threads and the type of machine. Raises `UserError` where the base cannot be loaded.
    """
    torch.set_num_threads(threads)
    with RunFolder(folder, recipe).locked() as run:
        run.open()
        base = load_model(recipe.base, device=device, dtype="bfloat16" if recipe.precision == "bf16" else "float32")
        if recipe.template is not None:
            base.tokenizer.chat_template = recipe.template
        return _finetune(name, recipe, run, base)


def _with_adapter(recipe: FinetuneRecipe, base: LoadedModel) -> Any:
    from peft import LoraConfig, get_peft_model  # of the extra `lora`, which only adapters need

    config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model: Any = get_peft_model(base.model, config)
    model.peft_config["default"].base_model_name_or_path = recipe.base
    return model


def _finetune(name: str, recipe: FinetuneRecipe, run: RunFolder, base: LoadedModel) -> Path:
    sampled = replay_samples(run, base, replay_prompts(recipe.replay_samples + HELD_OUT, recipe.seed), recipe.replay_tokens, recipe.seed)
    held_out, replay = sampled[:HELD_OUT], sampled[HELD_OUT:]
    pad_id, tokenizer = base.pad_id, base.tokenizer
    before = mean_loss(base.model, held_out, pad_id, recipe.micro_tokens, recipe.precision)
    model = _with_adapter(recipe, base)
    trained = {key: value for key, value in model.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    done, lines, training = 0, "", run / "training"
    if (checkpoint := last_whole(training)) is not None:
        state = torch.load(checkpoint / STATE, weights_only=True, map_location="cpu")
        model.load_state_dict(state["adapter"], strict=False)
        optimizer.load_state_dict(state["optimizer"])
        done, lines = state["updates"], (checkpoint / METRICS).read_text()
    metrics = run / METRICS
    write_atomically(metrics, lines)
    with progress(recipe.updates, "updates", f"finetune {name}", initial=done) as bar:
        for update in range(done, recipe.updates):
            began = time.perf_counter()
            texts = update_texts(recipe, update, tokenizer, replay)
            count = sum(len(response) for _, response in texts)
            total = 0.0
            for batch in micro_batches(texts, pad_id, recipe.micro_tokens):
                with computed_in(recipe.precision, model.device, batch.ids.shape[1]):
                    loss = summed_loss(model, batch.to(model.device)) / count
                    loss.backward()  # within, as the choice of attention is made again for its gradient
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = rate(recipe, update)
            optimizer.step()
            optimizer.zero_grad()
            with metrics.open("a") as file:
                file.write(json.dumps({"update": update + 1, "loss": total, "seconds": time.perf_counter() - began}) + "\n")
            if (update + 1) % recipe.save_every == 0 or update + 1 == recipe.updates:
                _save(training, update + 1, {key: value.detach() for key, value in trained.items()}, optimizer, metrics)
            bar.set_postfix(loss=f"{total:.3f}")
            bar.update()
    finished = run / ADAPTER
    with written_whole(f"{finished}", finished):
        _write_adapter(model, tokenizer, finished)
    record = {
        "kind": KIND,
        "name": name,
        "recipe": as_dict(recipe),
        "precision": recipe.precision,
        "seconds": sum(json.loads(line)["seconds"] for line in metrics.read_text().splitlines()),
        "loss_on_own_samples": {"before": before, "after": mean_loss(model, held_out, pad_id, recipe.micro_tokens, recipe.precision)},
    }
    write_checked(run.record_path, record | read_object(run / "provenance.json"))
    return finished


def _save(training: Path, updates: int, adapter: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer, metrics: Path) -> None:
    aside = training / ASIDE / f"checkpoint-{updates}"
    with written_whole(f"{training / f'checkpoint-{updates}'}", training / ASIDE):
        with atomic_file(aside / STATE) as file:
            torch.save({"adapter": adapter, "optimizer": optimizer.state_dict(), "updates": updates}, file)
        write_atomically(aside / METRICS, metrics.read_text())
        keep(training / ASIDE, updates)


def _write_adapter(model: Any, tokenizer: Any, folder: Path) -> None:
    """In float16, without the base's embedding, with the chat template and no other file of the tokenizer, which is the base's."""
    half = {key: value.to(torch.float16) for key, value in model.state_dict().items() if "lora_" in key}
    model.save_pretrained(folder, state_dict=half, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's is empty; the card is written by `paced_exp.lab card`
    write_atomically(folder / "chat_template.jinja", tokenizer.chat_template)
