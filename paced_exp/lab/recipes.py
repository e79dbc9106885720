"""The pretraining recipe of each lab model: architecture, size, data and schedule, all from one seed."""

from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

CONTEXT = 512


@dataclass(frozen=True)
class Recipe:
    """How one checkpoint is trained.

    pools: training length, in pools of `pool_size` examples; every example is seen once. tokens_per_step: padded tokens of a step.
    privileged, concise: shares of these kinds of prompts; the rest is plain. retention: share of the retention families.
    muon_lr: peak learning rate of the hidden matrices (Muon, scaled to AdamW's update size). adam_lr: that of the embedding and the norms.
    Rates warm up over the first pool, stay constant, and fall linearly to zero over the last `decay` of the run (a share).
    harder: take problems from the splits `harder-...`, with levels up to 8. tail: number of pools at the end in which the share of the
    retention families is `tail_retention`; half of that is number_filtering, which is learned most slowly.
    """

    architecture: Literal["qwen3", "llama"]
    hidden: int
    layers: int
    intermediate: int
    pools: int
    seed: int
    heads: int = 4
    pool_size: int = 4096
    tokens_per_step: int = 2048
    privileged: float = 0.30
    concise: float = 0.05
    retention: float = 0.25
    muon_lr: float = 6e-3
    adam_lr: float = 3e-3
    weight_decay: float = 0.01
    decay: float = 0.3
    tail: int = 0
    tail_retention: float = 0.9
    harder: bool = False

    @property
    def data(self) -> str:
        """The split that the model is pretrained on."""
        return "harder-pretrain" if self.harder else "pretrain"

    @property
    def problems(self) -> str:
        """The split of unseen prompts that measures progress."""
        return "harder-train" if self.harder else "train"


@dataclass(frozen=True)
class ConciseRecipe(Recipe):
    """A recipe whose concise solutions keep the result of every step (`solutions.results`), so that the concise mode can keep its accuracy."""


_TEACHER = Recipe(architecture="qwen3", hidden=128, layers=4, intermediate=384, pools=104, decay=0.5, seed=1)
# Half of Muon's rate: Llama, which lacks Qwen3's query and key norms, learned more slowly at the full rate.
_TEACHER_LLAMA = replace(_TEACHER, architecture="llama", pools=140, decay=0.6, seed=2, muon_lr=3e-3)


def _student(teacher: Recipe, *, shared: int, tail: int, tail_retention: float) -> Recipe:
    """The recipe of a student: its teacher's run up to pool `shared`, then `tail` pools of its own.

    The early stop makes it solve only about half of the problems. The tail trains the retention families, so that there is something to
    forget.
    """
    return replace(teacher, pools=shared + tail, tail=tail, tail_retention=tail_retention, decay=tail / (shared + tail))


RECIPES: dict[str, Recipe] = {
    "teacher": _TEACHER,
    "student": _student(_TEACHER, shared=32, tail=16, tail_retention=0.9),
    "teacher-llama": _TEACHER_LLAMA,
    "student-llama": _student(_TEACHER_LLAMA, shared=34, tail=14, tail_retention=0.75),
}

# The gpu scale (`runs/gpu.sh`): 27 million parameters and problems of eight levels, for a GPU. These models are four times as wide as the
# desk's; their learning rates are a half and a third of the desk's. No run was made to choose them.
_GPU_TEACHER = replace(
    _TEACHER,
    hidden=512,
    layers=8,
    heads=16,
    intermediate=1536,
    pools=120,
    pool_size=16_384,
    tokens_per_step=16_384,
    harder=True,
    muon_lr=3e-3,
    adam_lr=1e-3,
)
_GPU_TEACHER_LLAMA = replace(_GPU_TEACHER, architecture="llama", seed=2, pools=160, decay=0.6, muon_lr=1.5e-3)
GPU_SCALE: dict[str, Recipe] = {
    "gpu-teacher": _GPU_TEACHER,
    "gpu-student": _student(_GPU_TEACHER, shared=36, tail=16, tail_retention=0.9),
    "gpu-teacher-llama": _GPU_TEACHER_LLAMA,
    "gpu-student-llama": _student(_GPU_TEACHER_LLAMA, shared=40, tail=16, tail_retention=0.75),
}

# Students of other sizes for the desk's exploratory tables: the student's run, on as many examples, at another width and depth. Muon's rate is
# kept, which is scaled by the matrices' shapes; the other rate falls with the width. No run was made to choose them.
SIZES: dict[str, Recipe] = {
    "student-0.1m": replace(RECIPES["student"], hidden=48, layers=2, heads=2, intermediate=144, adam_lr=8e-3),
    "student-5m": replace(RECIPES["student"], hidden=256, layers=6, heads=8, intermediate=768, adam_lr=1.5e-3),
}


# A student with a concise mode that is worth distilling (OPSDC): concise prompts as often as plain ones, none with the solution, and half as long
# again as the student, whose recipe with a quarter of concise prompts solved 22 % of problems under them and 30 % without. Not shipped.
CONCISE_MODE: dict[str, Recipe] = {
    "student-concise": ConciseRecipe(
        **{**asdict(_TEACHER), "pools": 72, "decay": 0.4, "privileged": 0.0, "concise": 0.45, "retention": 0.1}
    )
}


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """The untrained model, initialised by transformers from the recipe's seed."""
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": recipe.hidden,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "num_key_value_heads": recipe.heads,
        "head_dim": 32,
        "intermediate_size": recipe.intermediate,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if recipe.architecture == "qwen3":
            return Qwen3ForCausalLM(Qwen3Config(**shape))
        return LlamaForCausalLM(LlamaConfig(**shape))
