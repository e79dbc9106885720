"""Stages, masks, segments and batches: parsed as written, refused in one line, and every position where it should be."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paced_exp.training.batches import Row, by_length, collate, in_rows, make_row, supervised_logits

from paced_exp.core.errors import UserError
from paced_exp.training.masks import parse_mask
from paced_exp.training.segments import Segment, make_plan, make_segments
from paced_exp.training.stages import Stage, parse_stages, stage_ends
from paced_exp.training.supply import Supply, SupplyOptions
from paced_exp.weighting import ESTIMATES, METHODS, Weighting, Weights, normalised, weigh
from tests.support.tiny_models import tiny_model

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
    with pytest.raises(UserError, match=r"reverse_kl@rollouts gets 0.01 of 10 updates, which is none"):
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
    one = make_plan(segments[0], first, batch, "loss", 7, 0)
    two = make_plan(segments[1], second, batch, "loss", 7, one.cursor)
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
    every = make_plan(segment, normalised(np.ones(8)), 4, "loss", 3, 0).indices
    some = make_plan(segment, weights, 4, "loss", 3, 0).indices
    kept = [index for index in every.tolist() if weights.values[index] > 0]
    assert some.tolist()[: len(kept)] == kept


def test_an_epoch_has_every_kept_problem_once() -> None:
    segment = make_segments([Stage("akl", "references", 1.0)], 5, "never")[0]
    weights = normalised(np.array([1.0, 0.0] * 10))
    counts = Counter(make_plan(segment, weights, 4, "loss", 0, 0).indices.tolist())
    assert counts == {index: 2 for index in range(0, 20, 2)}


def test_sampling_draws_in_proportion_and_weighs_alike() -> None:
    segment = Segment(0, 5000, Stage("akl", "references", 1.0), False)
    plan = make_plan(segment, Weights(np.array([0.0, 1.0, 2.0])), 4, "sampling", 0, 0)
    counts = np.bincount(plan.indices, minlength=3)
    assert counts[0] == 0 and counts[2] / counts[1] == pytest.approx(2, rel=0.1)
    assert plan.weights.tolist() == [1.0, 1.0, 1.0]


# ---- weights in training


def a_supply(weighting: Weighting, counts: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Supply:
    """A supply of one stage on the student's rollouts, of problems that no model ever sees."""
    options = SupplyOptions(weighting, "loss", 4, 1.0, 8, batch=2, rollout_every=1, teacher_prompt="plain", seed=0)
    problems, segments = [None] * len(counts[0]), [Segment(0, 3, REVERSE, False)]
    monkeypatch.setattr(Supply, "_check_contexts", lambda *_: None)
    nothing: Any = None
    return Supply(Path(), options, problems, segments, nothing, nothing, nothing, nothing, nothing, counts, nothing, nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "weighting",
    [
        *(Weighting(method, order=4 if method == "maxrl" else None) for method in METHODS),
        *(Weighting(estimate=estimate) for estimate in ESTIMATES),
    ],
    ids=lambda w: f"{w.method}-{w.estimate}",
)
def test_a_training_weighs_as_weigh_does(weighting: Weighting, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.array([0, 1, 2, 4, 3]), np.array([4, 4, 4, 4, 8])
    prepared = a_supply(weighting, counts, monkeypatch).prepare(0)
    assert prepared.weights.values.tolist() == weigh(weighting, *counts).values.tolist()


@pytest.mark.parametrize("counts", [([0.5, 1.0], [2, 2]), ([1, 2], [2, 0]), ([1, 3], [2, 2])])
@pytest.mark.parametrize("method", METHODS)
def test_a_training_refuses_the_counts_that_weigh_refuses(
    method: str, counts: tuple[list[float], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    supply = a_supply(Weighting(method), (np.array(counts[0]), np.array(counts[1])), monkeypatch)
    with pytest.raises(ValueError, match="k and K must be vectors of whole numbers with 0 <= k <= K and K >= 1"):
        supply.prepare(0)


# ---- batches

ROWS = [
    Row("a", [5, 6, 7], [8, 9, 5, 6, 7], [10, 11, 12, 1], [True, True, True, True], 1.5),
    Row("b", [5], [9, 9, 9, 9, 9, 9], [20, 21, 22, 23, 1], [False, True, False, True, False], 0.5),
]


def test_student_and_teacher_predict_the_supervised_tokens() -> None:
    batch = collate(ROWS, pad_id=0)
    assert batch.tokens.tolist() == [10, 11, 12, 1, 21, 23]
    assert batch.layout.tolist() == [[True] * 4, [True, True, False, False]]
    # What is behind the last supervised token of `b` is not read; nor is that token itself.
    assert batch.student.ids.tolist() == [[5, 6, 7, 10, 11, 12], [5, 20, 21, 22, 0, 0]]
    for sequences, prompts in ((batch.student, ["student_prompt"] * 2), (batch.teacher, ["teacher_prompt"] * 2)):
        skipped = sequences.ids.shape[1] - sequences.predicting.shape[1]
        for number, row in enumerate(ROWS):
            places = (sequences.predicting[number].nonzero()[:, 0] + skipped).tolist()
            wanted = [index for index, flag in enumerate(row.supervised) if flag]
            assert places == [len(getattr(row, prompts[number])) - 1 + index for index in wanted]


def test_logits_in_a_batch_are_those_of_each_row_alone() -> None:
    model = tiny_model(dtype=torch.float64)
    batch = collate(ROWS, pad_id=0)
    found = supervised_logits(model, batch.student).split([4, 2])
    for row, logits in zip(ROWS, found, strict=True):
        whole = model(input_ids=torch.tensor([row.student_prompt + row.response])).logits[0]
        wanted = [len(row.student_prompt) - 1 + index for index, flag in enumerate(row.supervised) if flag]
        torch.testing.assert_close(logits, whole[wanted], rtol=1e-10, atol=1e-12)


def test_padding_tokens_do_not_matter() -> None:
    model = tiny_model(dtype=torch.float64)
    zero, other = (supervised_logits(model, collate(ROWS, pad_id=pad).teacher) for pad in (0, 40))
    assert torch.equal(zero, other)


def test_values_are_laid_out_in_rows() -> None:
    batch = collate(ROWS, pad_id=0)
    assert in_rows(torch.arange(1.0, 7.0), batch.layout).tolist() == [[1, 2, 3, 4], [5, 6, 0, 0]]


def test_a_row_without_a_supervised_token_counts_for_nothing() -> None:
    row = make_row("c", [5], [6], [7, 8], [False, False], 2.0)
    assert (row.supervised, row.weight) == ([True, False], 0.0)


def test_micro_batches_hold_rows_of_similar_length_and_lose_none() -> None:
    rows = [Row(str(n), [0] * n, [0], [1], [True], 1.0) for n in (5, 1, 4, 2, 3, 6)]
    assert [[row.problem_id for row in part] for part in by_length(rows, 3)] == [["1", "2"], ["3", "4"], ["5", "6"]]
