"""Every way a model can fail to load gives one line that names what is wrong."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken

from paced_exp.core.errors import UserError
from paced_exp.models import hub
from paced_exp.models.loading import check_same_vocabulary, load_model
from tests.support.tiny_models import EOS, OTHER_EOS, PAD, VOCABULARY, loaded, tiny_model, tiny_tokenizer


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_loads_as_it_was_saved(saved: Path) -> None:
    found = load_model(str(saved), device="cpu")
    assert not found.model.training and found.device == torch.device("cpu")
    assert (found.spec, found.pad_id, found.eos_ids) == (str(saved), PAD, (EOS,))
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(found.model(ids).logits, tiny_model("qwen3")(ids).logits)
    assert found.tokenizer("12+3=")["input_ids"] == tiny_tokenizer()("12+3=")["input_ids"]


@pytest.mark.parametrize(("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16), ("float64", torch.float64)])
def test_dtypes(folder: Path, dtype: str, expected: torch.dtype) -> None:
    weights = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit_json(folder / "config.json", dtype="bfloat16")
    assert load_model(str(folder), device="cpu", dtype=dtype).model.dtype == expected


def test_every_end_id_is_found(folder: Path) -> None:
    edit_json(folder / "generation_config.json", eos_token_id=[7, EOS])
    edit_json(folder / "config.json", eos_token_id=OTHER_EOS)
    assert load_model(str(folder), device="cpu").eos_ids == (EOS, 7, OTHER_EOS)


def test_the_fingerprint_follows_every_file_that_decides_a_rollout(folder: Path) -> None:
    def fingerprint() -> str:
        return load_model(str(folder), device="cpu").fingerprint

    seen = [fingerprint()]
    assert seen[0].startswith("sha256:") and fingerprint() == seen[0]
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    seen.append(fingerprint())
    edit_json(folder / "config.json", rope_theta=12345.0)
    seen.append(fingerprint())
    edit_json(folder / "generation_config.json", eos_token_id=[EOS, 9])
    seen.append(fingerprint())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["unk_token"] = "<pad>"
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    seen.append(fingerprint())
    (folder / "README.md").write_text("a model card changes nothing")
    assert len(set(seen)) == 5 and fingerprint() == seen[-1]


def test_sharded_weights_load_and_a_missing_shard_is_named(folder: Path) -> None:
    whole = load_model(str(folder), device="cpu")
    (folder / "model.safetensors").unlink()
    whole.model.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(load_model(str(folder), device="cpu").model(ids).logits, whole.model(ids).logits)
    shards[1].unlink()
    with pytest.raises(UserError, match=f"{shards[1].name} is missing"):
        load_model(str(folder))


def test_unused_weights_are_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.2.mlp.up_proj.weight"] = torch.zeros(2, 2)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    load_model(str(folder), device="cpu")
    assert "1 tensors of the weights are not used, for example model.layers.2.mlp.up_proj.weight" in caplog.text


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def only_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:20])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def without_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def wider_tokenizer(folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken(f"<extra{index}>") for index in range(VOCABULARY)])
    tokenizer.save_pretrained(folder)


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def with_template(template: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "chat_template.jinja").write_text(template)


def without_end(folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    edit_json(folder / "config.json", eos_token_id=None)
    edit_json(folder / "generation_config.json", eos_token_id=None)


DAMAGES: list[tuple[Callable[[Path], Any], str]] = [
    (truncate, "model.safetensors is truncated or damaged"),
    (only_header, "model.safetensors is truncated or damaged"),
    (pickled, r"only has pickled weights \(pytorch_model.bin\)"),
    (lambda folder: (folder / "model.safetensors").unlink(), "has no weights: .*model.safetensors is missing"),
    (without_a_tensor, "lack 1 tensors .* model.layers.1.mlp.up_proj.weight"),
    (
        lambda folder: edit_json(folder / "config.json", intermediate_size=24),
        r"6 tensors .* model.layers.0.mlp.down_proj.weight is \[32, 48\] and should be \[32, 24\]",
    ),
    (lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": []}'), "index.json has no weight_map"),
    (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    (lambda folder: (folder / "config.json").write_text("{"), "config.json is not readable JSON"),
    (lambda folder: (folder / "config.json").write_text("[]"), "config.json holds no JSON object"),
    (lambda folder: edit_json(folder / "config.json", model_type="unheard-of"), "not a causal language model that transformers can load"),
    (lambda folder: edit_json(folder / "config.json", model_type="t5"), "not a causal language model that transformers can load"),
    (
        lambda folder: edit_json(folder / "config.json", auto_map={"AutoModelForCausalLM": "evil.Model"}),
        "its own Python code .auto_map in config",
    ),
    (
        lambda folder: edit_json(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}),
        "its own Python code .auto_map in tokenizer_config",
    ),
    (wider_tokenizer, f"tokenizer has ids up to [0-9]+ .*, but the model embeds {VOCABULARY} tokens"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
    (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer .* cannot be read"),
    (without_template, "has no chat template"),
    (with_template("{% for m in messages %}"), r"chat template cannot be used \(TemplateSyntaxError"),
    (with_template("{{ raise_exception('no\\nno') }}"), r"chat template cannot be used \(TemplateError: no no\)"),
    (with_template("{{ ''.__class__.__mro__[1].__subclasses__() }}"), r"chat template cannot be used \(SecurityError"),
    (with_template("{{ messages[0].content * 300000000 }}"), "chat template cannot be used .*memory"),
    (with_template("{{ 'ab' * 1000000 }}"), "it makes 2000000 characters of a message of 12"),
    (
        with_template("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
        "it takes over 5 s for a message of 24000 characters",
    ),
    (lambda folder: edit_json(folder / "config.json", num_attention_heads=0), "not a causal language model .* .ZeroDivisionError"),
    (lambda folder: edit_json(folder / "config.json", num_hidden_layers=10**9), "describes a model much larger than its weights"),
    (lambda folder: edit_json(folder / "config.json", vocab_size=10**9), "describes a model much larger than its weights"),
    (lambda folder: edit_json(folder / "config.json", intermediate_size=10**12), "describes a model much larger than its weights"),
    (lambda folder: edit_json(folder / "config.json", hidden_size="wide"), "hidden_size.* expected int, got str"),
    (lambda folder: (folder / "config.json").write_text("[" * 100_000), "config.json is not readable JSON"),
    (lambda folder: (folder / "config.json").write_text('{"vocab_size": ' + "9" * 5_000 + "}"), "config.json is not readable JSON"),
    (without_end, "has no end-of-sequence token"),
    (lambda folder: edit_json(folder / "generation_config.json", eos_token_id=[99]), "end-of-sequence id 99 is outside"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damaged_folders_give_one_line(
    folder: Path, damage: Callable[[Path], Any], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    damage(folder)
    capfd.readouterr()
    with pytest.raises(UserError, match=message) as caught:
        load_model(str(folder), device="cpu")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "transformers adds nothing to the one line"


def test_code_of_a_model_is_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: pass\n")
    edit_json(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Model", "AutoModelForCausalLM": "evil.Model"})
    with pytest.raises(UserError, match="never run here"):
        load_model(str(folder), device="cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("./nowhere", {}, "'./nowhere' is no folder and cannot be a hub id"),
        ("a/b/c", {}, "'a/b/c' is no folder and cannot be a hub id"),
        ("", {}, "'' is no folder"),
        ("lab:nobody", {}, "lab:nobody is not a lab model; known: lab:student, lab:teacher"),
        (".", {"dtype": "float16"}, "`dtype` float16 is not known; known: auto, float32, bfloat16, float64"),
        (".", {"device": "tpu"}, "`device` tpu is not known; known: auto, cpu, cuda"),
        (".", {"device": "cuda:99"}, "`device` cuda:99 is not there: PyTorch sees [0-9]+ CUDA devices"),
    ],
)
def test_bad_names_and_options(spec: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_model(spec, **options)
    assert "\n" not in str(caught.value)


def test_a_file_is_no_model(folder: Path) -> None:
    with pytest.raises(UserError, match="is a file; name the folder"):
        load_model(str(folder / "config.json"))


class TestHub:
    def test_no_hub_is_one_line(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        # Port 9 of this machine (discard): a connection that is refused at once, through the real client.
        monkeypatch.setattr(
            hub,
            "snapshot_download",
            lambda *args, **named: huggingface_hub.snapshot_download(*args, **named, endpoint="http://127.0.0.1:9", cache_dir=tmp_path),
        )
        with pytest.raises(UserError, match="model nobody/nothing is not a local folder, and the hub cannot be reached") as caught:
            load_model("nobody/nothing")
        assert "\n" not in str(caught.value)

    def test_offline_without_a_cached_copy_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def offline(*_: Any, **__: Any) -> str:
            raise LocalEntryNotFoundError("not cached\nsecond line")

        monkeypatch.setattr(hub, "snapshot_download", offline)
        with pytest.raises(UserError, match="the hub cannot be reached") as caught:
            load_model("gpt2")
        assert "\n" not in str(caught.value)

    def test_a_snapshot_loads_with_its_commit_as_fingerprint(self, saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        snapshot = shutil.copytree(saved, tmp_path / "snapshots" / "0123abcd")
        asked: list[Any] = []

        def download(spec: str, **options: Any) -> str:
            asked.append((spec, options))
            return str(snapshot)

        monkeypatch.setattr(hub, "snapshot_download", download)
        assert load_model("someone/tiny", device="cpu").fingerprint == "hub:0123abcd"
        ((spec, options),) = asked
        assert spec == "someone/tiny"
        allowed = [pattern for pattern in options["allow_patterns"] if pattern.endswith((".py", ".bin", ".pt", "*"))]
        assert allowed == [], "neither code nor pickles are downloaded"


class TestSameVocabulary:
    def test_equal_maps_pass_whatever_the_widths(self) -> None:
        student = loaded(tiny_model())
        wide = tiny_model()
        wide.resize_token_embeddings(VOCABULARY + 16)
        check_same_vocabulary(student, loaded(wide))

    def test_equal_widths_with_other_tokens_are_refused_with_an_example(self) -> None:
        student, teacher = loaded(tiny_model()), loaded(tiny_model())
        backend = json.loads(teacher.tokenizer.backend_tokenizer.to_str())
        vocabulary = backend["model"]["vocab"]
        vocabulary["3"], vocabulary["4"] = vocabulary["4"], vocabulary["3"]
        swapped = type(teacher.tokenizer.backend_tokenizer).from_str(json.dumps(backend))
        teacher = replace(teacher, tokenizer=type(teacher.tokenizer)(tokenizer_object=swapped, eos_token="<eos>", pad_token="<pad>"))
        with pytest.raises(UserError, match="2 tokens differ, for example '3' is id 6 for the student and 7 for the teacher"):
            check_same_vocabulary(student, teacher)

    def test_a_token_that_one_lacks_is_named(self) -> None:
        student, teacher = loaded(tiny_model()), loaded(tiny_model())
        student.tokenizer.add_tokens(["<think>"])
        with pytest.raises(UserError, match=r"'<think>' is id [0-9]+ for the student and absent for the teacher"):
            check_same_vocabulary(student, teacher)

    def test_another_end_token_is_refused(self) -> None:
        student, teacher = loaded(tiny_model()), loaded(tiny_model())
        teacher.tokenizer.eos_token = "<end>"
        with pytest.raises(UserError, match="ids 1 and 2"):
            check_same_vocabulary(student, teacher)
