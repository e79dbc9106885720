"""Bins by exact arithmetic, filled to equal size, by order and p-hat alone."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paced_exp.core.errors import UserError
from paced_exp.probe.binning import Bins, bin_index


def test_every_pass_rate_is_in_the_bin_that_holds_its_exact_fraction() -> None:
    for rollouts in range(1, 41):
        for bins in range(1, 41):
            for passes in range(rollouts + 1):
                index, p_hat = bin_index(passes, rollouts, bins), Fraction(passes, rollouts)
                assert Fraction(index, bins) <= p_hat
                assert p_hat < Fraction(index + 1, bins) or (p_hat == 1 and index == bins - 1)


def test_one_bin_more_than_rollouts_gives_each_count_its_own() -> None:
    for rollouts in range(1, 41):
        assert [bin_index(passes, rollouts, rollouts + 1) for passes in range(rollouts + 1)] == list(range(rollouts + 1))


@pytest.mark.parametrize(("passes", "rollouts"), [(-1, 8), (9, 8)])
def test_what_is_no_pass_rate_is_refused(passes: int, rollouts: int) -> None:
    with pytest.raises(UserError, match=rf"{passes} passes of {rollouts} rollouts is no pass rate in \[0, 1\]"):
        bin_index(passes, rollouts, 5)


def fill(counts: list[int], *, bins: int, capacity: int, rollouts: int) -> Bins:
    filled = Bins(bins, capacity, rollouts)
    for number, passes in enumerate(counts):
        filled.offer(f"p{number}", passes)
    return filled


@given(st.integers(1, 12), st.integers(2, 13), st.integers(1, 4), st.data())
def test_a_bin_keeps_the_first_of_its_problems_and_counts_all(rollouts: int, bins: int, capacity: int, data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, rollouts), max_size=60))
    filled = fill(counts, bins=bins, capacity=capacity, rollouts=rollouts)
    for index in range(bins):
        own = [(f"p{number}", passes) for number, passes in enumerate(counts) if bin_index(passes, rollouts, bins) == index]
        assert filled.members[index] == own[:capacity] and filled.offered[index] == len(own)
    assert filled.kept == sum(map(len, filled.members))
    # Full means that every bin that some k/K can reach is at its capacity, all of equal size.
    sizes = {len(filled.members[bin_index(passes, rollouts, bins)]) for passes in range(rollouts + 1)}
    assert filled.full == (sizes == {capacity})


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 4))
def test_what_a_bin_keeps_does_not_depend_on_the_other_bins(counts: list[int], kept: int) -> None:
    # An unbiased sample: problems of other pass rates, drawn before or between, change nothing.
    alone = [(number, passes) for number, passes in enumerate(counts) if passes == kept]
    filled = fill(counts, bins=5, capacity=3, rollouts=4)
    assert filled.members[kept] == [(f"p{number}", passes) for number, passes in alone[:3]]


def test_bins_that_no_count_reaches_are_not_waited_for() -> None:
    filled = fill([0, 1, 2, 0, 1, 2], bins=10, capacity=2, rollouts=2)
    assert filled.reachable == [0, 5, 9] and filled.full and filled.kept == 6
    assert not fill([0, 1, 2, 0, 1], bins=10, capacity=2, rollouts=2).full


def test_offer_says_whether_the_problem_was_kept() -> None:
    filled = Bins(2, 1, 1)
    assert [filled.offer("a", 0), filled.offer("b", 0), filled.offer("c", 1)] == [True, False, True]
