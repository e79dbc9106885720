"""Per-problem gradients where a fused loss hands the head's over: against single backward passes of the dense loss, and gradients multiplied out."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import OPTConfig, OPTForCausalLM, PhiConfig, PhiForCausalLM

from bench.memory import peak_bytes
from paced_exp.core.errors import UserError
from paced_exp.gradients import fold
from paced_exp.gradients.engine import GradientSums, PerProblemGradients, Sketch
from paced_exp.gradients.head import HeadFold
from paced_exp.gradients.inner import InnerProducts
from paced_exp.gradients.recomputing import recomputing
from paced_exp.losses.alignment import Batch, Row, collate
from paced_exp.losses.chunked import whole_problems
from paced_exp.losses.divergences import DIVERGENCES, divergence
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.heads import plain_head
from paced_exp.losses.problem_loss import ProblemLoss
from paced_exp.training.teachers import ModelTeacher
from tests.exp.test_gradients_inner import directions_of, flat, metric_of, stacked
from tests.support.gradients import ALL, KINDS, PROMPTS, RESPONSES, SIZE, losses_of, model_of, single_gradients
from tests.support.tiny_models import EOS, PAD, VOCABULARY, tiny_model

FORWARD = ProblemLoss(divergence("forward_kl"))


def batch_of(rows: Sequence[int], masked: bool = False) -> Batch:
    flags = [[not masked or place % 2 == 0 for place in range(len(response))] for response in RESPONSES]
    return collate([Row("", PROMPTS[n], PROMPTS[n], RESPONSES[n], flags[n]) for n in rows], 0, positions=True)


def handed(
    engine: PerProblemGradients,
    teacher: Any,
    batches: Sequence[Sequence[int]] = (ALL,),
    loss: ProblemLoss = FORWARD,
    masked: bool = False,
    checkpointing: bool = False,
) -> GradientSums:
    """The sums of an engine that the fused loss hands its head's gradients to."""
    fused = FusedLoss(loss, plain_head(engine.model, "student"))
    frozen = None if teacher is None else ModelTeacher(teacher, states=True)
    for rows in batches:
        batch = batch_of(rows, masked)

        def losses(batch: Batch = batch) -> torch.Tensor:
            with recomputing(engine.model, checkpointing):
                targets = None if frozen is None else frozen.targets(batch)
                return fused(engine.model, batch, targets, engine.head(fused.head.module))

        engine.accumulate(len(rows), losses)
    return engine.sums()


def assert_agree(found: GradientSums, expected: torch.Tensor, tolerance: float = 1e-10) -> None:
    """Norms and sum are those of whole gradients (problems, parameters)."""
    np.testing.assert_allclose(found.norms_squared, expected.square().sum(1).numpy(), rtol=tolerance)
    assert found.sum_norm_squared == pytest.approx(float(expected.sum(0).square().sum()), rel=tolerance)


def sketched(model: Any, gradients: torch.Tensor) -> np.ndarray:
    sketch, start = Sketch(model, SIZE, 0), 0
    buffer = sketch.buffer(len(gradients), gradients.dtype, gradients.device)
    for parameter in model.parameters():
        sketch.add(buffer, parameter, gradients[:, start : start + parameter.numel()])
        start += parameter.numel()
    return sketch.result(buffer).numpy()


# ---- against a loop over problems


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_a_loop_of_single_backward_passes(kind: str, chunk: int | None, dtype: torch.dtype, tolerance: float) -> None:
    model, teacher = model_of(kind, dtype), tiny_model("qwen3", seed=1, dtype=dtype)
    expected = single_gradients(model, teacher)
    found = handed(PerProblemGradients(model, Sketch(model, SIZE, 0)), teacher, ([0, 1], [2, 3, 4]), replace(FORWARD, chunk=chunk))
    assert_agree(found, expected, tolerance)
    if dtype != torch.bfloat16:
        scale = float(expected.norm(dim=1).max())
        np.testing.assert_allclose(found.sketches, sketched(model, expected), atol=max(tolerance, 1e-6) * scale, rtol=0)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_every_divergence_and_reduction_agrees_with_the_dense_engine(name: str, reduction: Any) -> None:
    model, teacher = model_of("qwen3"), tiny_model("llama", seed=1, dtype=torch.float64)
    loss = ProblemLoss(divergence(name), 1.3, 4, reduction)
    dense, batch = PerProblemGradients(model, Sketch(model, SIZE, 0)), batch_of(ALL, masked=True)
    values = dense.accumulate(5, partial(loss, model, batch, ModelTeacher(teacher).targets(batch)))
    found = handed(PerProblemGradients(model, Sketch(model, SIZE, 0)), teacher, (ALL,), loss, masked=True)
    np.testing.assert_allclose(found.norms_squared, dense.sums().norms_squared, rtol=1e-10)
    np.testing.assert_allclose(found.sketches, dense.sums().sketches, rtol=1e-5, atol=1e-6)
    assert found.sum_norm_squared == pytest.approx(dense.sums().sum_norm_squared, rel=1e-10)
    fused, frozen = FusedLoss(loss, plain_head(model, "student")), ModelTeacher(teacher, states=True)
    torch.testing.assert_close(fused(model, batch, frozen.targets(batch)).detach(), values)


@pytest.mark.parametrize("form", ["gram", "direct", "direct in rows"])
@pytest.mark.parametrize("chunk", [None, 1, 2, 7])
@pytest.mark.parametrize("kind", ["qwen3", "qwen3-untied"])
def test_both_forms_are_exact_in_any_chunk(kind: str, chunk: int | None, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "_ELEMENT_COST", 10**9 if form == "gram" else 0)
    monkeypatch.setattr(fold, "_CHUNK", {"cpu": 700 if form == "direct in rows" else 1 << 20})
    monkeypatch.setattr(fold, "_GATHERED", 30)
    model, teacher = model_of(kind), tiny_model("qwen3", seed=1, dtype=torch.float64)
    found = handed(PerProblemGradients(model), teacher, (ALL,), replace(FORWARD, chunk=chunk))
    assert_agree(found, single_gradients(model, teacher))


def phi() -> Any:
    """An untied head with a bias."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
        model = PhiForCausalLM(
            PhiConfig(vocab_size=VOCABULARY, initializer_range=0.3, pad_token_id=PAD, bos_token_id=None, eos_token_id=EOS, **sizes)
        )
        nn.init.normal_(model.lm_head.bias)
    return model.double().eval()


@pytest.mark.parametrize("only", [None, ["lm_head"], ["lm_head.bias"], ["lm_head.weight"]])
@pytest.mark.parametrize("chunk", [None, 2])
def test_a_head_with_a_bias(chunk: int | None, only: list[str] | None) -> None:
    model, teacher = phi(), tiny_model("qwen3", seed=1, dtype=torch.float64)
    parameters = [p for name, p in model.named_parameters() if only is None or f"{name}.".startswith(f"{only[0]}.")]
    rows = [torch.autograd.grad(losses_of(model, teacher, [row]).sum(), parameters) for row in ALL]
    expected = torch.stack([torch.cat([gradient.flatten() for gradient in row]) for row in rows])
    loss = replace(FORWARD, chunk=chunk)
    assert_agree(handed(PerProblemGradients(model, only=only), teacher, ([0, 1, 2], [3, 4]), loss), expected)
    sketches = [handed(PerProblemGradients(model, Sketch(model, SIZE, 0), only), teacher, (rows,), loss).sketches for rows in (ALL, [2])]
    np.testing.assert_allclose(sketches[0][2], sketches[1][0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("only", [["model.layers.1"], ["lm_head"], ["model.embed_tokens"], ["model.norm", "model.layers.0.mlp"]])
@pytest.mark.parametrize("kind", ["qwen3", "qwen3-untied"])
def test_of_some_parameters_alone(kind: str, only: list[str]) -> None:
    model = model_of(kind)
    chosen = {
        id(p): p
        for name, p in model.named_parameters(remove_duplicate=False)
        if any(f"{name}.".startswith(f"{wanted}.") for wanted in only)
    }
    rows = [torch.autograd.grad(losses_of(model, None, [row]).sum(), list(chosen.values())) for row in ALL]
    engine = PerProblemGradients(model, only=only)
    found = handed(engine, None, ([0, 1], [2, 3, 4]), ProblemLoss(divergence("cross_entropy")))
    assert_agree(found, torch.stack([torch.cat([gradient.flatten() for gradient in row]) for row in rows]))


def test_of_a_head_alone_whose_model_is_frozen() -> None:
    model = model_of("qwen3-untied").requires_grad_(False)
    found = handed(PerProblemGradients(model, only=["lm_head"]), None, ([0, 1], [2, 3, 4]), ProblemLoss(divergence("cross_entropy")))
    model.lm_head.requires_grad_(True)
    rows = [torch.autograd.grad(losses_of(model, None, [row]).sum(), [model.lm_head.weight])[0].flatten() for row in ALL]
    assert_agree(found, torch.stack(rows))


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_inner_products_and_norms_in_a_metric(kind: str, chunk: int | None) -> None:
    model, teacher = model_of(kind), tiny_model("qwen3", seed=1, dtype=torch.float64)
    directions, metric, singles = directions_of(model), metric_of(model), single_gradients(model, teacher)
    engine = PerProblemGradients(model, InnerProducts(model, stacked(directions)), metric=metric)
    found = handed(engine, teacher, ([0, 1], [2, 3, 4]), replace(FORWARD, chunk=chunk))
    expected = (singles @ torch.stack([flat(direction) for direction in directions]).T).numpy()
    np.testing.assert_allclose(found.sketches, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    np.testing.assert_allclose(found.norms_squared, (singles.square() @ flat(metric)).numpy(), rtol=1e-10)
    assert found.sum_norm_squared == pytest.approx(float(singles.sum(0).square() @ flat(metric)), rel=1e-10)


def test_the_cross_term_of_a_tied_head_is_no_rounding() -> None:
    """Without it, norms would be those of head and embedding as if they were two parameters."""
    model, found = model_of("qwen3"), []
    for tied in (True, False):
        if not tied:
            model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
        found.append(handed(PerProblemGradients(model), None, loss=ProblemLoss(divergence("cross_entropy"))).norms_squared)
    assert np.abs(found[0] / found[1] - 1).max() > 0.01


def test_a_model_may_be_its_own_teacher_and_a_teacher_may_know_fewer_tokens() -> None:
    model = model_of("qwen3")
    found = [handed(PerProblemGradients(model, Sketch(model, SIZE, 0)), teacher) for teacher in (model, model_of("qwen3"))]
    np.testing.assert_array_equal(found[0].norms_squared, found[1].norms_squared)
    teacher = tiny_model("llama", seed=1, dtype=torch.float64)
    teacher.resize_token_embeddings(VOCABULARY - 5)
    for chunk in (None, 2):
        assert_agree(handed(PerProblemGradients(model), teacher, loss=replace(FORWARD, chunk=chunk)), single_gradients(model, teacher))


# ---- activation checkpointing


@pytest.mark.parametrize("kind", ["qwen3", "llama", "gpt2"])
def test_recomputing_changes_nothing_and_leaves_the_model_as_it_was(kind: str) -> None:
    model, teacher = model_of(kind), tiny_model("qwen3", seed=1, dtype=torch.float64)
    runs = []
    for checkpointing in (False, True):
        passes = [0]
        handle = next(
            module for name, module in model.named_modules() if name.endswith("layers.0") or name.endswith("h.0")
        ).mlp.register_forward_pre_hook(lambda *_, passes=passes: passes.__setitem__(0, passes[0] + 1))
        engine = PerProblemGradients(model, Sketch(model, SIZE, 0))
        runs.append((handed(engine, teacher, ([0, 1], [2, 3, 4]), checkpointing=checkpointing), passes[0]))
        handle.remove()
    (plain, once), (found, again) = runs
    np.testing.assert_allclose(found.norms_squared, plain.norms_squared, rtol=1e-12)
    np.testing.assert_allclose(found.sketches, plain.sketches, rtol=1e-6)
    assert again >= once + 2, "the blocks ran again in the backward passes"
    assert not model.is_gradient_checkpointing and not any(module.training for module in model.modules())


def test_recomputing_turns_no_dropout_on() -> None:
    """GPT-2 has dropout of a tenth; in training it would change every gradient."""
    model = model_of("gpt2")
    assert model.config.resid_pdrop == 0.1
    assert_agree(
        handed(PerProblemGradients(model), None, loss=ProblemLoss(divergence("cross_entropy")), checkpointing=True),
        single_gradients(model, None),
    )


def test_recomputing_turns_on_no_dropout_that_a_block_asks_for_by_itself() -> None:
    """OPT's blocks call dropout with their own mode, and not through a layer."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 50,
        "hidden_size": 16,
        "ffn_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "word_embed_proj_dim": 16,
    }
    model = OPTForCausalLM(OPTConfig(**sizes, max_position_embeddings=64, dropout=0.5)).double().eval()
    ids, found = torch.arange(3, 20)[None], []
    for on in (False, True):
        model.zero_grad()
        with recomputing(model, on):
            logits = model(input_ids=ids, use_cache=False).logits
        logits.square().sum().backward()
        found.append([logits.detach(), *(parameter.grad for parameter in model.parameters())])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-12, atol=0)


def test_recomputing_refuses_a_model_that_cannot() -> None:
    with pytest.raises(UserError, match="`checkpointing` is not there for a Linear; leave it out"), recomputing(nn.Linear(2, 2)):
        pass


# ---- the fold of a head alone, against gradients multiplied out


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=5),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(0, 2),
    st.integers(0, 6),
    st.sampled_from(["norms", "sketch", "metric"]),
    st.integers(0, 2**31),
)
def test_chunks_of_any_shape(counts: list[int], vocabulary: int, width: int, narrower: int, read: int, kind: str, seed: int) -> None:
    """Problems of so many tokens each, in chunks of three, tied to an embedding of which each problem reads `read` tokens, with a bias."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    head, batch, known = nn.Linear(width, vocabulary).double(), len(counts), max(1, vocabulary - narrower)
    weight, bias = id(head.weight), id(head.bias)
    slope, states, values = normal(sum(counts), known), normal(sum(counts), width), normal(batch, read, width)
    tokens = torch.randint(vocabulary, (batch, read), generator=generator)
    matrices, vectors = torch.zeros(batch, vocabulary, width).double(), torch.zeros(batch, vocabulary).double()
    for problem, (start, end) in enumerate(pairwise(accumulate(counts, initial=0))):
        matrices[problem, :known] = slope[start:end].T @ states[start:end]
        vectors[problem, :known] = slope[start:end].sum(0)
        for place in range(read):
            matrices[problem, tokens[problem, place]] += values[problem, place]

    metric = {weight: normal(vocabulary, width).exp(), bias: normal(vocabulary).exp()} if kind == "metric" else None
    directions = [{"weight": normal(vocabulary, width), "bias": normal(vocabulary)} for _ in range(2)]
    projection = {"norms": None, "sketch": Sketch(head, 4, 0), "metric": InnerProducts(head, stacked(directions))}[kind]
    totals = {key: torch.zeros_like(parameter) for key, parameter in ((weight, head.weight.detach()), (bias, head.bias.detach()))}
    uses = {weight: fold.Uses(rows=[tokens] if read else []), bias: fold.Uses()}
    folded = fold.Fold(batch, uses, totals, projection, metric)
    one = HeadFold(folded, head.weight, head.bias)
    for chunk, parts in whole_problems(counts, 3):
        one.take(parts, slope[chunk], states[chunk])
    if read:
        folded.receive(head.weight, 0, fold.Rows(tokens, values))
    assert not folded.unfinished()

    scale = (1.0, 1.0) if metric is None else (metric[weight], metric[bias])
    expected = (matrices.square() * scale[0]).sum((1, 2)) + (vectors.square() * scale[1]).sum(1)
    torch.testing.assert_close(folded.norms_squared, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(totals[weight], matrices.sum(0), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(totals[bias], vectors.sum(0), rtol=1e-10, atol=1e-12)
    if isinstance(projection, InnerProducts):
        inner = [(matrices * d["weight"]).sum((1, 2)) + (vectors * d["bias"]).sum(1) for d in directions]
        torch.testing.assert_close(folded.sketches(), torch.stack(inner, 1), rtol=1e-10, atol=1e-11)
    elif projection is not None:
        buffer = projection.buffer(batch, torch.float64, torch.device("cpu"))
        projection.add(buffer, head.weight, matrices.flatten(1))
        projection.add(buffer, head.bias, vectors)
        torch.testing.assert_close(folded.sketches(), projection.result(buffer), rtol=1e-10, atol=1e-12)


@settings(max_examples=100)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 10))
def test_chunks_hold_whole_problems_or_equal_parts_of_one(counts: list[int], most: int) -> None:
    chunks, seen, pieces = list(whole_problems(counts, most)), 0, dict.fromkeys(range(len(counts)), 0)
    for place, parts in chunks:
        assert place.start == seen and 0 < place.stop - place.start <= most
        assert [rows.start for _, rows, _ in parts] == [0, *(rows.stop for _, rows, _ in parts)][:-1]
        assert parts[-1][1].stop == place.stop - place.start
        for problem, rows, last in parts:
            pieces[problem] += rows.stop - rows.start
            assert last == (pieces[problem] == counts[problem]) and (last or len(parts) == 1)
            if counts[problem] > most:
                assert len(parts) == 1 and rows.stop >= counts[problem] // -(-counts[problem] // most)
        seen = place.stop
    assert list(pieces.values()) == counts
    assert all(a.stop - a.start + b.stop - b.start > most or max(counts) > most for (a, _), (b, _) in pairwise(chunks))


@settings(max_examples=40)
@given(st.integers(1, 20), st.integers(1, 60), st.integers(0, 2**31))
def test_a_sketch_of_parts_is_the_sketch_of_the_whole(size: int, count: int, seed: int) -> None:
    layer, generator = nn.Linear(count, 1, bias=False).double(), torch.Generator().manual_seed(seed)
    values = torch.randn(3, count, generator=generator, dtype=torch.float64)
    sketch = Sketch(layer, size, 0)
    whole, parts = (sketch.buffer(3, torch.float64, torch.device("cpu")) for _ in range(2))
    sketch.add(whole, layer.weight, values)
    cut = int(torch.randint(count + 1, (), generator=generator))
    for part in (slice(0, cut), slice(cut, count)):
        if part.stop > part.start:
            sketch.add(parts, layer.weight, values[:, part], part.start)
    torch.testing.assert_close(sketch.result(whole), sketch.result(parts))


# ---- what would be wrong is refused


def fused_of(model: Any) -> FusedLoss:
    return FusedLoss(ProblemLoss(divergence("cross_entropy")), plain_head(model, "student"))


@pytest.mark.parametrize("rows", [ALL, [0]])
@pytest.mark.parametrize("kind", ["qwen3", "qwen3-untied"])
def test_a_fused_loss_that_hands_nothing_over_is_refused(kind: str, rows: list[int]) -> None:
    model = model_of(kind)
    with pytest.raises(UserError, match=r"was not used through its own layer.s forward pass alone|a fused loss was weighted after"):
        PerProblemGradients(model).accumulate(len(rows), partial(fused_of(model), model, batch_of(rows), None))


def test_without_an_engine_the_losses_have_the_gradient_of_their_sum_and_no_other() -> None:
    model = model_of("qwen3")
    parameters = list(model.parameters())
    losses = fused_of(model)(model, batch_of(ALL), None)
    found = torch.autograd.grad(losses.sum(), parameters, retain_graph=True)
    for one, other in zip(found, torch.autograd.grad(losses_of(model, None, ALL).sum(), parameters), strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(UserError, match="a fused loss was weighted after its head's gradient had been computed"):
        losses.mean().backward()
    model.lm_head.requires_grad_(False)  # tied, so the embedding is frozen too, and nothing depends on the factors
    fused_of(model)(model, batch_of(ALL), None).mean().backward()


@pytest.mark.parametrize("batch", [1, 2], ids=["first batch", "second batch"])
def test_factors_on_the_losses_are_refused(batch: int) -> None:
    model = model_of("qwen3")
    engine, loss = PerProblemGradients(model), fused_of(model)
    losses = partial(loss, model, batch_of(ALL), None, engine.head(model.lm_head))
    for _ in range(batch - 1):
        engine.accumulate(5, losses)
    with pytest.raises(UserError, match="scaled by up to 3 after a fused loss had computed them"):
        engine.accumulate(5, lambda: losses() * torch.tensor([1.0, 1, 3, 1, 1]))


def test_a_head_that_is_read_twice_is_refused() -> None:
    model = model_of("qwen3-untied")
    engine, loss, batch = PerProblemGradients(model), fused_of(model), batch_of(ALL)
    hand = engine.head(model.lm_head)
    with pytest.raises(UserError, match=r"parameter 'lm_head.weight' was not used through its own layer's"):
        engine.accumulate(5, lambda: loss(model, batch, None, hand) + loss(model, batch, None, hand))
    with pytest.raises(UserError, match=r"parameter 'lm_head.weight' was not used through its own layer's"):
        engine.accumulate(5, lambda: loss(model, batch, None, hand) + losses_of(model, None, ALL))


@pytest.mark.parametrize("kind", ["qwen3", "qwen3-untied"])
def test_a_head_also_read_elsewhere_is_refused(kind: str) -> None:
    model = model_of(kind)
    engine, loss, batch = PerProblemGradients(model), fused_of(model), batch_of(ALL)
    with pytest.raises(UserError, match="was not used through its own layer's forward pass alone"):
        engine.accumulate(5, lambda: loss(model, batch, None, engine.head(model.lm_head)) + model.lm_head.weight.square().sum())


def test_another_number_of_problems_is_refused() -> None:
    model = model_of("qwen3-untied")
    engine, loss = PerProblemGradients(model, only=["lm_head"]), fused_of(model)
    with pytest.raises(ValueError, match="the loss is of 2 problems in a batch of 5"):
        engine.accumulate(5, partial(loss, model, batch_of([0, 1]), None, engine.head(model.lm_head)))


def test_a_model_that_mixes_rows_before_its_head_is_refused() -> None:
    model = model_of("qwen3")
    engine, loss, batch = PerProblemGradients(model), fused_of(model), batch_of(ALL)
    model.lm_head.register_forward_pre_hook(lambda _, inputs: (inputs[0] - inputs[0].mean(0),))
    with pytest.raises(UserError, match=r"the gradient of row \d of a batch changes with the losses of other rows"):
        engine.accumulate(5, partial(loss, model, batch, None, engine.head(model.lm_head)))


# ---- memory


def wide_model(vocabulary: int, context: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tiny_model("llama", context=context)
        model.resize_token_embeddings(vocabulary)
    return model


def batch_of_length(problems: int, length: int, vocabulary: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (problems, length), generator=generator).tolist()
    return collate([Row("", [5, 6], [5, 6], response, [True] * length) for response in ids], 0, positions=True)


@pytest.mark.parametrize("sketch", [False, True])
def test_neither_logits_of_a_batch_nor_heads_of_its_problems_are_held(sketch: bool) -> None:
    vocabulary, problems, length, chunk = 40_000, 8, 48, 48
    model, batch = wide_model(vocabulary, 64), batch_of_length(problems, length, vocabulary)
    loss = ProblemLoss(divergence("cross_entropy"), chunk=chunk)
    fused = FusedLoss(loss, plain_head(model, "student"))

    def run(dense: bool) -> None:
        engine = PerProblemGradients(model, Sketch(model, SIZE, 0) if sketch else None)
        call = loss if dense else partial(fused, gradients=engine.head(model.lm_head))
        for _ in range(2):
            engine.accumulate(problems, partial(call, model, batch, None))

    logits, head = 4 * problems * length * vocabulary, 4 * vocabulary * 32
    run(dense=False)  # what is allocated once a process
    ours = peak_bytes(lambda: run(dense=False))
    # The total, autograd's own gradients and what is added up to compare them; a chunk's logits and pieces of them.
    assert ours < 7 * head + 2 * logits // problems + 10 * 4 * 151_936 < logits
    assert ours < problems * head + logits // problems
    assert peak_bytes(lambda: run(dense=True)) > 2 * logits


def test_with_recomputing_memory_is_linear_in_a_responses_length() -> None:
    model = wide_model(VOCABULARY, 2100)
    fused = FusedLoss(ProblemLoss(divergence("cross_entropy"), chunk=64), plain_head(model, "student"))

    def peak(length: int, checkpointing: bool) -> int:
        batch = batch_of_length(1, length, VOCABULARY)
        engine = PerProblemGradients(model)

        def losses() -> torch.Tensor:
            with recomputing(model, checkpointing):
                return fused(model, batch, None, engine.head(model.lm_head))

        # The smallest of four: what the process allocates once, or frees from other tests meanwhile, is counted too.
        return min(peak_bytes(lambda: engine.accumulate(1, losses)) for _ in range(4))

    peak(1024, True)  # what is allocated once
    short, middle, long = (peak(length, True) for length in (1024, 2048, 4096))
    assert 1.5 < (long - middle) / (middle - short) < 2.6, (
        short,
        middle,
        long,
    )  # of twice the tokens; quadratic terms would give up to four
    assert long < 0.8 * peak(4096, False)
