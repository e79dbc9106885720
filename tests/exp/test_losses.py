"""Divergences: closed forms, scipy, finite differences, the stated logit gradients, extreme logits, masks."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr, softmax

from paced_exp.core.errors import UserError
from paced_exp.losses.divergences import (
    DIVERGENCES,
    akl,
    cross_entropy,
    divergence,
    forward_kl,
    generalised_jsd,
    mean_over_tokens,
    reverse_kl,
)

TOKENS = torch.zeros(1, dtype=torch.long)


def logits(seed: int, *shape: int, scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _head_share(p_t: np.ndarray, p_s: np.ndarray, mu: float) -> np.ndarray:
    """AKL's weight of the forward KL, by a loop: take the teacher's tokens from the most likely on while their sum stays within mu."""
    shares = np.empty(p_t.shape[:-1])
    for index in np.ndindex(shares.shape):
        order = sorted(range(p_t.shape[-1]), key=lambda token: -p_t[index][token])
        head, mass = {order[0]}, p_t[index][order[0]]
        for token in order[1:]:
            mass += p_t[index][token]
            if mass > mu:
                break
            head.add(token)
        gaps = np.abs(p_t[index] - p_s[index])
        shares[index] = gaps[sorted(head)].sum() / gaps.sum() if gaps.sum() > 0 else 0.5
    return shares


@pytest.mark.parametrize("name", DIVERGENCES)
def test_values_are_scipys(name: str) -> None:
    student, teacher = logits(0, 4, 5, 7), logits(1, 4, 5, 7)
    tokens = torch.randint(7, (4, 5), generator=torch.Generator().manual_seed(2))
    p_s, p_t = softmax(student.numpy(), axis=-1), softmax(teacher.numpy(), axis=-1)
    mixture = (p_t + p_s) / 2
    forward, reverse = rel_entr(p_t, p_s).sum(-1), rel_entr(p_s, p_t).sum(-1)
    share = _head_share(p_t, p_s, 0.5)
    expected = {
        "jsd": rel_entr(p_t, mixture).sum(-1) / 2 + rel_entr(p_s, mixture).sum(-1) / 2,
        "akl": share * forward + (1 - share) * reverse,
        "forward_kl": rel_entr(p_t, p_s).sum(-1),
        "reverse_kl": rel_entr(p_s, p_t).sum(-1),
        "cross_entropy": -np.take_along_axis(log_softmax(student.numpy(), axis=-1), tokens.numpy()[..., None], -1)[..., 0],
    }[name]
    found = divergence(name)(student, teacher, tokens)
    assert found.shape == (4, 5) and found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13)


def test_two_tokens_in_closed_form() -> None:
    # Teacher (3/4, 1/4), student (1/2, 1/2), in nats.
    teacher, student = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    assert forward_kl(student, teacher, TOKENS).item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-14)
    assert reverse_kl(student, teacher, TOKENS).item() == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2), rel=1e-14)
    assert cross_entropy(student, teacher, TOKENS).item() == pytest.approx(math.log(2), rel=1e-14)


# AKL's share carries no gradient, so its finite differences are taken at a fixed share, in a test of its own.
@pytest.mark.parametrize("name", [name for name in DIVERGENCES if name != "akl"])
def test_gradients_agree_with_finite_differences(name: str) -> None:
    student, teacher = logits(3, 2, 3, 5).requires_grad_(True), logits(4, 2, 3, 5)
    tokens = torch.randint(5, (2, 3), generator=torch.Generator().manual_seed(5))
    assert torch.autograd.gradcheck(lambda z: divergence(name)(z, teacher, tokens), student, atol=1e-7)


def test_gradients_are_the_stated_ones() -> None:
    teacher, tokens = logits(6, 3, 8), torch.tensor([1, 0, 7])
    p_t = teacher.softmax(-1)

    def gradient(loss: Callable[..., torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        student = logits(7, 3, 8).requires_grad_(True)
        values = loss(student, teacher, tokens)
        (found,) = torch.autograd.grad(values.sum(), student)
        return found, student.detach().softmax(-1), values.detach()

    found, p_s, _ = gradient(forward_kl)
    torch.testing.assert_close(found, p_s - p_t, rtol=1e-12, atol=1e-14)
    found, p_s, kl = gradient(reverse_kl)
    torch.testing.assert_close(found, p_s * (p_s.log() - p_t.log() - kl[:, None]), rtol=1e-12, atol=1e-14)
    found, p_s, _ = gradient(cross_entropy)
    torch.testing.assert_close(found, p_s - torch.nn.functional.one_hot(tokens, 8), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", DIVERGENCES)
def test_logits_of_ten_thousand_stay_finite(name: str, dtype: torch.dtype) -> None:
    rows = [[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [0.0, 0.0, 0.0], [1e4, 1e4, -1e4]]
    student = torch.tensor([row for row in rows for _ in rows], dtype=dtype, requires_grad=True)
    teacher = torch.tensor(rows * len(rows), dtype=dtype)
    values = divergence(name)(student, teacher, torch.zeros(16, dtype=torch.long))
    (gradient,) = torch.autograd.grad(values.sum(), student)
    assert torch.isfinite(values).all() and torch.isfinite(gradient).all()
    assert values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    # The student puts e^-20000 on the teacher's only token (or the other way round): 20,000 nats, not infinity. JSD is bounded by log 2.
    gap = {"cross_entropy": 0.0, "jsd": math.log(2)}.get(name, 2 * float(torch.tensor(1e4, dtype=dtype)))
    assert values[1].item() == pytest.approx(gap, abs=1e-3)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd", "akl"])
def test_nan_logits_of_either_model_show_in_the_value(name: str) -> None:
    good, bad = logits(20, 2, 5), logits(21, 2, 5)
    bad[0] = math.nan
    for student, teacher in ((good, bad), (bad, good)):
        values = divergence(name)(student, teacher, torch.zeros(2, dtype=torch.long))
        assert values.isnan().tolist() == [True, False]


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd", "akl"])
@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=6), st.floats(-30, 30))
def test_divergences_are_not_negative_and_blind_to_a_constant(name: str, pairs: list[tuple[float, float]], shift: float) -> None:
    student, teacher = torch.tensor(pairs, dtype=torch.float64).T[:, None, :]
    value = divergence(name)(student, teacher, TOKENS).item()
    assert value >= -1e-12
    assert divergence(name)(student + shift, teacher - shift, TOKENS).item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    # The mixture of two equal distributions is rounded; the others compare each logarithm with itself.
    assert abs(divergence(name)(student, student, TOKENS).item()) <= (1e-14 if name == "jsd" else 0.0)


def test_half_precision_is_widened_before_the_softmax() -> None:
    student, teacher = logits(8, 3, 9).bfloat16(), logits(9, 3, 9).bfloat16()
    torch.testing.assert_close(forward_kl(student, teacher, TOKENS), forward_kl(student.float(), teacher.float(), TOKENS), rtol=0, atol=0)


# ---- the generalised Jensen-Shannon divergence, AKL, temperature, chunks


def test_jsd_of_disjoint_distributions_is_the_entropy_of_its_mixture() -> None:
    teacher, student = torch.tensor([[60.0, 0.0]], dtype=torch.float64), torch.tensor([[0.0, 60.0]], dtype=torch.float64)
    for beta in (0.1, 0.5, 0.9):
        entropy = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
        assert generalised_jsd(student, teacher, TOKENS, beta=beta).item() == pytest.approx(entropy, abs=1e-12)


def test_jsd_over_its_coefficient_tends_to_the_two_kls() -> None:
    student, teacher = logits(12, 3, 6), logits(13, 3, 6)
    small = 1e-7
    torch.testing.assert_close(
        generalised_jsd(student, teacher, TOKENS, beta=small) / small, forward_kl(student, teacher, TOKENS), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        generalised_jsd(student, teacher, TOKENS, beta=1 - small) / small, reverse_kl(student, teacher, TOKENS), rtol=1e-4, atol=0
    )
    assert generalised_jsd(student, teacher, TOKENS, beta=0).equal(forward_kl(student, teacher, TOKENS))
    assert generalised_jsd(student, teacher, TOKENS, beta=1).equal(reverse_kl(student, teacher, TOKENS))


def test_akl_by_hand() -> None:
    # Teacher (0.4, 0.3, 0.2, 0.1): the head at mu = 1/2 is the first token (0.4 + 0.3 > 0.5). Student uniform: gaps 0.15 and 0.05+0.05+0.15.
    teacher = torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64).log()
    student = torch.zeros(1, 4, dtype=torch.float64)
    forward, reverse = forward_kl(student, teacher, TOKENS).item(), reverse_kl(student, teacher, TOKENS).item()
    assert akl(student, teacher, TOKENS).item() == pytest.approx((0.15 * forward + 0.25 * reverse) / 0.4, rel=1e-12)
    # At mu = 0.75 the head holds the two most likely.
    assert akl(student, teacher, TOKENS, mu=0.75).item() == pytest.approx((0.2 * forward + 0.2 * reverse) / 0.4, rel=1e-12)


def test_akls_first_token_is_head_however_likely() -> None:
    teacher = torch.tensor([[0.9, 0.06, 0.04]], dtype=torch.float64).log()
    student = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    forward, reverse = forward_kl(student, teacher, TOKENS).item(), reverse_kl(student, teacher, TOKENS).item()
    assert akl(student, teacher, TOKENS).item() == pytest.approx(0.5 * forward + 0.5 * reverse, rel=1e-12)


def test_akls_share_carries_no_gradient() -> None:
    teacher, tokens = logits(14, 2, 9), torch.zeros(2, dtype=torch.long)
    student = logits(15, 2, 9).requires_grad_(True)
    share = torch.tensor(_head_share(teacher.softmax(-1).numpy(), student.detach().softmax(-1).numpy(), 0.5))
    fixed = share * forward_kl(student, teacher, tokens) + (1 - share) * reverse_kl(student, teacher, tokens)
    (expected,) = torch.autograd.grad(fixed.sum(), student)
    (found,) = torch.autograd.grad(akl(student, teacher, tokens).sum(), student)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_temperature_divides_the_logits_of_both_models(name: str) -> None:
    student, teacher = logits(16, 4, 6), logits(17, 4, 6)
    tokens = torch.tensor([0, 3, 5, 1])
    scale = 1.0 if name == "cross_entropy" else 2.5
    expected = divergence(name)(student / scale, teacher / scale, tokens)
    torch.testing.assert_close(divergence(name, temperature=2.5)(student, teacher, tokens), expected, rtol=0, atol=0)


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("name", DIVERGENCES)
def test_chunks_change_no_value_and_no_gradient(name: str, chunk: int) -> None:
    results = []
    for size in (None, chunk):
        student = logits(18, 3, 5, 7).requires_grad_(True)
        values = divergence(name, temperature=1.5, chunk=size)(student, logits(19, 3, 5, 7), torch.arange(15).reshape(3, 5) % 7)
        assert values.shape == (3, 5)
        (gradient,) = torch.autograd.grad((values * torch.arange(15).reshape(3, 5)).sum(), student)
        results.append((values.detach(), gradient))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "`loss_temperature` 0.0 must be positive and finite"),
        ({"temperature": math.inf}, "`loss_temperature` inf must be positive"),
        ({"jsd_beta": 1.5}, r"`jsd_beta` 1.5 must be in \[0, 1\]: 0 is forward KL"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        divergence("jsd", **options)  # type: ignore[arg-type]


# ---- the mean over supervised tokens


def test_mean_over_tokens_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0, 6.0], [4.0, 100.0, 100.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert mean_over_tokens(values, mask).tolist() == [3.0, 4.0]


@pytest.mark.parametrize("hidden", [math.nan, math.inf, -1e30])
def test_masked_values_count_for_exactly_nothing(hidden: float) -> None:
    values = torch.tensor([[0.1, 0.2, hidden]], dtype=torch.float64, requires_grad=True)
    found = mean_over_tokens(values, torch.tensor([[True, True, False]]))
    found.sum().backward()
    assert found.item() == (0.1 + 0.2) / 2
    assert values.grad is not None and values.grad.tolist() == [[0.5, 0.5, 0.0]]


@pytest.mark.parametrize("name", DIVERGENCES)
def test_masked_logits_get_exactly_no_gradient(name: str) -> None:
    # Finite logits at a masked position, however extreme, move nothing. NaN there would show in the gradient: a model that makes NaN from
    # padding is broken, and `PerProblemGradients` must see it.
    mask, tokens = torch.tensor([[True, False]]), torch.zeros(1, 2, dtype=torch.long)
    results = []
    for extreme in (0.0, 1e4):
        student = torch.stack([logits(10, 5), torch.tensor([extreme, -extreme, 0, 1, 2], dtype=torch.float64)])[None].requires_grad_(True)
        loss = mean_over_tokens(divergence(name)(student, logits(11, 1, 2, 5), tokens), mask)
        (gradient,) = torch.autograd.grad(loss.sum(), student)
        assert (gradient[0, 1] == 0).all() and (gradient[0, 0] != 0).any()
        results.append((loss.item(), gradient[0, 0].tolist()))
    assert results[0] == results[1]


def test_a_problem_without_supervised_tokens_is_refused() -> None:
    mask = torch.tensor([[True, False], [False, False]])
    with pytest.raises(UserError, match="row 1 of the batch has no supervised response token"):
        mean_over_tokens(torch.ones(2, 2), mask)


def test_an_unknown_divergence_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="`divergence` jeffreys is not known; known: forward_kl, reverse_kl, cross_entropy"):
        divergence("jeffreys")
