"""Runs in parts and their merge: content equal to one run's, with a part killed and restarted, and every incomplete set refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from paced_exp import merge as command
from paced_exp import rollout
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.rollouts.merge import merge
from paced_exp.rollouts.shards import Shard, joined
from tests.exp.test_rollout_cli import PROBLEMS, arguments, length_grader, problems, student
from tests.support import children

__all__ = ["length_grader", "problems", "student"]

PARTS = 4
FILES = ("rollouts.parquet", "pass_rates.parquet", "problems.parquet", "inputs.json")


@given(st.integers(1, 40), st.data())
def test_parts_are_disjoint_even_and_join_to_the_whole(count: int, data: st.DataObject) -> None:
    total = data.draw(st.integers(1, count))
    items = list(range(count))
    parts = [Shard(number, total).of(items) for number in range(1, total + 1)]
    assert sorted(item for part in parts for item in part) == items and joined(parts) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_parts_that_are_no_parts() -> None:
    for text in ("0/4", "5/4", "1", "1/0", "a/b", "-1/2", "1/4/5", " 1/4"):
        with pytest.raises(UserError, match=r"`shard` .* must be PART/PARTS"):
            Shard.parse(text)
    with pytest.raises(UserError, match="`shard` 3/3 has none of the 2 problems"):
        Shard(3, 3).of(["a", "b"])
    with pytest.raises(ValueError, match="parts of 1, 2 items"):
        joined([["a"], ["b", "c"]])
    assert str(Shard.parse("2/4")) == "2/4"


@pytest.fixture(scope="module")
def finished(student: Path, problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that makes a run and its four parts, once for each set of options."""
    made: dict[str, tuple[Path, list[Path]]] = {}

    def make(**changes: Any) -> tuple[Path, list[Path]]:
        key = json.dumps(changes, sort_keys=True)
        if key not in made:
            folder = tmp_path_factory.mktemp("shards")
            changes = {"dtype": "float64", **changes}
            rollout.main(arguments(student, problems, folder / "whole", **changes))
            parts = [folder / f"part-{number}" for number in range(1, PARTS + 1)]
            for number, part in enumerate(parts, start=1):
                rollout.main(arguments(student, problems, part, shard=f"{number}/{PARTS}", **changes))
            made[key] = folder / "whole", parts
        return made[key]

    return make


@pytest.mark.usefixtures("length_grader")
@pytest.mark.parametrize("changes", [{}, {"K": 8, "adaptive": "mean", "law": "0.5,0.5"}, {"K": 8, "adaptive": "largest", "law": "0.5,0.5"}])
def test_four_parts_are_the_whole(finished: Any, changes: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, parts = finished(**changes)
    capsys.readouterr()
    command.main([*map(str, parts[::-1]), "--out", str(tmp_path / "joined")])
    printed = capsys.readouterr().out
    for name in FILES:
        assert (tmp_path / "joined" / name).read_bytes() == (whole / name).read_bytes(), name
    one, joint = (json.loads((folder / "record.json").read_text()) for folder in (whole, tmp_path / "joined"))
    for record in (one, joint):
        for name in ("session", "provenance", "checksum", "shards"):
            record.pop(name, None)
        record["config"].pop("out")
    assert one == joint
    assert str(tmp_path / "joined" / "pass_rates.parquet") in printed
    # The command of the run in one part finds itself finished, and so does the merge.
    command.main([*map(str, parts), "--out", str(tmp_path / "joined")])
    assert capsys.readouterr().out == printed


@pytest.mark.usefixtures("length_grader")
def test_a_part_that_was_killed_and_restarted(student: Path, problems: Path, finished: Any, tmp_path: Path) -> None:
    changes = {"K": 6, "max-new-tokens": 40, "max_batch_tokens": 700}
    whole, parts = finished(**changes)
    killed = tmp_path / "killed"
    argv = arguments(student, problems, killed, shard=f"3/{PARTS}", dtype="float64", **changes)
    done = children.run("-m", "tests.support.kill_and_resume", 4, 4, *argv)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 2
    _, record = merge([*parts[:2], killed, parts[3]], tmp_path / "joined")
    for name in FILES:
        assert (tmp_path / "joined" / name).read_bytes() == (whole / name).read_bytes(), name
    assert record["shards"] == PARTS and record["session"]["rollouts"] <= 6 * PROBLEMS


def refused(folders: list[Path], out: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        merge(folders, out)
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.usefixtures("length_grader")
def test_sets_that_are_not_complete_are_refused(student: Path, problems: Path, finished: Any, tmp_path: Path) -> None:
    whole, parts = finished()
    out = tmp_path / "joined"
    refused(parts[:2], out, "2 of 4 shards are given; missing: 3/4, 4/4")
    refused([*parts, parts[1]], out, "are both shard 2/4")
    refused([*parts[:3], whole], out, "is no shard of a run of rollouts")
    refused([*parts[:3], tmp_path / "nothing"], out, "has no config.yaml")

    def copy(name: str, part: int = 3) -> Path:
        return Path(shutil.copytree(parts[part], tmp_path / name))

    unfinished = copy("unfinished")
    (unfinished / "record.json").unlink()
    refused([*parts[:3], unfinished], out, "shard 4/4, is not finished; run its command again")
    fewer = copy("fewer")
    lines = (fewer / "rollouts.jsonl").read_bytes().splitlines(keepends=True)
    (fewer / "rollouts.jsonl").write_bytes(b"".join(lines[1:]))
    refused([*parts[:3], fewer], out, "lacks rollouts of problem 'sum.*', which has 0")
    (fewer / "rollouts.jsonl").unlink()
    refused([*parts[:3], fewer], out, "lacks rollouts of problem")
    alien = copy("alien")
    shutil.copy(parts[1] / "rollouts.jsonl", alien / "rollouts-0004.jsonl")
    refused([*parts[:3], alien], out, "has rollouts of problem 'sum.*', which is none of its problems")
    changed = copy("changed")
    (changed / "record.json").write_text((changed / "record.json").read_text().replace('"skipped_long": 0', '"skipped_long": 1'))
    refused([*parts[:3], changed], out, "damaged")
    other = tmp_path / "other"
    rollout.main(arguments(student, problems, other, K=5, shard="4/4", dtype="float64"))
    refused([*parts[:3], other], out, r"another configuration; differing: K \(4 in .*part-1, 5 in .*other\)")
    own = tmp_path / "own.jsonl"
    own.write_text(problems.read_text().replace("2+4=", "2+5="))
    moved = copy("moved")
    inputs = json.loads((moved / "inputs.json").read_text())
    (moved / "inputs.json").write_text(json.dumps({**inputs, "student": "sha256:other"}))
    refused([*parts[:3], moved], out, "have other student")
    (moved / "inputs.json").write_text(json.dumps({**inputs, "all_problems": "sha256:other"}))
    refused([*parts[:3], moved], out, "have other all_problems")
    swapped = copy("swapped", 0)
    shutil.copy(parts[3] / "problems.parquet", swapped / "problems.parquet")
    refused([swapped, *parts[1:3], parts[3]], out, "do not have the problems of one run|not the parts of one list")
    halves = tmp_path / "half"
    rollout.main(arguments(student, problems, halves, shard="1/2", dtype="float64"))
    refused([halves, *parts[1:]], out, "is shard 2/4, and .* is shard 1/2: not of one run")


@pytest.mark.usefixtures("length_grader")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"bogus": 1},
            "config.yaml has the option 'bogus', which this version does not know; join the shards with the version that made them",
        ),
        ({"K": "x"}, r"config.yaml: option -K: Expected a <class 'int'>. Got value: x .*; restore it, or roll out the shard again"),
        ({"K": 0}, "config.yaml: -K 0 must be at least 1"),
        ({"shard": "zz"}, "config.yaml: `shard` zz must be PART/PARTS"),
        ({"engine": "zz"}, "config.yaml: --engine zz is not known"),
    ],
)
def test_a_configuration_that_this_version_cannot_take_is_one_line(
    finished: Any, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    parts = [Path(shutil.copytree(part, tmp_path / part.name)) for part in finished()[1]]
    for part in parts:
        path = part / "config.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | options))
    refused(parts, tmp_path / "joined", f"part-[14]/{message}")


@pytest.mark.usefixtures("length_grader")
def test_files_and_folders_in_place_of_each_other_are_one_line(finished: Any, problems: Path, tmp_path: Path) -> None:
    _, parts = finished()
    out = tmp_path / "joined"
    refused([problems], out, r"config.yaml cannot be read \(Not a directory\); name the folders that the shards were rolled out into")
    for name in ("config.yaml", "inputs.json", "record.json", "problems.parquet", "rollouts.jsonl"):
        odd = Path(shutil.copytree(parts[3], tmp_path / f"odd-{name}"))
        (odd / name).unlink()
        (odd / name).mkdir()
        refused([*parts[:3], odd], out, f"{name}.*(Is a directory|is a folder|not a file)")
    bare = Path(shutil.copytree(parts[3], tmp_path / "bare"))
    (bare / "inputs.json").write_text('{"problems": "x", "all_problems": "x"}')
    refused([*parts[:3], bare], out, "bare is no shard of a run of rollouts")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^--out .*file is a file; name a folder"):
        command.main([*map(str, parts), "--out", str(tmp_path / "file")])


@pytest.mark.usefixtures("length_grader")
def test_a_problem_that_the_rule_would_continue_is_refused(finished: Any, tmp_path: Path) -> None:
    _, parts = finished(K=8, adaptive="mean", law="0.5,0.5")
    cut = Path(shutil.copytree(parts[0], tmp_path / "cut"))
    last = max(cut.glob("rollouts-*.jsonl"))
    last.unlink()
    refused([cut, *parts[1:]], tmp_path / "joined", "lacks rollouts of problem")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--shard", "5/4"], "--shard 5/4 must be PART/PARTS"),
        (["--shard", "1/4", "--adaptive", "mean"], "--shard 1/4 with --adaptive mean needs --law"),
        (["--shard", "31/31"], "--shard 31/31 has none of the 30 problems"),
    ],
)
def test_bad_options_are_one_line(
    student: Path, problems: Path, tmp_path: Path, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_cleanly(lambda: rollout.main([*arguments(student, problems, tmp_path / "run"), *argv]))
    errors = capsys.readouterr().err
    assert caught.value.code == 2 and message in errors and len(errors.strip().splitlines()) == 1, errors
    assert not (tmp_path / "run").exists()


def test_the_command_without_folders_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_cleanly(lambda: command.main(["--out", "x"]))
    assert caught.value.code == 2 and capsys.readouterr().err.count("\n") == 1
