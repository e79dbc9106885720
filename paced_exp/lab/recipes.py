"""The pretraining recipe of each shipped checkpoint: architecture, size, data and schedule, all from one seed."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

CONTEXT = 512


@dataclass(frozen=True)
class Recipe:
    """How one checkpoint is made.

    pools: training length, in pools of `pool_size` examples; every example is seen once. tokens_per_step: padded tokens of a step.
    privileged, concise: shares of those prompt kinds (the rest is plain). retention: share of the retention families.
    muon_lr: peak rate of the hidden matrices (Muon, scaled to AdamW's update size). adam_lr: of the embedding and the norms.
    The rate warms up over the first pool, stays, and falls linearly to zero over the last `decay` of the run.
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


_TEACHER = Recipe(architecture="qwen3", hidden=128, layers=4, intermediate=384, pools=120, seed=1)
_TEACHER_LLAMA = replace(_TEACHER, architecture="llama", seed=2)
# A student is its teacher's own run stopped early, before any decay: one recipe, two lengths.
RECIPES: dict[str, Recipe] = {
    "teacher": _TEACHER,
    "student": replace(_TEACHER, pools=24, decay=0.0),
    "teacher-llama": _TEACHER_LLAMA,
    "student-llama": replace(_TEACHER_LLAMA, pools=24, decay=0.0),
}


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """The untrained model, initialised from the recipe's seed by transformers' own rule."""
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
