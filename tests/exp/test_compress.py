"""`python -m paced_exp.compress` on a tiny model: a packed file and a readable model of each method, sizes, the comparison; resumption; refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import paced_exp.compress as compress
from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_json
from paced_exp.evaluation import compress_run
from paced_exp.models.compressed.packed import unpacked
from paced_exp.models.loading import load_model

pytestmark = pytest.mark.usefixtures("hash_grader")
METHODS = "bf16,int8,2:4+int8,magnitude:0.5"


def arguments(models: Path, source: Path, out: Path, **changes: Any) -> list[str]:
    options = {
        "model": models / "student", "methods": METHODS, "evaluate": source, "evaluate-limit": 6, "samples": 2, "max-new-tokens": 8,
        "device": "cpu", "out": out, **changes,
    }  # fmt: skip
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


def test_sizes_and_models_are_of_the_packed_file(models: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compress.main(arguments(models, source, tmp_path / "c"))
    record = read_json(tmp_path / "c" / "record.json")
    assert [entry["method"] for entry in record["methods"]] == ["whole", *METHODS.split(",")]
    whole = load_model(str(models / "student"), device="cpu", dtype="float32").model
    shapes = {name: parameter.shape for name, parameter in whole.named_parameters()}
    assert record["parameters"]["all"] == sum(map(torch.Size.numel, shapes.values()))
    for entry in record["methods"][1:]:
        folder = tmp_path / "c" / entry["method"].replace(":", "-").replace("+", "-")
        assert entry["bytes"] == (folder / "packed.safetensors").stat().st_size
        read = load_model(str(folder / "model"), device="cpu", dtype="float32").model
        expected = unpacked(load_file(folder / "packed.safetensors"), shapes)
        for name, parameter in read.named_parameters():
            torch.testing.assert_close(parameter.detach(), expected[name], rtol=0, atol=0)
        assert {row["source"] for row in entry["against"]["differences"]} == {str(source)}
        card = (folder / "model" / "README.md").read_text()
        assert f"compressed by {entry['method']}" in card and f"{entry['bytes']} bytes packed" in card
    sizes = {entry["method"]: entry["bytes"] for entry in record["methods"]}
    assert sizes["2:4+int8"] < sizes["int8"] < sizes["magnitude:0.5"] < sizes["bf16"]
    pruned = load_file(tmp_path / "c" / "magnitude-0.5" / "model" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert float((pruned == 0).float().mean()) == 0.5
    shown = capsys.readouterr().out
    assert "2:4+int8" in shown and "kB" in shown


def test_the_model_in_memory_is_as_before(models: Path, tmp_path: Path) -> None:
    loaded = load_model(str(models / "student"), device="cpu", dtype="float32")
    before = {name: parameter.detach().clone() for name, parameter in loaded.model.named_parameters()}
    compress_run.write_compressed(loaded, "int8", tmp_path / "int8")
    assert all(torch.equal(before[name], parameter) for name, parameter in loaded.model.named_parameters())


class Killed(BaseException):
    """In place of SIGKILL: nothing catches it."""


def test_a_killed_run_goes_on(models: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, seen = compress_run.write_compressed, []

    def stop(loaded: Any, name: str, folder: Path) -> int:
        if len(seen) == 2:
            raise Killed
        seen.append(name)
        return write(loaded, name, folder)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(compress_run, "write_compressed", stop)
        compress.main(arguments(models, source, tmp_path / "c"))
    made = (tmp_path / "c" / "int8" / "packed.safetensors").stat().st_mtime_ns
    compress.main(arguments(models, source, tmp_path / "c"))
    assert (tmp_path / "c" / "int8" / "packed.safetensors").stat().st_mtime_ns == made
    assert len(read_json(tmp_path / "c" / "record.json")["methods"]) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": "int4"}, "layer model.layers.0.mlp.down_proj.weight of shape .32, 48. does not suit it"),
        ({"methods": "int8,int8"}, "names int8 twice"),
        ({"methods": "int5"}, "'int5' is not known"),
        ({"temperature": 0}, "makes all 2 samples of a problem the same"),
    ],
    ids=str,
)
def test_refusals_leave_nothing(changes: dict[str, Any], message: str, models: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        compress.main(arguments(models, source, tmp_path / "c", **changes))
    assert not (tmp_path / "c").exists()
