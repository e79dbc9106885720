"""How deep a file of JSON may be nested, and that every number in it is finite, against a recursion that looks at each value by itself."""

import math
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paced_exp.core import json_files

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(allow_nan=False)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4), max_leaves=20
)


def depth(value: Any) -> int:
    """Lists and objects from the outermost to the innermost."""
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


def finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


@given(VALUES, st.integers(0, 5))
def test_a_value_is_refused_where_the_recursion_says_so(value: Any, most: int) -> None:
    with mock.patch.object(json_files, "MOST_DEPTH", most):
        if depth(value) <= most and finite(value):
            json_files.check_depth(value)
        else:
            with pytest.raises(ValueError, match=r"nested more than|not finite"):
                json_files.check_depth(value)


@pytest.mark.parametrize("levels", [64, 65])
def test_the_limit_is_64_levels(levels: int) -> None:
    value: Any = [1]
    for _ in range(levels - 1):
        value = [value]
    if levels == 64:
        json_files.check_depth(value)
    else:
        with pytest.raises(ValueError, match="more than 64 deep"):
            json_files.check_depth(value)
