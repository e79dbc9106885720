"""Stages, masks, segments and micro-batches: parsed as written, refused in one line."""

import itertools
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paced_exp.core.errors import UserError
from paced_exp.losses.alignment import Row, make_row
from paced_exp.training.counts import Measured
from paced_exp.training.da_kd import da_kd_weights
from paced_exp.training.data import BatchOptions, TrainingData
from paced_exp.training.masks import parse_mask
from paced_exp.training.row_builder import RowBuilder
from paced_exp.training.segments import Passing, Segment, make_plan, make_segments
from paced_exp.training.stages import Stage, parse_stages, stage_ends
from paced_exp.training.trainer import by_length
from paced_exp.weighting import ESTIMATES, METHODS, Weighting, Weights, normalised, weigh
from tests.support.tiny_models import VOCABULARY, loaded, tiny_model

# ---- stages


def test_stages_are_parsed() -> None:
    assert parse_stages("akl") == [Stage("akl", "references", 1.0)]
    assert parse_stages("forward_kl:0.25, reverse_kl@references:0.25,jsd@rollouts:0.5") == [
        Stage("forward_kl", "references", 0.25),
        Stage("reverse_kl", "references", 0.25),
        Stage("jsd", "rollouts", 0.5),
    ]
    assert stage_ends(parse_stages("forward_kl:0.5,reverse_kl:0.5"), 7) == [4, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forward_kl:0.5,reverse_kl:0.4", "`stages` forward_kl:0.5,reverse_kl:0.4: the fractions must sum to 1, got 0.9"),
        ("forward", "divergence 'forward' is not known; known: forward_kl, reverse_kl, cross_entropy, jsd, akl"),
        ("akl@web", "source 'web' is not known; known: references, rollouts"),
        ("akl,jsd", r"'akl' has no fraction; write akl:FRACTION"),
        ("akl:x,jsd:1", "fraction 'x' of akl must be a number"),
        ("akl:-1,jsd:2", "fraction '-1' of akl must be"),
        ("cross_entropy@rollouts", "teaches it nothing; take cross_entropy@references"),
    ],
)
def test_stages_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_stages(text)


def test_a_stage_without_an_update_is_refused() -> None:
    with pytest.raises(UserError, match=r"reverse_kl@rollouts gets 0.01 of 10 updates, which rounds to none"):
        stage_ends(parse_stages("forward_kl:0.99,reverse_kl:0.01"), 10)


# ---- masks


def characters(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


def flags(kind: str, text: str) -> str:
    """The supervised characters of `text`, the others as dots."""
    found = parse_mask(kind, characters)([ord(letter) for letter in text])
    return "".join(letter if flag else "." for letter, flag in zip(text, found, strict=True))


def test_masks_by_character() -> None:
    text = "2+2=4 \\boxed{4}!"
    assert flags("all", text) == text
    assert flags("steps", text) == "2+2=4 .........."
    assert flags("answer", text) == "......\\boxed{4}!"
    assert flags("first:0.5", text) == "2+2=4 \\b........"
    assert flags("steps", "no box") == "no box" and flags("answer", "no box") == "......"
    assert flags("answer", "\\boxed{1} \\boxed{2}") == "..........\\boxed{2}"


def test_masks_with_tokens_of_several_characters() -> None:
    words = ["so 4", " then \\bo", "xed{4}", "<end>"]
    mask = parse_mask("answer", lambda ids: "".join(words[index] for index in ids))
    assert mask(range(4)) == [False, True, True, True]


@given(st.integers(1, 60), st.integers(1, 20))
def test_the_first_tokens_are_the_ceiling_of_the_fraction(length: int, twentieths: int) -> None:
    found = parse_mask(f"first:{twentieths / 20}", characters)([0] * length)
    count = -(-twentieths * length // 20)  # in integers
    assert found == [True] * count + [False] * (length - count)


@pytest.mark.parametrize("text", ["some", "first", "first:0", "first:1.5", "first:x", "first:nan"])
def test_masks_that_cannot_be(text: str) -> None:
    with pytest.raises(UserError, match=f"`supervise` {text}"):
        parse_mask(text, characters)


# ---- segments and plans

FORWARD, REVERSE = parse_stages("forward_kl:0.5,reverse_kl:0.5")


def test_segments_are_cut_where_stages_change_and_pass_rates_are_taken_again() -> None:
    assert make_segments([FORWARD, REVERSE], 10, "never") == [Segment(0, 5, FORWARD, False), Segment(5, 10, REVERSE, False)]
    assert make_segments([FORWARD, REVERSE], 10, "stages") == [Segment(0, 5, FORWARD, False), Segment(5, 10, REVERSE, True)]
    assert make_segments([FORWARD, REVERSE], 10, "4") == [
        Segment(0, 4, FORWARD, False),
        Segment(4, 5, FORWARD, True),
        Segment(5, 8, REVERSE, False),
        Segment(8, 10, REVERSE, True),
    ]
    with pytest.raises(UserError, match="`recompute` often is not known; known: never, stages"):
        make_segments([FORWARD, REVERSE], 10, "often")
    with pytest.raises(UserError, match="`steps` 0 must be at least 1"):
        make_segments([FORWARD, REVERSE], 0, "never")


def test_plans_pass_over_dropped_problems_and_go_on_where_the_last_one_ended() -> None:
    """Two segments, the second with other weights: the stream of permutations with its dropped problems left out, by a plain loop."""
    count, batch = 11, 4
    first, second = normalised(np.array([0, 1.0] * 5 + [3.0])), normalised(np.array([1.0] * 8 + [0, 0, 0]))
    segments = make_segments([FORWARD, REVERSE], 10, "stages")
    one = make_plan(segments[0], first, Passing(batch), 7, 0)
    two = make_plan(segments[1], second, Passing(batch), 7, one.cursor)
    stream = (int(index) for epoch in itertools.count() for index in np.random.default_rng([7, 1, epoch]).permutation(count))
    expected = []
    for weights in (first, second):
        kept = (index for index in stream if weights.values[index] > 0)
        expected.append(list(itertools.islice(kept, 5 * batch)))
    assert [one.indices.tolist(), two.indices.tolist()] == expected
    assert one.weights == pytest.approx(first.in_training)


def test_every_method_sees_the_kept_problems_in_the_same_order() -> None:
    segment = make_segments([Stage("akl", "references", 1.0)], 6, "never")[0]
    weights = normalised(np.array([0, 1.0, 1, 0, 1, 1, 1, 0]))
    every = make_plan(segment, normalised(np.ones(8)), Passing(4), 3, 0).indices
    some = make_plan(segment, weights, Passing(4), 3, 0).indices
    kept = [index for index in every.tolist() if weights.values[index] > 0]
    assert some.tolist()[: len(kept)] == kept


def test_an_epoch_has_every_kept_problem_once() -> None:
    segment = make_segments([Stage("akl", "references", 1.0)], 5, "never")[0]
    weights = normalised(np.array([1.0, 0.0] * 10))
    counts = Counter(make_plan(segment, weights, Passing(4), 0, 0).indices.tolist())
    assert counts == {index: 2 for index in range(0, 20, 2)}


def test_one_pass_visits_no_problem_twice_and_says_what_is_lacking() -> None:
    """Half of 40 problems have weight zero: 20 visits are there, over both segments together, and not one more."""
    weights = normalised(np.array([1.0, 0.0] * 20))
    first, second = make_segments([FORWARD, REVERSE], 5, "never")
    passing = Passing(4, regime="one-pass")
    one = make_plan(first, weights, passing, 0, 0)
    two = make_plan(second, weights, passing, 0, one.cursor)
    assert sorted([*one.indices.tolist(), *two.indices.tolist()]) == list(range(0, 40, 2))
    again = make_plan(first, weights, Passing(4), 0, 0)
    assert one.indices.tolist() == again.indices.tolist() and one.weights == pytest.approx(again.weights)
    longer = make_segments([Stage("akl", "references", 1.0)], 6, "never")[0]
    with pytest.raises(UserError, match=r"updates 1 to 6 need 24 unvisited problems, but 20 are left of the 20 .* among 40; about 8 more"):
        make_plan(longer, weights, passing, 0, 0)


def test_as_published_leaves_weight_zero_in_the_batch() -> None:
    """The same problems as without weights, in the same order; the mean weight over all of them is one."""
    segment = make_segments([Stage("akl", "references", 1.0)], 5, "never")[0]
    weights = normalised(np.array([1.0, 0.0, 3.0, 0.0] * 5))
    plan = make_plan(segment, weights, Passing(4, accounting="as-published"), 3, 0)
    every = make_plan(segment, normalised(np.ones(20)), Passing(4), 3, 0)
    assert plan.indices.tolist() == every.indices.tolist()
    assert plan.weights.mean() == pytest.approx(1.0) and (plan.weights == 0).sum() == 10
    usable = np.array([True] * 10 + [False] * 10)
    some = make_plan(segment, normalised(np.where(usable, weights.values, 0)), Passing(4, accounting="as-published"), 3, 0, usable)
    assert set(some.indices.tolist()) == set(range(10)) and some.weights[usable].mean() == pytest.approx(1.0)


def test_sampling_draws_in_proportion_and_weighs_alike() -> None:
    segment = Segment(0, 5000, Stage("akl", "references", 1.0), False)
    plan = make_plan(segment, Weights(np.array([0.0, 1.0, 2.0])), Passing(4, "sampling"), 0, 0)
    counts = np.bincount(plan.indices, minlength=3)
    assert counts[0] == 0 and counts[2] / counts[1] == pytest.approx(2, rel=0.1)
    assert plan.weights.tolist() == [1.0, 1.0, 1.0]


# ---- weights in training


def some_data(weighting: Weighting, counts: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> TrainingData:
    """The data of one stage on the student's rollouts, of problems that no model ever sees."""
    options = BatchOptions(weighting, None, Passing(2), rollout_every=1, seed=0)
    monkeypatch.setattr(TrainingData, "_check_contexts", lambda *_: None)
    nothing: Any = None
    rows = RowBuilder([nothing] * len(counts[0]), nothing, nothing, "plain", nothing)
    return TrainingData(options, [Segment(0, 3, REVERSE, False)], rows, nothing, nothing, Measured(*counts, np.zeros(len(counts[0]))))


NEEDED: dict[str, dict[str, Any]] = {"maxrl": {"order": 4}, "curve": {"curve": "0:0.2,0.5:1,1:0"}}  # options without a default


@pytest.mark.parametrize(
    "weighting",
    [
        *(Weighting(method, **NEEDED.get(method, {})) for method in METHODS),
        *(Weighting(estimate=estimate) for estimate in ESTIMATES),
    ],
    ids=lambda w: f"{w.method}-{w.estimate}",
)
def test_a_training_weighs_as_weigh_does(weighting: Weighting, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.array([0, 1, 2, 4, 3]), np.array([4, 4, 4, 4, 8])
    prepared = some_data(weighting, counts, monkeypatch).prepare(0)
    assert prepared.weights.values.tolist() == weigh(weighting, *counts).values.tolist()


@pytest.mark.parametrize("counts", [([0.5, 1.0], [2, 2]), ([1, 2], [2, 0]), ([1, 3], [2, 2])])
@pytest.mark.parametrize("method", METHODS)
def test_a_training_refuses_the_counts_that_weigh_refuses(
    method: str, counts: tuple[list[float], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = some_data(Weighting(method, **NEEDED.get(method, {})), (np.array(counts[0]), np.array(counts[1])), monkeypatch)
    with pytest.raises(ValueError, match="k and K must be vectors of whole numbers with 0 <= k <= K and K >= 1"):
        data.prepare(0)


# ---- micro-batches


def test_micro_batches_hold_rows_of_similar_length_and_lose_none() -> None:
    rows = [Row(str(n), [0] * n, [0], [1], [True], 1.0) for n in (5, 1, 4, 2, 3, 6)]
    assert [[row.problem_id for row in part] for part in by_length(rows, 3)] == [["1", "2"], ["3", "4"], ["5", "6"]]


class GradedAgain:
    """Rollouts of a student that has learnt: of the problems asked for, every second one is solved once in two, the others never."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.context = self.student = None

    def graded(self, made_at: int, now: int, indices: list[int] | None) -> Any:
        assert indices is not None
        self.asked = indices
        rows = [{"problem_id": str(index), "correct": index % 2 == 0 and draw == 0} for index in indices for draw in range(2)]
        return SimpleNamespace(outcomes=lambda: pd.DataFrame(rows), stopping=None)


def test_one_pass_takes_pass_rates_again_only_of_what_is_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingData, "_check_contexts", lambda *_: None)
    rollouts: Any = GradedAgain()
    problems: Any = [SimpleNamespace(id=str(index)) for index in range(30)]
    rows = RowBuilder(problems, None, None, "plain", None)  # type: ignore[arg-type]
    passing = Passing(2, regime="one-pass")
    segments = [Segment(0, 4, REVERSE, False), Segment(4, 6, REVERSE, True)]
    measured = Measured.of(np.full(30, 1), np.full(30, 2))
    data = TrainingData(BatchOptions(Weighting(), None, passing, 1, 5), segments, rows, None, rollouts, measured)  # type: ignore[arg-type]
    first, second = data.prepare(0), data.prepare(4)
    visited = first.plan.indices.tolist()
    assert len(visited) == 8 and sorted(rollouts.asked) == sorted(set(range(30)) - set(visited))
    assert second.weights.kept.tolist() == [index for index in rollouts.asked if index % 2 == 0]
    assert not set(second.plan.indices.tolist()) & set(visited)
    assert second.plan.weights[second.plan.indices] == pytest.approx(1.0)
    assert second.measured is not None and second.measured.k[visited].tolist() == [1] * 8
    assert second.measured.rates.tolist() == (second.measured.k / second.measured.K).tolist()


def test_da_kd_weights_are_clipped_ratios_of_cross_entropies_and_leave_models_as_they_were() -> None:
    student, teacher = (loaded(tiny_model(seed=seed)) for seed in (1, 2))
    rng = np.random.default_rng(0)
    rows = [
        make_row(str(n), *(rng.integers(3, VOCABULARY, size).tolist() for size in (3, 5, 4)), [True, n % 2 == 0, True, False], 1.0)
        for n in range(40)
    ]
    student.model.train()
    found = da_kd_weights(rows, range(2, 42), 45, student, teacher).values
    assert student.model.training and not teacher.model.training
    student.model.eval()

    def cross_entropy(model: Any, prompt: list[int], row: Row) -> float:
        with torch.no_grad():
            log_p = model(torch.tensor([prompt + row.response])).logits[0].double().log_softmax(-1)
        each = [-float(log_p[len(prompt) - 1 + t, token]) for t, token in enumerate(row.response) if row.supervised[t]]
        return sum(each) / len(each)

    ratios = np.array([cross_entropy(student.model, r.student_prompt, r) / cross_entropy(teacher.model, r.teacher_prompt, r) for r in rows])
    wanted = np.concatenate([[0, 0], np.clip(ratios, *np.percentile(ratios, (1, 99))), [0, 0, 0]])
    assert found == pytest.approx(wanted / wanted.mean(), rel=1e-4)
