"""Divergences: closed forms, scipy, finite differences, stated gradients, extreme logits; temperature, chunks and the reduction to problems."""

import importlib.util
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr, softmax

from paced_exp.core.errors import UserError
from paced_exp.losses.akl import AdaptiveKL
from paced_exp.losses.alignment import Row, collate
from paced_exp.losses.cross_entropy import CrossEntropy
from paced_exp.losses.divergences import DIVERGENCES, Divergence, divergence
from paced_exp.losses.jsd import GeneralisedJSD
from paced_exp.losses.kl import ForwardKL, ReverseKL
from paced_exp.losses.problem_loss import Buckets, Dense, ProblemLoss, bucketed
from paced_exp.probe.config import ProbeConfig
from paced_exp.training.config import DistillConfig
from tests.support.tiny_models import tiny_model

TOKENS = torch.zeros(1, dtype=torch.long)
NAMES = list(DIVERGENCES)
BETWEEN_MODELS = [name for name in NAMES if DIVERGENCES[name].needs_teacher]
VARIANTS = [ForwardKL(), ReverseKL(), CrossEntropy(), AdaptiveKL(), AdaptiveKL(mu=0.9), *map(GeneralisedJSD, (0.0, 0.1, 0.5, 0.9, 1.0))]


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


# ---- values


def by_scipy(loss: Divergence, student: np.ndarray, teacher: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """The divergence's value from scipy and its definition, without any of our code."""
    p_s, p_t = softmax(student, axis=-1), softmax(teacher, axis=-1)
    forward, reverse = rel_entr(p_t, p_s).sum(-1), rel_entr(p_s, p_t).sum(-1)
    if isinstance(loss, CrossEntropy):
        value = -np.take_along_axis(log_softmax(student, axis=-1), tokens[..., None], -1)[..., 0]
    elif isinstance(loss, GeneralisedJSD) and 0 < loss.beta < 1:
        mixture = loss.beta * p_t + (1 - loss.beta) * p_s
        value = loss.beta * rel_entr(p_t, mixture).sum(-1) + (1 - loss.beta) * rel_entr(p_s, mixture).sum(-1)
    elif isinstance(loss, AdaptiveKL):
        share = _head_share(p_t, p_s, loss.mu)
        value = share * forward + (1 - share) * reverse
    else:
        value = forward if isinstance(loss, ForwardKL) or loss == GeneralisedJSD(0.0) else reverse
    return np.asarray(value)


@pytest.mark.parametrize("loss", VARIANTS, ids=str)
def test_values_are_scipys(loss: Divergence) -> None:
    student, teacher = logits(0, 4, 5, 7), logits(1, 4, 5, 7)
    tokens = torch.randint(7, (4, 5), generator=torch.Generator().manual_seed(2))
    found = loss.value(student, teacher, tokens)
    assert found.shape == (4, 5) and found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), by_scipy(loss, student.numpy(), teacher.numpy(), tokens.numpy()), rtol=1e-12)


def test_every_declared_divergence_is_compared_with_scipy() -> None:
    assert {type(loss) for loss in VARIANTS} == set(DIVERGENCES.values())


def test_two_tokens_in_closed_form() -> None:
    # Teacher (3/4, 1/4), student (1/2, 1/2), in nats.
    teacher, student = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    assert ForwardKL().value(student, teacher, TOKENS).item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-14)
    assert ReverseKL().value(student, teacher, TOKENS).item() == pytest.approx(0.5 * math.log(2 / 3) + 0.5 * math.log(2), rel=1e-14)
    assert CrossEntropy().value(student, teacher, TOKENS).item() == pytest.approx(math.log(2), rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_logits_of_ten_thousand_stay_finite(name: str, dtype: torch.dtype) -> None:
    rows = [[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [0.0, 0.0, 0.0], [1e4, 1e4, -1e4]]
    student = torch.tensor([row for row in rows for _ in rows], dtype=dtype, requires_grad=True)
    teacher = torch.tensor(rows * len(rows), dtype=dtype)
    tokens = torch.zeros(16, dtype=torch.long)
    values = divergence(name).value(student, teacher, tokens)
    (gradient,) = torch.autograd.grad(values.sum(), student)
    stated = divergence(name).gradient(student.detach(), teacher, tokens)
    assert torch.isfinite(values).all() and torch.isfinite(gradient).all() and torch.isfinite(stated).all()
    assert values.dtype == stated.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    # The student puts e^-20000 on the teacher's only token (or the other way round): 20,000 nats, not infinity. JSD is bounded by log 2.
    gap = {"cross_entropy": 0.0, "jsd": math.log(2)}.get(name, 2 * float(torch.tensor(1e4, dtype=dtype)))
    assert values[1].item() == pytest.approx(gap, abs=1e-3)


@pytest.mark.parametrize("name", BETWEEN_MODELS)
def test_nan_logits_of_either_model_show_in_the_value(name: str) -> None:
    good, bad = logits(20, 2, 5), logits(21, 2, 5)
    bad[0] = math.nan
    for student, teacher in ((good, bad), (bad, good)):
        values = divergence(name).value(student, teacher, torch.zeros(2, dtype=torch.long))
        assert values.isnan().tolist() == [True, False]


@pytest.mark.parametrize("name", BETWEEN_MODELS)
@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=6), st.floats(-30, 30))
def test_divergences_are_not_negative_and_blind_to_a_constant(name: str, pairs: list[tuple[float, float]], shift: float) -> None:
    student, teacher = torch.tensor(pairs, dtype=torch.float64).T[:, None, :]
    loss = divergence(name)
    value = loss.value(student, teacher, TOKENS).item()
    assert value >= -1e-12
    assert loss.value(student + shift, teacher - shift, TOKENS).item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    # The mixture of two equal distributions is rounded; the others compare each logarithm with itself.
    assert abs(loss.value(student, student, TOKENS).item()) <= (1e-14 if name == "jsd" else 0.0)


def test_half_precision_is_widened_before_the_softmax() -> None:
    student, teacher, loss = logits(8, 3, 9).bfloat16(), logits(9, 3, 9).bfloat16(), ForwardKL()
    assert torch.equal(loss.value(student, teacher, TOKENS), loss.value(student.float(), teacher.float(), TOKENS))


def test_jsd_of_disjoint_distributions_is_the_entropy_of_its_mixture() -> None:
    teacher, student = torch.tensor([[60.0, 0.0]], dtype=torch.float64), torch.tensor([[0.0, 60.0]], dtype=torch.float64)
    for beta in (0.1, 0.5, 0.9):
        entropy = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
        assert GeneralisedJSD(beta).value(student, teacher, TOKENS).item() == pytest.approx(entropy, abs=1e-12)


def test_jsd_over_its_coefficient_tends_to_the_two_kls() -> None:
    student, teacher, small = logits(12, 3, 6), logits(13, 3, 6), 1e-7
    for beta, limit in ((small, ForwardKL()), (1 - small, ReverseKL())):
        value = GeneralisedJSD(beta).value(student, teacher, TOKENS) / small
        torch.testing.assert_close(value, limit.value(student, teacher, TOKENS), rtol=1e-4, atol=0)


def test_akl_by_hand() -> None:
    # Teacher (0.4, 0.3, 0.2, 0.1): the head at mu = 1/2 is the first token (0.4 + 0.3 > 0.5). Student uniform: gaps 0.15 and 0.05+0.05+0.15.
    teacher = torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64).log()
    student = torch.zeros(1, 4, dtype=torch.float64)
    forward, reverse = (kl.value(student, teacher, TOKENS).item() for kl in (ForwardKL(), ReverseKL()))
    assert AdaptiveKL().value(student, teacher, TOKENS).item() == pytest.approx((0.15 * forward + 0.25 * reverse) / 0.4, rel=1e-12)
    # At mu = 0.75 the head holds the two most likely.
    assert AdaptiveKL(0.75).value(student, teacher, TOKENS).item() == pytest.approx((0.2 * forward + 0.2 * reverse) / 0.4, rel=1e-12)


def test_akls_first_token_is_head_however_likely() -> None:
    teacher = torch.tensor([[0.9, 0.06, 0.04]], dtype=torch.float64).log()
    student = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    forward, reverse = (kl.value(student, teacher, TOKENS).item() for kl in (ForwardKL(), ReverseKL()))
    assert AdaptiveKL().value(student, teacher, TOKENS).item() == pytest.approx(0.5 * forward + 0.5 * reverse, rel=1e-12)


# ---- gradients


def autograd(loss: Divergence, student: torch.Tensor, teacher: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    student = student.clone().requires_grad_(True)
    return torch.autograd.grad(loss.value(student, teacher, tokens).sum(), student)[0]


@pytest.mark.parametrize("loss", [kind for kind in VARIANTS if kind.needs_teacher], ids=str)
def test_a_token_that_neither_model_can_say_changes_nothing(loss: Divergence) -> None:
    """-inf in both, as masked vocabularies have it: values and gradients are those without the token."""
    student, teacher, tokens = logits(8, 4, 7), logits(9, 4, 7), torch.zeros(4, dtype=torch.long)
    kept = torch.tensor([0, 1, 3, 4, 5, 6])
    values, gradient = loss.value_and_gradient(student[:, kept], teacher[:, kept], tokens)
    student[:, 2] = teacher[:, 2] = -torch.inf
    for found, slope in (
        loss.value_and_gradient(student, teacher, tokens),
        (loss.value(student, teacher, tokens), autograd(loss, student, teacher, tokens)),
    ):
        torch.testing.assert_close(found, values, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(slope[:, kept], gradient, rtol=1e-11, atol=1e-14)
        assert (slope[:, 2] == 0).all()


@pytest.mark.parametrize("loss", VARIANTS, ids=str)
def test_stated_gradients_are_autograds(loss: Divergence) -> None:
    student, teacher, tokens = logits(6, 3, 4, 8), logits(7, 3, 4, 8), torch.arange(12).reshape(3, 4) % 8
    with torch.no_grad():  # a stated gradient needs no graph
        found = loss.gradient(student, teacher, tokens)
    torch.testing.assert_close(found, autograd(loss, student, teacher, tokens), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("loss", VARIANTS, ids=str)
def test_stated_gradients_are_finite_differences(loss: Divergence) -> None:
    """Of scipy's value, by central differences. AKL's share carries no gradient: it is held where it is."""
    student, teacher, tokens = logits(3, 3, 5).numpy(), logits(4, 3, 5).numpy(), np.array([1, 0, 4])
    share = _head_share(softmax(teacher, axis=-1), softmax(student, axis=-1), loss.mu) if isinstance(loss, AdaptiveKL) else None

    def value(z: np.ndarray) -> np.ndarray:
        if share is None:
            return by_scipy(loss, z, teacher, tokens)
        forward, reverse = (by_scipy(kl, z, teacher, tokens) for kl in (ForwardKL(), ReverseKL()))
        return share * forward + (1 - share) * reverse

    step = 1e-5
    shifts = [np.eye(5)[column] * step for column in range(5)]
    expected = np.stack([(value(student + shift) - value(student - shift)) / (2 * step) for shift in shifts], axis=-1)
    found = loss.gradient(torch.tensor(student), torch.tensor(teacher), torch.tensor(tokens))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-9)


# ---- what is declared, and by name


def test_a_divergence_is_found_by_name_with_its_own_options() -> None:
    assert divergence("jsd", jsd_beta=0.3, akl_mu=0.7) == GeneralisedJSD(0.3)
    assert divergence("akl", jsd_beta=0.3, akl_mu=0.7) == AdaptiveKL(0.7)
    assert divergence("forward_kl", jsd_beta=0.3) == ForwardKL()
    with pytest.raises(TypeError, match="no divergence has an option 'jsd_betta'; there are jsd_beta, akl_mu"):
        divergence("jsd", jsd_betta=0.3)
    with pytest.raises(UserError, match="`divergence` jeffreys is not known; known: forward_kl, reverse_kl, cross_entropy, jsd, akl"):
        divergence("jeffreys")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GeneralisedJSD(1.5), r"`jsd_beta` 1.5 must be in \[0, 1\]: 0 is forward KL"),
        (lambda: AdaptiveKL(-0.1), r"`akl_mu` -0.1 must be in \[0, 1\]"),
        (lambda: ProblemLoss(ForwardKL(), temperature=0.0), "`loss_temperature` 0.0 must be positive and finite"),
        (lambda: ProblemLoss(ForwardKL(), temperature=math.inf), "`loss_temperature` inf must be positive and finite"),
        (lambda: ProblemLoss(ForwardKL(), chunk=0), "`loss_chunk` 0 must be at least 1"),
        (lambda: DistillConfig(stages="jsd", jsd_beta=1.5), "`jsd_beta` 1.5 must be in"),
        (lambda: DistillConfig(loss_temperature=0.0), "`loss_temperature` 0.0 must be positive and finite"),
        (lambda: DistillConfig(stages="jeffreys"), "divergence 'jeffreys' is not known"),
        (lambda: ProbeConfig(divergence="jeffreys"), "`divergence` jeffreys is not known"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_names_are_known_without_torch() -> None:
    code = (
        "import sys; from paced_exp.training.config import DistillConfig; from paced_exp.probe.config import ProbeConfig;"
        "DistillConfig(stages='forward_kl:0.5,jsd@rollouts:0.5'); ProbeConfig(divergence='akl');"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


PLUGIN = '''
"""Chi-squared divergence of the teacher from the student."""
from dataclasses import dataclass
from paced_exp.losses.divergences import Divergence, log_probabilities


@dataclass(frozen=True)
class ChiSquared(Divergence):
    """power sum (pi_T - pi_S)^2 / pi_S"""

    name = "chi_squared"
    default_source = "rollouts"
    power: float = 1.0

    def value(self, student, teacher, tokens):
        p_s, p_t = log_probabilities(student).exp(), log_probabilities(teacher).exp()
        return self.power * ((p_t - p_s) ** 2 / p_s).sum(-1)
'''


def plugin(path: Path, text: str = PLUGIN) -> ModuleType:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_divergence_of_ones_own_is_one_class_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in list(DIVERGENCES.items()):  # so that the registry is as it was afterwards
        monkeypatch.setitem(DIVERGENCES, name, kind)
    monkeypatch.setitem(DIVERGENCES, "chi_squared", ForwardKL)
    del DIVERGENCES["chi_squared"]
    plugin(tmp_path / "chi.py")

    loss = divergence("chi_squared", chi_squared_power=2.0)
    assert (loss.label, loss.needs_teacher) == ("chi squared", True)
    student, teacher, tokens = logits(30, 3, 6), logits(31, 3, 6), torch.zeros(3, dtype=torch.long)
    p_s, p_t = softmax(student.numpy(), axis=-1), softmax(teacher.numpy(), axis=-1)
    np.testing.assert_allclose(loss.value(student, teacher, tokens).numpy(), 2 * ((p_t**2 / p_s).sum(-1) - 1), rtol=1e-11)
    # d chi^2 / d pi_S = -(pi_T / pi_S)^2, through the softmax.
    inner = -((p_t / p_s) ** 2)
    expected = 2 * p_s * (inner - (p_s * inner).sum(-1, keepdims=True))
    np.testing.assert_allclose(loss.gradient(student, teacher, tokens).numpy(), expected, rtol=1e-10)

    assert ProbeConfig(divergence="chi_squared").divergence == "chi_squared"
    with pytest.raises(UserError, match="known: forward_kl, reverse_kl, cross_entropy, jsd, akl, chi_squared"):
        ProbeConfig(divergence="chi")
    model, reader = tiny_model(dtype=torch.float64), tiny_model("llama", seed=1, dtype=torch.float64)
    batch = collate([Row("a", [5, 6], [7], [8, 9, 1], [True] * 3)], 0)
    with torch.no_grad():
        z_s = model(batch.student.ids).logits[0, 1:].numpy()
        z_t = reader(batch.teacher.ids).logits[0].numpy()
    p_s, p_t = softmax(z_s, axis=-1), softmax(z_t, axis=-1)
    found = ProblemLoss(loss)(model, batch, Dense(torch.tensor(z_t)))
    assert found.item() == pytest.approx(2 * ((p_t**2 / p_s).sum(-1) - 1).mean(), rel=1e-9)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("chi_squared", "chi squared"), "the name 'chi squared' of divergence ChiSquared must be an identifier"),
        (('    name = "chi_squared"\n', ""), "the name '' of divergence ChiSquared must be an identifier"),
        (("chi_squared", "jsd"), "divergence 'jsd' is declared already, by paced_exp.losses.jsd.GeneralisedJSD; take another name"),
    ],
)
def test_a_divergence_without_a_name_of_its_own_is_refused(changed: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        plugin(tmp_path / "chi.py", PLUGIN.replace(*changed))
    assert list(DIVERGENCES) == NAMES and DIVERGENCES["jsd"] is GeneralisedJSD


# ---- temperature, chunks, buckets


@pytest.mark.parametrize("name", NAMES)
def test_temperature_divides_the_logits_of_both_models(name: str) -> None:
    student, teacher, tokens = logits(16, 4, 6), logits(17, 4, 6), torch.tensor([0, 3, 5, 1])
    scale = 2.5 if DIVERGENCES[name].needs_teacher else 1.0
    expected = divergence(name).value(student / scale, teacher / scale, tokens)
    assert torch.equal(ProblemLoss(divergence(name), temperature=2.5).per_token(student, Dense(teacher), tokens), expected)


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("buckets", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_chunks_change_no_value_and_no_gradient(name: str, buckets: bool, chunk: int) -> None:
    teacher, tokens = logits(19, 15, 7), torch.arange(15) % 7
    chosen = teacher.topk(3).indices
    targets = Buckets(chosen, bucketed(teacher, chosen, 1.5), 1.5) if buckets else Dense(teacher)
    results = []
    for size in (None, chunk):
        student = logits(18, 15, 7).requires_grad_(True)
        values = ProblemLoss(divergence(name), temperature=1.5, chunk=size).per_token(student, targets, tokens)
        (gradient,) = torch.autograd.grad((values * torch.arange(15)).sum(), student)
        results.append((values.detach(), gradient))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-13, atol=1e-15)


def test_heads_of_different_widths_are_cut_to_the_shared_vocabulary() -> None:
    student, teacher, tokens = logits(22, 4, 9), logits(23, 4, 6), torch.zeros(4, dtype=torch.long)
    for wide, narrow in ((student, teacher), (teacher, student)):
        found = ProblemLoss(ForwardKL()).per_token(wide, Dense(narrow), tokens)
        assert torch.equal(found, ForwardKL().value(wide[:, :6], narrow[:, :6], tokens))


def test_a_teacher_with_one_token_is_still_a_teacher() -> None:
    student = logits(24, 3, 5)
    found = ProblemLoss(ForwardKL()).per_token(student, Dense(torch.zeros(3, 1)), torch.zeros(3, dtype=torch.long))
    assert found.tolist() == [0.0, 0.0, 0.0]


# ---- the reduction to problems


def test_mean_and_sum_over_a_problems_tokens_by_hand() -> None:
    values = torch.tensor([1.0, 2.0, 6.0, 4.0])
    layout = torch.tensor([[True, True, True], [True, False, False]])
    assert ProblemLoss(ForwardKL()).reduced(values, layout).tolist() == [3.0, 4.0]
    assert ProblemLoss(ForwardKL(), reduction="sum").reduced(values, layout).tolist() == [9.0, 4.0]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", NAMES)
def test_a_batchs_losses_are_those_of_a_loop_over_problems(name: str, reduction: str) -> None:
    student, teacher = tiny_model(dtype=torch.float64), tiny_model("llama", seed=1, dtype=torch.float64)
    rows = [
        Row("a", [5, 6, 7], [8, 9], [10, 11, 12, 1], [True, False, True, True]),
        Row("b", [5], [9, 9, 9, 9], [20, 21, 1], [True, True, False]),
    ]
    expected = []
    for row in rows:
        chosen = torch.tensor(row.supervised)
        z = [
            model(torch.tensor([prompt + row.response])).logits[0, len(prompt) - 1 : -1][chosen].detach().numpy()
            for model, prompt in ((student, row.student_prompt), (teacher, row.teacher_prompt))
        ]
        values = by_scipy(divergence(name), *z, torch.tensor(row.response)[chosen].numpy())
        expected.append(values.mean() if reduction == "mean" else values.sum())
    batch = collate(rows, 0)
    targets = Dense(teacher(batch.teacher.ids).logits[:, -batch.teacher.predicting.shape[1] :][batch.teacher.predicting].detach())
    loss = ProblemLoss(divergence(name), reduction=reduction)  # type: ignore[arg-type]
    found = loss(student, batch, targets if loss.divergence.needs_teacher else None)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("hidden", [math.nan, math.inf, -1e30])
@pytest.mark.parametrize("name", NAMES)
def test_a_token_that_is_not_supervised_counts_for_exactly_nothing(name: str, hidden: float) -> None:
    """Whatever the logits there are, the loss is the same to the bit and they get no gradient."""
    batch = collate([Row("a", [5], [6], [7, 8, 9], [True, False, True])], 0)
    loss, teacher, results = ProblemLoss(divergence(name)), Dense(logits(40, 2, 12)), []
    for value in (0.0, hidden):
        student = logits(41, 1, 3, 12)
        student[0, 1] = value
        student.requires_grad_(True)
        found = loss.reduced(loss.per_token(student[batch.student.predicting], teacher, batch.tokens), batch.layout)
        (gradient,) = torch.autograd.grad(found.sum(), student)
        assert (gradient[0, 1] == 0).all() and (gradient[0, 0] != 0).any()
        results.append((found.item(), gradient[0, 0].tolist()))
    assert results[0] == results[1]
