"""The journal under kills, torn tails, full disks and other writers; the parquet file made from it."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from paced_exp.errors import UserError
from paced_exp.rollouts.store import ChunkStore


def problem_rows(index: int, tokens: int = 3) -> list[dict[str, Any]]:
    """Two rows of problem `index`, functions of the index alone."""
    return [
        {"problem_id": f"p{index}", "sample": sample, "token_ids": list(range(index, index + tokens)), "correct": (index + sample) % 2 == 0}
        for sample in range(2)
    ]


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
    """Every state that a kill can leave: the journal is only ever appended to."""
    whole = filled(tmp_path / "whole")
    journal = whole.path.read_bytes()
    (tmp_path / "cut").mkdir()
    for cut in range(len(journal) + 1):
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


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    first, second = filled(tmp_path), ChunkStore(tmp_path, "rollouts")
    second.append(problem_rows(7))
    with pytest.raises(UserError, match="written to by another process"):
        first.append(problem_rows(8))
    assert ChunkStore(tmp_path, "rollouts").done_ids() == {"p0", "p1", "p2", "p3", "p7"}


def test_values_that_json_has_not_are_refused_and_numpys_are_converted(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path, "rollouts")
    with pytest.raises(ValueError, match="JSON compliant"):
        store.append([{"problem_id": "a", "loss": float("nan")}])
    with pytest.raises(TypeError, match="a object cannot be stored"):
        store.append([{"problem_id": "a", "loss": object()}])
    with pytest.raises(UnicodeEncodeError):
        store.append([{"problem_id": "a", "text": "\ud800"}])
    store.append([{"problem_id": "a", "count": np.int64(3), "ids": np.arange(3), "text": 'é\n"\x00'}])
    row = ChunkStore(tmp_path, "rollouts").rows().iloc[0]
    assert row["count"] == 3 and row["ids"].tolist() == [0, 1, 2] and row["text"] == 'é\n"\x00'


def test_columns_that_are_empty_in_some_chunks_keep_their_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paced_exp.rollouts.store._BLOCK", 1)
    store = ChunkStore(tmp_path, "rollouts")
    store.append([{"problem_id": "a", "token_ids": [], "note": None}])
    store.append([{"problem_id": "b", "token_ids": [1, 2], "note": "x"}])
    frame = pd.read_parquet(store.finalise())
    assert [list(ids) for ids in frame["token_ids"]] == [[], [1, 2]]
    assert frame["note"].isna().tolist() == [True, False]


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow over `limit` bytes: what a full disk looks like to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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
sys.path.insert(0, sys.argv[2])
from test_store import problem_rows
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
        command = [sys.executable, "-c", WRITER, str(tmp_path / "killed"), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
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
