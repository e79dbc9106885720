"""Parameters of the models of a scale: of the paper's, from their published shapes; of a local model, from its config.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paced_exp.core.json_files import read_json
from paced_exp.models.lab_checkpoints import ADAPTERS, checkpoint_path


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
    # SmolLM2-135M-Instruct with an adapter merged into it.
    **dict.fromkeys(ADAPTERS, Shape(576, 30, 9, 3, 64, 1536, 49_152, tied=True)),
}

# Of models before they are pretrained, by the recipes of paced_exp.lab.recipes; a test compares. Of all others, the gpu scale's (runs/gpu.sh).
_PLANNED = {
    "runs/lab/student-0.1m/checkpoint": Shape(48, 2, 2, 2, 32, 144, 543, tied=True, qk_norm=True),
    "runs/lab/student-5m/checkpoint": Shape(256, 6, 8, 8, 32, 768, 543, tied=True, qk_norm=True),
}
_PLANNED_GPU = Shape(512, 8, 16, 16, 32, 1536, 543, tied=True, qk_norm=True)


def shape_of(model: str) -> Shape:
    """The shape of a model: published, shipped (`lab:NAME`), in a folder, or, for a folder not made yet, planned."""
    if model in PUBLISHED:
        return PUBLISHED[model]
    folder = _folder(model)
    if not (folder / "config.json").exists():
        return _PLANNED.get(model, _PLANNED_GPU)
    config: dict[str, Any] = read_json(folder / "config.json")
    heads = config["num_attention_heads"]
    return Shape(
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads", heads),
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        tied=config.get("tie_word_embeddings", False),
        qk_norm=config.get("model_type") == "qwen3",
        qkv_bias=config.get("model_type") == "qwen2",
    )


def _folder(model: str) -> Path:
    if model.startswith("lab:"):
        return checkpoint_path(model.removeprefix("lab:"))
    return Path(model)
