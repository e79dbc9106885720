"""Per-problem gradients from one batched backward pass, against a loop of single backward passes, torch.func, Opacus and brute force.

What is refused, restored and held in memory: test_gradients_checks.py.
"""

from functools import partial
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from torch import nn

from paced_exp.gradients import fold
from paced_exp.gradients.engine import GradientSums, PerProblemGradients, Sketch
from tests.support.gradients import ALL, KINDS, PROMPTS, RESPONSES, SIZE, losses_of, losses_on, model_of, single_gradients
from tests.support.tiny_models import tiny_model


def accumulated(model: Any, teacher: Any, batches: list[list[int]], seed: int = 0) -> GradientSums:
    engine = PerProblemGradients(model, Sketch(model, SIZE, seed))
    for rows in batches:
        engine.accumulate(len(rows), partial(losses_of, model, teacher, rows))
    return engine.sums()


def sketched(model: Any, gradients: torch.Tensor, seed: int = 0) -> np.ndarray:
    """The count sketch of whole gradients (problems, parameters)."""
    sketch, start = Sketch(model, SIZE, seed), 0
    buffer = sketch.buffer(len(gradients), gradients.dtype, gradients.device)
    for parameter in model.parameters():
        sketch.add(buffer, parameter, gradients[:, start : start + parameter.numel()])
        start += parameter.numel()
    return sketch.result(buffer).numpy()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_a_loop_of_single_backward_passes(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    model, teacher = model_of(kind, dtype), tiny_model("qwen3", seed=1, dtype=dtype)
    expected = single_gradients(model, teacher)
    found = accumulated(model, teacher, [ALL])
    np.testing.assert_allclose(found.norms_squared, expected.square().sum(1).numpy(), rtol=tolerance)
    assert found.sum_norm_squared == pytest.approx(expected.sum(0).square().sum().item(), rel=tolerance)
    if dtype != torch.bfloat16:
        scale = float(expected.norm(dim=1).max())
        np.testing.assert_allclose(found.sketches, sketched(model, expected), atol=max(tolerance, 1e-6) * scale, rtol=0)
    assert found.sketches.shape == (5, SIZE) and found.sketches.dtype == np.float32


# GPT-2 looks for padding with .item(), which vmap does not allow; fused attention has no batching rule, and eager attention takes its
# softmax in float32, hence the tolerance.
@pytest.mark.parametrize("kind", ["qwen3", "qwen3-untied", "llama"])
def test_agrees_with_torch_func(kind: str) -> None:
    model, eager = model_of(kind), model_of(kind)
    eager.set_attn_implementation("eager")
    parameters_once = {name: parameter.detach() for name, parameter in eager.named_parameters()}
    prompts, response = torch.tensor([[5, 6, 7], [8, 9, 10]]), torch.tensor([[20, 21, 1], [30, 31, 32]])
    ids = torch.cat([prompts, response], 1)
    positions = torch.arange(6)[None]

    def loss(parameters: dict[str, torch.Tensor], row: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        output = torch.func.functional_call(eager, parameters, (), {"input_ids": row[None], "position_ids": positions, "use_cache": False})
        return nn.functional.cross_entropy(output.logits[0, 2:5], target)

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters_once, ids, response)
    flat = torch.cat([gradients[name].flatten(1) for name in parameters_once], 1)

    engine = PerProblemGradients(model, Sketch(model, SIZE, 0))
    engine.accumulate(2, lambda: losses_on(model, None, prompts.tolist(), prompts.tolist(), response.tolist()))
    np.testing.assert_allclose(engine.sums().norms_squared, flat.square().sum(1).numpy(), rtol=2e-6)
    assert engine.sums().sum_norm_squared == pytest.approx(flat.sum(0).square().sum().item(), rel=2e-6)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")  # Opacus' hook on the embedding, whose input is tokens
@pytest.mark.parametrize("kind", ["qwen3", "qwen3-untied", "llama"])
def test_agrees_with_opacus(kind: str) -> None:
    model, rows = model_of(kind, torch.float32), [0, 1, 2, 4]  # without the padding token, whose row Opacus trains and torch does not
    found = accumulated(model, None, [rows]).norms_squared
    wrapped = GradSampleModuleFastGradientClipping(model.train(), use_ghost_clipping=False, strict=False, loss_reduction="sum")
    wrapped.device = model.device
    losses_of(wrapped, None, rows).sum().backward()
    np.testing.assert_allclose(found, wrapped.get_norm_sample().double().square().numpy(), rtol=1e-5)


@pytest.mark.parametrize("form", ["gram", "direct", "direct in chunks"])
@pytest.mark.parametrize("kind", KINDS)
def test_both_forms_of_a_linear_layer_are_exact(kind: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "_ELEMENT_COST", 10**9 if form == "gram" else 0)
    monkeypatch.setattr(fold, "_CHUNK", {"cpu": 3000 if form == "direct in chunks" else 1 << 20})
    model, teacher = model_of(kind), tiny_model("qwen3", seed=1, dtype=torch.float64)
    expected = single_gradients(model, teacher)
    engine = PerProblemGradients(model)
    engine.accumulate(5, partial(losses_of, model, teacher, ALL))
    sums = engine.sums()
    np.testing.assert_allclose(sums.norms_squared, expected.square().sum(1).numpy(), rtol=1e-10)
    assert sums.sum_norm_squared == pytest.approx(expected.sum(0).square().sum().item(), rel=1e-10)
    assert sums.sketches.shape == (5, 0)


# ---- the same gradients, whatever the batch, its padding, the model's mode


def padded_losses(model: Any, side: Literal["left", "right"]) -> torch.Tensor:
    """Cross-entropy of the responses with padding on one side, behind an attention mask."""
    rows = [[*prompt, *response] for prompt, response in zip(PROMPTS, RESPONSES, strict=True)]
    width = max(map(len, rows))
    ids, mask, target = torch.zeros(5, width, dtype=torch.long), torch.zeros(5, width, dtype=torch.long), torch.zeros(5, width)
    for number, (row, response) in enumerate(zip(rows, RESPONSES, strict=True)):
        start = width - len(row) if side == "left" else 0
        ids[number, start : start + len(row)] = torch.tensor(row)
        mask[number, start : start + len(row)] = 1
        target[number, start + len(row) - len(response) : start + len(row)] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits[:, :-1]
    values = nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return (values * target[:, 1:]).sum(1) / target[:, 1:].sum(1)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_either_side_changes_nothing(kind: str, side: Literal["left", "right"]) -> None:
    model = model_of(kind)
    engine = PerProblemGradients(model)
    engine.accumulate(5, partial(padded_losses, model, side))
    np.testing.assert_allclose(engine.sums().norms_squared, single_gradients(model, None).square().sum(1).numpy(), rtol=1e-10)


@pytest.mark.parametrize("batches", [[ALL], [ALL, ALL]], ids=["first batch", "later batch"])
@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
def test_activation_checkpointing_changes_nothing(kind: str, batches: list[list[int]]) -> None:
    model = model_of(kind)
    plain = accumulated(model, None, batches)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.train()
    if kind == "gpt2":
        model.config.attn_pdrop = model.config.resid_pdrop = 0.0
    checkpointed = accumulated(model, None, batches)
    np.testing.assert_allclose(checkpointed.norms_squared, plain.norms_squared, rtol=1e-10)
    np.testing.assert_allclose(checkpointed.sketches, plain.sketches, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_in_train_mode_gives_the_gradients_of_the_drawn_masks(checkpointing: bool) -> None:
    model = model_of("gpt2").train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def losses() -> torch.Tensor:
        torch.manual_seed(3)
        return losses_of(model, None, ALL)

    values = losses()
    rows = [torch.autograd.grad(value, list(model.parameters()), retain_graph=True) for value in values]
    engine = PerProblemGradients(model)
    engine.accumulate(5, losses)
    np.testing.assert_allclose(engine.sums().norms_squared, [sum(g.square().sum().item() for g in row) for row in rows], rtol=1e-10)
    assert not np.allclose(engine.sums().norms_squared, single_gradients(model.eval(), None).square().sum(1).numpy(), rtol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_around_a_problem_does_not_matter(kind: str) -> None:
    model, teacher = model_of(kind), tiny_model("llama", seed=1, dtype=torch.float64)
    whole = accumulated(model, teacher, [ALL])
    for batches in ([[row] for row in ALL], [[0, 1], [2, 3, 4]]):
        split = accumulated(model, teacher, batches)
        np.testing.assert_allclose(split.norms_squared, whole.norms_squared, rtol=1e-10)
        np.testing.assert_allclose(split.sketches, whole.sketches, rtol=1e-5, atol=1e-6)
        assert split.sum_norm_squared == pytest.approx(whole.sum_norm_squared, rel=1e-10)


def test_losses_are_returned_and_signs_cancel_in_the_sum() -> None:
    model = model_of("qwen3")
    engine = PerProblemGradients(model, Sketch(model, SIZE, 0))
    values = engine.accumulate(5, partial(losses_of, model, None, ALL))
    torch.testing.assert_close(values, losses_of(model, None, ALL).detach())
    engine.accumulate(5, lambda: -losses_of(model, None, ALL))
    assert engine.sums().sum_norm_squared < 1e-20 < engine.sums().norms_squared.min()
    assert engine.sums().norms_squared[:5] == pytest.approx(engine.sums().norms_squared[5:])


def test_a_model_may_be_its_own_teacher() -> None:
    model = model_of("qwen3")
    copy = model_of("qwen3")

    def own(student: Any, teacher: Any) -> torch.Tensor:
        return losses_on(student, teacher, PROMPTS, [[*prompt, 3, 4] for prompt in PROMPTS], RESPONSES)

    results = []
    for teacher in (model, copy):
        engine = PerProblemGradients(model, Sketch(model, SIZE, 0))
        engine.accumulate(5, partial(own, model, teacher))
        results.append(engine.sums())
    np.testing.assert_array_equal(results[0].norms_squared, results[1].norms_squared)


INPUT = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))


# ---- single rules on shapes that the language models do not have


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (nn.Linear(4, 6), INPUT),
        (nn.Linear(4, 6), INPUT[:, 0]),
        (nn.Linear(4, 6, bias=False), INPUT.reshape(3, 1, 5, 4)),
        (nn.LayerNorm(4), INPUT),
        (nn.LayerNorm(4, bias=False), INPUT.reshape(3, 1, 5, 4)),
        (nn.Embedding(7, 4), torch.tensor([[0, 1, 1], [6, 6, 6], [2, 0, 3]])),
        (nn.Embedding(7, 4, padding_idx=0), torch.tensor([[0, 1, 1], [6, 6, 6], [2, 0, 3]])),
    ],
    ids=["linear", "linear 2-d", "linear 4-d", "layer norm", "layer norm 4-d", "embedding", "embedding with padding"],
)
def test_each_rule_alone(model: nn.Module, example: torch.Tensor) -> None:
    model = model.double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    example = example.double() if example.is_floating_point() else example

    def losses(x: torch.Tensor) -> torch.Tensor:
        return (model(x) + 0.3).pow(3).flatten(1).sum(1)

    engine = PerProblemGradients(model, Sketch(model, SIZE, 0))
    engine.accumulate(3, lambda: losses(example))
    expected = []
    for row in range(3):
        gradients = torch.autograd.grad(losses(example[row : row + 1]).sum(), list(model.parameters()))
        expected.append(sum(gradient.square().sum().item() for gradient in gradients))
    np.testing.assert_allclose(engine.sums().norms_squared, expected, rtol=1e-12)


class Reused(nn.Module):
    """An embedding read twice and tied to a head used twice, a linear layer and a norm used twice, and an in-place activation."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.table.weight
        self.mix, self.norm, self.relu = nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU(inplace=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.mix(self.table(tokens)))
        x = self.norm(self.relu(self.mix(x[:, :3])) + self.table(tokens[:, 1:4]))
        first = self.head(x)
        return first.square().sum((1, 2)) + self.head(x[:, :1] * first[:, :1, :4]).sin().sum((1, 2))


@pytest.mark.parametrize("cost", [0, 10**9], ids=["direct", "gram"])
def test_layers_used_more_than_once(cost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "_ELEMENT_COST", cost)
    model = Reused().double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([[0, 1, 1, 5], [6, 6, 6, 6], [2, 0, 3, 2]])
    engine = PerProblemGradients(model)
    engine.accumulate(3, lambda: model(tokens))
    rows = [torch.autograd.grad(model(tokens[row : row + 1]).sum(), list(model.parameters())) for row in range(3)]
    np.testing.assert_allclose(engine.sums().norms_squared, [sum(g.square().sum().item() for g in row) for row in rows], rtol=1e-12)


# ---- a part of the parameters, and bins one after another


@pytest.mark.parametrize("only", [["model.layers.1"], ["lm_head"], ["model.layers.0.mlp.up_proj.weight", "model.norm"]])
@pytest.mark.parametrize("kind", ["qwen3", "qwen3-untied"])
def test_the_gradient_of_some_parameters_alone(kind: str, only: list[str]) -> None:
    model = model_of(kind)
    chosen = {
        id(parameter): parameter
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if any(name == wanted or name.startswith(f"{wanted}.") for wanted in only)
    }
    engine = PerProblemGradients(model, Sketch(model, SIZE, 0), only=only)
    for rows in ([0, 1, 2], [3, 4]):
        engine.accumulate(len(rows), partial(losses_of, model, None, rows))
    singles = [torch.autograd.grad(losses_of(model, None, [row]).sum(), list(chosen.values())) for row in ALL]
    flat = torch.stack([torch.cat([gradient.flatten() for gradient in row]) for row in singles])
    np.testing.assert_allclose(engine.sums().norms_squared, flat.square().sum(1).numpy(), rtol=1e-10)
    assert engine.sums().sum_norm_squared == pytest.approx(flat.sum(0).square().sum().item(), rel=1e-10)


def test_a_weight_on_the_loss_scales_the_gradient() -> None:
    model = model_of("qwen3")
    counts = torch.tensor([float(len(response)) for response in RESPONSES], dtype=torch.float64)
    engine = PerProblemGradients(model)
    engine.accumulate(5, lambda: losses_of(model, None, ALL) * counts)  # the sum over tokens instead of their mean
    unweighted = accumulated(model, None, [ALL])
    np.testing.assert_allclose(engine.sums().norms_squared, unweighted.norms_squared * counts.numpy() ** 2, rtol=1e-6)


# ---- the fold alone, against gradients multiplied out


@settings(max_examples=40)
@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from([None, 3, 8]),
    st.integers(0, 2**31),
)
def test_a_tied_head_and_embedding_of_any_shape(
    batch: int, length: int, vocabulary: int, width: int, head_first: bool, size: int | None, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = nn.Embedding(vocabulary, width).double()
    left = torch.randn(batch, length + 1, vocabulary, generator=generator, dtype=torch.float64)
    right = torch.randn(batch, length + 1, width, generator=generator, dtype=torch.float64)
    values = torch.randn(batch, length, width, generator=generator, dtype=torch.float64)
    tokens = torch.randint(vocabulary, (batch, length), generator=generator)
    dense = torch.einsum("btv,btw->bvw", left, right)
    for row in range(batch):
        for position in range(length):
            dense[row, tokens[row, position]] += values[row, position]
    key, sketch = id(table.weight), Sketch(table, size, seed) if size else None
    totals = {key: torch.zeros(vocabulary, width, dtype=torch.float64)}
    folded = fold.Fold(batch, {key: fold.Uses(outer=1, rows=[tokens])}, totals, sketch)
    parts = [fold.Outer(left, right), fold.Rows(tokens, values)]
    for part in parts if head_first else reversed(parts):
        assert folded.unfinished() == [key]
        folded.receive(table.weight, 0, part)
    assert folded.unfinished() == []
    torch.testing.assert_close(folded.norms_squared, dense.square().sum((1, 2)), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(totals[key], dense.sum(0))
    if sketch is not None:
        buffer = sketch.buffer(batch, torch.float64, torch.device("cpu"))
        sketch.add(buffer, table.weight, dense.flatten(1))
        torch.testing.assert_close(folded.sketches(), sketch.result(buffer))
