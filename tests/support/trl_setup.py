"""Tiny TRL trainings: a random student, a random teacher of another width, sums to answer, plain gradient descent."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from tests.support.tiny_models import tiny_model, tiny_tokenizer

PROMPTS = ["1+1=", "12+30=", "7-5=", "40+2=", "9+9=", "3-1=", "100+1=", "8-8="]
WEIGHTS = [0.5, 2.0, 1.0, 0.25, 1.5, 0.75, 1.25, 0.75]


def rows(weights: list[float] | None = None, **columns: Any) -> Dataset:
    """A row for each prompt, or for the first ones where there are fewer weights."""
    n = len(weights) if weights is not None else len(next(iter(columns.values())))
    own = {"problem_id": [f"sum{i}" for i in range(n)], "prompt": PROMPTS[:n], **columns}
    return Dataset.from_dict(own if weights is None else {**own, "weight": weights})


def chats() -> list[list[dict[str, str]]]:
    """A conversation for each prompt, whose given responses have one to eight letters."""
    return [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": "12345678"[: 1 + i]}] for i, prompt in enumerate(PROMPTS)
    ]


def options(folder: Path, config: Any, **changes: Any) -> Any:
    """`config` with plain gradient descent of one update, quiet, on a CPU."""
    step = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    quiet = {"report_to": [], "save_strategy": "no", "use_cpu": True, "bf16": False, "disable_tqdm": True, "logging_steps": 1}
    return config(str(folder), **{"gradient_checkpointing": False, **step, **quiet, **changes})


def models() -> dict[str, Any]:
    return {
        "model": tiny_model("qwen3", seed=0, context=160),
        "teacher_model": tiny_model("llama", seed=1, context=160),
        "processing_class": tiny_tokenizer(),
    }


class Gradients(TrainerCallback):
    """Keeps the gradient of each update, flat, as the optimizer gets it."""

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.kept.append(flat_gradient(kwargs["model"]))


def run(trainer: Any) -> list[torch.Tensor]:
    """Train; the gradients of the updates."""
    trainer.pop_callback(PrinterCallback)
    gradients = Gradients()
    trainer.add_callback(gradients)
    trainer.train()
    return gradients.kept


def flat_gradient(model: Any) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).clone()


def token_divergences(student: Any, teacher: Any, ids: list[int], prompt: int, beta: float) -> torch.Tensor:
    """Of one sequence, without padding, from whole logits: the divergence at each token after the prompt, TRL's beta (0 forward, 1 reverse)."""
    whole = torch.tensor([ids])
    p = student(whole).logits[0, prompt - 1 : -1].log_softmax(-1)
    q = teacher(whole).logits[0, prompt - 1 : -1].log_softmax(-1).detach()
    if beta == 0:
        return (q.exp() * (q - p)).sum(-1)
    if beta == 1:
        return (p.exp() * (p - q)).sum(-1)
    m = ((1 - beta) * p.exp() + beta * q.exp()).log()
    return beta * (q.exp() * (q - m)).sum(-1) + (1 - beta) * (p.exp() * (p - m)).sum(-1)
