"""Tiny random models and a tokenizer for tests of loading and rollouts: seeded, made in milliseconds, saved nowhere unless asked."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from paced_exp.models.loading import LoadedModel

VOCABULARY = 48
PAD, EOS, OTHER_EOS = 0, 1, 2
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
CHARACTERS = [*"0123456789+-=>. \n{}\\abcdefghijklmnopqrstu"]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, with <pad>, <eos>, <end> as ids 0, 1, 2."""
    words = ["<pad>", "<eos>", "<end>", *CHARACTERS]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    fast.chat_template = TEMPLATE
    return fast


def tiny_model(kind: str = "qwen3", *, seed: int = 0, dtype: torch.dtype = torch.float32, context: int = 64) -> Any:
    """A random two-layer model whose next-token distributions are far from uniform (weights of standard deviation 0.3)."""
    shared: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "pad_token_id": PAD,
        "bos_token_id": None,
        "eos_token_id": EOS,
        "initializer_range": 0.3,
    }
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
        "tie_word_embeddings": True,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "qwen3":
            model: Any = Qwen3ForCausalLM(Qwen3Config(**shared, **sizes, head_dim=8))
        elif kind == "qwen3-sliding":
            layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 6, "use_sliding_window": True}
            model = Qwen3ForCausalLM(Qwen3Config(**shared, **sizes, **layers, head_dim=8))
        elif kind == "llama":
            model = LlamaForCausalLM(LlamaConfig(**shared, **sizes))
        else:
            model = GPT2LMHeadModel(GPT2Config(**shared, n_embd=32, n_layer=2, n_head=4, n_positions=context))
    return model.to(dtype).eval()


def loaded(model: Any, *, eos_ids: tuple[int, ...] = (EOS, OTHER_EOS)) -> LoadedModel:
    """`model` as the loader would give it."""
    return LoadedModel(model, tiny_tokenizer(), "tiny", eos_ids, PAD, torch.device("cpu"), "sha256:tiny")


def save_tiny(folder: Path, kind: str = "qwen3", *, seed: int = 0) -> Path:
    """A checkpoint folder in transformers' layout."""
    tiny_model(kind, seed=seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
