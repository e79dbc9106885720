"""Pass rates against hand counts and mpmath; the file refused when stale or impossible."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paced_exp.core.errors import UserError
from paced_exp.rollouts.pass_rates import (
    COLUMNS,
    FINGERPRINT_KEY,
    Fingerprint,
    jeffreys_interval,
    pass_rates,
    read_pass_rates,
    template_hash,
    warn_of_truncation,
    write_pass_rates,
)
from tests.support.tiny_models import loaded, tiny_model

FINGERPRINT = Fingerprint("sha256:student", "sha256:template", 1.0, 128)


def rollouts_of(counts: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """k correct of K rollouts a problem; the last rollout of each is cut off, sample s has s + 1 tokens."""
    return pd.DataFrame(
        [
            {"problem_id": name, "sample": s, "token_ids": np.arange(s + 1), "finished": s < K - 1, "correct": s < k}
            for name, (k, K) in counts.items()
            for s in range(K)
        ]
    )


def test_counts_rates_and_means_by_hand() -> None:
    rates = pass_rates(rollouts_of({"b": (1, 4), "a": (0, 2), "c": (3, 3)}))
    assert tuple(rates.columns) == COLUMNS
    assert rates["problem_id"].tolist() == ["b", "a", "c"]
    assert rates[["k", "K"]].to_numpy().tolist() == [[1, 4], [0, 2], [3, 3]]
    assert rates["p_hat"].tolist() == [0.25, 0.0, 1.0]
    assert rates["posterior_mean"].tolist() == [2 / 6, 1 / 4, 4 / 5]
    assert rates["truncated_share"].tolist() == [1 / 4, 1 / 2, 1 / 3]
    assert rates["mean_tokens"].tolist() == [2.5, 1.5, 2.0]
    assert pass_rates(rollouts_of({"b": (1, 4)}), prior=(0.5, 1.5))["posterior_mean"].tolist() == [1.5 / 6]


@pytest.mark.parametrize(("k", "K"), [(1, 2), (3, 10), (7, 8), (50, 100), (1, 1000), (0, 8), (8, 8), (0, 1), (1, 1)])
def test_jeffreys_interval_against_mpmath(k: int, K: int) -> None:
    low, high = (float(end) for end in jeffreys_interval(np.array(k), np.array(K)))
    a, b = k + 0.5, K - k + 0.5
    assert low == 0 if k == 0 else float(mpmath.betainc(a, b, 0, low, regularized=True)) == pytest.approx(0.025, abs=1e-10)
    assert high == 1 if k == K else float(mpmath.betainc(a, b, high, 1, regularized=True)) == pytest.approx(0.025, abs=1e-10)


@pytest.mark.parametrize("K", [8, 16, 64])
def test_jeffreys_interval_covers(K: int) -> None:
    """Exact coverage, summed over all k, averaged over p: close to 95 % (Brown, Cai and DasGupta 2001, section 4.1)."""
    low, high = jeffreys_interval(np.arange(K + 1), np.full(K + 1, K))
    p = (np.arange(2000) + 0.5) / 2000
    log_choose = np.array([float(mpmath.log(mpmath.binomial(K, k))) for k in range(K + 1)])
    k = np.arange(K + 1)
    pmf = np.exp(log_choose + k * np.log(p)[:, None] + (K - k) * np.log1p(-p)[:, None])
    coverage = (pmf * ((low <= p[:, None]) & (p[:, None] <= high))).sum(axis=1)
    assert 0.945 < coverage.mean() < 0.965
    assert coverage.min() > 0.83


@given(st.integers(1, 200).flatmap(lambda K: st.tuples(st.integers(0, K), st.just(K))))
def test_interval_holds_the_rate_and_mirrors(counts: tuple[int, int]) -> None:
    k, K = (np.array(count) for count in counts)
    low, high = jeffreys_interval(k, K)
    assert 0 <= low <= k / K <= high <= 1 and low < high
    mirrored = jeffreys_interval(K - k, K)
    np.testing.assert_allclose([1 - mirrored[1], 1 - mirrored[0]], [low, high], atol=1e-9)


def test_rollouts_that_make_no_pass_rates_are_refused() -> None:
    rollouts = rollouts_of({"a": (1, 2)})
    with pytest.raises(UserError, match="no rollouts"):
        pass_rates(rollouts[:0])
    with pytest.raises(UserError, match="rollout 1 of problem 'a' occurs twice"):
        pass_rates(pd.concat([rollouts, rollouts[1:]]))
    for prior in ((0.0, 1.0), (1.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(UserError, match="prior"):
            pass_rates(rollouts, prior=prior)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pass_rates.parquet"
    write_pass_rates(path, pass_rates(rollouts_of({"a": (1, 4), "b": (2, 4), "c": (4, 4)})), FINGERPRINT)
    return path


def test_a_written_file_reads_back(file: Path) -> None:
    written = pass_rates(rollouts_of({"a": (1, 4), "b": (2, 4), "c": (4, 4)}))
    pd.testing.assert_frame_equal(read_pass_rates(file, FINGERPRINT), written)
    pd.testing.assert_frame_equal(read_pass_rates(str(file), None), written)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"student": "sha256:other"}, "student ('sha256:student' there, 'sha256:other' wanted)"),
        ({"template": "x"}, "template"),
        ({"temperature": 0.7}, "temperature (1.0 there, 0.7 wanted)"),
        ({"max_new_tokens": 64, "temperature": 0.7}, "temperature (1.0 there, 0.7 wanted), max_new_tokens (128 there, 64 wanted)"),
    ],
)
def test_rates_of_other_rollouts_are_refused(file: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError) as caught:
        read_pass_rates(file, replace(FINGERPRINT, **change))
    assert named in str(caught.value) and str(file) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("p_hat", 1.2, r"p_hat = 1.2 of problem 'b' is outside \[0, 1\]"),
        ("p_hat", -0.1, r"p_hat = -0.1 of problem 'b' is outside \[0, 1\]"),
        ("p_hat", float("nan"), r"p_hat = nan of problem 'b' is outside \[0, 1\]"),
        ("p_hat", 0.75, "p_hat = 0.75 of problem 'b' is not k / K"),
        ("k", 5, "k = 5 of problem 'b' exceeds its K"),
        ("k", -1, "k = -1 of problem 'b' must be"),
        ("k", 1.5, "k = 1.5 of problem 'b' must be a whole number"),
        ("K", 0, "K = 0 of problem 'b' must be"),
        ("problem_id", "a", "problem_id = a of problem 'a' occurs more than once"),
        ("jeffreys_low", 0.6, "p_hat = 0.5 of problem 'b' lies outside its interval"),
        ("posterior_mean", 2.0, "posterior_mean = 2.0"),
        ("truncated_share", -1.0, "truncated_share = -1.0"),
        ("mean_tokens", float("nan"), "mean_tokens = nan"),
    ],
)
def test_values_that_cannot_be_are_refused(file: Path, column: str, value: Any, message: str) -> None:
    rates = read_pass_rates(file, FINGERPRINT)
    rates[column] = rates[column].astype(object)
    rates.loc[1, column] = value
    rates[column] = rates[column].tolist()
    write_pass_rates(file, rates, FINGERPRINT)
    with pytest.raises(UserError, match=message) as caught:
        read_pass_rates(file, FINGERPRINT)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_no_pass_rates_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.parquet does not exist"):
        read_pass_rates(tmp_path / "none.parquet", FINGERPRINT)
    whole = file.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(UserError, match="no readable parquet file") as caught:
            read_pass_rates(file, FINGERPRINT)
        assert "\n" not in str(caught.value)
    pq.write_table(pa.table({"problem_id": ["a"], "k": [1]}), file)
    with pytest.raises(UserError, match="does not say of which student"):
        read_pass_rates(file, FINGERPRINT)
    with pytest.raises(UserError, match="no column 'K'"):
        read_pass_rates(file, None)
    text = pa.table({name: ["x"] for name in COLUMNS}, metadata={"paced_fingerprint": json.dumps({})})
    pq.write_table(text, file)
    with pytest.raises(UserError, match="column 'k' holds str"):
        read_pass_rates(file, None)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"problem_id": "a\u2028b", "k": 0, "K": 8}\r\n', encoding="utf-8-sig", newline="")
    assert read_pass_rates(path, None).to_dict("records") == [{"problem_id": "a\u2028b", "k": 0, "K": 8}]


def test_no_flipped_bit_of_a_file_is_believed(file: Path) -> None:
    good, rng = file.read_bytes(), random.Random(0)
    rates = read_pass_rates(file, FINGERPRINT)
    refused = 0
    for place in range(0, len(good), 5):
        bad = bytearray(good)
        bad[place] ^= 1 << rng.randrange(8)
        file.write_bytes(bad)
        try:
            pd.testing.assert_frame_equal(read_pass_rates(file, FINGERPRINT), rates)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > len(good) / 10, "the others are in statistics that nobody reads"


def test_a_file_of_an_earlier_version_has_no_checksum(file: Path) -> None:
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({FINGERPRINT_KEY: table.schema.metadata[FINGERPRINT_KEY.encode()]}), file)
    assert read_pass_rates(file, FINGERPRINT)["k"].tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem_id": pa.array([1, 2, 3])}, "column 'problem_id' holds int64, not text"),
        ({"problem_id": pa.array([["a"], ["b"], ["c"]])}, "column 'problem_id' holds list<element: string>, not text"),
        ({"problem_id": pa.array(["a", None, "c"])}, "must be text; mend the row"),
        ({"k": pa.array([True, False, True])}, "column 'k' holds bool, not numbers"),
        ({"k": pa.array([[1], [2], [3]])}, "column 'k' holds list<element: int64>, not numbers"),
        ({"k": pa.array([1, None, 4])}, "k = nan of problem 'b' must be a whole number"),
        ({"K": pa.array([4.0, float("inf"), 4.0])}, "K = inf of problem 'b' must be a whole number"),
        ({"K": pa.array([4, 2**40, 4])}, "K = 1099511627776 of problem 'b' must be at most 2147483647"),
    ],
)
def test_columns_of_wrong_types_are_refused(file: Path, change: dict[str, pa.Array], message: str) -> None:
    table = pq.read_table(file).replace_schema_metadata(None)
    for name, values in change.items():
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, file)
    with pytest.raises(UserError, match=re.escape(message)):
        read_pass_rates(file, None)


def test_files_with_odd_columns_rows_or_metadata_are_refused(file: Path) -> None:
    table = pq.read_table(file)
    pq.write_table(table.append_column("k", table["k"]), file)
    with pytest.raises(UserError, match="is no readable parquet file"):
        read_pass_rates(file, None)
    pq.write_table(table.replace_schema_metadata(None)[:0], file)
    with pytest.raises(UserError, match="has no pass rates in it"):
        read_pass_rates(file, None)
    for odd in ("[1]", "{", "[" * 100_000):
        pq.write_table(table.replace_schema_metadata({FINGERPRINT_KEY: odd}), file)
        with pytest.raises(UserError, match="in its metadata that is no JSON object"):
            read_pass_rates(file, FINGERPRINT)


def test_the_fingerprint_follows_template_and_sampler() -> None:
    model = loaded(tiny_model())
    first = Fingerprint.of(model, temperature=1, max_new_tokens=8)
    assert first == Fingerprint("sha256:tiny", template_hash(model.tokenizer), 1.0, 8)
    model.tokenizer.chat_template += " "
    assert Fingerprint.of(model, temperature=1, max_new_tokens=8).template != first.template


def test_an_interval_of_counts_that_cannot_be_is_refused() -> None:
    for k, K in (([9], [8]), ([-1], [8])):
        with pytest.raises(ValueError, match="0 <= k <= K"):
            jeffreys_interval(np.array(k), np.array(K))


def test_a_folder_is_no_file_of_pass_rates(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; give the parquet file in it"):
        read_pass_rates(tmp_path, None)


def test_many_truncated_rollouts_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    rates = pd.DataFrame({"truncated_share": [0.5, 0.0], "K": [8, 8]})
    warn_of_truncation(rates, 128)
    assert capsys.readouterr().err == (
        "warning: 25% of the rollouts were cut at `max_new_tokens` 128 and count as failed; raise it unless that is meant\n"
    )
    warn_of_truncation(rates.assign(K=[2, 8]), 128)  # one of ten
    assert capsys.readouterr().err == ""


def test_counts_of_ones_own_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"problem_id": "a", "k": 0, "K": 8}\n\n{"problem_id": 7, "k": 3, "K": 4, "note": "kept out"}\n')
    rates = read_pass_rates(path, None)
    assert rates.to_dict("records") == [{"problem_id": "a", "k": 0, "K": 8}, {"problem_id": "7", "k": 3, "K": 4}]
    for text, message in (
        ('{"problem_id": "a", "k": 9, "K": 8}', "k = 9 of problem 'a' exceeds its K"),
        ('{"problem_id": "a", "k": -1, "K": 8}', "k = -1 of problem 'a' must be a whole number of at least 0"),
        ('{"problem_id": "a", "k": 0.5, "K": 8}', "line 1: k and K must be whole numbers, not 0.5 and 8"),
        ('{"problem_id": "a", "k": true, "K": 8}', "line 1: k and K must be whole numbers, not True and 8"),
        ('{"problem_id": "a", "K": 8}', "line 1: expected {"),
        ("[1]", "line 1: expected {"),
        ("nonsense", "line 1: expected {"),
        ('{"problem_id": "a", "k": 1, "K": 8}\n{"problem_id": "a", "k": 1, "K": 8}', "problem_id = a of problem 'a' occurs more than once"),
        ("", "has no pass rates in it"),
        ('{"problem_id": ["a"], "k": 1, "K": 8}', "line 1: problem_id must be text or a whole number, not ['a']"),
        ('{"problem_id": true, "k": 1, "K": 8}', "line 1: problem_id must be text or a whole number, not True"),
        ('{"problem_id": "a", "k": NaN, "K": 8}', "line 1: k and K must be whole numbers, not nan and 8"),
        ('{"problem_id": "a", "k": 1, "K": 2147483648}', "line 1: k and K must be at most 2147483647"),
        ('{"problem_id": "a", "k": 1, "K": ' + "9" * 5000 + "}", "line 1: expected {"),
        ("[" * 100_000, "line 1: expected {"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=re.escape(message)):
            read_pass_rates(path, None)
    with pytest.raises(UserError, match="cannot be read"):
        read_pass_rates(tmp_path / "none.jsonl", None)
