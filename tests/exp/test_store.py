"""The journal under kills, torn tails, full disks and other writers; the parquet file made from it."""

import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from paced_exp.core.errors import UserError
from paced_exp.rollouts.store import ChunkStore
from tests.support import children
from tests.support.journals import file_size_limit, problem_rows


def filled(folder: Path, count: int = 4) -> ChunkStore:
    store = ChunkStore(folder, "rollouts")
    for index in range(count):
        store.append(problem_rows(index))
    return store


def test_rows_come_back_and_a_second_store_continues(tmp_path: Path) -> None:
    store = filled(tmp_path, 3)
    again = ChunkStore(tmp_path, "rollouts")
    assert again.done_ids() == store.done_ids() == {"p0", "p1", "p2"}
    again.append(problem_rows(3))
    rows = again.rows()
    assert list(rows["problem_id"]) == [f"p{index}" for index in range(4) for _ in range(2)]
    assert [ids.tolist() for ids in rows["token_ids"]] == [list(range(i, i + 3)) for i in range(4) for _ in range(2)]
    assert rows["correct"].dtype == bool and rows["sample"].dtype == np.int64


def test_an_empty_store_has_no_rows_and_nothing_to_finalise(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path / "new", "rollouts")
    store.append([])
    assert len(store.rows()) == 0 and store.done_ids() == set() and not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="holds no rows"):
        store.finalise()


def test_the_final_file_does_not_depend_on_the_order_of_appends(tmp_path: Path) -> None:
    contents = []
    for seed in range(3):
        order = list(range(12))
        random.Random(seed).shuffle(order)
        store = ChunkStore(tmp_path / str(seed), "rollouts")
        for index in order[:8]:
            store.append(problem_rows(index)[:: 1 if seed else -1])
        store.append([row for index in order[8:] for row in problem_rows(index)])
        contents.append(store.finalise(metadata={"b": "2", "a": "1"}).read_bytes())
    assert contents[0] == contents[1] == contents[2]
    schema = pq.read_schema(tmp_path / "0" / "rollouts.parquet")
    assert schema.metadata == {b"a": b"1", b"b": b"2"}


def test_the_final_file_follows_the_order_given(tmp_path: Path) -> None:
    store = filled(tmp_path)
    order = ["p2", "p9", "p0", "p3", "p1"]
    frame = pd.read_parquet(store.finalise(order=order))
    assert list(frame["problem_id"]) == [name for name in order if name != "p9" for _ in range(2)]
    assert list(frame["sample"]) == [0, 1] * 4
    with pytest.raises(ValueError, match="'p3'"):
        store.finalise(order=["p0", "p1", "p2"])


def test_a_journal_cut_at_any_byte_is_completed_to_the_same_journal(tmp_path: Path) -> None:
    """States that a kill can leave, all near the ends of lines and every seventh between: the journal is only ever appended to."""
    whole = filled(tmp_path / "whole")
    journal = whole.path.read_bytes()
    (tmp_path / "cut").mkdir()
    ends = [0, *(at + 1 for at, byte in enumerate(journal) if byte == ord("\n"))]
    for cut in [cut for cut in range(len(journal) + 1) if cut % 7 == 0 or min(abs(cut - end) for end in ends) < 4]:
        (tmp_path / "cut" / "rollouts.jsonl").write_bytes(journal[:cut])
        store = ChunkStore(tmp_path / "cut", "rollouts")
        done = store.done_ids()
        assert done == {f"p{index}" for index in range(journal[:cut].count(b"\n"))}
        for index in range(4):
            if f"p{index}" not in done:
                store.append(problem_rows(index))
        assert store.path.read_bytes() == journal
    assert store.finalise().read_bytes() == whole.finalise().read_bytes()


@pytest.mark.parametrize(
    "garbage", [b"\0\0\0\0", b'[{"problem_id": "p9"', b"[]x\n", b'{"problem_id": "p9"}\n', b'[{"sample": 1}]\n', b"\xff\xfe\n"]
)
def test_garbage_after_a_power_cut_is_ignored_reported_and_overwritten(
    tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(tmp_path)
    journal = store.path.read_bytes()
    store.path.write_bytes(journal + garbage)
    again = ChunkStore(tmp_path, "rollouts")
    assert f"last {len(garbage)} bytes" in caplog.text
    assert again.done_ids() == store.done_ids() and len(again.rows()) == 8
    again.append(problem_rows(4))
    assert again.path.read_bytes().startswith(journal) and garbage not in again.path.read_bytes()
    assert len(ChunkStore(tmp_path, "rollouts").rows()) == 10


def test_leftover_temporary_files_are_ignored(tmp_path: Path) -> None:
    store = filled(tmp_path)
    (tmp_path / ".rollouts.parquet.1.tmp").write_bytes(b"PAR1 half")
    assert len(pd.read_parquet(store.finalise())) == 8


def test_a_problem_is_stored_once(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with pytest.raises(ValueError, match="'p2' already"):
        store.append(problem_rows(2))
    assert len(store.rows()) == 8


# ---- heads: what is known without reading the tokens


def rollout_rows(index: int, samples: int = 4, tokens: int = 5) -> list[dict[str, Any]]:
    """Rows as `collect` makes them, functions of the arguments."""
    return [
        {
            "problem_id": f"p{index}",
            "sample": sample,
            "seed": 1000 * index + sample,
            "token_ids": [7] * (tokens + sample),
            "finished": sample != 2,
            "response": f"é {index}.{sample}",
            "correct": (index + sample) % 3 == 0,
        }
        for sample in range(samples)
    ]


def by_earlier_versions(chunks: list[list[dict[str, Any]]]) -> bytes:
    """A journal as it was written before lines had checksums."""
    return b"".join(json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for rows in chunks)


def test_outcomes_are_those_of_the_rows(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path, "rollouts")
    store.append(rollout_rows(0))
    store.append([*rollout_rows(2), *rollout_rows(1, samples=3)])
    for opened in (store, ChunkStore(tmp_path, "rollouts")):
        rows, outcomes = opened.rows(), opened.outcomes()
        assert outcomes["tokens"].tolist() == rows["token_ids"].map(len).tolist()
        pd.testing.assert_frame_equal(outcomes.drop(columns="tokens"), rows[["problem_id", "sample", "correct", "finished"]])
    assert len(ChunkStore(tmp_path, "none").outcomes()) == 0


def test_opening_and_counting_read_no_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ChunkStore(tmp_path, "rollouts")
    for index in range(20):
        store.append(rollout_rows(index, tokens=20_000))
    assert store.path.stat().st_size > 3_000_000
    read, pread = [0], os.pread

    def counting(file: int, count: int, offset: int) -> bytes:
        data = pread(file, count, offset)
        read[0] += len(data)
        return data

    monkeypatch.setattr(os, "pread", counting)
    assert len(ChunkStore(tmp_path, "rollouts").outcomes()) == 80
    last = len(store.path.read_bytes().splitlines()[-1])
    assert read[0] < last + 20 * 1000, "the heads, and the last line, which a power cut may have spoilt"


def test_a_journal_of_an_earlier_version_is_read_and_continued(tmp_path: Path) -> None:
    for index in range(6):
        ChunkStore(tmp_path / "new", "rollouts").append(rollout_rows(index))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "rollouts.jsonl").write_bytes(by_earlier_versions([rollout_rows(0), rollout_rows(1), rollout_rows(2)]) + b'[{"prob')
    store = ChunkStore(tmp_path / "old", "rollouts")
    assert store.done_ids() == {"p0", "p1", "p2"} and store.rows_of("p1") == rollout_rows(1)
    for index in range(3, 6):
        store.append(rollout_rows(index))
    new, mixed = (ChunkStore(tmp_path / name, "rollouts") for name in ("new", "old"))
    pd.testing.assert_frame_equal(mixed.outcomes(), new.outcomes())
    pd.testing.assert_frame_equal(mixed.rows(), new.rows())
    assert mixed.finalise().read_bytes() == new.finalise().read_bytes()


@pytest.mark.parametrize("tokens", [1, 300, 2000, 9000])
def test_a_journal_of_an_earlier_version_is_read_whatever_its_lengths(tmp_path: Path, tokens: int) -> None:
    chunks = [rollout_rows(index, samples=1 + index % 3, tokens=tokens + index) for index in range(40)]
    (tmp_path / "rollouts.jsonl").write_bytes(by_earlier_versions(chunks))
    assert list(ChunkStore(tmp_path, "rollouts").chunks()) == chunks


def test_a_line_is_json_that_holds_its_rows(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path, "rollouts")
    store.append(rollout_rows(3))
    assert json.loads(store.path.read_text())["rows"] == rollout_rows(3)


# ---- damage


def journal_of(tmp_path: Path, count: int = 4) -> Path:
    store = ChunkStore(tmp_path, "rollouts")
    for index in range(count):
        store.append(rollout_rows(index))
    return store.path


def test_no_flipped_bit_is_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every byte of a journal, one bit each: refused naming a line, or, in the last line, warned of and done again."""
    caplog.set_level(logging.CRITICAL)
    journal = journal_of(tmp_path, 3)
    good, rng = journal.read_bytes(), random.Random(0)
    first, second = (sum(map(len, good.splitlines(keepends=True)[:count])) for count in (1, 2))
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << rng.randrange(8)
        journal.write_bytes(bad)
        line = 1 + (place >= first) + (place >= second)
        if line == 3:
            assert list(ChunkStore(tmp_path, "rollouts").chunks()) == [rollout_rows(0), rollout_rows(1)]
        else:
            with pytest.raises(
                UserError, match=rf"rollouts\.jsonl line {line} is damaged: .*; take the line out \(sed -i {line}d "
            ) as caught:
                ChunkStore(tmp_path, "rollouts").finalise()
            assert "\n" not in str(caught.value)


def test_a_damaged_line_costs_no_more_than_itself(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    good = journal.read_bytes()
    lines = good.splitlines(keepends=True)
    for bad in (
        b"\0" * len(lines[1]),
        lines[1][:50] + b"\n",
        b"[]\n",
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        b"[" * 100_000 + b"]" * 100_000 + b"\n",
        b"\n",
    ):
        content = lines[0] + bad + lines[2] + lines[3]
        journal.write_bytes(content)
        with pytest.raises(UserError, match=r"line 2 is damaged") as caught:
            ChunkStore(tmp_path, "rollouts")
        assert journal.read_bytes() == content, "nothing is overwritten"
        if bad.endswith(b"\n"):
            command = re.search(r"\((sed .*?)\) and", str(caught.value))
            assert command is not None
            subprocess.run(command[1], shell=True, check=True)
            store = ChunkStore(tmp_path, "rollouts")
            assert store.done_ids() == {"p0", "p2", "p3"}
            store.append(rollout_rows(1))
            assert ChunkStore(tmp_path, "rollouts").finalise().exists()


def changed(rows: list[dict[str, Any]], **values: Any) -> list[dict[str, Any]]:
    return [*rows[:-1], rows[-1] | values]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (changed(rollout_rows(1), correct="yes"), "correct of problem 'p1' is 'yes', neither true nor false"),
        (changed(rollout_rows(1), correct=None), "correct of problem 'p1' is None"),
        (changed(rollout_rows(1), token_ids="1 2"), "token_ids of problem 'p1' must be a list"),
        (changed(rollout_rows(1), token_ids=[1, [2]]), "token_ids of problem 'p1' must be a list"),
        (changed(rollout_rows(1), token_ids=[1.0]), "token_ids of problem 'p1' must be a list"),
        (changed(rollout_rows(1), token_ids=[10**30]), "token_ids of problem 'p1' has an id outside"),
        (changed(rollout_rows(1), sample=[3]), "sample of problem 'p1' is [3]"),
        (changed(rollout_rows(1), sample=0), "sample 0 of problem 'p1' occurs twice"),
        (changed(rollout_rows(1), response={"a": 1}), "response of problem 'p1' is {'a': 1}, not text"),
        (changed(rollout_rows(1), more=1), "a row of problem 'p1' has an unexpected column 'more'"),
        ([*rollout_rows(1)[:-1], {"problem_id": "p1"}], "a row of problem 'p1' lacks column 'correct'"),
        ([{"problem_id": "p1", "sample": 0}], "its rows have other columns (problem_id, sample) than those before"),
        (rollout_rows(0), "it holds problem 'p0', which line 1 holds already"),
    ],
)
@pytest.mark.parametrize("last", [True, False])
def test_rows_that_no_run_writes_are_refused_wherever_they_are(tmp_path: Path, bad: Any, message: str, last: bool) -> None:
    (tmp_path / "rollouts.jsonl").write_bytes(by_earlier_versions([rollout_rows(0), bad, *([] if last else [rollout_rows(2)])]))
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        ChunkStore(tmp_path, "rollouts")
    assert f"{tmp_path}/rollouts.jsonl line 2 is damaged" in str(caught.value) and "\n" not in str(caught.value)


def test_a_head_that_its_rows_deny_is_refused(tmp_path: Path) -> None:
    """A line forged with right checksums: the counts are still those of the rows."""
    from paced_exp.rollouts import journal

    honest, lying = (journal.encode(rollout_rows(1, samples)) for samples in (4, 3))
    head, rows = lying[: lying.index(b'"columns"')], honest[honest.index(b'"rows":[') :]
    middle = lying[len(head) : lying.index(b'"rows":[')]
    length = len(head) + len(middle)
    fixed = journal._REST % (length + len(rows), length, zlib.crc32(rows)) + middle
    path = tmp_path / "rollouts.jsonl"
    path.write_bytes(journal._CRC % zlib.crc32(fixed) + fixed + rows + journal.encode(rollout_rows(2)))
    with pytest.raises(UserError, match="line 1 is damaged: its rows are not those that its head lists"):
        list(ChunkStore(tmp_path, "rollouts").chunks())


def test_too_few_samples_of_a_problem_are_refused(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path, "rollouts")
    store.append(rollout_rows(0, samples=8))
    store.append(rollout_rows(1, samples=3))
    store.check_samples(["p0"], 8)
    with pytest.raises(UserError, match=r"line 2: problem 'p1' has 3 of its 8 samples; take the line out \(sed -i 2d"):
        store.check_samples(["p0", "p1"], 8)
    with pytest.raises(UserError, match="problem 'p0' has 8 of its 3 samples"):
        store.check_samples(["p0"], 3)
    with pytest.raises(UserError, match="lacks problem 'p7'"):
        store.check_samples(["p7"], 8)


def test_outcomes_need_the_columns_of_rollouts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 1: rows of rollouts need a column 'finished'"):
        filled(tmp_path).outcomes()


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "rollouts.jsonl").mkdir()
    with pytest.raises(UserError, match=r"rollouts\.jsonl cannot be read \(Is a directory\)"):
        ChunkStore(tmp_path, "rollouts")


def test_what_is_appended_is_soon_on_the_disk_without_another_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr("paced_exp.rollouts.store._SYNC_SECONDS", 0.01)
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")))
    store = filled(tmp_path, 1)
    assert store._syncing is not None
    store._syncing.join()
    # Stores of other tests may still be writing theirs.
    assert [path for path in synced if path.startswith(str(tmp_path))] == [str(store.path), str(tmp_path)]


def test_a_disk_that_fails_to_sync_is_said_at_the_next_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("paced_exp.rollouts.store._SYNC_SECONDS", 0.01)
    monkeypatch.setattr(os, "fsync", fail)
    store = filled(tmp_path, 1)
    assert store._syncing is not None
    store._syncing.join()
    with pytest.raises(UserError, match=r"cannot be written .*Input/output error"):
        store.append(problem_rows(1))


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    first, second = filled(tmp_path), ChunkStore(tmp_path, "rollouts")
    second.append(problem_rows(7))
    with pytest.raises(UserError, match="written to by another process"):
        first.append(problem_rows(8))
    assert ChunkStore(tmp_path, "rollouts").done_ids() == {"p0", "p1", "p2", "p3", "p7"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": 1.0}, "column 'loss' is not known; known:"),
        ({"correct": float("nan")}, "correct of problem 'a' is nan, neither true nor false"),
        ({"correct": 1}, "correct of problem 'a' is 1, neither true nor false"),
        ({"sample": True}, "sample of problem 'a' is True, not a whole number"),
        ({"sample": -1}, "sample of problem 'a' is -1, not a whole number"),
        ({"seed": 2**63}, "seed of problem 'a' is 9223372036854775808, not"),
        ({"token_ids": [1, True]}, "token_ids of problem 'a' must be a list of whole numbers"),
        ({"token_ids": [1, -1]}, "token_ids of problem 'a' has an id outside"),
        ({"response": object()}, "response of problem 'a' is <object"),
        ({"response": "\ud800"}, "surrogates not allowed"),
    ],
)
def test_rows_that_no_run_writes_are_not_stored(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    store = ChunkStore(tmp_path, "rollouts")
    with pytest.raises(ValueError, match=re.escape(message)):
        store.append([{"problem_id": "a"} | change])
    assert not store.path.exists() and store.done_ids() == set()


def test_numpys_values_are_converted_and_text_comes_back(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path, "rollouts")
    store.append(
        [{"problem_id": "a", "sample": np.int64(3), "token_ids": np.arange(3), "response": 'é\n"\x00', "finished": np.bool_(True)}]
    )
    row = ChunkStore(tmp_path, "rollouts").rows().iloc[0]
    assert row["sample"] == 3 and row["token_ids"].tolist() == [0, 1, 2] and row["response"] == 'é\n"\x00' and row["finished"]


def test_rows_of_other_columns_than_the_stored_ones_are_refused(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with pytest.raises(ValueError, match="holds rows of problem_id, sample, token_ids, correct, not of problem_id, sample"):
        store.append([{"problem_id": "a", "sample": 0}])
    with pytest.raises(ValueError, match="a row of problem 'a' lacks column 'correct'"):
        store.append([*problem_rows(9), {"problem_id": "a", "sample": 0, "token_ids": []}])


def test_the_final_file_is_written_in_batches_of_equal_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, 9)
    store.append([{"problem_id": "a", "sample": 0, "token_ids": [], "correct": False}])
    whole = pd.read_parquet(store.finalise())
    monkeypatch.setattr("paced_exp.rollouts.tables._BATCH_TOKENS", 7)
    parts = store.finalise()
    assert pq.ParquetFile(parts).num_row_groups == 6  # of three rows of 3 tokens, and the empty row in the first
    pd.testing.assert_frame_equal(pd.read_parquet(parts), whole)
    assert whole["token_ids"].map(len).tolist() == [0] + [3] * 18


def test_a_full_disk_gives_one_line_and_loses_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path)
    journal = store.path.read_bytes()
    with file_size_limit(len(journal) + 50), pytest.raises(UserError, match=r"cannot be written.*free some space") as caught:
        store.append(problem_rows(4, tokens=500))
    assert "\n" not in str(caught.value) and str(store.path) in str(caught.value)
    assert store.path.read_bytes() == journal, "the half-written chunk is taken back"
    path = store.finalise()
    before = path.read_bytes()
    store.append(problem_rows(4, tokens=500))
    with file_size_limit(100), pytest.raises(UserError, match=r"rollouts\.parquet cannot be written"):
        store.finalise()
    assert path.read_bytes() == before and not list(tmp_path.glob(".*tmp"))
    assert len(pd.read_parquet(store.finalise())) == 10


def test_a_folder_that_cannot_be_written_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        ChunkStore(tmp_path / "file" / "below", "rollouts").append(problem_rows(0))


WRITER = """
import sys
from paced_exp.rollouts.store import ChunkStore
from tests.support.journals import problem_rows
store = ChunkStore(sys.argv[1], "rollouts")
print("ready", flush=True)
for index in range(400):
    if f"p{index}" not in store.done_ids():
        store.append(problem_rows(index, tokens=2000))
"""


def test_sigkill_at_random_moments_changes_nothing(tmp_path: Path) -> None:
    """Real processes, really killed, at random times while they do nothing but append; each next one continues."""
    whole = ChunkStore(tmp_path / "whole", "rollouts")
    for index in range(400):
        whole.append(problem_rows(index, tokens=2000))
    rng, killed, sizes = random.Random(0), 0, []
    while True:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "killed")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=children.environment()) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            if killed < 4:
                time.sleep(rng.uniform(0.0, 0.1))
                process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            sizes.append(
                os.path.getsize(tmp_path / "killed" / "rollouts.jsonl") if (tmp_path / "killed" / "rollouts.jsonl").exists() else 0
            )
            if process.returncode == 0:
                break
    assert killed >= 1 and sizes == sorted(sizes)
    resumed = ChunkStore(tmp_path / "killed", "rollouts")
    assert resumed.path.read_bytes() == whole.path.read_bytes()
    assert resumed.finalise().read_bytes() == whole.finalise().read_bytes()
