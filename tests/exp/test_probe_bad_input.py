"""The probe refuses what it cannot use: one line, exit status 2, nothing lost and nothing left behind.

Bad values of single options, for all commands: test_bad_options.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paced_exp import snr_probe
from paced_exp.core.errors import UserError
from paced_exp.probe import measurement
from tests.support.probe_setup import arguments, refused, rows, save, write_rows
from tests.support.tiny_models import tiny_tokenizer

pytestmark = pytest.mark.usefixtures("hash_grader")

# ---- bad input


def spoilt_rows(**changes: Any) -> list[dict[str, Any]]:
    """Good rows, the fourth one changed; a change to None removes the column."""
    content = rows()
    content[3] = {key: value for key, value in {**content[3], **changes}.items() if value is not None}
    return content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sketch-size": 63},
            "--sketch-size 63 must be at least 64: the inner products of a sketch of m numbers are wrong by about 1/sqrt(m)",
        ),
        ({"problems": "missing.jsonl"}, "missing.jsonl"),
        ({"problems": "lab:nowhere"}, "lab:nowhere is not a lab split"),
        ({"teacher": "lab:professor"}, "lab:professor is not a lab model"),
        ({"teacher-prompt": "concise"}, "--teacher-prompt concise is not known; known: privileged, plain"),
        ({"only": "model.nowhere"}, "--only 'model.nowhere' is no parameter or module of the model"),
    ],
)
def test_options_that_cannot_be(
    changes: dict[str, Any], message: str, models: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = arguments(models, problems, tmp_path / "run", **changes)
    assert message in refused(lambda: snr_probe.main(argv), capsys)
    assert not (tmp_path / "run").exists(), "a refused command leaves a folder"


@pytest.mark.parametrize(
    ("content", "message", "early"),
    [
        ([], "no problems in it", True),
        (spoilt_rows(answer=None), "line 4", True),
        (spoilt_rows(prompt=""), "line 4", True),
        (spoilt_rows(id="sum01"), "problem id 'sum01' occurs twice", False),
        (spoilt_rows(solution=None), "problem 'sum03' has no expert solution", False),
        (
            [{**row, "solution": ""} for row in rows()],
            "has no expert solution, which --teacher-prompt privileged needs; give a source",
            True,
        ),
        (spoilt_rows(prompt="1+" * 80), "problem 'sum03' is too long for the model", False),
    ],
    ids=["empty", "no answer", "no prompt", "duplicate id", "no solution", "no solutions", "too long"],
)
def test_bad_problems(
    content: list[dict[str, Any]], message: str, early: bool, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "bad.jsonl", content)
    argv = arguments(models, path, tmp_path / "run", **{"per-bin": 40})
    assert message in refused(lambda: snr_probe.main(argv), capsys, bars=not early)
    assert (tmp_path / "run").exists() != early


def test_a_teacher_that_reads_other_tokens(models: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = tiny_tokenizer()
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    vocabulary["3"], vocabulary["4"] = vocabulary["4"], vocabulary["3"]
    save(tmp_path / "models" / "teacher", kind="llama")
    (tmp_path / "models" / "teacher" / "tokenizer.json").write_text(json.dumps(content))
    argv = arguments(models, problems, tmp_path / "run", teacher=tmp_path / "models" / "teacher")
    line = refused(lambda: snr_probe.main(argv), capsys)
    assert "have different vocabularies: 2 tokens differ, for example '3'" in line and not (tmp_path / "run").exists()


def test_a_truncated_weights_file(models: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "student")
    weights = tmp_path / "student" / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    argv = arguments(models, problems, tmp_path / "run", student=tmp_path / "student")
    assert "model.safetensors is truncated or damaged" in refused(lambda: snr_probe.main(argv), capsys)


def test_a_folder_of_another_run_is_refused_and_left_alone(
    models: Path, problems: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    line = refused(lambda: snr_probe.main(arguments(models, problems, whole, K=5, bins=6)), capsys)
    assert "another configuration; differing: K (4 there, 5 now), bins (5 there, 6 now)" in line
    assert {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()} == before
    file = whole / "config.yaml"
    assert "is a file; name a folder" in refused(lambda: snr_probe.main(arguments(models, problems, file)), capsys)


def test_weights_and_problems_that_changed_since_the_run_began_are_refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "student")
    source = write_rows(tmp_path / "sums.jsonl", rows())
    argv = arguments(models, source, tmp_path / "run", student=tmp_path / "student")
    snr_probe.main(argv)
    (tmp_path / "run" / "record.json").unlink()
    save(tmp_path / "student", seed=3)
    assert "holds a run begun before the student changed" in refused(lambda: snr_probe.main(argv), capsys)
    save(tmp_path / "student")
    write_rows(source, rows()[:-1])
    assert "holds a run begun before the problems changed" in refused(lambda: snr_probe.main(argv), capsys)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", b"not an archive at all"])
def test_damaged_gradients_are_named(damage: bytes, models: Path, problems: Path, tmp_path: Path, whole: Path) -> None:
    path = tmp_path / "bin-002.npz"
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r"bin-002\.npz is corrupted .*delete it and run the same command again"):
        measurement.load_sums(path)
    stored = (whole / "gradients" / "bin-002.npz").read_bytes()
    path.write_bytes(stored[: len(stored) // 2])
    with pytest.raises(UserError, match=r"bin-002\.npz is corrupted"):
        measurement.load_sums(path)


def test_a_damaged_journal_or_record_is_named(
    models: Path, problems: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    snr_probe.main(arguments(models, problems, out))
    (out / "record.json").write_text('{"bins": [')
    assert "record.json is corrupted" in refused(lambda: snr_probe.main(arguments(models, problems, out)), capsys)


def test_as_a_command_it_ends_with_status_2_one_line_and_no_traceback(models: Path, problems: Path, tmp_path: Path) -> None:
    argv = arguments(models, problems, tmp_path / "run", student="an/unreachable-model")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", "paced_exp.snr_probe", *argv],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: model an/unreachable-model is not a local folder, and the hub cannot be reached")
    assert not (tmp_path / "run").exists()
