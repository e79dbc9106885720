"""Plain heads: of real architectures with scale, soft cap and bias; their hidden states; what is no plain head is refused, never guessed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from paced_exp.core.errors import UserError
from paced_exp.losses.alignment import Row, collate, last_logits, supervised_logits
from paced_exp.losses.divergences import DIVERGENCES, divergence
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.heads import plain_head
from paced_exp.losses.problem_loss import ProblemLoss
from paced_exp.training.teachers import ModelTeacher
from tests.support.tiny_models import EOS, PAD, VOCABULARY, tiny_model

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": PAD,
    "bos_token_id": None,
    "eos_token_id": EOS,
}
# By what their heads have: tied or not, a bias, a scale (above and below one), a soft cap.
KINDS = ["qwen3", "gpt2", "phi: untied with bias", "cohere: scale", "granite: divisor", "gemma2: soft cap"]


def model_of(kind: str, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind.startswith("phi"):
            model: Any = PhiForCausalLM(PhiConfig(**_SIZES, tie_word_embeddings=False))
            nn.init.normal_(model.lm_head.bias)
        elif kind.startswith("cohere"):
            model = CohereForCausalLM(CohereConfig(**_SIZES, logit_scale=2.5))
        elif kind.startswith("granite"):
            model = GraniteForCausalLM(GraniteConfig(**_SIZES, logits_scaling=3.0))
        elif kind.startswith("gemma2"):
            model = Gemma2ForCausalLM(Gemma2Config(**_SIZES, head_dim=8, final_logit_softcapping=2.0, query_pre_attn_scalar=8))
        else:
            return tiny_model(kind, seed=seed, dtype=dtype)
    return model.to(dtype).eval()


def batch_of(**changes: Any) -> Any:
    rows = [
        Row("a", [5, 6, 7], [8, 9], [10, 11, 12, 1], [True, False, True, True], 0.4),
        Row("b", [5], [9, 9, 9, 9], [20, 21, 1], [True, True, False], 1.6),
    ]
    return collate(rows, PAD, **changes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_states_and_head_give_the_models_own_logits(kind: str, dtype: torch.dtype) -> None:
    model, batch = model_of(kind, dtype=dtype), batch_of()
    plain = plain_head(model, "student")
    with torch.no_grad():
        states, expected = plain.states(model, batch.student), supervised_logits(model, batch.student)
    assert states.shape == (5, 32) and states.dtype == dtype
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(
        plain.head().logits(states).to(dtype), expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())
    )
    # The head is as it was.
    assert torch.equal(supervised_logits(model, batch.student), expected)


@pytest.mark.parametrize("teacher", ["llama", "gemma2: soft cap"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_the_fused_loss_of_a_model_is_the_dense_one(name: str, kind: str, teacher: str) -> None:
    """Loss, per-problem losses and the gradient of every parameter."""
    batch, reader = batch_of(), model_of(teacher, seed=1)
    dense = ProblemLoss(divergence(name), 1.3, chunk=2)
    results = []
    for fused in (False, True):
        student = model_of(kind)
        loss = FusedLoss(dense, plain_head(student, "student")) if fused else dense
        targets = ModelTeacher(reader, states=fused).targets(batch)
        total, losses = loss.weighted(student, batch, targets, 8, 2)
        total.backward()
        assert not losses.requires_grad
        values = loss.values(student, batch, targets).detach()
        results.append([total.detach(), losses, values, *(p.grad for p in student.parameters())])
    for ours, theirs in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_sums_over_a_problems_tokens_and_own_positions() -> None:
    batch, student, teacher = batch_of(positions=True), model_of("gpt2"), model_of("qwen3", seed=1)
    dense = ProblemLoss(divergence("forward_kl"), reduction="sum")
    targets = ModelTeacher(teacher).targets(batch)
    ours = FusedLoss(dense, plain_head(student, "student")).weighted(student, batch, targets, 2, 1)
    for one, other in zip(ours, dense.weighted(student, batch, targets, 2, 1), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_the_head_multiplies_no_token_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch, seen = model_of("qwen3"), batch_of(), []
    plain = plain_head(model, "student")
    handle = model.lm_head.register_forward_hook(lambda _, inputs, output: seen.append(output.shape))
    plain.states(model, batch.student)
    handle.remove()
    assert seen == [(2, 0, VOCABULARY)]


def test_an_error_in_the_forward_pass_leaves_the_head_as_it_was() -> None:
    model, batch = model_of("qwen3"), batch_of()
    plain = plain_head(model, "student")
    with pytest.raises(IndexError, match="out of range"):
        plain.states(model, collate([Row("a", [10**6], [1], [2, 3], [True, True])], PAD).student)
    assert not model.lm_head._forward_pre_hooks
    assert last_logits(model, batch.student).shape == (2, batch.student.predicting.shape[1], VOCABULARY)


def test_autocasts_dtype_is_that_of_the_states() -> None:
    model, batch = model_of("qwen3", dtype=torch.float32), batch_of()
    plain = plain_head(model, "student")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = plain.states(model, batch.student)
    assert states.dtype == torch.bfloat16 and states.requires_grad


# ---- refusals


class _Adapter(nn.Linear):
    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return super().forward(states) + 0.1


class _Quantised(nn.Module):
    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.weight = inner.weight


def test_a_head_that_is_more_than_a_linear_layer_is_refused() -> None:
    model = model_of("phi: untied with bias")
    adapted = _Adapter(32, VOCABULARY).double()
    for head, kind in ((adapted, "a _Adapter"), (_Quantised(model.lm_head), "a _Quantised")):
        model.set_output_embeddings(head)
        with pytest.raises(
            UserError, match=f"`loss` fused needs a plain linear head, and the teacher's is {kind}, not .*give `loss` dense"
        ):
            ModelTeacher(model, states=True)


def test_a_head_whose_forward_is_replaced_is_refused() -> None:
    model = model_of("qwen3")
    plain = model.lm_head.forward
    model.lm_head.forward = lambda states: plain(states)  # as hooks that move weights between devices do
    with pytest.raises(UserError, match="the student's is a Linear, not a linear layer alone"):
        plain_head(model, "student")


@pytest.mark.parametrize("change", [lambda z: 1.001 * z, lambda z: 30 * torch.tanh(z / 30), lambda z: z + torch.arange(VOCABULARY) / 100])
def test_a_model_that_does_more_to_its_logits_is_refused(change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    model = model_of("qwen3", dtype=torch.float32)
    original = model.forward

    def changed(**options: Any) -> Any:
        output = original(**options)
        output.logits = change(output.logits)
        return output

    model.forward = changed
    with pytest.raises(UserError, match="the student's of a Qwen3ForCausalLM gives other logits than its weights, scale and soft cap say"):
        plain_head(model, "student")
    assert not model.lm_head._forward_pre_hooks


def test_a_scale_that_the_configuration_does_not_tell_is_refused() -> None:
    model = model_of("cohere: scale")
    model.config.logit_scale = 1.0
    assert model.logit_scale == 2.5  # the model keeps its own
    with pytest.raises(UserError, match="the student's of a CohereForCausalLM gives other logits"):
        plain_head(model, "student")


def test_the_check_leaves_mode_gradients_and_randomness_alone() -> None:
    model = model_of("gpt2").train()
    torch.manual_seed(5)
    plain_head(model, "student")
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3)) and model.training and all(p.grad is None for p in model.parameters())
