"""The fused weighted divergence: values and gradients against the dense loss in float64 for every divergence and feature; gradcheck; memory."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from bench.memory import peak_bytes
from paced_exp.losses import chunked
from paced_exp.losses.divergences import DIVERGENCES, Divergence, divergence, log_probabilities
from paced_exp.losses.fused import fused_divergence
from paced_exp.losses.heads import Head, States
from paced_exp.losses.jsd import GeneralisedJSD
from paced_exp.losses.kl import ForwardKL
from paced_exp.losses.problem_loss import Buckets, Dense, ProblemLoss, Targets, bucketed

N, H, WIDER, V = 13, 6, 9, 23
VARIANTS = [divergence(name) for name in DIVERGENCES] + [GeneralisedJSD(0.0), GeneralisedJSD(0.1), GeneralisedJSD(1.0)]
TOKENS = torch.arange(N) % (V - 3)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHTS = normal(9, N).abs()


class Student:
    """Leaves of a student's loss: states, weight, bias and weights a token."""

    def __init__(self, dtype: torch.dtype = torch.float64, *, bias: bool = True, scale: float = 1.0, softcap: float | None = None) -> None:
        self.states = normal(0, N, H).to(dtype).requires_grad_()
        self.weight = normal(1, V, H).to(dtype).requires_grad_()
        self.bias = normal(2, V).to(dtype).requires_grad_() if bias else None
        self.weights = WEIGHTS.clone().requires_grad_()
        self.head = Head(self.weight, self.bias, scale, softcap)

    @property
    def leaves(self) -> list[torch.Tensor]:
        return [leaf for leaf in (self.states, self.weight, self.bias, self.weights) if leaf is not None]

    def logits(self) -> torch.Tensor:
        """By the head's definition, in float64 with a graph."""
        z = self.states.double() @ self.weight.double().T
        z = (z if self.bias is None else z + self.bias.double()) * self.head.scale
        return z if self.head.softcap is None else self.head.softcap * torch.tanh(z / self.head.softcap)


def teacher_states(dtype: torch.dtype = torch.float64, width: int = V) -> States:
    """Of a wider teacher with a scale and a soft cap of its own."""
    return States(normal(3, N, WIDER).to(dtype), Head(normal(4, width, WIDER).to(dtype), normal(5, width).to(dtype), 0.8, 7.0))


def teacher_logits(teacher: States) -> torch.Tensor:
    """By the head's definition, in float64."""
    head = teacher.head
    assert head.bias is not None and head.softcap is not None
    z = (teacher.states.double() @ head.weight.double().T + head.bias.double()) * head.scale
    return head.softcap * torch.tanh(z / head.softcap)


def top_k(logits: torch.Tensor, temperature: float, k: int = 4) -> Buckets:
    chosen = logits.topk(k).indices
    return Buckets(chosen, bucketed(logits, chosen, temperature), temperature)


def assert_agree(student: Student, targets: Targets, by_dense: Targets, loss: ProblemLoss, tolerance: float) -> None:
    """Loss, values and all gradients of the fused loss are those of the dense one in float64, under an upstream gradient of 1 and of 3."""
    values = replace(loss, chunk=None).per_token(student.logits(), by_dense, TOKENS)
    total = (student.weights * values).sum()
    expected = torch.autograd.grad(total, student.leaves)
    for upstream in (1.0, 3.0):
        found, at_tokens = fused_divergence(student.states, student.head, targets, TOKENS, student.weights, loss)
        assert not at_tokens.requires_grad
        torch.testing.assert_close(at_tokens.double(), values.detach(), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(found.double(), total.detach(), rtol=tolerance, atol=tolerance)
        gradients = torch.autograd.grad(found * upstream, student.leaves)
        for leaf, one, other in zip(student.leaves, gradients, expected, strict=True):
            assert one.dtype == leaf.dtype and one.shape == leaf.shape
            # What the leaf's own dtype rounds is not ours.
            rounding = max(tolerance, torch.finfo(leaf.dtype).eps)
            torch.testing.assert_close(one.double(), upstream * other.double(), rtol=rounding, atol=rounding * float(other.abs().max()))


# ---- every divergence with every feature


@pytest.mark.parametrize(("scale", "softcap", "bias"), [(1.0, None, False), (0.7, None, True), (1.3, 4.0, True)])
@pytest.mark.parametrize("temperature", [1.0, 1.7])
@pytest.mark.parametrize("targets", ["states", "logits", "top-k"])
@pytest.mark.parametrize("loss", VARIANTS, ids=str)
def test_values_and_gradients_are_the_dense_ones(
    loss: Divergence, targets: str, temperature: float, scale: float, softcap: float | None, bias: bool
) -> None:
    teacher = teacher_states()
    logits = teacher_logits(teacher)
    buckets = top_k(logits, temperature)
    choices: dict[str, Targets] = {"states": teacher, "logits": Dense(logits), "top-k": buckets}
    given = choices[targets]
    by_dense = buckets if targets == "top-k" else Dense(logits)
    assert_agree(Student(bias=bias, scale=scale, softcap=softcap), given, by_dense, ProblemLoss(loss, temperature, 5), 1e-11)


@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_at_qwen3s_vocabulary_it_is_the_dense_loss_and_rounds_no_more_than_that(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 to 1e-10. In float32 the dense loss itself is up to 4e-4 off in these gradients, sums of 151,936 terms that cancel."""
    monkeypatch.setitem(globals(), "V", 151_936)
    loss = ProblemLoss(divergence(name), chunk=3)
    teacher = teacher_states(width=V)
    assert_agree(Student(), teacher, Dense(teacher_logits(teacher)), loss, 1e-10)

    single, student = teacher_states(torch.float32, V), Student(torch.float32)
    whole = replace(loss, chunk=None)

    def gradients(logits: torch.Tensor, targets: torch.Tensor) -> list[torch.Tensor]:
        values = whole.per_token(logits, Dense(targets), TOKENS)
        return list(torch.autograd.grad((student.weights.to(values) * values).sum(), student.leaves))

    def error(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
        pairs = zip(found, expected, strict=True)
        return max(float((one.double() - other.double()).abs().max() / other.double().abs().max()) for one, other in pairs)

    exact = gradients(student.logits(), teacher_logits(single))
    logits = student.states @ student.weight.T + student.head.bias
    head = single.head
    targets = 7.0 * torch.tanh((single.states @ head.weight.T + head.bias) * head.scale / 7.0)
    total, _ = fused_divergence(student.states, student.head, single, TOKENS, student.weights, loss)
    ours = error(torch.autograd.grad(total, student.leaves), exact)
    assert ours < 1e-6 + 4 * error(gradients(logits, targets), exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("targets", ["states", "top-k"])
@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_single_and_half_precision_agree_with_float64_within_1e_5(name: str, targets: str, dtype: torch.dtype) -> None:
    """Logits and sums are float32 whatever comes in: beside the same numbers in float64, only what a gradient's own dtype holds is lost."""
    teacher = teacher_states(dtype)
    logits = teacher_logits(teacher)
    buckets = top_k(logits, 1.0)
    given: Targets = teacher if targets == "states" else replace(buckets, log_probabilities=buckets.log_probabilities.float())
    assert_agree(
        Student(dtype, scale=0.7, softcap=6.0),
        given,
        buckets if targets == "top-k" else Dense(logits),
        ProblemLoss(divergence(name), chunk=4),
        1e-5,
    )


@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_without_a_loss_of_precision_from_a_head_in_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paced_exp.losses.products._BLOCK", 5)
    teacher = teacher_states(torch.bfloat16)
    assert_agree(Student(torch.bfloat16), teacher, Dense(teacher_logits(teacher)), ProblemLoss(divergence(name)), 1e-5)


@pytest.mark.parametrize("width", [V - 3, V + 4])
@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_heads_of_different_widths_are_cut_to_the_shared_vocabulary(name: str, width: int) -> None:
    teacher = teacher_states(width=width)
    student, logits = Student(), teacher_logits(teacher)
    for given in (teacher, Dense(logits)):
        assert_agree(student, given, Dense(logits), ProblemLoss(divergence(name), chunk=4), 1e-11)
    if width < V and DIVERGENCES[name].needs_teacher:  # what the teacher's head does not have is not learnt
        total, _ = fused_divergence(student.states, student.head, teacher, TOKENS, WEIGHTS, ProblemLoss(divergence(name)))
        (of_weight,) = torch.autograd.grad(total, [student.weight])
        assert (of_weight[width:] == 0).all() and (of_weight[:width] != 0).all()


def test_a_head_tied_to_the_embedding_gets_both_gradients() -> None:
    embedding, ids, teacher = normal(20, V, H).requires_grad_(), torch.arange(N) % V, teacher_states()
    loss = ProblemLoss(ForwardKL(), chunk=4)
    results = []
    for way in ("dense", "fused"):
        states = torch.tanh(torch.nn.functional.embedding(ids, embedding))
        if way == "dense":
            total = (WEIGHTS * loss.per_token(states @ embedding.T, Dense(teacher_logits(teacher)), TOKENS)).sum()
        else:
            total, _ = fused_divergence(states, Head(embedding), teacher, TOKENS, WEIGHTS, loss)
        results.append(torch.autograd.grad(total, embedding)[0])
    torch.testing.assert_close(results[1], results[0], rtol=1e-11, atol=1e-12)


def test_a_student_that_is_its_own_teacher_learns_nothing_from_the_teachers_side() -> None:
    student = Student()
    prompted = normal(21, N, H)
    total, _ = fused_divergence(student.states, student.head, States(prompted, student.head), TOKENS, WEIGHTS, ProblemLoss(ForwardKL()))
    (found,) = torch.autograd.grad(total, [student.weight])
    with torch.no_grad():
        teacher = Dense(prompted @ student.weight.T + student.bias)  # type: ignore[operator]
    values = ProblemLoss(ForwardKL()).per_token(student.logits(), teacher, TOKENS)
    torch.testing.assert_close(found, torch.autograd.grad((WEIGHTS * values).sum(), [student.weight])[0], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 4, N, 100, None])
def test_the_chunk_and_the_piece_change_no_number_but_by_rounding(chunk: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for elements in (1, 3 * V, 10**9):
        monkeypatch.setattr(chunked, "PIECE_ELEMENTS", elements)
        monkeypatch.setattr(chunked, "CHUNK_ELEMENTS", 6 * V)
        teacher = teacher_states()
        assert_agree(Student(softcap=5.0), teacher, Dense(teacher_logits(teacher)), ProblemLoss(ForwardKL(), 1.2, chunk), 1e-11)


def test_a_divergence_of_ones_own_works_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in list(DIVERGENCES.items()):  # so that the registry is as it was afterwards
        monkeypatch.setitem(DIVERGENCES, name, kind)
    monkeypatch.setitem(DIVERGENCES, "total_variation_of_a_test", ForwardKL)
    del DIVERGENCES["total_variation_of_a_test"]

    class TotalVariation(Divergence):
        name = "total_variation_of_a_test"

        def value(self, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            return (log_probabilities(teacher).exp() - log_probabilities(student).exp()).abs().sum(-1) / 2

    teacher = teacher_states()
    buckets = top_k(teacher_logits(teacher), 1.3)
    assert_agree(Student(softcap=5.0), teacher, Dense(teacher_logits(teacher)), ProblemLoss(TotalVariation(), 1.3, 4), 1e-11)
    assert_agree(Student(), buckets, buckets, ProblemLoss(TotalVariation(), 1.3, 4), 1e-11)


# ---- as a function that autograd knows


@pytest.mark.parametrize("targets", ["states", "top-k"])
@pytest.mark.parametrize("name", [name for name in DIVERGENCES if name != "akl"])  # its share carries no gradient
def test_gradcheck(name: str, targets: str) -> None:
    teacher = teacher_states()
    given: Targets = teacher if targets == "states" else top_k(teacher_logits(teacher), 1.5)
    student, loss = Student(), ProblemLoss(divergence(name), 1.5, 4)

    def total(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return fused_divergence(states, Head(weight, bias, 0.7, 6.0), given, TOKENS, weights, loss)[0]

    assert torch.autograd.gradcheck(total, tuple(student.leaves))


def test_gradients_are_made_only_where_they_are_needed() -> None:
    teacher, loss = teacher_states(), ProblemLoss(ForwardKL())
    student = Student()
    leaves = student.leaves
    expected = torch.autograd.grad(
        fused_divergence(student.states, student.head, teacher, TOKENS, student.weights, loss)[0], student.leaves
    )
    for needed in itertools.product([False, True], repeat=4):
        for leaf, flag in zip(leaves, needed, strict=True):
            leaf.requires_grad_(flag)
        total, values = fused_divergence(student.states, student.head, teacher, TOKENS, student.weights, loss)
        assert total.requires_grad == any(needed) and not values.requires_grad
        if any(needed):
            found = torch.autograd.grad(total, [leaf for leaf in leaves if leaf.requires_grad])
            for one, other in zip(found, [gradient for gradient, flag in zip(expected, needed, strict=True) if flag], strict=True):
                torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_backward_may_run_again_and_a_second_derivative_is_refused() -> None:
    student = Student()
    total, _ = fused_divergence(student.states, student.head, teacher_states(), TOKENS, student.weights, ProblemLoss(ForwardKL()))
    first = torch.autograd.grad(total, student.leaves, retain_graph=True)
    again = torch.autograd.grad(2 * total, student.leaves)
    for one, two in zip(first, again, strict=True):
        assert torch.equal(2 * one, two)
    total, _ = fused_divergence(student.states, student.head, teacher_states(), TOKENS, student.weights, ProblemLoss(ForwardKL()))
    (gradient,) = torch.autograd.grad(total * total, [student.states], create_graph=True)
    with pytest.raises(RuntimeError, match="trying to differentiate twice a function that was marked with @once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_within_a_checkpoint(reentrant: bool) -> None:
    student, teacher, loss = Student(), teacher_states(), ProblemLoss(ForwardKL(), chunk=4)

    def total(states: torch.Tensor) -> torch.Tensor:
        return fused_divergence(torch.tanh(states), student.head, teacher, TOKENS, WEIGHTS, loss)[0]

    found = []
    for run in (total, partial(checkpoint, total, use_reentrant=reentrant)):
        for leaf in student.leaves:
            leaf.grad = None
        run(student.states).backward()
        assert student.states.grad is not None and student.weight.grad is not None
        found.append((student.states.grad.clone(), student.weight.grad.clone()))
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_ambient_autocast_does_not_round_the_products() -> None:
    student, teacher, loss = Student(torch.float32), teacher_states(torch.float32), ProblemLoss(ForwardKL())
    plain = fused_divergence(student.states, student.head, teacher, TOKENS, WEIGHTS, loss)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = fused_divergence(student.states, student.head, teacher, TOKENS, WEIGHTS, loss)
    assert torch.equal(plain[0], inside[0]) and torch.equal(plain[1], inside[1])


def test_half_precision_states_with_a_float32_head_keep_the_heads_gradient_in_float32() -> None:
    """As autocast gives them: the products read the head rounded to bfloat16, and its gradient is summed in float32."""
    student, teacher, loss = Student(torch.float32, bias=False), teacher_states(), ProblemLoss(ForwardKL(), chunk=4)
    states = student.states.detach().bfloat16().requires_grad_()
    total, values = fused_divergence(states, student.head, teacher, TOKENS, WEIGHTS, loss)
    of_states, of_weight = torch.autograd.grad(total, [states, student.weight])
    rounded, weight = states.detach().double().requires_grad_(), student.weight.detach().bfloat16().double().requires_grad_()
    expected = loss.per_token(rounded @ weight.T, Dense(teacher_logits(teacher)), TOKENS)
    wanted = torch.autograd.grad((WEIGHTS * expected).sum(), [rounded, weight])
    torch.testing.assert_close(values.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    assert of_weight.dtype == torch.float32 and of_states.dtype == torch.bfloat16
    torch.testing.assert_close(of_weight.double(), wanted[1], rtol=1e-5, atol=1e-5 * float(wanted[1].abs().max()))
    torch.testing.assert_close(of_states.double(), wanted[0], rtol=2**-8, atol=2**-8 * float(wanted[0].abs().max()))


# ---- what cannot be, and what is not a number


def test_no_token_has_no_loss_and_no_gradient() -> None:
    student, none = Student(), States(normal(3, 0, WIDER), teacher_states().head)
    total, values = fused_divergence(student.states[:0], student.head, none, TOKENS[:0], WEIGHTS[:0], ProblemLoss(ForwardKL()))
    assert total.item() == 0 and values.shape == (0,)
    assert (torch.autograd.grad(total, student.weight)[0] == 0).all()


@pytest.mark.parametrize("name", [name for name in DIVERGENCES if DIVERGENCES[name].needs_teacher])
def test_no_teacher_is_refused(name: str) -> None:
    student = Student()
    with pytest.raises(AssertionError, match=f"{name} needs a teacher"):
        fused_divergence(student.states, student.head, None, TOKENS, WEIGHTS, ProblemLoss(divergence(name)))


def test_statistics_of_another_temperature_are_refused() -> None:
    student, buckets = Student(), top_k(teacher_logits(teacher_states()), 1.0)
    with pytest.raises(AssertionError, match="another temperature"):
        fused_divergence(student.states, student.head, buckets, TOKENS, WEIGHTS, ProblemLoss(ForwardKL(), 2.0))


def test_a_state_that_is_not_a_number_shows_at_its_token_alone() -> None:
    student = Student()
    with torch.no_grad():
        student.states[3, 0] = math.nan
    total, values = fused_divergence(student.states, student.head, teacher_states(), TOKENS, WEIGHTS, ProblemLoss(ForwardKL(), chunk=4))
    assert values.isnan().nonzero().flatten().tolist() == [3] and total.isnan()


@pytest.mark.parametrize("targets", ["states", "top-k"])
@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_logits_of_ten_thousand_stay_finite(name: str, targets: str) -> None:
    weight = torch.tensor([[1e4], [-1e4], [0.0], [1.0]], requires_grad=True)
    states = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    teacher = States(torch.tensor([[-1.0], [-1.0], [1.0]]), Head(weight.detach()))
    given: Targets = teacher if targets == "states" else top_k(teacher.logits(), 1.0, k=2)
    total, values = fused_divergence(states, Head(weight), given, torch.tensor([0, 1, 2]), torch.ones(3), ProblemLoss(divergence(name)))
    gradients = torch.autograd.grad(total, [states, weight])
    assert values.isfinite().all() and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd", "akl"])
def test_a_token_that_a_teacher_forbids_is_treated_as_the_dense_loss_does(name: str) -> None:
    """Logits of minus infinity: the terms of probability zero are none, in both losses."""
    student, logits = Student(), teacher_logits(teacher_states())
    logits[:, 5] = -math.inf
    found = fused_divergence(student.states, student.head, Dense(logits), TOKENS, WEIGHTS, ProblemLoss(divergence(name), chunk=4))[1]
    expected = ProblemLoss(divergence(name)).per_token(student.logits(), Dense(logits), TOKENS).detach()
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


# ---- memory


def test_memory_above_the_inputs_is_the_gradients_and_one_chunk() -> None:
    tokens, hidden, vocabulary, chunk = 1024, 128, 40_000, 64
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(tokens, hidden, generator=generator).requires_grad_()
    weight = (0.2 * torch.randn(vocabulary, hidden, generator=generator)).requires_grad_()
    teacher = States(states.detach().flip(0), Head(weight.detach().flip(0)))
    ids, weights = torch.arange(tokens), torch.ones(tokens)

    def step(loss: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            states.grad = weight.grad = None
            loss().backward()

        return run

    kind = ProblemLoss(ForwardKL(), chunk=chunk)
    ours = peak_bytes(step(lambda: fused_divergence(states, Head(weight), teacher, ids, weights, kind)[0]))
    gradients, logits = 4 * (states.numel() + weight.numel()), 4 * chunk * vocabulary
    pieces = 10 * 4 * max(vocabulary, chunked.PIECE_ELEMENTS)
    assert gradients + 2 * logits < ours < gradients + 2 * logits + pieces
    whole = peak_bytes(step(lambda: ProblemLoss(ForwardKL()).per_token(states @ weight.T, Dense(teacher.logits()), ids).sum()))
    assert ours < whole / 5


def test_the_default_chunk_holds_a_bounded_number_of_logits() -> None:
    for vocabulary in (543, 49_152, 151_936, 262_144):
        job = chunked.Job(Head(torch.empty(vocabulary, 0)), None, torch.empty(10**6), ProblemLoss(divergence("cross_entropy")), None, True)
        assert 0.98 * chunked.CHUNK_ELEMENTS < job.chunk * vocabulary <= chunked.CHUNK_ELEMENTS
