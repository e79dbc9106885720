"""Training with the fused loss, the default, beside the dense one: the same updates to rounding; where it cannot be, it says so."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.core.run_folder import RunFolder
from paced_exp.losses import fused
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.problem_loss import ProblemLoss
from paced_exp.training.config import DistillConfig
from paced_exp.training.teachers import ModelTeacher
from tests.support import distill_setup
from tests.support.distill_setup import trainer, trainer_config
from tests.support.tiny_models import loaded, tiny_model


def trained(folder: Path, source: Path, **changes: Any) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Parameters and metrics after three updates."""
    ours = trainer(folder, source, **changes)
    ours.train_or_resume()
    lines = [json.loads(line) for line in (folder / "training" / "metrics.jsonl").read_text().splitlines()]
    return {name: parameter.detach() for name, parameter in ours.data.student.model.named_parameters()}, lines


def assert_same_training(one: Any, other: Any, tolerance: float) -> None:
    for name, parameter in one[0].items():
        torch.testing.assert_close(other[0][name], parameter, rtol=0, atol=tolerance)
    for ours, theirs in zip(one[1], other[1], strict=True):
        for name in ("loss", "unweighted_loss", "grad_norm", "mean_weight", "supervised_tokens", "flops"):
            assert ours[name] == pytest.approx(theirs[name], rel=max(tolerance, 1e-9)), name


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"micro_batch": 2},
        {"loss_chunk": 3, "loss_temperature": 1.5},
        {"stages": "akl:0.4,reverse_kl:0.6", "rollout_every": 2, "micro_batch": 4},
        {"stages": "cross_entropy"},
        {"stages": "jsd", "teacher_statistics": "exact"},
        {"stages": "jsd", "teacher_statistics": "topk", "top_k": 5},
        {"teacher": "self", "teacher_update": "ema", "ema_decay": 0.5},
        {"teacher": "self", "teacher_update": "live", "stages": "reverse_kl", "rollout_every": 2},
        {"training_arguments": {"optim": "sgd", "gradient_checkpointing": True}},
    ],
    ids=str,
)
def test_three_updates_are_those_of_the_dense_loss(options: dict[str, Any], source: Path, tmp_path: Path) -> None:
    dense, ours = (trained(tmp_path / loss, source, loss=loss, **options) for loss in ("dense", "fused"))
    assert_same_training(dense, ours, 1e-10)


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny models in float32 rather than float64."""
    monkeypatch.setattr(distill_setup, "tiny", lambda kind, seed: loaded(tiny_model(kind, seed=seed, context=160)))


def test_in_float32_they_agree_within_1e_5(single: None, source: Path, tmp_path: Path) -> None:
    dense, ours = (trained(tmp_path / loss, source, loss=loss, dtype="float32") for loss in ("dense", "fused"))
    assert {parameter.dtype for parameter in ours[0].values()} == {torch.float32}
    assert_same_training(dense, ours, 1e-5)


def test_fused_is_the_default_and_each_loss_has_its_teacher(source: Path, tmp_path: Path) -> None:
    assert DistillConfig().loss == "fused"
    default, dense = trainer(tmp_path / "a", source), trainer(tmp_path / "b", source, loss="dense")
    assert [type(loss) for loss in default.losses.values()] == [FusedLoss]
    assert [type(loss) for loss in dense.losses.values()] == [ProblemLoss]
    for ours, states in ((default, True), (dense, False)):
        (teacher,) = ours.teachers.values()
        assert isinstance(teacher, ModelTeacher) and (teacher._head is not None) == states


@pytest.mark.parametrize("micro_batch", [8, 2])
def test_gradients_are_handed_on_without_a_second_tensor_of_their_size(
    micro_batch: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All factors are in the weights, so the gradient that arrives from Trainer is one, and what was made in the forward pass is final."""
    arrived, original = [], fused._Fused.backward

    def backward(ctx: Any, upstream: Any, values: Any) -> Any:
        arrived.append(float(upstream))
        return original(ctx, upstream, values)

    monkeypatch.setattr(fused._Fused, "backward", staticmethod(backward))
    trained(tmp_path, source, micro_batch=micro_batch)
    assert arrived == [1.0] * (3 * 8 // micro_batch)


def test_under_bf16_the_head_reads_half_precision_states_and_learns_in_float32(
    single: None, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, original = [], fused.computed

    def computed(states: torch.Tensor, *rest: Any) -> Any:
        found = original(states, *rest)
        seen.append((states.dtype, found[0].dtype, found[2].dtype))  # type: ignore[union-attr]
        return found

    monkeypatch.setattr(fused, "computed", computed)
    dense, ours = (trained(tmp_path / loss, source, loss=loss, precision="bf16", dtype="float32") for loss in ("dense", "fused"))
    assert set(seen) == {(torch.bfloat16, torch.float32, torch.float32)}
    assert_same_training(dense, ours, 2e-2)


# ---- where it cannot be


def test_a_sharded_student_is_refused_before_anything_runs() -> None:
    for name, value in (("fsdp", "full_shard"), ("deepspeed", "config.json")):
        with pytest.raises(
            UserError, match=f"`loss` fused reads the whole head, which `training_arguments` {name} shards; give `loss` dense"
        ):
            DistillConfig(training_arguments={name: value})


def test_a_launcher_that_shards_is_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Trainer

    original = Trainer.create_accelerator_and_postprocess

    def sharding(self: Any) -> None:
        original(self)
        self.is_fsdp_enabled = True  # as under accelerate launch with an FSDP configuration

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", sharding)
    with pytest.raises(UserError, match="`loss` fused reads the whole head, which this launch shards"):
        trainer(tmp_path / "a", source)
    trainer(tmp_path / "b", source, loss="dense")


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(UserError, match="`loss` chunked is not known; known: fused, dense"):
        DistillConfig(loss="chunked")  # type: ignore[arg-type]


# ---- runs from before the option


def test_a_run_begun_before_there_was_a_fused_loss_goes_on_dense_or_not_at_all(source: Path, tmp_path: Path) -> None:
    """Its folder does not name the loss, which was the dense one: going on fused would change the trajectory in its middle."""
    RunFolder(tmp_path / "run", trainer_config(tmp_path / "run", source, loss="dense")).open()
    written = tmp_path / "run" / "config.yaml"
    written.write_text("".join(line for line in written.read_text().splitlines(keepends=True) if not line.startswith("loss:")))
    RunFolder(tmp_path / "run", trainer_config(tmp_path / "run", source, loss="dense")).open()
    with pytest.raises(UserError, match=r"differing: loss \('dense' there, 'fused' now\)"):
        RunFolder(tmp_path / "run", trainer_config(tmp_path / "run", source)).open()


def test_what_an_option_was_before_it_existed() -> None:
    told = configs.earlier(DistillConfig)
    assert told["loss"] == "dense" and {**told, "loss": "fused"} == configs.defaults(DistillConfig)
