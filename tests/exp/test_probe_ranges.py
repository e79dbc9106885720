"""Ranges of pass rates: exact edges, what is kept and dropped, families capped, and no winner's curse from the screen."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, binom

from paced_exp.core.errors import UserError
from paced_exp.probe.config import ProbeConfig
from paced_exp.probe.range_law import inside_of, law_of_ranges
from paced_exp.probe.ranges import ALL, RANGES, Ranges, cells_of_fresh, range_index, ranges_of, side_of
from tests.support.screened import Drawn, draw, fill

# ---- edges


@pytest.mark.parametrize("fresh", [100, 101, 137, 1000])
def test_a_fresh_count_is_in_the_range_that_holds_its_exact_fraction(fresh: int) -> None:
    edges = [Fraction(0), Fraction(1, 100), Fraction(3, 100), Fraction(1, 10)]
    for passes in range(fresh + 1):
        p = Fraction(passes, fresh)
        low = next((i for i in range(3) if edges[i] <= p < edges[i + 1]), None)
        high = next((i for i in range(3) if edges[i] <= 1 - p < edges[i + 1]), None)
        assert range_index("low", passes, fresh) == low
        assert range_index("high", passes, fresh) == (None if high is None else 9 - high)
    for side in ("low", "high"):
        cells = cells_of_fresh(side, fresh)
        assert sorted(passes for cell in cells for passes in cell) == list(range(fresh + 1)) and all(cells)
        own = ranges_of(side)
        assert all(range_index(side, passes, fresh) == own[i] for i, cell in enumerate(cells[:-1]) for passes in cell)
        assert all(range_index(side, passes, fresh) is None for passes in cells[-1])


@pytest.mark.parametrize("K", range(4, 21))
def test_the_screen_splits_all_counts_and_every_middle_count_has_a_range(K: int) -> None:
    sides = [side_of(k, K) for k in range(K + 1)]
    assert sides == ["low"] * 2 + ["middle"] * (K - 3) + ["high"] * 2
    for k in range(2, K - 1):
        index = range_index("middle", k, K)
        assert index is not None and RANGES[index].low * K <= 100 * k <= RANGES[index].high * K
    reached = {range_index("middle", k, K) for k in range(2, K - 1)}
    assert Ranges(3, K, 100).reachable == sorted({0, 1, 2, 7, 8, 9} | reached)


def test_labels_and_bad_counts() -> None:
    assert [one.label for one in RANGES[:4]] == ["[0, 0.01)", "[0.01, 0.03)", "[0.03, 0.1)", "[0.1, 0.3)"]
    assert [one.label for one in RANGES[6:]] == ["[0.7, 0.9]", "(0.9, 0.97]", "(0.97, 0.99]", "(0.99, 1]"]
    with pytest.raises(UserError, match="11 passes of 10 rollouts is no pass rate"):
        side_of(11, 10)


# ---- what is kept


def expected_members(drawn: list[Drawn], capacity: int, share: float) -> list[list[str]]:
    """By a plain loop over problems for one range at a time: the first of its problems, each family up to its cap."""
    found = []
    for index, one in enumerate(RANGES):
        kept: list[str] = []
        families: Counter[str] = Counter()
        for problem in drawn:
            if side_of(problem.k, 10) != one.side:
                continue
            passes, trials = (problem.k, 10) if one.side == "middle" else (problem.fresh, 100)
            if range_index(one.side, passes, trials) != index or len(kept) >= capacity:
                continue
            if share < 1 and families[problem.family] >= max(1, round(share * capacity)):
                continue
            families[problem.family] += 1
            kept.append(problem.name)
        found.append(kept)
    return found


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([1.0, 0.5, 0.2]), st.integers(0, 400))
def test_a_range_keeps_the_first_of_its_problems_whatever_the_others_do(seed: int, capacity: int, share: float, count: int) -> None:
    drawn = draw(count, seed, alpha=0.35, beta=0.43, families=4)
    ranges, rolled = fill(drawn, capacity, share)
    assert [[name for name, _ in members] for members in ranges.members] == expected_members(drawn, capacity, share)
    assert ranges.kept == sum(map(len, ranges.members)) and ranges.kept == len(ranges.outcomes)
    by_name = {problem.name: problem for problem in drawn}
    for index, members in enumerate(ranges.members):
        assert ranges.offered[index] >= len(members) == sum(ranges.families[index].values())
        for name, passes in members:
            problem = by_name[name]
            again = 0 if RANGES[index].side == "middle" else 100
            assert passes == (problem.fresh if again else problem.k) and ranges.trials[index] == (again or 10)
            group = problem.family if share < 1 else ALL
            assert ranges.outcomes[name] == (group, problem.k + (problem.fresh if again else 0), 10 + again)
    # Every problem is counted once, and every one rolled out again once more.
    assert sum(map(sum, ranges.screened.values())) == count
    for side in ("low", "high"):
        of_side = [by_name[name] for name in rolled if side_of(by_name[name].k, 10) == side]
        assert ranges.again(side) == len(of_side)
        assert ranges.dropped(side) == sum(range_index(side, problem.fresh, 100) is None for problem in of_side)


def test_nobody_is_rolled_out_again_for_ranges_that_want_no_more() -> None:
    ranges = Ranges(capacity=2, rollouts=10, fresh=100, family_share=0.5)
    assert ranges.cap == 1 and not ranges.wants("a", 5)
    for index, passes in enumerate((0, 1, 5)):
        assert ranges.wants("a", 0) and ranges.settle(f"a{index}", "a", 0, passes)
    assert not ranges.wants("a", 1) and ranges.wants("b", 1) and ranges.wants("a", 10), "one of a family fills its half"
    for index, passes in enumerate((0, 2, 9)):
        assert ranges.settle(f"b{index}", "b", 1, passes)
    assert not ranges.wants("b", 0) and not ranges.wants("c", 0) and not ranges.full
    assert not ranges.settle("late", "c", 0, 50) and ranges.dropped("low") == 1 and ranges.dropped("high") == 0


def test_how_many_of_all_problems_belong_to_a_range_is_estimated_from_those_rolled_out() -> None:
    drawn = draw(40_000, 7, alpha=0.35, beta=0.43, families=3)
    for share in (1.0, 0.5):
        ranges, rolled = fill(drawn, 60, share)
        assert len(rolled) < 2000
        for index, (one, found) in enumerate(zip(RANGES, ranges.drawn, strict=True)):
            trials = 10 if one.side == "middle" else 100
            counts = [problem.k if trials == 10 else problem.fresh for problem in drawn if side_of(problem.k, 10) == one.side]
            true = sum(range_index(one.side, count, trials) == index for count in counts)
            # A binomial share of those rolled out, scaled up: its standard error is true / sqrt(landed).
            assert found == true if trials == 10 else abs(found - true) < 4 * true / np.sqrt(ranges.offered[index]), one.label
            assert found >= ranges.offered[index]


# ---- no winner's curse


@pytest.fixture(scope="module")
def filled() -> tuple[Ranges, dict[str, Drawn]]:
    drawn = draw(60_000, 3, alpha=0.35, beta=0.43)
    return fill(drawn, 1500, 1.0)[0], {problem.name: problem for problem in drawn}


def test_the_true_pass_rates_of_a_range_are_those_that_theory_says(filled: tuple[Ranges, dict[str, Drawn]]) -> None:
    """Their mean against that of p given k at the end and f in the range, by sums over (k, f) of the Beta-binomial law."""
    ranges, by_name = filled
    assert ranges.full
    k, f = np.arange(11), np.arange(101)
    for index, one in enumerate(RANGES):
        p = np.array([by_name[name].p for name, _ in ranges.members[index]])
        if one.side == "middle":
            counts = [(i, 10) for i in k if range_index("middle", i, 10) == index and 2 <= i <= 8]
            weight = np.array([betabinom(10, 0.35, 0.43).pmf(i) for i, _ in counts])
        else:
            ends = (0, 1) if one.side == "low" else (9, 10)
            pairs = [(i, j) for i in ends for j in f if range_index(one.side, j, 100) == index]
            counts = [(i + j, 110) for i, j in pairs]
            # P(k, f) = P(k) P(f | k), and given k the pass rate is Beta(0.35 + k, 0.43 + 10 - k).
            weight = np.array([betabinom(10, 0.35, 0.43).pmf(i) * betabinom(100, 0.35 + i, 10.43 - i).pmf(j) for i, j in pairs])
        mean = np.average([(0.35 + s) / (0.78 + n) for s, n in counts], weights=weight)
        assert abs(p.mean() - mean) < 4 * p.std() / np.sqrt(len(p)), one.label


def test_the_screen_alone_would_be_far_off_and_fresh_rollouts_are_not(filled: tuple[Ranges, dict[str, Drawn]]) -> None:
    ranges, by_name = filled
    lowest = [by_name[name] for name, _ in ranges.members[0]]
    screened = [problem for problem in by_name.values() if problem.k == 0]
    assert np.mean([problem.p for problem in screened]) > 0.02, "the bin k = 0 has problems of p = 0.1"
    assert np.mean([problem.p for problem in lowest]) < 0.005 and np.mean([problem.p < 0.01 for problem in lowest]) > 0.85
    # At both ends of [0.03, 0.1) the mean of the fresh p-hat is that of the true pass rates, within what the range's edges select.
    near = [(by_name[name].p, passes / 100) for name, passes in ranges.members[2]]
    true, hat = np.mean(near, axis=0)
    assert hat == pytest.approx(true, rel=0.06)


def test_the_law_of_pass_rates_says_how_many_of_a_range_are_within_it(filled: tuple[Ranges, dict[str, Drawn]]) -> None:
    ranges, by_name = filled
    panel = panel_of(ranges)
    law, posterior = law_of_ranges(panel)
    assert (law.alpha, law.beta) == pytest.approx((0.35, 0.43), rel=0.05) or law.tilt
    inside = inside_of(panel, law, posterior)
    for index, (mean, share) in enumerate(zip(posterior @ law.pass_rate, inside, strict=True)):
        p = np.array([by_name[name].p for name, _ in ranges.members[index]])
        one = RANGES[index]
        assert abs(p.mean() - mean) < 4 * p.std() / np.sqrt(len(p)) + 1e-4, one.label
        true = np.mean((p >= one.low / 100) & (p < one.high / 100))
        assert share == pytest.approx(true, abs=0.05), one.label


def test_families_of_unlike_difficulty_have_laws_of_their_own() -> None:
    """Where families are capped, a law of all together says a wrong pass rate of what is left of them; one a family does not."""
    hard = draw(9000, 0, alpha=0.2, beta=2.0, families=1)
    mild = draw(9000, 1, alpha=1.5, beta=2.0, families=1, name="m")
    drawn = [problem for pair in zip(hard, (Drawn(m.name, "mild", m.p, m.k, m.fresh) for m in mild), strict=True) for problem in pair]
    ranges, _ = fill(drawn, 400, 0.5)
    panel = panel_of(ranges)
    law, posterior = law_of_ranges(panel)
    assert law.kind == "mixture" and law.mass.sum() == pytest.approx(1)
    by_name = {problem.name: problem for problem in drawn}
    assert ranges.families[0]["f0"] == 200 == len(ranges.members[0]) - ranges.families[0]["mild"]
    p = np.array([by_name[name].p for name, _ in ranges.members[0]])
    assert abs(p.mean() - (posterior @ law.pass_rate)[0]) < 4 * p.std() / np.sqrt(len(p))


def panel_of(ranges: Ranges) -> dict[str, object]:
    """What a record says of ranges, without estimates."""
    rows = [{"range": ranges.facts(index, [name for name, _ in members])} for index, members in enumerate(ranges.members)]
    landed = {group: {str(k): cells for k, cells in by_k.items()} for group, by_k in ranges.landed.items()}
    return {
        "config": {"K": ranges.rollouts, "fresh_rollouts": ranges.fresh},
        "bins": rows,
        "rollouts": {"screened": ranges.screened, "landed": landed},
    }


# ---- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fresh_rollouts": 99}, "`fresh_rollouts` 99 must be 0, or at least 100"),
        ({"fresh_rollouts": -1}, "`fresh_rollouts` -1 must be 0, or at least 100"),
        ({"fresh_rollouts": 100, "K": 3}, "`K` 3 must be from 4 to 20 with `fresh_rollouts`"),
        ({"fresh_rollouts": 100, "K": 21}, "`K` 21 must be from 4 to 20 with `fresh_rollouts`"),
        ({"fresh_rollouts": 100, "bins": 5}, "`bins` 5 does not apply with `fresh_rollouts`"),
        ({"fresh_rollouts": 100, "family_share": 0.0}, "`family_share` 0.0 must be above 0 and at most 1"),
        ({"fresh_rollouts": 100, "family_share": float("nan")}, "`family_share` nan must be above 0 and at most 1"),
        ({"family_share": 0.2}, "`family_share` 0.2 only applies to ranges: give `fresh_rollouts` too"),
    ],
)
def test_options_that_cannot_be(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as refused:
        ProbeConfig(**options)
    assert message in str(refused.value)


def test_the_laws_own_oracle() -> None:
    """P(k, f) of `draw` is the product of two binomials given p."""
    drawn = draw(20_000, 5, alpha=2.0, beta=3.0)
    both = np.mean([problem.k <= 1 and problem.fresh < 10 for problem in drawn])
    p = np.random.default_rng(0).beta(2.0, 3.0, 200_000)
    assert both == pytest.approx(np.mean(binom.cdf(1, 10, p) * binom.cdf(9, 100, p)), abs=0.004)


def test_problems_of_a_group_that_was_not_rolled_out_again_count_by_the_other_groups() -> None:
    ranges = Ranges(capacity=5, rollouts=10, fresh=100, family_share=0.5)
    cells = cells_of_fresh("low", 100)
    landed = [0] * len(cells)
    landed[0], landed[-1] = 4, 2  # of six, two fell beyond the ranges of this end
    ranges.screened = {"A": [6, *[0] * 10], "C": [300, *[0] * 10]}
    ranges.landed = {"A": {0: landed}}
    assert sum(ranges.drawn) == ranges.drawn[0] == 204
