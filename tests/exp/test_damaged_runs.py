"""Commands on run folders whose journals were damaged or edited: one line that names file and line, status 2, nothing overwritten."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import paced_exp.distill as distill
from paced_exp import rollout
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.grading import grader as grading
from paced_exp.rollouts.store import ChunkStore
from tests.support.distill_setup import arguments, student_rollouts, trainer_config
from tests.support.graders import HashGrader

pytestmark = pytest.mark.usefixtures("hash_grader")

TWO_STAGES = {"stages": "forward_kl:0.5,reverse_kl:0.5", "steps": 4, "rollout-every": 3, "teacher-statistics": "exact"}
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def whole(models: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of finished journals, whose run is to be taken up again from its first update."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "Grader", HashGrader)
        distill.main(arguments(models, source, out, **TWO_STAGES))
    for name in ("record.json", "trained.json"):
        (out / name).unlink()
    for name in ("training", "model"):
        shutil.rmtree(out / name)
    return out


def without(rows: Rows, problem: str) -> Rows:
    return [row for row in rows if row["problem_id"] != problem]


def with_token(rows: Rows, token: int) -> Rows:
    return [rows[0] | {"token_ids": [token]}, *rows[1:]]


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("pass_rate_rollouts-000000", lambda rows: rows[1:], "has 3 of its 4 samples; take the line out (sed -i 1d"),
        ("pass_rate_rollouts-000000", lambda rows: without(rows, "sum07"), "lacks problem 'sum07'"),
        ("pass_rate_rollouts-000000", lambda rows: [rows[0] | {"correct": "yes"}, *rows[1:]], "is 'yes', neither true nor false"),
        ("references-000000", lambda rows: with_token(rows, 10**6), "holds token id 1000000, outside the vocabulary"),
        ("references-000000", lambda rows: rows[1:], "lacks problem"),
        ("references-000000", lambda rows: [rows[0] | {"origin": "nowhere"}, *rows[1:]], "has the origin 'nowhere'"),
        ("rollouts-000002", lambda rows: with_token(rows, 10**6), "holds token id 1000000, outside the student's vocabulary"),
        ("rollouts-000002", lambda rows: rows[1:], "lacks problem"),
    ],
)
def test_a_distillation_refuses_edited_journals(
    models: Path,
    source: Path,
    whole: Path,
    tmp_path: Path,
    name: str,
    edit: Callable[[Rows], Rows],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    journal = tmp_path / "run" / f"{name}.jsonl"
    chunks = list(ChunkStore(tmp_path / "run", name).chunks())
    edited = [edit(chunks[0]), *chunks[1:]]
    # Without checksums, as anybody can write them.
    journal.write_text("".join(json.dumps(chunk) + "\n" for chunk in edited))
    content = journal.read_bytes()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        exit_cleanly(lambda: distill.main(arguments(models, source, tmp_path / "run", **TWO_STAGES)))
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 2 and len(errors) == 1 and message in errors[0] and f"{name}.jsonl" in errors[0], errors
    assert journal.read_bytes() == content


def test_what_a_past_student_wrote_is_not_made_by_another(source: Path, tmp_path: Path) -> None:
    rollouts = student_rollouts(tmp_path / "run", trainer_config(tmp_path / "run", source))
    ChunkStore(tmp_path / "run", "rollouts-000001").append([{"problem_id": "0:a", "sample": 0, "token_ids": [1]}])
    rollouts.require("rollouts-000001", ["0:a"], 1, 2)
    for content in (None, b"", (tmp_path / "run" / "rollouts-000001.jsonl").read_bytes()[:-3]):
        (tmp_path / "run" / "rollouts-000001.jsonl").unlink()
        if content is not None:
            (tmp_path / "run" / "rollouts-000001.jsonl").write_bytes(content)
        with pytest.raises(UserError, match=r"rollouts-000001\.jsonl (is missing|lacks rollouts), although the run is past update 1"):
            rollouts.require("rollouts-000001", ["0:a"], 1, 2)
        rollouts.require("rollouts-000001", ["0:a"], 2, 2)
        (tmp_path / "run" / "rollouts-000001.jsonl").touch()


def test_a_rollout_run_refuses_a_damaged_journal_and_its_message_mends_it(models: Path, source: Path, tmp_path: Path) -> None:
    argv = ["--student", str(models / "student"), "--problems", str(source), "-K", "4", "--max-new-tokens", "8", "--device", "cpu"]
    rollout.main([*argv, "--out", str(tmp_path / "run")])
    before = (tmp_path / "run" / "rollouts.parquet").read_bytes()
    journal, lines = tmp_path / "run" / "rollouts.jsonl", (tmp_path / "run" / "rollouts.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "run" / "record.json").unlink()
    damaged = bytearray(lines[4])
    damaged[-20] ^= 4
    journal.write_bytes(b"".join([*lines[:4], damaged, *lines[5:]]))
    with pytest.raises(UserError, match=r"line 5 is damaged: its checksum is wrong; take the line out \(sed -i 5d"):
        rollout.main([*argv, "--out", str(tmp_path / "run")])
    journal.write_bytes(b"".join([*lines[:4], *lines[5:]]))
    rollout.main([*argv, "--out", str(tmp_path / "run")])
    assert (tmp_path / "run" / "rollouts.parquet").read_bytes() == before
