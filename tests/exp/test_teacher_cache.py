"""The teacher cache: exact where it says so, an underestimate where it does not, found by content only, whole after a kill."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from paced_exp.core.errors import UserError
from paced_exp.losses.alignment import Row, collate, supervised_logits
from paced_exp.losses.divergences import divergence
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.heads import plain_head
from paced_exp.losses.problem_loss import Buckets, Dense, ProblemLoss, bucketed
from paced_exp.training import teacher_cache
from paced_exp.training.teacher_cache import CachedTeacher
from paced_exp.training.teachers import ModelTeacher
from tests.support.tiny_models import tiny_model


def rows(count: int = 7, mask: bool = True) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(count):
        response = torch.randint(3, 48, (3 + index,), generator=generator).tolist()
        prompt = torch.randint(3, 48, (2 + index % 3,), generator=generator).tolist()
        flags = [mask or place % 2 == 0 for place in range(len(response))]
        made.append(Row(str(index), prompt, [5, *prompt], response, flags, 1.0))
    return made


class Counting(ModelTeacher):
    """A teacher whose model counts its forward passes."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(tiny_model("llama", seed=seed, dtype=torch.float64))
        self.passes = 0
        self.model.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.passes += 1


def cache(folder: Path, teacher: ModelTeacher, **options: object) -> CachedTeacher:
    return CachedTeacher(folder, teacher, "sha256:teacher", pad_id=0, **options)  # type: ignore[arg-type]


def test_exact_statistics_are_the_live_teachers_in_any_batch(tmp_path: Path) -> None:
    teacher = Counting()
    cached = cache(tmp_path, teacher)
    cached.prepare(rows())
    made = teacher.passes
    for chosen in (rows()[3:5], rows()[::-1]):
        batch = collate(chosen, 0)
        found = cached.targets(batch)
        assert teacher.passes == made
        live = teacher.targets(batch)
        assert isinstance(found, Dense) and isinstance(live, Dense)
        torch.testing.assert_close(found.logits, live.logits, rtol=1e-12, atol=1e-12)
        made = teacher.passes


def test_a_second_run_reads_what_the_first_one_wrote(tmp_path: Path) -> None:
    cache(tmp_path, Counting()).prepare(rows())
    teacher = Counting()
    again = cache(tmp_path, teacher)
    again.prepare(rows())
    assert teacher.passes == 0 and again.size()["entries"] == 7
    again.prepare(rows(9))
    assert teacher.passes > 0 and again.size()["entries"] == 9
    assert again.size()["bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("change", ["fingerprint", "top_k", "mask", "temperature"])
def test_what_was_made_for_anything_else_is_not_read(change: str, tmp_path: Path) -> None:
    first = {"top_k": 4, "temperature": 1.0}
    cache(tmp_path, Counting(), **first).prepare(rows())
    teacher = Counting()
    if change == "fingerprint":
        other = CachedTeacher(tmp_path, teacher, "sha256:other", pad_id=0, top_k=4)
    else:
        other = cache(tmp_path, teacher, **(first | {"top_k": {"top_k": 5}, "temperature": {"temperature": 2.0}}.get(change, {})))  # type: ignore[arg-type]
    other.prepare(rows(mask=change != "mask"))
    assert teacher.passes > 0


def test_exact_statistics_serve_every_temperature(tmp_path: Path) -> None:
    cache(tmp_path, Counting()).prepare(rows())
    teacher = Counting()
    cache(tmp_path, teacher, temperature=2.0).prepare(rows())
    assert teacher.passes == 0


def test_buckets_are_the_likeliest_tokens_and_the_rest(tmp_path: Path) -> None:
    teacher = Counting()
    cached = cache(tmp_path, teacher, top_k=5, temperature=1.5)
    cached.prepare(rows())
    batch = collate(rows(), 0)
    found, live = cached.targets(batch), teacher.targets(batch)
    assert isinstance(found, Buckets) and isinstance(live, Dense)
    p = (live.logits / 1.5).softmax(-1)
    largest = p.sort(-1, descending=True).values[:, :5]
    torch.testing.assert_close(found.log_probabilities[:, :5].exp(), largest, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.log_probabilities[:, 5].exp(), 1 - largest.sum(-1), rtol=1e-7, atol=1e-12)


def test_bucketed_probabilities_sum_to_one_with_finite_gradients_at_extreme_logits() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    found = bucketed(logits, torch.tensor([[0, 1], [2, 3]]), 1.0)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2))
    (gradient,) = torch.autograd.grad(found.exp()[:, -1].sum(), logits)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd"])
def test_a_coarser_view_never_raises_the_divergence_and_all_tokens_give_the_exact_one(name: str, tmp_path: Path) -> None:
    teacher, student = Counting(), tiny_model(dtype=torch.float64)
    batch = collate(rows(), 0)
    logits = supervised_logits(student, batch.student)
    loss = ProblemLoss(divergence(name))
    exact = loss.per_token(logits, teacher.targets(batch), batch.tokens)
    before = None
    for k in (1, 8, 47):
        cached = cache(tmp_path / str(k), teacher, top_k=k)
        cached.prepare(rows())
        found = loss.per_token(logits, cached.targets(batch), batch.tokens)
        assert (found <= exact + 1e-12).all()
        assert before is None or (found >= before - 1e-12).all()  # more tokens refine the view
        error = cached.error(student, rows(), loss)
        assert error["mean_nats"] == pytest.approx((exact - found).mean().item(), rel=1e-6, abs=1e-9)
        before = found
    torch.testing.assert_close(before, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("padded", ["student", "teacher"])
@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize("fused", [False, True])
def test_heads_padded_to_different_widths_are_compared_on_the_shared_vocabulary(
    name: str, padded: str, fused: bool, tmp_path: Path
) -> None:
    teacher, student = Counting(), tiny_model(dtype=torch.float64)
    wide: Any = student if padded == "student" else teacher.model
    own = wide.get_output_embeddings().weight
    torch.manual_seed(0)
    wide.lm_head = torch.nn.Linear(own.shape[1], own.shape[0] + 9, bias=False, dtype=torch.float64)
    loss = ProblemLoss(divergence(name))
    used = FusedLoss(loss, plain_head(student, "student")) if fused else loss
    batch = collate(rows(), 0)
    exact = loss.values(student, batch, teacher.targets(batch))
    for k in (4, 47):  # all but one of the 48 that both have: then the rest is one token, and nothing is lost
        cached = cache(tmp_path / str(k), teacher, top_k=k, width=student.get_output_embeddings().weight.shape[0])
        cached.prepare(rows())
        found = used.values(student, batch, cached.targets(batch))
        assert (found <= exact + 1e-12).all()
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-12)


def test_gradients_through_buckets_are_those_of_the_coarse_divergence(tmp_path: Path) -> None:
    cached = cache(tmp_path, Counting(), top_k=3)
    cached.prepare(rows(2))
    batch = collate(rows(2), 0)
    logits = torch.randn(len(batch.tokens), 48, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    loss = ProblemLoss(divergence("forward_kl"))
    assert torch.autograd.gradcheck(lambda z: loss.per_token(z, cached.targets(batch), batch.tokens), logits)


def test_a_part_that_was_cut_short_is_named(tmp_path: Path) -> None:
    cached = cache(tmp_path, Counting())
    cached.prepare(rows())
    (path,) = cached.folder.glob("part-*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"part-.*safetensors is damaged .* delete it"):
        cache(tmp_path, Counting())


def test_a_kill_while_a_part_is_written_loses_that_part_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_cache, "PART", 3)
    cached = cache(tmp_path, Counting())
    replace, count = os.replace, [0]

    def stop(source: Path, destination: Path) -> None:
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt
        replace(source, destination)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        cached.prepare(rows())
    monkeypatch.setattr(os, "replace", replace)
    again = cache(tmp_path, Counting())
    assert again.size()["entries"] == 3
    again.prepare(rows())
    whole = cache(tmp_path / "whole", Counting())
    whole.prepare(rows())
    for part in again.folder.glob("*.safetensors"):
        with safe_open(part, "pt") as ours, safe_open(whole.folder / part.name, "pt") as theirs:
            assert torch.equal(ours.get_tensor("logits"), theirs.get_tensor("logits"))
    with pytest.raises(UserError, match="`top_k` 0 must be at least 1"):
        cache(tmp_path, Counting(), top_k=0)
