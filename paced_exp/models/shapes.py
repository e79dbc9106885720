"""Sizes of models without their weights: of the paper's, from their published shapes; of any other, from its config.json."""

from dataclasses import dataclass
from typing import Any

from paced_exp.core.errors import UserError


@dataclass(frozen=True)
class Shape:
    """A decoder with grouped-query attention and a gated feed-forward block. qk_norm: Qwen3's; qkv_bias: Qwen2's."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    qk_norm: bool = False
    qkv_bias: bool = False

    @property
    def parameters(self) -> int:
        """All parameters, an embedding shared with the head counted once."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * (2 * queries + 2 * keys) + (queries + 2 * keys if self.qkv_bias else 0)
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        layer = attention + 3 * self.hidden * self.intermediate + norms
        return self.layers * layer + self.hidden + self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def matmul_parameters(self) -> int:
        """Those a token is multiplied with: an embedding of its own is looked up only."""
        return self.parameters - (0 if self.tied else self.vocabulary * self.hidden)

    @property
    def cache_bytes(self) -> int:
        """Keys and values of one token in 16 bits."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_dim


# From the config.json of each model on the hub.
PUBLISHED = {
    "Qwen/Qwen3-1.7B": Shape(2048, 28, 16, 8, 128, 6144, 151_936, tied=True, qk_norm=True),
    "Qwen/Qwen3-8B": Shape(4096, 36, 32, 8, 128, 12_288, 151_936, tied=False, qk_norm=True),
    "Qwen/Qwen2.5-Math-7B-Instruct": Shape(3584, 28, 28, 4, 128, 18_944, 152_064, tied=False, qkv_bias=True),
    "meta-llama/Llama-3.1-8B-Instruct": Shape(4096, 32, 32, 8, 128, 14_336, 128_256, tied=False),
    "meta-llama/Llama-3.3-70B-Instruct": Shape(8192, 80, 64, 8, 128, 28_672, 128_256, tied=False),
}


def shape_of(spec: str) -> Shape:
    """The shape of a model, published or by its config.json alone: of a hub model nothing else is downloaded.

    Raises `UserError` where `load_model` does for its place, and for what is not a dense decoder with a gated feed-forward block.
    """
    if spec in PUBLISHED:
        return PUBLISHED[spec]
    from paced_exp.models.loading import config_of  # loads torch

    return _by_config(config_of(spec), spec)


def _by_config(config: dict[str, Any], spec: str) -> Shape:
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    if missing := [name for name in needed if not isinstance(config.get(name), int)]:
        raise UserError(f"model {spec}: its config.json has no {missing[0]}, by which its size is told; only dense text models have one")
    if experts := next((name for name in ("num_experts", "num_local_experts", "n_routed_experts") if config.get(name)), None):
        raise UserError(f"model {spec} has {experts} {config[experts]}; sizes are told of dense models alone")
    heads = config["num_attention_heads"]
    return Shape(
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
        qk_norm=config.get("model_type") == "qwen3",
        qkv_bias=config.get("model_type") == "qwen2",
    )
