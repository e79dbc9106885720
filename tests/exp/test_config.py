"""Command lines and YAML: option spellings, round trips, one line for whatever is refused."""

import itertools
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from paced_exp.core import config
from paced_exp.core import options as config_options
from paced_exp.core.errors import UserError
from paced_exp.core.options import grouped
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.probe.config import ProbeConfig
from paced_exp.rollouts.config import RolloutConfig
from paced_exp.rollouts.options import EngineOptions
from paced_exp.training.config import DistillConfig
from paced_exp.training.references_config import ReferencesConfig
from paced_exp.training.selection import SelectionConfig
from paced_exp.training.teacher_config import TeacherConfig

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Options:
    """Options of a command.

    Attributes:
        K: rollouts
        per_bin: problems
        temperature: of sampling
        name: a string
        limit: a number or nothing
        columns: a mapping
        sizes: a tuple
    """

    K: int = 8
    per_bin: int = 100
    temperature: float = 1.0
    name: str = "lab:train"
    limit: int | None = None
    columns: dict[str, str] | None = None
    sizes: tuple[int, int] = (1, 2)

    def __post_init__(self) -> None:
        if self.per_bin < 2:
            raise UserError(f"--per-bin {self.per_bin} must be at least 2")


def parse(*argv: str) -> Options:
    return config.parse(Options, argv, "paced_exp.command", "A command.")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], Options()),
        (["--per-bin", "5"], Options(per_bin=5)),
        (["--per_bin", "5"], Options(per_bin=5)),
        (["--per-bin=5"], Options(per_bin=5)),
        (["-K", "3"], Options(K=3)),
        (["-K3"], Options(K=3)),
        (["-K=3"], Options(K=3)),
        (["--K", "3"], Options(K=3)),
        (["-K", "3", "-K", "4"], Options(K=4)),
        (["--temperature", "1e-3"], Options(temperature=1e-3)),
        (["--limit", "7"], Options(limit=7)),
        (["--limit", "null"], Options(limit=None)),
        (["--name", "123"], Options(name="123")),
        (["--name", "a-b--c=d"], Options(name="a-b--c=d")),
        (["--name=--per-bin"], Options(name="--per-bin")),
        (["--columns", '{"prompt": "problem-text"}'], Options(columns={"prompt": "problem-text"})),
        (["--columns.problem-text=the-column"], Options(columns={"problem-text": "the-column"})),
        (["--sizes", "[3, 4]"], Options(sizes=(3, 4))),
    ],
)
def test_spellings(argv: list[str], expected: Options) -> None:
    assert parse(*argv) == expected


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--per-bun", "5"], r"unrecognized arguments: --per-bun 5"),
        (["stray"], r"unrecognized arguments: stray"),
        (["-K", "many"], r"option -K: Expected a .*int.*many"),
        (["-K", "2.5"], r"option -K: Expected a .*int.*2\.5"),
        (["-K"], r"-K: expected one argument"),
        (["--temperature", "warm"], r"option --temperature: .*warm"),
        (["--temperature", "nan"], r"option --temperature: .*nan"),
        (["--limit", "some"], r"option --limit: .*some"),
        (["--columns", "prompt"], r"option --columns: .*prompt"),
        (["--per-bin", "1"], r"--per-bin 1 must be at least 2"),
        (["--config", "missing.yaml"], r"config.*missing\.yaml"),
    ],
)
def test_what_is_refused_is_one_line_that_names_the_option(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as raised:
        parse(*argv)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("K: [1", "parsing"),
        ("K: 2\nper_bun: 3\n", "per_bun"),
        ("K: many\n", "-K.*many"),
        ("K: true\n", "-K.*True"),
        ("per_bin: 0\n", "--per-bin 0 must be at least 2"),
        ("- 1\n", "config"),
    ],
)
def test_a_bad_file_is_one_line_too(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        parse("--config", str(path))
    assert "\n" not in str(raised.value)


BILLION = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BILLION, r"line 2 has an alias \(\*a\); write its value out"),
        ("x: &x {<<: *x}\n", "has an alias"),
        ("columns: " + "{a: " * 50 + "1" + "}" * 50, "nested over 20 deep"),
        ("columns: " + "[" * 30_000, "nested over 20 deep"),
        ("#" * 200_000, "over 100000 bytes"),
        ("K: !!python/object/apply:os.system ['true']\n", "python/object"),
        ("K: " + "9" * 5_000, "4300 digits"),
        ("K: " + "9" * 30, r"option -K 9{20}\.\.\. is larger than"),
        ("K: 2026-99-99", "config|-K"),
    ],
)
def test_a_hostile_file_is_refused_at_once(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    began = time.process_time()
    for arguments in (("--config", str(path)), (f"--config={path}",)):
        with pytest.raises(UserError, match=message) as raised:
            parse(*arguments)
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 600
    assert time.process_time() - began < 5


@pytest.mark.parametrize("text", [BILLION, "a: " + "[" * 30_000, "#" * 200_000, "K: " + "9" * 5_000])
def test_a_hostile_stored_configuration_is_refused_at_once(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    began = time.process_time()
    with pytest.raises(UserError, match=r"config\.yaml is not readable YAML .*delete it or restore it"):
        config.read_yaml(tmp_path / "config.yaml")
    assert time.process_time() - began < 5


def test_a_byte_order_mark_is_no_part_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xef\xbb\xbfK: 3\n")
    assert config.read_yaml(tmp_path / "config.yaml") == {"K": 3}


def test_printed_configuration_reads_back_to_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["-K", "3", "--temperature", "0.7", "--columns", '{"prompt": "q: \\"x\\""}', "--name", "true", "--sizes", "[5, 6]"]
    with pytest.raises(SystemExit) as stopped:
        parse(*argv, "--print_config")
    assert stopped.value.code == 0
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    assert parse("--config", str(path)) == parse(*argv)
    assert parse("--config", str(path), "-K", "9") == Options(**{**as_fields(parse(*argv)), "K": 9}), "options after the file override it"


def as_fields(options: Options) -> dict[str, object]:
    return {field.name: getattr(options, field.name) for field in fields(options)}


def test_stored_configuration_reads_back_to_the_same(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for options in (Options(), Options(K=3, temperature=1e-7, name="lab:é, ü", limit=4, columns={"id": "№"}, sizes=(7, 8))):
        path.write_text(config.to_yaml(options), encoding="utf-8")
        assert parse("--config", str(path)) == options
        assert config.read_yaml(path) == config.as_dict(options)


@pytest.mark.parametrize("content", [b"K: [1", b"\xff\xfe\x00", b"- 1\n", b""])
def test_a_damaged_stored_configuration_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.yaml .*delete it or restore it"):
        config.read_yaml(path)


COMMANDS = [RolloutConfig, ReferencesConfig, EvaluateConfig, ProbeConfig, DistillConfig, SelectionConfig]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_what_every_option_of_every_command_is(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        config.parse(command, ["--help"], "paced_exp.command", "A command.")
    assert stopped.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for field in fields(command):
        option = "-K" if field.name == "K" else "--" + field.name.replace("_", "-")
        line = re.search(rf" {option} \S+ (.*?)\((?:required, )?type:", text)
        assert line and len(line[1]) > 8, field.name


def test_an_option_that_a_command_describes_anew_is_described_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config.parse(RolloutConfig, ["--help"], "paced_exp.rollout", "A command.")
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "of the rollouts and of the choice of problems" in text and "of everything random" not in text
    assert text.index("The student and its pass rates:") < text.index("--student STUDENT lab") < text.index("The run:")


def test_the_description_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config.parse(Options, ["--help"], "paced_exp.command", "First.\n\n    python -m paced_exp.command   # as it is")
    assert "First.\n\n    python -m paced_exp.command   # as it is\n" in capsys.readouterr().out


# ---- groups of options


@pytest.mark.parametrize("command", COMMANDS)
def test_a_configuration_holds_each_option_once_and_flat(command: Any) -> None:
    values = config.as_dict(command())
    assert values == config.defaults(command) and set(values) == {field.name for field in fields(command)}
    assert config.differing(dict(reversed(values.items())), values, {}) == []


def test_a_configuration_is_each_of_its_groups() -> None:
    with pytest.raises(UserError, match="`max_batch_tokens` only applies to `engine` hf"):
        RolloutConfig(engine="vllm", max_batch_tokens=1)
    distill = DistillConfig(engine="vllm", engine_options={"max_num_seqs": 3})
    assert isinstance(distill, EngineOptions) and distill.engine_options == {"max_num_seqs": 3}
    assert [group.__name__ for group in grouped(RolloutConfig)] == ["RolloutConfig", *(base.__name__ for base in RolloutConfig.__bases__)]


@pytest.mark.parametrize("command", COMMANDS[:-1])
def test_every_choice_is_checked_in_python_too(command: Any) -> None:
    choices = {name: get_args(hint) for name, hint in get_type_hints(command).items() if get_origin(hint) is Literal}
    assert choices
    for name, known in choices.items():
        with pytest.raises(UserError, match=re.escape(f"`{name}` neither is not known; known: {', '.join(known)}")):
            command(**{name: "neither"})
        flag = name.replace("_", "-")
        for argv in ([f"--{flag}", "neither"], [f"--{flag}=neither"]):
            with pytest.raises(UserError, match=re.escape(f"--{flag} neither is not known; known: {', '.join(known)}")):
                config.parse(command, argv, "paced_exp.command", "A command.")


def test_python_speaks_of_arguments_and_a_command_of_flags() -> None:
    with pytest.raises(UserError, match=r"^`micro_batch` 16 must divide `batch` 30$"):
        DistillConfig(batch=30)
    with pytest.raises(UserError, match=r"^--micro-batch 16 must divide --batch 30$"):
        config.parse(DistillConfig, ["--batch", "30"], "paced_exp.distill", "Distil.")

    @config.command(RolloutConfig, "paced_exp.rollout", "Roll out.")
    def body(options: RolloutConfig) -> None:
        raise UserError(f"`max_new_tokens` {options.max_new_tokens} and `student_tokens`, which is no option")

    with pytest.raises(UserError, match=r"^--max-new-tokens 5 and `student_tokens`, which is no option$"):
        body(["--max-new-tokens", "5"])


@pytest.mark.parametrize(("regime", "expected"), [("multi-pass", [1, 3, 4, 7]), ("one-pass", [1, 3, 3, 6])])
def test_epochs_of_one_pass_leave_out_what_fills_no_update(regime: Literal["multi-pass", "one-pass"], expected: list[int]) -> None:
    config = DistillConfig(epochs=1.0, regime=regime, batch=32)
    assert [config.updates(problems) for problems in (20, 96, 100, 200)] == expected
    assert DistillConfig(regime=regime).updates(20) == 200 and DistillConfig(steps=7, regime=regime).updates(20) == 7


@pytest.mark.parametrize("bound", [0, -1, math.nan, math.inf])
def test_numbers_out_of_range_are_refused(bound: float) -> None:
    for name in ("learning_rate", "max_grad_norm", "epochs", "temperature"):
        with pytest.raises(UserError, match=f"`{name}` {bound} must be positive and finite"):
            DistillConfig(**{name: bound})  # type: ignore[arg-type]
    if bound != 0:
        with pytest.raises(UserError, match=f"`weight_decay` {bound} must be a?.*at least 0"):
            DistillConfig(weight_decay=bound)


def _stored(content: Any) -> Iterator[dict[str, Any]]:
    """Every configuration in a record."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from [value] if name in ("config", "options") and isinstance(value, dict) else _stored(value)
    elif isinstance(content, list):
        for value in content:
            yield from _stored(value)


def test_every_committed_configuration_is_read_as_it_was_meant() -> None:
    seen: Counter[str] = Counter()
    for path in sorted((ROOT / "results").rglob("*.json")):
        for stored in _stored(json.loads(path.read_text())):
            kind = next(kind for kind, telling in _TELLING.items() if telling in stored)
            # The first selections stored both, of which `steps` was followed.
            made = kind(**{name: value for name, value in stored.items() if not (name == "epochs" and stored["steps"] is not None)})
            differing = config.differing(stored, config.as_dict(made), config.defaults(kind))
            assert all(text.startswith("epochs (3") and path.parent.name == "selection" for text in differing), path
            seen[kind.__name__] += 1
    assert set(seen) == {kind.__name__ for kind in _TELLING}


_TELLING: dict[Any, str] = {TeacherConfig: "advantage", ProbeConfig: "sketch_size", DistillConfig: "micro_batch", EvaluateConfig: "model"}


# ---- positional arguments, lists, paths, commands under one name


@dataclass(frozen=True)
class Makes(config_options.Options):
    """What to make.

    Attributes:
        name: of what is made
        table: a table; may be repeated
        scale: a scale
        out: where it goes
        dry_run: make nothing
    """

    name: Literal["cake", "bread"]
    table: list[str] | None = None
    scale: Literal["desk-v1", "paper"] | None = None
    out: Path = Path("runs")
    dry_run: bool = False


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["cake"], Makes("cake")),
        (["--dry-run", "cake"], Makes("cake", dry_run=True)),
        (["bread", "--table", "a", "--table=b"], Makes("bread", table=["a", "b"])),
        (["bread", "--table", "[a, b]"], Makes("bread", table=["a", "b"])),
        (["cake", "--scale", "desk-v1", "--out", "a/b"], Makes("cake", scale="desk-v1", out=Path("a/b"))),
    ],
)
def test_positional_repeated_and_path_options(argv: list[str], expected: Makes) -> None:
    assert config.parse(Makes, argv, "paced_exp.make", "Make.") == expected
    assert config.as_dict(expected)["out"] == str(expected.out)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "arguments are required: name"),
        (["pie"], "`name` pie is not known; known: cake, bread"),
        (["cake", "--scale", "moon"], "--scale moon is not known; known: desk-v1, paper"),
        (["cake", "bread"], "unrecognized arguments: bread"),
    ],
)
def test_a_bad_positional_argument_is_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        config.parse(Makes, argv, "paced_exp.make", "Make.")


def test_commands_under_one_name(capsys: pytest.CaptureFixture[str]) -> None:
    @config.command(Makes, "paced_exp.kitchen bake", "Bake.")
    def bake(options: Makes) -> int:
        """Bake something. In an oven."""
        return len(options.name)

    main = config.subcommands("paced_exp.kitchen", "The kitchen.", {"bake": bake})
    assert main(["bake", "bread"]) == 5
    for argv, message in (
        ([], "required: command"),
        (["fry", "cake"], "invalid choice: 'fry'"),
        (["bake", "pie"], "`name` pie is not known"),
    ):
        with pytest.raises(UserError, match=message):
            main(argv)
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0 and re.search(r"bake\s+Bake something. In an oven", capsys.readouterr().out)


# ---- the probe's options


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-K", "0"], "-K 0 must be at least 1"),
        (["--bins", "1"], "--bins 1 must be at least 2"),
        (["--per-bin", "1"], "--per-bin 1 must be at least"),
        (["--max-problems", "0"], "--max-problems 0 must be at least 1"),
        (["--max-new-tokens", "0"], "--max-new-tokens 0 must be at least 1"),
        (["--candidates", "0"], "--candidates 0 must be at least 1"),
        (["--batch-tokens", "0"], "--batch-tokens 0 must be at least 1"),
        (["--sketch-size", "0"], "--sketch-size 0 must be at least 64"),
        (["--replicates", "99"], "--replicates 99 must be at least 100"),
        (["--temperature", "0"], "--temperature 0.0 must be positive and finite"),
        (["--temperature", "inf"], "--temperature"),
        (["--fallback", "guess"], "--fallback guess is not known; known: solution, drop"),
        (["--divergence", "jeffreys"], "--divergence jeffreys is not known; known: forward_kl"),
        (["--seed", "-1"], "--seed -1 must be at least 0"),
    ],
)
def test_values_of_the_probe_that_make_no_sense(argv: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        config.parse(ProbeConfig, argv, "paced_exp.snr_probe", "Probe.")


def test_help_spells_options_as_the_readme_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config.parse(ProbeConfig, ["--help"], "paced_exp.snr_probe", "The probe.")
    text = capsys.readouterr().out
    assert "--max-new-tokens" in text and "-K K" in text
    assert not re.search(r"--[a-z]+_", text) and "--K" not in text
