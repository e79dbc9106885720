"""`--dry-run MACHINE`: numbers by hand and against what a real model holds; what cannot fit is refused, and nothing runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.memory import peak_bytes
from paced_exp import distill, rollout
from paced_exp.core.errors import UserError
from paced_exp.models.loading import load_model
from paced_exp.models.machines import Machine, SamplingLoad, machine_named
from paced_exp.models.shapes import shape_of
from paced_exp.rollouts.config import RolloutConfig
from paced_exp.rollouts.plan import plan as rollout_plan
from paced_exp.training.config import DistillConfig
from paced_exp.training.plan import _memory
from paced_exp.training.plan import plan as distill_plan
from tests.support.distill_setup import save_models, write_problems

GB = 1e9
QWEN = {"student": "Qwen/Qwen3-1.7B", "teacher": "Qwen/Qwen3-8B"}


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(write_problems(tmp_path / "problems.jsonl"))  # 40 problems


def test_machines_by_name() -> None:
    assert machine_named("8xH100") == Machine("8xH100", 8, 80 * GB, 989e12, 3.35e12) and machine_named("a100").devices == 1
    for name in ("tpu", "0xh100", "h100x8", "", "-1xh100"):
        with pytest.raises(UserError, match="is not known; known: 4090"):
            machine_named(name)


def test_hours_and_rows_by_hand() -> None:
    """A machine of 10 bytes, 5 products and 2 bytes a second, of which 9, 2 and 1.2 are reached; a model of 5 bytes and 5 parameters."""
    machine = Machine("toy", 1, 10, 5, 2)
    one = SamplingLoad(rollouts=8, prompt=1, longest=3, parameters=5, weights=5, cache=0.5)
    assert one.live(machine) == 2  # (9 - 5) / (0.5 x 4)
    step = max(2 * 5 * 2 / 2, (5 + 2 * 2.5 * 0.5) / 1.2)  # 10 s of products, 6.25 s of reading
    assert one.hours(machine) * 3600 == pytest.approx(8 * 3 / 2 * step + 2 * 5 * 1 * 8 / 2)
    reading = SamplingLoad(rollouts=8, prompt=1, longest=3, parameters=1, weights=5, cache=0.5)
    assert reading.hours(machine) * 3600 == pytest.approx(8 * 3 / 2 * 6.25 + 2 * 1 * 8 / 2)
    twice = SamplingLoad(rollouts=8, prompt=1, longest=3, parameters=5, weights=5, cache=0.5, copies=2)
    assert twice.hours(machine) == pytest.approx(one.hours(machine) / 2)
    assert SamplingLoad(rollouts=8, prompt=1, longest=3, parameters=5, weights=9, cache=0.5).live(machine) == 0


def test_keys_and_values_are_what_a_real_model_keeps() -> None:
    loaded = load_model("lab:student", device="cpu", dtype="float32")
    with torch.no_grad():
        cache = loaded.model(torch.zeros(1, 7, dtype=torch.long), use_cache=True).past_key_values
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert held == 7 * 2 * shape_of("lab:student").cache_bytes  # float32


def test_training_holds_about_what_is_told() -> None:
    """States to the byte; activations, by a formula for other kernels, within a factor of two of what autograd keeps here."""
    config = DistillConfig(micro_batch=8, max_new_tokens=100, dtype="float32")
    told = _memory(config, 20, shape_of("lab:student"), shape_of("lab:teacher"), machine_named("h100"))
    model = load_model("lab:student", device="cpu", dtype="float32").model.train()
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.zeros(8, 120, dtype=torch.long)

    def forward() -> Any:
        return model.model(ids).last_hidden_state.sum()

    forward().backward()
    kept: list[torch.Tensor] = []
    measured = peak_bytes(lambda: kept.append(forward()))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    states = sum(value.nbytes for state in optimizer.state.values() for value in state.values() if value.ndim)
    parameters = sum(parameter.nbytes for parameter in model.parameters())
    assert told[0][1] == 2 * parameters + states
    assert 0.5 < measured / told[1][1] < 2


def test_a_distillations_parts(source: str) -> None:
    """40 problems, K = 8: three stages' shares, pass rates measured twice more, references of what is visited."""
    changes: dict[str, Any] = {**QWEN, "problems": source, "max_new_tokens": 4096, "micro_batch": 1, "steps": 100, "batch": 16}
    text = distill_plan(DistillConfig(**changes, stages="forward_kl:0.5,reverse_kl:0.5"), "h200")
    for line in (
        "pass rates: 640 rollouts",
        "references: 80 responses of the teacher at most",
        "rollouts to train on: 800",
        "100 updates of 16",
    ):
        assert line in text
    assert "teacher                                                        16.4 GB" in text  # 8.19 billion x 2 bytes
    assert "student, gradient and AdamW                                    27.5 GB" in text  # 1.72 billion x 16 bytes
    uniform = distill_plan(DistillConfig(**changes, method="uniform", reference="solution"), "h200")
    assert (
        "pass rates" not in uniform and "references:" not in uniform and "rollouts to train" not in uniform and "  teacher " not in uniform
    )
    fsdp = DistillConfig(**changes, loss="dense", loss_chunk=256, training_arguments={"fsdp": "full_shard", "gradient_checkpointing": True})
    text = distill_plan(fsdp, "8xh200")  # the teacher, which samples before the student trains, needs more than a share of the training
    assert "most memory is needed in: references" in text and "device hours" in text
    states, activations, logits, *_ = _memory(fsdp, 2, shape_of(QWEN["student"]), shape_of(QWEN["teacher"]), machine_named("8xh200"))
    assert states[0].endswith("over 8 devices") and states[1] == 16 * 1_720_574_976 / 8
    # Chunks of the dense loss are of softmaxes: logits of all tokens, of both models, and a gradient.
    assert logits == ("logits of 4,098 tokens", 3 * 4 * 4098 * 151_936)
    assert activations[0].endswith("recomputed") and activations[1] < 0.15 * 28 * 34 * 4098 * 2048 * 2


def test_updates_take_their_products(source: str) -> None:
    """Six operations a parameter and token of the student, two of the teacher, at 40 % of the peak."""
    tokens = 100 * 16 * (4096 + sum(len(json.loads(line)["prompt"]) for line in Path(source).read_text().splitlines()) / 40 / 4)
    own, teacher = 1_720_574_976, 8_190_735_360 - 151_936 * 4096
    config = DistillConfig(
        **QWEN, problems=source, max_new_tokens=4096, micro_batch=1, steps=100, batch=16, method="uniform", reference="solution"
    )
    (line,) = [line for line in distill_plan(config, "h200").splitlines() if "updates" in line]
    assert float(line.split()[-2]) == pytest.approx(tokens * (6 * own + 2 * teacher) / (0.4 * 989e12) / 3600, abs=0.006)


def test_rollouts_of_a_part(source: str) -> None:
    whole, part = (rollout_plan(RolloutConfig(student=QWEN["student"], problems=source, shard=shard), "h100") for shard in (None, "2/4"))
    assert "  320 rollouts " in whole and "  80 rollouts " in part and "one of 4 parts" in part


@pytest.mark.parametrize(
    ("command", "arguments", "line"),
    [
        (
            distill.main,
            ["--micro-batch", "4", "--max-new-tokens", "8192", "--dry-run", "4090"],
            "--dry-run 4090: the run needs .*activations of a micro-batch of 4 127.. GB",
        ),
        (
            rollout.main,
            ["--student", "meta-llama/Llama-3.3-70B-Instruct", "--dry-run=h100"],
            "--dry-run h100: the run needs 14.*weights of the sampling model 141.1 GB",
        ),
        (
            rollout.main,
            ["--engine", "vllm", "--engine-options", '{"tensor_parallel_size": 4, "data_parallel_size": 4}', "--dry-run", "8xh100"],
            "--dry-run 8xh100 has 8 devices, and --engine-options ask for 16",
        ),
        (rollout.main, ["--dry-run"], "--dry-run needs the name of a machine"),
        (rollout.main, ["--dry-run", "--adaptive", "mean"], "--dry-run needs the name of a machine"),
        (rollout.main, ["--dry-run", "tpu"], "--dry-run tpu is not known; known: 4090"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(command: Any, arguments: list[str], line: str, source: str, tmp_path: Path) -> None:
    models = ["--student", QWEN["student"], *(["--teacher", QWEN["teacher"]] if command is distill.main else [])]
    out = tmp_path / "out"
    with pytest.raises(UserError, match=line):
        command([*models, "--problems", source, "--out", str(out), *arguments])
    assert not out.exists()


def test_nothing_runs_and_no_weights_are_read(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = save_models(tmp_path / "models")
    for weights in models.rglob("*.safetensors"):
        weights.unlink()
    argv = ["--student", str(models / "student"), "--problems", source, "--out", str(tmp_path / "out"), "--dry-run", "h100"]
    rollout.main(argv)
    distill.main([*argv, "--teacher", str(models / "teacher")])
    assert capsys.readouterr().out.count("fits") == 2 and not (tmp_path / "out").exists()
    config = json.loads((models / "student" / "config.json").read_text())
    (models / "student" / "config.json").write_text(json.dumps(config | {"num_experts": 8}))
    with pytest.raises(UserError, match="has num_experts 8; sizes are told of dense models alone"):
        rollout.main(argv)
