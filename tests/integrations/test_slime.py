"""The weight on slime's on-policy distillation: through its rewards, into its advantages; against slime's own code where a checkout is named."""

import ast
import os
import sys
import types
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paced_exp.core.errors import UserError
from paced_exp.integrations.slime import advantages, rewards

OPTIONS = {"use_opd": True, "opd_type": "sglang", "opd_kl_coef": 0.7, "normalize_advantages": False, "use_rollout_logprobs": False}
WEIGHTS = (0.5, 0.0, 2.25)


def samples() -> list[Any]:
    """As slime's: a scored response of three tokens, behind a prompt of two."""
    scored = [{"meta_info": {"input_token_logprobs": [[-float(10 * i + t), 0, None] for t in range(5)]}} for i in range(3)]
    return [
        SimpleNamespace(metadata={"paced_weight": w}, response_length=3, get_reward_value=lambda args, found=found: found)
        for w, found in zip(WEIGHTS, scored, strict=True)
    ]


def data(key: str = "log_probs") -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    student, teacher = ([torch.rand(n, generator=rng).log() for n in (3, 1, 4)] for _ in range(2))
    return {key: student, "teacher_log_probs": teacher, "rewards": list(WEIGHTS)}


def penalised(args: Any, rollout_data: dict[str, Any], given: list[torch.Tensor], student: list[torch.Tensor]) -> None:
    """slime's penalty as its documentation has it: less c (log pi_student - log pi_teacher)."""
    for i, own in enumerate(given):
        given[i] = own - args.opd_kl_coef * (student[i] - rollout_data["teacher_log_probs"][i])


def check_weighted(penalty: Callable[..., None]) -> None:
    for key, rollout in (("log_probs", False), ("rollout_log_probs", True)):
        args, rollout_data = Namespace(**{**OPTIONS, "use_rollout_logprobs": rollout}), data(key)
        advantages(args, rollout_data)
        found = rollout_data["advantages"]
        assert found is not rollout_data["returns"]  # slime changes the one in place
        penalty(args, rollout_data, found, rollout_data[key])
        for own, w, s, t in zip(found, WEIGHTS, rollout_data[key], rollout_data["teacher_log_probs"], strict=True):
            torch.testing.assert_close(own, -0.7 * w * (s - t))


def test_each_tokens_advantage_is_the_weight_times_slimes() -> None:
    check_weighted(penalised)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"use_opd": False}, "`use_opd` is not set, so there is nothing to weigh; add --use-opd"),
        ({"normalize_advantages": True}, "`normalize_advantages` would scale the weights away"),
    ],
)
def test_options_under_which_weights_are_lost_are_refused(options: dict[str, bool], line: str) -> None:
    with pytest.raises(UserError, match=line):
        advantages(Namespace(**{**OPTIONS, **options}), data())


def test_the_rewards_are_the_weights_after_slimes_own_processing(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("slime.rollout.on_policy_distillation")
    seen = []
    module.post_process_rewards = lambda args, samples, **kwargs: seen.extend(samples)
    for name in ("slime", "slime.rollout"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = samples()
    assert rewards(Namespace(), made) == (list(WEIGHTS), list(WEIGHTS)) and seen == made
    for bad in (None, {}, {"paced_weight": -1.0}, {"paced_weight": float("nan")}, {"paced_weight": float("inf")}, {"paced_weight": "1.0"}):
        with pytest.raises(UserError, match="must be a finite number of at least 0; write the data with: paced export --format slime"):
            rewards(Namespace(), [SimpleNamespace(metadata=bad)])


def test_another_slime_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "slime should have post_process_rewards in slime.rollout.on_policy_distillation, and has not .* tried with commit 624b824"
    monkeypatch.setitem(sys.modules, "slime", None)  # not installed
    with pytest.raises(UserError, match=line):
        rewards(Namespace(), samples())
    for name in ("slime", "slime.rollout", "slime.rollout.on_policy_distillation"):  # without the function
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    with pytest.raises(UserError, match=line):
        rewards(Namespace(), samples())
    page = Path(__file__).resolve().parents[2] / "docs" / "integrations" / "slime.md"
    assert "commit 624b824" in page.read_text(encoding="utf-8")


def functions(path: Path, *names: str) -> dict[str, Any]:
    """These functions of a file of slime's, without its imports, which need Megatron, Ray and SGLang."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    space: dict[str, Any] = {"torch": torch, "Namespace": Namespace, "RolloutBatch": dict, "Sample": Any}
    exec(compile(tree, str(path), "exec"), space)
    return space


@pytest.mark.skipif("PACED_SLIME" not in os.environ, reason="PACED_SLIME names no checkout of slime")
def test_slimes_own_code_takes_both(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(os.environ["PACED_SLIME"]) / "slime"
    module: Any = types.ModuleType("slime.rollout.on_policy_distillation")
    module.__dict__.update(functions(source / "rollout" / "on_policy_distillation.py", "post_process_rewards"))
    for name in ("slime", "slime.rollout"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = samples()
    assert rewards(Namespace(), made)[1] == list(WEIGHTS)
    assert [sample.teacher_log_probs.tolist() for sample in made] == [[-float(10 * i + t) for t in (2, 3, 4)] for i in range(3)]
    loss = functions(source / "backends" / "megatron_utils" / "loss.py", "apply_opd_kl_to_advantages")
    check_weighted(loss["apply_opd_kl_to_advantages"])
