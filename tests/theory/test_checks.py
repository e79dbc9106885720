"""Argument checks: what passes, what is refused, and that the message names the argument, the value and what is allowed."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paced_theory import _checks as checks

anything = st.one_of(st.floats(), st.integers(-5, 5), st.text(max_size=3), st.none(), st.booleans(), st.complex_numbers())


@settings(deadline=None, max_examples=200)
@given(anything)
def test_scalar_checks_return_a_valid_float_or_raise_one_line(value):
    for check, valid in (
        (checks.check_real, lambda x: True),
        (checks.check_nonnegative, lambda x: x >= 0),
        (checks.check_positive, lambda x: x > 0),
        (checks.check_fraction, lambda x: 0 < x < 1),
    ):
        try:
            result = check("size", value)
        except ValueError as error:
            assert str(error).startswith("size must be ") and "\n" not in str(error) and ", got " in str(error)
        else:
            assert type(result) is float and np.isfinite(result) and result == value and valid(result)


@pytest.mark.parametrize(
    ("check", "accepted", "refused"),
    [
        (checks.check_nonnegative, [0, 0.0, 3, 1e300], [-1e-300, -1, np.nan, np.inf, "1", None, True, [1.0], 1j]),
        (checks.check_positive, [1e-300, 2], [0, -0.0, -1, np.nan, np.inf]),
        (checks.check_fraction, [0.5, 1e-12], [0, 1, -0.1, 1.1, np.nan]),
        (checks.check_real, [-2, 0, 1.5], [np.nan, np.inf, -np.inf, "a"]),
    ],
)
def test_scalar_bounds(check, accepted, refused):
    for value in accepted:
        assert check("x", value) == value
    for value in refused:
        with pytest.raises(ValueError, match=r"^x must be "):
            check("x", value)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5, [0, 1], [[0.2], [0.3]], []])
def test_pass_rates_in_range_keep_their_shape(value):
    result = checks.check_pass_rate("p", value)
    assert result.shape == np.shape(value) and result.dtype == np.float64


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "p must be pass rates in [0, 1], got 1.5"),
        (-1e-9, "p must be pass rates in [0, 1], got -1e-09"),
        ([0.2, float("nan")], "p must be pass rates in [0, 1], got nan at index [1]"),
        ([[0.2, 0.3], [2.0, 3.0]], "p must be pass rates in [0, 1], got 2.0 at index [1, 0]"),
        ("0.5", "p must be pass rates in [0, 1], got '0.5'"),
        (None, "p must be pass rates in [0, 1], got None"),
        ([[0.1], [0.2, 0.3]], "p must be pass rates in [0, 1], got [[0.1], [0.2, 0.3]]"),
    ],
)
def test_pass_rate_messages(value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        checks.check_pass_rate("p", value)


def test_array_checks():
    assert checks.check_array("x", [[1, 2]], ndim=2).tolist() == [[1.0, 2.0]]
    assert checks.check_array("x", 3.0).shape == ()
    for value, options, message in (
        ([1.0], {"ndim": 2}, "x must be a 2-dimensional array of finite real numbers, got one of shape (1,)"),
        ([1.0, np.inf], {}, "x must be an array of finite real numbers, got inf at index [1]"),
        ([], {}, "x must have at least 1 entries, got shape (0,)"),
        ([1.0], {"min_size": 2}, "x must have at least 2 entries, got shape (1,)"),
        ([1j], {}, "x must be an array of finite real numbers, got [1j]"),
        ([[1], [1, 2]], {"ndim": 1}, "x must be a 1-dimensional array of finite real numbers, got [[1], [1, 2]]"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            checks.check_array("x", value, **options)


def test_long_values_are_shortened_in_messages():
    with pytest.raises(ValueError, match=r"\.\.\.$") as caught:
        checks.check_choice("how", "y" * 500, ("a", "b"))
    assert str(caught.value).startswith("how must be one of 'a', 'b', got 'yyy") and len(str(caught.value)) < 130
    assert checks._describe("x" * 78) == repr("x" * 78) and len(checks._describe("x" * 79)) == 80


def test_counts_broadcast_and_become_integers():
    k, K = checks.check_counts([[0.0], [2.0]], [2, 3])
    assert k.tolist() == [[0, 0], [2, 2]] and K.tolist() == [[2, 3], [2, 3]]
    assert k.dtype == K.dtype == np.int64


@pytest.mark.parametrize(
    ("k", "K", "message"),
    [
        (0, 0, "K must be integers >= 1 and <= 2^53, got 0.0"),
        (1, 2.5, "K must be integers >= 1 and <= 2^53, got 2.5"),
        (1, np.inf, "K must be integers >= 1 and <= 2^53, got inf"),
        (np.nan, 4, "k must be integers between 0 and K, got nan where K is 4"),
        (-1, 4, "k must be integers between 0 and K, got -1.0 where K is 4"),
        (0.5, 4, "k must be integers between 0 and K, got 0.5 where K is 4"),
        ([0, 5], [4, 4], "k must be integers between 0 and K, got 5.0 at index [1] where K is 4"),
        ([1, 1], [2, 2, 2], "k and K must have shapes that broadcast, got (2,) and (3,)"),
        ("3", 4, "k must be integers between 0 and K, got '3'"),
        (1, "4", "K must be integers >= 1 and <= 2^53, got '4'"),
    ],
)
def test_count_messages(k, K, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        checks.check_counts(k, K)


@pytest.mark.parametrize("value", [1, np.int64(4), 7])
def test_integers_accepted(value):
    result = checks.check_int("n", value, 1)
    assert type(result) is int and result == value


@pytest.mark.parametrize("value", [0, -3, 2.0, "2", True, None, np.float64(3)])
def test_integers_refused(value):
    with pytest.raises(ValueError, match=f"^n must be an integer >= 1, got {re.escape(repr(value))}$"):
        checks.check_int("n", value, 1)


@pytest.mark.parametrize("prior", [(1, 1), [0.5, 2], np.array([3.0, 4.0])])
def test_priors_accepted(prior):
    assert checks.check_prior(prior) == (float(prior[0]), float(prior[1]))


@pytest.mark.parametrize("prior", [(0, 1), (1, -1), (1, np.nan), (np.inf, 1), (1,), (1, 2, 3), 1.0, "11", None, ("a", 1), (True, True)])
def test_priors_refused(prior):
    with pytest.raises(ValueError, match=r"^law must be a pair \(a, b\) of finite numbers > 0, .*, got "):
        checks.check_prior(prior, "law")


def test_choice():
    assert checks.check_choice("how", "sum", ("mean", "sum")) == "sum"


def test_scalars_come_out_as_floats():
    assert isinstance(checks.as_numpy(np.asarray(0.5)), float)
    array = np.array([0.5])
    assert checks.as_numpy(array) is not None and checks.as_numpy(array).shape == (1,)


def test_a_ragged_prior_is_named() -> None:
    with pytest.raises(ValueError, match=r"^prior must be a pair \(a, b\) of finite numbers > 0.*got \(1.0, \(2.0, 3.0\)\)$"):
        checks.check_prior((1.0, (2.0, 3.0)))  # type: ignore[arg-type]
