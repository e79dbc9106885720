"""The losses for verl against a stand-in for verl's modules: this environment has no verl. `make test-verl` runs them inside its own source."""

import importlib.util
import sys
import types
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from paced_exp.core.errors import UserError

MODULE = Path(__file__).resolve().parents[2] / "paced_exp" / "integrations" / "verl.py"


class Registry(dict[str, tuple[dict[str, Any], Callable[..., Any]]]):
    """What the module registers, in a stand-in for verl's modules of these names."""

    def register(self, settings: dict[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
            self.update({name: (settings, function) for name in settings["names"]})
            return function

        return decorator


def estimator(
    config: Any, distillation_config: Any, model_output: dict[str, Any], data: dict[str, Any]
) -> tuple[torch.Tensor, dict[str, Any]]:
    """As verl's: the formula by the mode's name, no other name known."""
    difference = model_output["log_probs"] - data["teacher_logprobs"]
    return {"k1": difference, "k2": difference**2 / 2, "k3": difference.expm1()}[distillation_config.distillation_loss.loss_mode], {
        "abs_loss": 1.0
    }


def topk(config: Any, distillation_config: Any, model_output: dict[str, Any], data: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    return model_output["distillation_losses"], {"student_mass": 0.5}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    for name in ("verl", "verl.trainer", "verl.trainer.distillation", "verl.trainer.distillation.losses", "verl.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    losses: Any = sys.modules["verl.trainer.distillation.losses"]
    losses.DistillationLossSettings = dict
    losses.register_distillation_loss = registry.register
    losses.compute_distillation_loss_reverse_kl_estimator, losses.compute_forward_kl_topk = estimator, topk
    sys.modules["verl.utils"].tensordict_utils = types.SimpleNamespace(get=lambda data, name: data.get(name))  # type: ignore[attr-defined]
    monkeypatch.setattr(metadata, "version", lambda name: "0.9.1")
    spec = importlib.util.spec_from_file_location("paced_verl", MODULE)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return registry


def own(name: str, use_policy_gradient: bool = True) -> Any:
    return types.SimpleNamespace(distillation_loss=types.SimpleNamespace(loss_mode=name, use_policy_gradient=use_policy_gradient))


@pytest.mark.parametrize("weights", [[0.5, 2.0], torch.tensor([0.5, 2.0], dtype=torch.float64)], ids=["a list", "a tensor"])
def test_the_loss_is_verls_times_the_weight(registered: Registry, weights: Any) -> None:
    assert list(registered) == ["paced_k1", "paced_k2", "paced_k3", "paced_forward_kl_topk"]
    settings, paced_k1 = registered["paced_k1"]
    assert settings == {"names": ["paced_k1"], "use_estimator": True}
    student = torch.tensor([[-1.0, -2.0, -0.5], [-0.25, -3.0, -1.0]], requires_grad=True)
    teacher = torch.tensor([[-1.5, -1.0, -0.5], [-1.0, -2.0, 0.0]])
    losses, metrics = paced_k1(None, own("paced_k1"), {"log_probs": student}, {"teacher_logprobs": teacher, "paced_weight": weights})
    assert losses.tolist() == [[0.25, -0.5, 0.0], [1.5, -2.0, -2.0]] and losses.dtype == torch.float32
    assert metrics == {"abs_loss": 1.0}
    losses.sum().backward()
    assert student.grad is not None and student.grad.tolist() == [[0.5] * 3, [2.0] * 3]


@pytest.mark.parametrize(("name", "formula"), [("k2", lambda d: d**2 / 2), ("k3", torch.expm1)])
def test_each_name_is_its_own_estimator(registered: Registry, name: str, formula: Callable[[torch.Tensor], torch.Tensor]) -> None:
    student, teacher = torch.tensor([[-1.0], [-0.25]]), torch.tensor([[-1.5], [-1.0]])
    data = {"teacher_logprobs": teacher, "paced_weight": [0.5, 2.0]}
    losses, _ = registered[f"paced_{name}"][1](None, own(f"paced_{name}", False), {"log_probs": student}, data)
    torch.testing.assert_close(losses, torch.tensor([[0.5], [2.0]]) * formula(student - teacher))


def test_the_top_k_loss_is_weighted(registered: Registry) -> None:
    settings, loss = registered["paced_forward_kl_topk"]
    assert settings == {"names": ["paced_forward_kl_topk"], "use_topk": True}
    losses, metrics = loss(None, own("paced_forward_kl_topk"), {"distillation_losses": torch.ones(2, 3)}, {"paced_weight": [0.5, 2.0]})
    assert losses.tolist() == [[0.5] * 3, [2.0] * 3] and metrics == {"student_mass": 0.5}


def test_what_would_be_wrong_is_refused(registered: Registry) -> None:
    data = {"teacher_logprobs": torch.zeros(1, 1)}
    with pytest.raises(UserError, match="paced_k1 must not be backpropagated"):
        registered["paced_k1"][1](None, own("paced_k1", False), {"log_probs": torch.zeros(1, 1)}, {**data, "paced_weight": [1.0]})
    with pytest.raises(UserError, match="the training file has no column 'paced_weight'; write it with: paced export"):
        registered["paced_k1"][1](None, own("paced_k1"), {"log_probs": torch.zeros(1, 1)}, data)
