"""Run folders that are in use, or in which the record, the configuration or another file is damaged. Each is refused in one line."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from attack.harness import Attack
from attack.tiny_runs import argv, python, refused, same, train, whole_run
from paced_exp.core.folder_lock import locked
from paced_exp.core.run_folder import RunFolder

DEEP = "[" * 10_000

# Contents of a file that should hold a JSON object.
NO_OBJECTS: dict[str, str | bytes] = {
    "a list": "[]",
    "a string": '"x"',
    "null": "null",
    "empty": "",
    "cut in two": '{"kind": "eval',
    "nested 10,000 deep": DEEP,
    "objects nested 10,000 deep": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "lists 10,000 deep in it": '{"kind": ' + DEEP + "]" * 10_000 + "}",
    "binary": bytes(range(256)),
    "with NaN in it": '{"kind": NaN, "student": NaN}',
    "with an infinite number in it": '{"kind": 1e999, "student": 1e999}',
    "with a number of 10,000 digits in it": '{"kind": ' + "9" * 10_000 + "}",
    "with a byte-order mark": b"\xef\xbb\xbf{}",
}


@dataclass(frozen=True)
class _Options:
    """A configuration."""

    seed: int = 3
    name: str = "a"
    out: str = "unused"


def _write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _run(folder: Path) -> RunFolder:
    return RunFolder(folder / "run", _Options()).open()


def _nothing() -> dict[str, Any]:
    raise AssertionError("the run was made again")


# ---- record.json and the files beside it


def _record(content: str | bytes, folder: Path) -> None:
    run = _run(folder)
    _write(run.record_path, content)
    refused(lambda: run.recorded("evaluation", _nothing), "record.json")


def _changed_record(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
    run = _run(folder)
    run.recorded("evaluation", lambda: {"kind": "evaluation", "sources": [{"mean": {"value": 0.5}}], "seconds": 1.0})
    content = json.loads(run.record_path.read_text())
    change(content)
    run.record_path.write_text(json.dumps(content))
    refused(lambda: run.recorded("evaluation", _nothing), "record.json")


def _inputs(content: str | bytes, folder: Path) -> None:
    run = _run(folder)
    _write(run / "inputs.json", content)
    refused(lambda: run.claim({"student": "sha256:1"}))


def _seconds(content: str | bytes, folder: Path) -> None:
    from paced_exp.core.clock import StageClock

    _write(folder / "seconds.json", content)
    refused(lambda: StageClock(folder / "seconds.json"), "seconds.json")


def _configuration(content: str | bytes, folder: Path) -> None:
    run = _run(folder)
    _write(run / "config.yaml", content)
    began = time.monotonic()
    refused(run.check)
    assert time.monotonic() - began < 2, "it took long"


def _no_file(name: str, folder: Path) -> None:
    for number, make in enumerate((Path.mkdir, os.mkfifo)):
        run = _run(folder / str(number))
        (run / name).unlink(missing_ok=True)
        make(run / name)
        refused(lambda run=run: run.check().claim({"student": "x"}) if name == "inputs.json" else run.recorded("evaluation", _nothing))  # type: ignore[misc]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)

CONFIGURATIONS: dict[str, str | bytes] = {
    "a list": "[1, 2]",
    "a string": "seed",
    "a mapping with numbers for names": "{1: 2, seed: 3}",
    "a mapping with lists for names": "? [a]\n: 3\n",
    "a mapping with a list for the seed": "seed: [3]\nname: a\n",
    "nested 10,000 deep": "seed: " + DEEP,
    "binary": bytes(range(256)),
    "a bomb of aliases": BOMB,
    "a Python object": "!!python/object/apply:os.system ['touch owned']",
    "a mapping with a value of 90,000 characters": "name: " + "x" * 90_000,
    "a mapping with 2,000 unknown options": "".join(f"o{i}: {i}\n" for i in range(2_000)),
}


# ---- a finished training that is damaged


def _trained(content: str | bytes, folder: Path) -> None:
    done, _ = whole_run()
    out = folder / "run"
    shutil.copytree(done, out)
    (out / "record.json").unlink()
    _write(out / "trained.json", content)
    refused(lambda: train(out), "trained.json")


# ---- two runs at once

_HOLD = """
import os, subprocess, sys, time
from pathlib import Path
from paced_exp.core.folder_lock import locked
with locked(Path(sys.argv[1])):
    if sys.argv[2] == "fork" and os.fork() == 0:
        os.close(1)
        time.sleep(60)
    if sys.argv[2] == "program":
        subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print("in", flush=True)
    time.sleep(60)
"""


def _command(name: str) -> Callable[[list[str]], object]:
    import paced_exp.distill as distill
    import paced_exp.evaluate as evaluate
    from paced_exp import rollout, snr_probe
    from paced_exp.lab import __main__ as lab

    commands: dict[str, Callable[[list[str]], object]] = {
        "rollout": rollout.main,
        "evaluate": evaluate.main,
        "distill": distill.main,
        "snr_probe": snr_probe.main,
        "snr_probe --at-steps": lambda arguments: snr_probe.main([*arguments, "--at-steps", "1,3"]),
        "lab pretrain": lambda arguments: lab.main(["pretrain", "student", *arguments]),
    }
    return commands[name]


def _second_command(name: str, folder: Path) -> None:
    out = folder / "run"
    with locked(out):
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        began = time.monotonic()
        refused(lambda: _command(name)(["--out", str(out)]), str(out), "is in use by process", str(os.getpid()))
        assert time.monotonic() - began < 30, "the command worked before it was refused"
        assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}, "the folder was touched"


def _held_by_another(folder: Path) -> None:
    with python(_HOLD, folder / "run", "none") as process:
        assert process.stdout is not None and process.stdout.readline() == "in\n"
        try:
            refused(lambda: _take(folder / "run"), f"process {process.pid}")
        finally:
            process.kill()


def _take(folder: Path) -> None:
    with locked(folder):
        pass


def _killed(child: str, folder: Path) -> None:
    """A killed run frees its folder, even if its child processes are alive."""
    with python(_HOLD, folder / "run", child, start_new_session=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "in\n"
        try:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(0.2)
            _take(folder / "run")
        finally:
            os.killpg(process.pid, signal.SIGKILL) if child != "none" else None


def _lock_file(content: str | bytes, folder: Path) -> None:
    with locked(folder):
        _write(folder / ".lock", content)
        refused(lambda: _take(folder), "is in use by")


def _no_lock_file(folder: Path) -> None:
    for number, make in enumerate((Path.mkdir, os.mkfifo, lambda path: path.symlink_to(folder / "victim"))):
        (folder / str(number)).mkdir()
        make(folder / str(number) / ".lock")
        refused(lambda number=number: _entered(folder / str(number)), "cannot be used")  # type: ignore[misc]
    assert not (folder / "victim").exists()


def _entered(folder: Path) -> None:
    with RunFolder(folder, _Options()).locked():
        pass


def _thesis(folder: Path) -> None:
    (folder / "thesis.tex").write_text("x")
    refused(lambda: _entered(folder), "is no run folder")
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def _refused_for_its_options(folder: Path) -> None:
    refused(lambda: _command("rollout")(["--out", str(folder / "a" / "run"), "--problems", "nowhere.jsonl"]), "nowhere.jsonl")
    assert list(folder.iterdir()) == []


_DISTILL = """
import sys
import torch
torch.set_num_threads(1)
import paced_exp.distill as distill
from paced_exp.core.errors import exit_cleanly
exit_cleanly(lambda: distill.main(sys.argv[1:]))
"""


def _two_trainings(folder: Path) -> None:
    """Two trainings start at once, three times. One ends with the right weights, the other is refused in one line."""
    _, expected = whole_run()
    for number in range(3):
        out = folder / str(number)
        running = [python(_DISTILL, *argv(out)) for _ in range(2)]
        ended = [(process.communicate(timeout=300)[1], process.returncode) for process in running]
        statuses = sorted(status for _, status in ended)
        errors = [line for said, status in ended if status == 2 for line in said.splitlines() if line.startswith("error: ")]
        # If the second starts after the first has finished, it reads the record and is not refused.
        assert statuses == [0, 2] or statuses == [0, 0], ended
        assert all("is in use by process" in line for line in errors) and len(errors) == statuses.count(2), errors
        same(train(out), expected)
        steps = [json.loads(line)["step"] for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
        assert steps == [1, 2, 3, 4, 5, 6], steps


ATTACKS = [
    *(Attack("folders", f"record.json is {what}", partial(_record, text)) for what, text in ({"{}": "{}"} | NO_OBJECTS).items()),
    Attack("folders", "record.json of another kind", partial(_record, '{"kind": "rollout"}')),
    Attack("folders", "record.json without a checksum", partial(_record, '{"kind": "evaluation", "sources": []}')),
    Attack(
        "folders",
        "a number of record.json changed",
        partial(_changed_record, lambda record: record["sources"][0]["mean"].update(value=0.9)),
    ),
    Attack("folders", "a list where record.json has an object", partial(_changed_record, lambda record: record.update(sources=[[]]))),
    Attack("folders", "record.json lacks a field", partial(_changed_record, lambda record: record.pop("sources"))),
    Attack("folders", "the checksum of record.json is a list", partial(_changed_record, lambda record: record.update(checksum=[]))),
    *(Attack("folders", f"inputs.json is {what}", partial(_inputs, text)) for what, text in NO_OBJECTS.items()),
    Attack("folders", "inputs.json has lists for fingerprints", partial(_inputs, '{"student": ["sha256:1"]}')),
    *(Attack("folders", f"seconds.json is {what}", partial(_seconds, text)) for what, text in NO_OBJECTS.items()),
    *(
        Attack("folders", f"seconds.json has {text} for seconds", partial(_seconds, f'{{"load": {text}}}'))
        for text in ('"x"', "-1", "true", "[1]", "{}", "null")
    ),
    *(Attack("folders", f"config.yaml is {what}", partial(_configuration, text)) for what, text in CONFIGURATIONS.items()),
    *(
        Attack("folders", f"{name} is a folder or a pipe", partial(_no_file, name))
        for name in ("record.json", "inputs.json", "config.yaml")
    ),
    *(
        Attack("folders", f"trained.json is {what}", partial(_trained, text), slow=True)
        for what, text in {"{}": "{}", "of another kind": '{"kind": "evaluation"}', **NO_OBJECTS}.items()
    ),
    *(
        Attack("folders", f"{name} in a folder that another run uses", partial(_second_command, name))
        for name in ("rollout", "evaluate", "distill", "snr_probe", "snr_probe --at-steps", "lab pretrain")
    ),
    Attack("folders", "another process is in the folder", _held_by_another),
    *(
        Attack("folders", f"the run in the folder is killed, with {what}", partial(_killed, child))
        for child, what in (("none", "no child"), ("fork", "a fork alive"), ("program", "a program alive"))
    ),
    *(Attack("folders", f"the lock's file is {what}", partial(_lock_file, text)) for what, text in NO_OBJECTS.items()),
    Attack("folders", "the lock's file is a folder, a pipe or a link", _no_lock_file),
    Attack("folders", "the folder of something else", _thesis),
    Attack("folders", "a command is refused for its options", _refused_for_its_options),
    Attack("folders", "two trainings on one folder", _two_trainings, slow=True),
]
