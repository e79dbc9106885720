"""Pretraining of the lab's checkpoints: resumable, logged, and determined by the recipe's seed.

Hidden matrices are trained by Muon (torch's own), which here reached a given loss in less than half of AdamW's steps. The embedding and the
norms are trained by AdamW. Progress is measured without sampling, by the probability that sampling at temperature 1 writes exactly the worked
solution: exp(sum of its log-probabilities). This is a lower bound of the pass rate.
"""

import itertools
import json
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from paced_exp.core.atomic import atomic_file
from paced_exp.core.checkpoints import ASIDE, keep, last_whole, written_whole
from paced_exp.core.config import as_dict
from paced_exp.core.json_files import read_object, write_atomically, write_checked
from paced_exp.core.progress import progress
from paced_exp.core.run_folder import RunFolder
from paced_exp.data import prompts
from paced_exp.data.lab.splits import lab_problems
from paced_exp.lab.corpus import IGNORE, Batch, Pools, collate, pool_batches
from paced_exp.lab.recipes import Recipe, build_model
from paced_exp.lab.tokenizer import END, save_tokenizer

EVALUATION_PROBLEMS = 200
EVALUATION_SEED = 1_000_003
KIND = "pretraining"
STATE = "state.pt"
METRICS = "metrics.jsonl"


def optimizers(model: PreTrainedModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embedding and norms. `peak` of each parameter group is its peak learning rate."""
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and not name.startswith(("model.embed_tokens", "lm_head"))]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    made: list[torch.optim.Optimizer] = [
        torch.optim.Muon(hidden, lr=recipe.muon_lr, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return made


def rate(recipe: Recipe, pools_done: float) -> float:
    """The learning rate after `pools_done` pools, as a share of its peak: linear warm-up over one pool, constant, linear decay to zero."""
    left = (recipe.pools - pools_done) / (recipe.decay * recipe.pools) if recipe.decay else 1.0
    return max(0.0, min(1.0, pools_done, left))


def response_loss(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over response tokens, in nats. The head is only applied at labelled positions."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    labelled = batch.labels != IGNORE
    return F.cross_entropy(model.lm_head(hidden[labelled]), batch.labels[labelled])


@torch.no_grad()
def solution_probability(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, split: str, kind: prompts.PromptKind) -> float:
    """Mean over a split's problems of the probability that sampling writes exactly the worked solution, a lower bound of the pass rate."""
    problems = list(itertools.islice(lab_problems(split, EVALUATION_SEED), EVALUATION_PROBLEMS))
    pairs = [
        (prompts.prompt_ids(tokenizer, p, kind), tokenizer(f"{p.solution}{END}", add_special_tokens=False)["input_ids"]) for p in problems
    ]
    pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
    total = 0.0
    for start in range(0, len(pairs), 50):
        batch = collate(pairs[start : start + 50], tokenizer.pad_token_id).to(model.device)
        logits = model(input_ids=batch.ids, use_cache=False).logits
        log_probability = -F.cross_entropy(logits.transpose(1, 2), batch.labels, ignore_index=IGNORE, reduction="none").sum(1)
        total += float(log_probability.exp().sum())
    return total / len(pairs)


def _probabilities(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, split: str) -> dict[str, float]:
    """`solution_probability` of `split` with the plain and the privileged prompt, and of the retention families."""
    return {
        "plain": solution_probability(model, tokenizer, split, "plain"),
        "privileged": solution_probability(model, tokenizer, split, "privileged"),
        "retention": solution_probability(model, tokenizer, "retention", "plain"),
    }


def _save_state(path: Path, model: PreTrainedModel, made: Iterable[torch.optim.Optimizer], pools: int) -> None:
    with atomic_file(path) as file:
        torch.save({"model": model.state_dict(), "optimizers": [o.state_dict() for o in made], "pools": pools}, file)


def pretrain(name: str, recipe: Recipe, folder: Path, threads: int, *, device: str = "cpu", workers: int = 0) -> Path:
    """Train `recipe` in `folder` and write the model to folder/checkpoint in bfloat16. Returns that path.

    The run saves its state after every pool and resumes from the last whole one. device: cpu, or cuda (which multiplies matrices in TF32).
    workers: processes that make the examples ahead of training; they change no number. The weights depend on the seed, the number of threads
    and the type of machine.
    """
    torch.set_num_threads(threads)
    if device != "cpu":
        torch.set_float32_matmul_precision("high")
    with RunFolder(folder, recipe).locked() as run:
        return _pretrain(name, recipe, run, device, workers)


def _pretrain(name: str, recipe: Recipe, run: RunFolder, device: str, workers: int) -> Path:
    run.open()
    finished = run / "checkpoint"
    tokenizer = save_tokenizer(finished)
    model = build_model(recipe, tokenizer)
    torch.nn.Module.to(model, device)  # transformers' own wrapper of it is typed wrongly
    made = optimizers(model, recipe)
    done, lines = 0, ""
    training = run / "training"
    shutil.rmtree(training / ASIDE, ignore_errors=True)
    if (run / STATE).exists():
        print(f"warning: {run / STATE} was written by an older version without a checksum; it is not read", file=sys.stderr)
    if (checkpoint := last_whole(training)) is not None:
        state = torch.load(checkpoint / STATE, weights_only=True, map_location="cpu")
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(made, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        done, lines = state["pools"], (checkpoint / METRICS).read_text()
    # The lines that the checkpoint has. A kill may have come after a pool's line and before its state.
    metrics = run / METRICS
    write_atomically(metrics, lines)
    bar = progress(recipe.pools, "pools", f"pretrain {name}", initial=done)
    texts_of = torch.utils.data.DataLoader(Pools(recipe, done), batch_size=None, num_workers=workers)
    started = time.perf_counter()
    for pool, texts in enumerate(texts_of, start=done):
        batches = pool_batches(recipe, pool, texts, tokenizer)
        losses = []
        for position, batch in enumerate(batches):
            scale = rate(recipe, pool + (position + 1) / len(batches))
            for optimizer in made:
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * scale
            loss = response_loss(model, batch.to(model.device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in made:
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.detach())
        line = {
            "pool": pool + 1,
            "loss": float(torch.stack(losses).double().mean()),
            **_probabilities(model, tokenizer, recipe.problems),
            "seconds": time.perf_counter() - started,
        }
        started = time.perf_counter()
        with metrics.open("a") as file:
            file.write(json.dumps(line) + "\n")
        with written_whole(f"{training / f'checkpoint-{pool + 1}'}", training / ASIDE):
            _save_state(training / ASIDE / f"checkpoint-{pool + 1}" / STATE, model, made, pool + 1)
            write_atomically(training / ASIDE / f"checkpoint-{pool + 1}" / METRICS, metrics.read_text())
            keep(training / ASIDE, pool + 1)
        bar.set_postfix({key: f"{line[key]:.3f}" for key in ("loss", "plain", "privileged", "retention")})
        bar.update()
    bar.close()
    # bfloat16 halves the size of the shipped file. The record says what rounding changes; the model card measures the rounded model.
    float32 = _probabilities(model, tokenizer, recipe.problems)
    with written_whole(f"{finished}", finished):
        model.bfloat16().save_pretrained(finished)
    record = {
        "kind": KIND,
        "name": name,
        "recipe": as_dict(recipe),
        "seconds": sum(json.loads(line)["seconds"] for line in metrics.read_text().splitlines()),
        "solution_probability": {"float32": float32, "bfloat16": _probabilities(model.float(), tokenizer, recipe.problems)},
    }
    write_checked(run.record_path, record | read_object(run / "provenance.json"))
    return finished
