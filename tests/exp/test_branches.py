"""Rows shared by rollouts with the same tokens: against a dictionary of beginnings, on random trees of draws."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paced_exp.rollouts.branches import Branches

EOS = (0, 5)
VOCABULARY = 6


def rolled(branches: Branches, scripts: np.ndarray) -> tuple[list[int], list[int]]:
    """Let rollout i draw the tokens scripts[i] until all have ended; checks every step. Returns the sums of finished and sampled by step."""
    samples = len(scripts) // len(branches.owners)
    contents = [(prompt,) for prompt in range(len(branches.owners))]  # of each row: its prompt, then its tokens
    finished, sampled = [], []
    while len(branches.live):
        step = branches.step
        table = branches.spread(branches.live.astype(float) + 1)
        held = [[int(number) - 1 for number in row if number] for row in table]
        # Each live rollout is in the row whose content is its own beginning.
        assert sorted(rollout for row in held for rollout in row) == sorted(branches.live)
        for content, rollouts in zip(contents, held, strict=True):
            assert rollouts and {(rollout // samples, *scripts[rollout][:step]) for rollout in rollouts} == {content}
        assert len(set(contents)) == len(contents)
        drawn = np.zeros(table.shape, dtype=int)
        for row, rollouts in enumerate(held):
            drawn[row, : len(rollouts)] = scripts[rollouts, step]
        before = contents
        move = branches.advance(drawn)
        contents = [(*contents[source], int(token)) for source, token in zip(move.sources, move.tokens, strict=True)]
        # A row that goes on is not copied, unless it lies beyond the next batch.
        for row in range(min(len(contents), len(before))):
            if row in move.sources:
                assert move.sources[row] == row
        assert [content[0] for content in contents] == branches.owners.tolist()
        finished.append(move.finished)
        sampled.append(move.sampled)
    return finished, sampled


def expected(script: np.ndarray, limit: int) -> list[int]:
    ends = [place for place, token in enumerate(script[:limit]) if token in EOS]
    return script[: ends[0] + 1 if ends else limit].tolist()


trees = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(2, VOCABULARY), st.integers(0, 2**32 - 1))


@given(trees)
def test_every_rollout_gets_its_tokens(tree: tuple[int, int, int, int, int]) -> None:
    prompts, samples, limit, kinds, seed = tree
    scripts = np.random.default_rng(seed).integers(0, kinds, size=(prompts * samples, limit))
    branches = Branches(prompts, samples, limit, capacity=prompts * samples, eos=EOS, vocabulary=VOCABULARY)
    finished, sampled = rolled(branches, scripts)
    wanted = [expected(script, limit) for script in scripts]
    assert branches.responses() == [wanted[start : start + samples] for start in range(0, len(wanted), samples)]
    lengths = np.array([len(ids) for ids in wanted])
    assert finished == [int((lengths == step + 1).sum()) for step in range(lengths.max())]
    assert sampled == [int((lengths > step).sum()) for step in range(lengths.max())]
    rows = [len({(i // samples, *ids[:t]) for i, ids in enumerate(wanted) if len(ids) > t}) for t in range(1, limit + 1)]
    assert branches.peak == max(1.0, max(rows) / prompts)


@given(trees, st.integers(0, 20))
def test_prompts_without_room_are_parked_from_the_end(tree: tuple[int, int, int, int, int], room: int) -> None:
    prompts, samples, limit, kinds, seed = tree
    capacity = max(prompts, samples) + room
    scripts = np.random.default_rng(seed).integers(0, kinds, size=(prompts * samples, limit))
    branches = Branches(prompts, samples, limit, capacity=capacity, eos=EOS, vocabulary=VOCABULARY)
    finished, sampled = rolled(branches, scripts)
    wanted = [expected(script, limit) for script in scripts]
    # The oracle: prompts leave from the end of the batch while the beginnings that go on are too many.
    kept = set(range(prompts))
    for t in range(1, limit):
        going = Counter(
            prompt for prompt, *_ in {(i // samples, *ids[:t]) for i, ids in enumerate(wanted) if len(ids) > t} if prompt in kept
        )
        while going.total() > capacity:
            last = max(going)
            kept.remove(last)
            del going[last]
    assert 0 in kept
    groups = [wanted[start : start + samples] for start in range(0, len(wanted), samples)]
    assert branches.responses() == [group if prompt in kept else None for prompt, group in enumerate(groups)]
    assert sum(finished) == len(kept) * samples
    assert sum(sampled) == sum(len(ids) for prompt in kept for ids in groups[prompt])


def test_one_token_for_all_rollouts_of_a_row() -> None:
    branches = Branches(2, 3, 2, capacity=6, eos=EOS, vocabulary=VOCABULARY)
    move = branches.advance(np.array([[1], [0]]))
    assert (move.sources.tolist(), move.tokens.tolist(), move.finished, move.sampled) == ([0], [1], 3, 6)
    branches.advance(np.array([[2]]))
    assert branches.responses() == [[[1, 2]] * 3, [[0]] * 3] and len(branches.live) == 0


def test_no_room_for_one_prompt_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="capacity 3"):
        Branches(1, 4, 2, capacity=3, eos=EOS, vocabulary=VOCABULARY)
