"""The demonstration: gradients of noise, a bell by the bins' sizes, and intervals that hold zero as often as they promise."""

import subprocess
import sys

import numpy as np
import pytest

from paced_theory.noise_bell import LAW, ROLLOUTS, main, noise_bins, table


def test_bins_hold_every_problem_and_follow_the_law() -> None:
    problems = 20_000
    bins = noise_bins(problems, 2, np.random.default_rng(3))
    assert sum(one.problems for one in bins) == problems and [one.pass_rate for one in bins] == [k / 10 for k in range(11)]
    mean = sum(one.pass_rate * one.problems for one in bins) / problems
    expected = LAW[0] / sum(LAW)
    # A Beta-binomial's standard deviation is below 1/2; four standard errors.
    assert mean == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(problems))


def test_the_naive_curve_is_a_bell_and_the_unbiased_one_is_zero() -> None:
    bins = noise_bins(20_000, 500, np.random.default_rng(1))
    naive = np.array([one.estimate.naive_snr for one in bins])
    # ||mean g|| / sqrt(tr Cov g) of noise: 1/sqrt(n), within four standard deviations of a chi over 500 dimensions.
    assert naive == pytest.approx([1 / np.sqrt(one.problems) for one in bins], rel=4 / np.sqrt(2 * 500))
    assert naive[4:7].min() > 1.5 * max(naive[0], naive[-1])


def test_intervals_hold_zero_as_often_as_promised() -> None:
    generator = np.random.default_rng(7)
    bins = [one for _ in range(40) for one in noise_bins(3_000, 50, generator)]
    held = [one.estimate.snr_squared_low <= 0 <= one.estimate.snr_squared_high for one in bins]
    assert np.mean(held) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / len(held))


def test_the_table_is_of_the_bins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--problems", "5000", "--dimensions", "50", "--seed", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    bins = noise_bins(5000, 50, np.random.default_rng(2))
    assert "\n".join(printed) == table(bins) and len(printed) == 1 + (ROLLOUTS + 1) + 2
    assert [int(line.split()[1]) for line in printed[1:12]] == [one.problems for one in bins]
    assert max(line.count("#") for line in printed) == 40


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--problems", "100"], "--problems 100 leaves"),
        (["--problems", "0"], "--problems must be at least 1, got 0"),
        (["--dimensions", "1"], "--dimensions must be at least 2, got 1"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--sed", "1"], "unrecognized arguments"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(argv)
    error = capsys.readouterr().err
    assert left.value.code == 2 and words in error and error.startswith("error: ") and error.count("\n") == 1


def test_as_a_module_it_prints_the_same_twice() -> None:
    command = [sys.executable, "-m", "paced_theory.noise_bell", "--problems", "3000", "--dimensions", "20"]
    first, second = (subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout for _ in range(2))
    assert first == second and "pure noise" in first
