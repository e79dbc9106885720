"""The simulated worlds of the coverage studies: what they call the truth, and how problems come into ranges, by brute force."""

import numpy as np
import pytest
from scipy import special

from paced_theory.coverage import efficiency, ranges
from paced_theory.gram import bin_gram
from paced_theory.progress import efficiencies

# ---- efficiencies


@pytest.mark.parametrize(
    ("spreads", "proportional", "shape"), [("light", True, "bell"), ("rising", False, "flat"), ("rising", True, "bell")]
)
def test_the_true_efficiencies_are_those_of_one_large_sample(spreads: str, proportional: bool, shape: str) -> None:
    """With a strong signal, so that few thousand gradients a bin know it; the spread of norms stops at 0.6, whose mean square they know too."""
    world = efficiency.World(3000, spreads, proportional, shape, 0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(efficiency.SPREADS, "rising", tuple(0.06 * b for b in range(11)))
        gram = bin_gram(world.draw(np.random.default_rng(0)))
        for own in (False, True):
            found = efficiencies(gram, efficiency.SHARE, efficiency._ALL, own=own)
            assert found.value == pytest.approx(world.truth(own), abs=0.04)


def test_the_best_of_the_six_weights_in_a_bell_is_its_own_shape() -> None:
    """Each bin for itself, light tails, SNR^2 small: the optimum is SNR^2 / (1 + SNR^2), here 4 p (1 - p) but at both ends."""
    truth = dict(zip(efficiency.WEIGHTS, efficiency.World(300, "light", True, "bell").truth(True), strict=True))
    assert max(truth, key=truth.__getitem__) == "paced" and truth["paced"] > 0.99


# ---- ranges


def by_hand(k: np.ndarray, f: np.ndarray, n: int) -> tuple[list[list[int]], np.ndarray, dict[int, list[int]]]:
    """Problem after problem: the members of the ten ranges, the screened counts, and where those rolled out again landed."""
    edges = [(0.0, 0.01), (0.01, 0.03), (0.03, 0.1)]
    members: list[list[int]] = [[] for _ in range(10)]
    screened, landed = np.zeros(11), {count: [0, 0, 0, 0] for count in (0, 1, 9, 10)}
    for index in range(len(k)):
        if all(len(one) >= n for one in members):
            break
        screened[k[index]] += 1
        if k[index] in landed:
            own = (0, 1, 2) if k[index] <= 1 else (9, 8, 7)
            if all(len(members[place]) >= n for place in own):
                continue
            share = (f[index] if k[index] <= 1 else 100 - f[index]) / 100
            cell = next((at for at, (low, high) in enumerate(edges) if low <= share < high), 3)
            landed[int(k[index])][cell] += 1
            if cell == 3:
                continue
            place = own[cell]
        else:
            place = 3 + (0 if k[index] == 2 else 1 if k[index] <= 4 else 2 if k[index] <= 6 else 3)
        if len(members[place]) < n:
            members[place].append(index)
    return members, screened, landed


@pytest.mark.parametrize(("n", "drawn"), [(5, 400), (40, 400)])
def test_problems_come_into_ranges_as_one_after_the_other(n: int, drawn: int) -> None:
    """With room for few, and for more than some ranges find."""
    data = ranges.draw(n, np.random.default_rng(1), drawn)
    rng = np.random.default_rng(1)
    logit, mass = ranges._law()
    p = special.expit(rng.choice(logit, drawn, p=mass / mass.sum()))
    k, f = rng.binomial(10, p), rng.binomial(100, p)
    members, screened, landed = by_hand(k, f, n)
    assert [list(special.expit(x)) for x in data.logits] == [list(p[places]) for places in members]
    assert data.screened.tolist() == screened.tolist()
    assert {count: cells.tolist() for count, cells in data.landed.items()} == landed
    for places, (passes, rollouts), fresh in zip(members, data.outcomes, [1, 1, 1, 0, 0, 0, 0, 1, 1, 1], strict=True):
        assert passes.tolist() == [k[i] + fresh * f[i] for i in places] and set(rollouts.tolist()) <= {10 + 100 * fresh}


def test_the_true_snr_of_a_range_is_that_of_many_of_its_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peak of 0.05, so that 4,000 gradients a range know SNR^2 to a few per cent; norms without a tail."""
    monkeypatch.setattr(ranges, "PEAK", 0.05)
    world = ranges.World(1.0, 0.5, 4000, 0.0)
    rng = np.random.default_rng(2)
    data = ranges.draw(world.n, rng, 60_000)
    found = np.array([one.snr_squared for one in ranges.estimates(world, data.logits, rng)])
    truth = ranges.true_snr_squared(world)
    assert found == pytest.approx(truth, abs=0.004) and truth.max() > 0.04 > 0.001 > truth.min()


def test_exponents_through_ranges_are_found_where_nothing_hides_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PEAK", 0.05)
    fit = ranges.fitted(ranges.World(0.6, 1.2, 1500, 0.0), np.random.default_rng(3))
    assert (fit.a, fit.b) == pytest.approx((0.6, 1.2), abs=0.1) and fit.a_low < 0.6 < fit.a_high and fit.b_low < 1.2 < fit.b_high
