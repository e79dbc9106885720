"""Two-way intervals: the components of variance are those of theory, and the intervals cover, for independent random vectors."""

import numpy as np
import pytest
from scipy.stats import t as t_law

from paced_exp.probe.two_way import ratio, weighted_mean

N, J, WIDTH = 30, 8, 60


def tables(rng: np.random.Generator, rows: float, columns: float, mean: float, count: int = 1) -> list[np.ndarray]:
    """Inner products (N, J) of directions of unit length, spread by `rows` about one of their own a table, with J vectors spread by `columns`."""
    axis = np.eye(WIDTH)[0]
    held_out = mean * axis + columns * rng.normal(size=(J, WIDTH))
    made = []
    for number in range(count):
        # Heavy tails in length, as gradients have; the length cancels.
        x = ((1 + number) * axis + rows * rng.normal(size=(N, WIDTH))) * np.exp(rng.normal(size=(N, 1)))
        made.append(x / np.linalg.norm(x, axis=1, keepdims=True) @ held_out.T)
    return made


def truth(rows: float, mean: float, number: int = 0) -> float:
    """E of a table's entries, by 200,000 independent directions."""
    x = (1 + number) * np.eye(WIDTH)[0] + rows * np.random.default_rng(9).normal(size=(200_000, WIDTH))
    return float((x[:, 0] / np.linalg.norm(x, axis=1)).mean() * mean)


# What dominates: the problems, the groups, their product; and no mean at all.
SETTINGS = {"problems": (1.0, 0.02, 1.0), "groups": (0.1, 0.5, 1.0), "product": (1.0, 1.0, 0.3), "nothing to see": (1.0, 1.0, 0.0)}


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_interval_of_a_mean_covers(setting: str) -> None:
    rows, columns, mean = SETTINGS[setting]
    rng, expected = np.random.default_rng(1), truth(rows, mean)
    found = [weighted_mean(tables(rng, rows, columns, mean), [1.0]) for _ in range(500)]
    covered = np.mean([spread.low <= expected <= spread.high for spread in found])
    assert 0.925 <= covered <= 0.985, covered
    assert np.mean([spread.value for spread in found]) == pytest.approx(
        expected, abs=4 * np.std([spread.value for spread in found]) / 500**0.5 + 1e-3
    )


@pytest.mark.parametrize("setting", ["problems", "groups", "product"])
def test_the_interval_of_a_contrast_and_of_a_ratio_covers(setting: str) -> None:
    rows, columns, mean = SETTINGS[setting]
    rng, means = np.random.default_rng(2), [truth(rows, mean, number) for number in range(3)]
    shares = [0.5, 0.2, 0.3]
    pool = float(np.dot(means, shares))
    contrasts, ratios = [], []
    for _ in range(400):
        made = tables(rng, rows, columns, mean, 3)
        contrast, relative = weighted_mean(made, [1.0, -1.0, 0.0]), ratio(made, 2, shares)
        contrasts.append(contrast.low <= means[0] - means[1] <= contrast.high)
        if relative is not None:
            ratios.append(relative.low <= means[2] / pool <= relative.high)
    assert 0.93 <= np.mean(contrasts) <= 0.99, np.mean(contrasts)
    # Where the pool's mean is seldom told from zero, those ratios that there are say nothing of coverage.
    assert (setting == "product") == (len(ratios) < 130) and 0.92 <= np.mean(ratios) <= 0.99, (len(ratios), np.mean(ratios))


def test_one_source_of_noise_alone_gives_the_interval_of_t() -> None:
    rng = np.random.default_rng(3)
    quantile = t_law.ppf(0.975, [N - 1, J - 1])
    by_row = np.repeat(rng.normal(size=(N, 1)), J, axis=1)
    by_column = np.repeat(rng.normal(size=(1, J)), N, axis=0)
    assert weighted_mean([by_row], [1.0]).half == pytest.approx(quantile[0] * by_row[:, 0].std(ddof=1) / N**0.5)
    assert weighted_mean([by_column], [2.0]).half == pytest.approx(2 * quantile[1] * by_column[0].std(ddof=1) / J**0.5)
    assert weighted_mean([np.ones((N, J))], [1.0]) == (1.0, 0.0)


def test_the_variance_is_without_bias_where_row_and_column_variances_alone_would_count_the_residuals_twice() -> None:
    rng = np.random.default_rng(4)
    found, both = [], []
    for _ in range(1500):
        table = 0.5 * rng.normal(size=(N, 1)) + 0.2 * rng.normal(size=(1, J)) + 2.0 * rng.normal(size=(N, J))
        spread = weighted_mean([table], [1.0])
        found.append(spread.value)
        both.append(table.mean(1).var(ddof=1) / N + table.mean(0).var(ddof=1) / J)
    exact = 0.25 / N + 0.04 / J + 4 / (N * J)
    assert np.var(found) == pytest.approx(exact, rel=0.1)
    assert np.mean(both) == pytest.approx(exact + 4 / (N * J), rel=0.05)


def test_no_ratio_to_what_may_be_zero() -> None:
    table = np.random.default_rng(5).normal(size=(N, J))
    assert ratio([table], 0, [1.0]) is None
    whole = ratio([table + 9], 0, [1.0])
    assert whole is not None and whole.value == pytest.approx(1) and whole.half == pytest.approx(0, abs=1e-12)
