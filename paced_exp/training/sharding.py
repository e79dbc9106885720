"""What a launch that shards the student's parameters cannot do, and what fp16 cannot: said before anything runs, and by the dry run too."""

from collections.abc import Mapping
from typing import Any

from paced_exp.core.errors import UserError

SHARDING = ("fsdp", "deepspeed")  # of the training arguments
FSDP = {"version": 2}  # what fsdp_config has where it does not say, since earlier versions of transformers take 1


def check_fsdp_device(given: Mapping[str, Any], device: str) -> None:
    """Raise `UserError` for fsdp on a CPU, where accelerate would silently train without it. device: its type."""
    if given.get("fsdp") and device == "cpu":
        raise UserError("`training_arguments` fsdp shards a model over GPUs; on a CPU leave it out")


def check_sharding(given: Mapping[str, Any], *, loss: str, forgetting: str, teacher_update: str) -> None:
    """Raise `UserError` where training arguments shard a student that other options need in one piece, or scale a loss that has made its gradients.

    given: of `transformers.TrainingArguments`. The others: options of `DistillConfig`.
    """
    sharding = [name for name in SHARDING if given.get(name)]
    if sharding and forgetting != "none":
        raise UserError(
            f"`forgetting` {forgetting} needs a student in one piece, which `training_arguments` {sharding[0]} shards; give none"
        )
    if given.get("fsdp"):
        if teacher_update == "ema":
            raise UserError("`teacher_update` ema needs a student in one piece, but fsdp shards it; take live or frozen, or leave fsdp out")
        _check_version(given.get("fsdp_config") or {})
    if loss != "fused":
        return
    if sharding:
        raise UserError(f"`loss` fused reads the whole head, which `training_arguments` {sharding[0]} shards; give `loss` dense")
    if given.get("fp16"):
        raise UserError("`loss` fused makes gradients before fp16's loss scale, and they vanish; give `precision` bf16, or `loss` dense")


def _check_version(fsdp_config: Any) -> None:
    # Rollouts are sampled from a whole copy, which is gathered from FSDP2's parameters alone.
    if not isinstance(fsdp_config, Mapping):
        raise UserError(f"`training_arguments` fsdp_config {fsdp_config!r} must be an object here, not a file; write its options out")
    if int(fsdp_config.get("version", FSDP["version"])) != FSDP["version"]:
        raise UserError(f"`training_arguments` fsdp_config version {fsdp_config['version']} is not supported; give 2, or leave it out")
