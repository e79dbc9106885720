"""Every option of every command, given what its declaration forbids: status 2, one line that names it, nothing written.

Bad values follow from the type of an option (`BAD`), so that a new option is tried without a line here.
"""

import inspect
import re
import types
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

import paced_exp
from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly, flag_of
from tests.support import children

pytestmark = pytest.mark.usefixtures("hash_grader")


def declared() -> dict[str, tuple[Callable[..., object], Any]]:
    """Every function that `configs.command` made an entry point, and its configuration, by module and function."""
    package, found = Path(inspect.getfile(paced_exp)).parent, {}
    for path in sorted(package.rglob("*.py")):
        if re.search(r"@configs\.(command|with_dry_run)\(", path.read_text()):
            module = import_module(".".join(path.relative_to(package.parent).with_suffix("").parts))
            for name, main in vars(module).items():
                hints = get_type_hints(main.__wrapped__).values() if hasattr(main, "__wrapped__") else ()
                if config := next(filter(is_dataclass, hints), None):
                    found[f"{module.__name__.removeprefix('paced_exp.')}.{name}"] = main, config
    return found


COMMANDS = declared()
# Run on tiny models, to what comes after the command line. Of the others, which write pages and tables, the command line alone is tried.
RUN = [name for name, (_, config) in COMMANDS.items() if {"problems", "setting"} & {field.name for field in fields(config)}]

# What each type of option must refuse, by what is wrong with it.
BAD: dict[Any, dict[str, list[str]]] = {
    int: {"type": ["many", "2.5"], "empty": [""], "range": ["-1"], "not finite": ["nan"], "huge": ["9" * 30]},
    float: {"type": ["warm"], "empty": [""], "range": ["-1"], "not finite": ["nan", "inf"]},
    bool: {"type": ["maybe"], "empty": [""]},
    Literal: {"unknown": ["nonsense"], "empty": [""]},
    dict: {"type": ["text", "[1]"], "empty": [""], "syntax": ["{a: "]},
    tuple: {"type": ["x", "[x]"], "empty": ["", "[]"], "range": ["[-1]"], "not finite": ["[nan]", "[inf]"]},
    str: {"unknown": ["no such/thing"], "empty": [""], "absent": ["/no/such/file.jsonl"]},
}
# Strings that may be anything: folders that the command makes. `base_evaluation` may be empty, which is none.
FREE = {("out", "unknown"), ("out", "absent"), ("out", "empty"), ("base_evaluation", "empty")} | {
    (name, fault) for name in ("cache", "records") for fault in BAD[str]
}
# Names of sources, models and files, which are quoted in place of the option.
QUOTED = {"student", "teacher", "model", "problems", "evaluate", "against", "pass_rates", "base_evaluation", "references", "weights"}


def kind_of(hint: Any) -> Any:
    """The key of `BAD` for an option's type, which may be optional; `Path` and `list` of the commands that are not `RUN` are not in it."""
    inner = [part for part in get_args(hint) if part is not type(None)] if get_origin(hint) is types.UnionType else [hint]
    assert len(inner) == 1, f"an option of the type {hint}: say in kind_of what it must refuse"
    return get_origin(inner[0]) or inner[0]


@dataclass(frozen=True)
class Bad:
    """A value that `option` of `command` must refuse."""

    command: str
    option: str
    fault: str
    value: str

    def named(self, line: str) -> bool:
        """The line names the option; or quotes the value, where the option is one of `QUOTED` (an empty path is the working folder)."""
        flag = re.escape(flag_of(self.option))
        quoted = [self.value] if self.value else ["''", "error: . "]
        return bool(re.search(rf"{flag}(?![\w-])", line)) or (self.option in QUOTED and any(text in line for text in quoted))


def bad_values(command: str) -> list[Bad]:
    hints = get_type_hints(COMMANDS[command][1])
    kinds = {field.name: kind_of(hints[field.name]) for field in fields(COMMANDS[command][1])}
    return [
        Bad(command, name, fault, value)
        for name, kind in kinds.items()
        if command in RUN or kind not in (str, Path, list)
        for fault, values in BAD[kind].items()
        for value in values
        if (name, fault) not in FREE
    ]


FAULTS = sorted({(command, bad.fault) for command in RUN for bad in bad_values(command)})
PARSED = [command for command in COMMANDS if command not in RUN and bad_values(command)]


def command_line(bad: Bad, models: Path, source: Path, out: Path) -> list[str]:
    """A small run on the tiny models that would go through, but for the bad value."""
    given = {
        "student": models / "student",
        "model": models / "student",
        "teacher": models / "teacher",
        "problems": source,
        "evaluate": source,
        "device": "cpu",
        "K": 4,
        "max_new_tokens": 8,
        "bins": 3,
        "per_bin": 3,
        "batch": 8,
        "micro_batch": 8,
        "samples": 1,
        "out": out,
    }
    names = {field.name for field in fields(COMMANDS[bad.command][1])}
    argv = [text for name, value in given.items() if name in names - {bad.option} for text in (flag_of(name), str(value))]
    return [*argv, f"{flag_of(bad.option)}={bad.value}"]


def complaint(bad: Bad, models: Path, source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is wrong with how `bad` is refused; empty where nothing is."""
    capsys.readouterr()
    try:
        exit_cleanly(lambda: COMMANDS[bad.command][0](command_line(bad, models, source, out)))
    except SystemExit as stopped:
        lines = capsys.readouterr().err.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        if stopped.code != 2 or len(errors) != 1 or lines[-1] != errors[0] or len(errors[0]) > 600:
            return f"status {stopped.code}, {lines}"
        if not bad.named(errors[0]):
            return f"does not name {flag_of(bad.option)}: {errors[0]}"
        if len(lines) > 1 or out.exists():
            return "refused late, with work done"
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


@pytest.mark.parametrize(("command", "fault"), FAULTS, ids=["-".join(pair) for pair in FAULTS])
def test_a_bad_value_of_any_option_is_refused_in_one_line_that_names_it(
    command: str,
    fault: str,
    models: Path,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    tried = [bad for bad in bad_values(command) if bad.fault == fault]
    wrong = {
        f"{flag_of(bad.option)}={bad.value[:40]}": found
        for number, bad in enumerate(tried)
        if (found := complaint(bad, models, source, tmp_path / str(number), capsys))
    }
    assert tried and not wrong, "\n".join(f"{option}: {found}" for option, found in wrong.items())


@pytest.mark.parametrize("command", PARSED)
def test_a_bad_value_on_the_command_line_of_a_page_is_refused_in_one_line_that_names_it(command: str) -> None:
    config = COMMANDS[command][1]
    positional = ["student" for field in fields(config) if not field.kw_only and field.default is MISSING]
    needed = [*positional, *(["--list"] if command == "reproduce.__main__.main" else [])]  # the grids want to be told what to run
    for bad in bad_values(command):
        with pytest.raises(UserError) as refused:
            configs.parse(config, [*needed, f"{flag_of(bad.option)}={bad.value}"], "prog", "Description.")
        assert bad.named(str(refused.value)), bad


@pytest.mark.parametrize("command", RUN)
def test_an_option_that_is_none_and_a_file_for_a_folder_are_refused(
    command: str, tmp_path: Path, models: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        exit_cleanly(lambda: COMMANDS[command][0](["--no-such-option", "3"]))
    assert stopped.value.code == 2
    assert re.fullmatch(r"error: .*no-such-option 3 .*\n", capsys.readouterr().err)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(SystemExit) as stopped:
        exit_cleanly(lambda: COMMANDS[command][0](command_line(Bad(command, "out", "file", str(file)), models, source, tmp_path)))
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and len(lines) == 1 and str(file) in lines[0] and file.read_text() == "x"


@pytest.mark.parametrize("module", ["snr_probe", "distill", "evaluate", "rollout", "references"])
def test_as_a_process_a_bad_value_ends_with_status_2_one_line_and_no_traceback(module: str, tmp_path: Path) -> None:
    done = children.run("-W", "error", "-m", f"paced_exp.{module}", "--seed=many", cwd=tmp_path)
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert re.fullmatch(r"error: option --seed: .*many.*\n", done.stderr), done.stderr


def test_the_commands_are_found() -> None:
    assert {
        "snr_probe.main",
        "distill.main",
        "evaluate.main",
        "rollout.main",
        "references.main",
        "training.selection.main",
        "teacher.main",
    } == set(RUN)
    assert PARSED
