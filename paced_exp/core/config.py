"""Configuration: one frozen dataclass a command, parsed from the command line and YAML by jsonargparse.

A command's dataclass raises `UserError` in `__post_init__` for values that make no sense, so that a bad value in a YAML file and on the
command line give the same line.
"""

import dataclasses
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import yaml

from paced_exp.core.errors import UserError

Config = TypeVar("Config")

# A run's own config.yaml has about two thousand characters, nested two deep.
MAX_YAML_BYTES = 100_000
MAX_YAML_DEPTH = 20
LARGEST_INTEGER = 2**63 - 1


def _normalise(argument: str) -> str:
    """An argument as jsonargparse takes it: it names options after fields (--per_bin, --K); people type --per-bin, -K 8, -K8 and -K=8.

    What follows a dot is a key of a mapping (--columns.prompt-text), and what follows an equals sign is a value: neither is touched.
    """
    if short := re.fullmatch(r"-K=?(.*)", argument, re.DOTALL):
        return f"--K={short[1]}" if short[1] else "--K"
    return re.sub(r"^--[^.=]*", lambda name: "--" + name[0][2:].replace("-", "_"), argument)


def _dashed(text: str) -> str:
    """Option names in `text` as people type them: dashes for underscores, -K for --K."""
    return re.sub(r"--K\b", "-K", re.sub(r"--[A-Za-z][A-Za-z0-9_]*", lambda name: name[0].replace("_", "-"), text))


def _with_values(arguments: Sequence[str], config_class: type) -> list[str]:
    """`arguments` with `true` after every switch that stands alone: --skip-long means --skip-long true."""
    switches = {f"--{field.name}" for field in dataclasses.fields(config_class) if field.type in (bool, "bool")}
    return [
        f"{name}=true" if name in switches and following.lower() not in ("true", "false", "yes", "no", "on", "off") else name
        for name, following in itertools.pairwise([*arguments, ""])
    ]


def parse(config_class: type[Config], argv: Sequence[str] | None, prog: str, description: str) -> Config:
    """Parse `argv` (default: the process's) into `config_class`.

    `--config FILE` reads YAML as written by `--print-config` or a run folder's config.yaml; later options override it.
    Raises `UserError` for anything jsonargparse refuses, in one line that names the option.
    """
    # Only here: what runs without a command line of this kind, such as the grids, needs no jsonargparse.
    from jsonargparse import ArgumentError, ArgumentParser

    class Parser(ArgumentParser):  # type: ignore[misc]
        """Prints options as README and docs write them, --max-new-tokens; jsonargparse names them after fields."""

        def format_help(self, *args: Any, **kwargs: Any) -> str:
            return _dashed(super().format_help(*args, **kwargs))

        def format_usage(self) -> str:
            return _dashed(super().format_usage())

    parser = Parser(prog=prog, description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    parser.add_class_arguments(config_class)
    arguments = [_normalise(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    arguments = _with_values(arguments, config_class)
    for name, following in itertools.pairwise([*arguments, ""]):
        if name == "--config" or name.startswith("--config="):
            _check_config_file(following if name == "--config" else name.removeprefix("--config="))
    try:
        values = parser.parse_args(arguments)
    except (ArgumentError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        # jsonargparse lists every type it tried, over many lines; the first two say which option and why.
        reason = re.sub(r"\s+", " ", re.sub(r'Parser key "(\w+)"', r"option --\1", str(error))).strip()
        raise UserError(f"{_dashed(reason)[:300]} (see: python -m {prog} --help)") from error
    fields = values.as_dict()
    fields.pop("config", None)
    for name, value in fields.items():
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise UserError(f"option --{name} {str(value)[:20]}... is larger than {LARGEST_INTEGER}, which no option can be")
    with flags_of(config_class):
        return config_class(**fields)


@contextmanager
def flags_of(config_class: type) -> Iterator[None]:
    """Errors from within name the options of `config_class` as flags."""
    try:
        yield
    except UserError as error:
        raise error.in_flags([field.name for field in dataclasses.fields(config_class)]) from error


def command(config_class: type[Config], prog: str, description: str) -> Callable[[Callable[[Config], None]], Callable[..., None]]:
    """Make a function of a configuration a command's entry point: it takes the arguments (default: the process's) and parses them."""

    def entry(body: Callable[[Config], None]) -> Callable[..., None]:
        @wraps(body)
        def main(argv: Sequence[str] | None = None) -> None:
            config = parse(config_class, argv, prog, description)
            with flags_of(config_class):
                body(config)

        return main

    return entry


def _check_config_file(name: str) -> None:
    """Refuse a file for --config that `check_yaml` refuses. What is no readable file is left to jsonargparse, which says so."""
    path = Path(name)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_YAML_BYTES + 1)
    except (OSError, ValueError):
        return
    if reason := _unreadable(content):
        raise UserError(f"--config {name} is not a readable configuration ({reason}); mend the file, or give the options themselves")


def _unreadable(content: bytes) -> str:
    """Why `content` is no YAML that is read here; empty where it is. Linear: a few aliases can stand for more than any memory holds."""
    if len(content) > MAX_YAML_BYTES:
        return f"it has over {MAX_YAML_BYTES} bytes"
    depth = 0
    try:
        for event in yaml.parse(content.decode("utf-8-sig"), Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                return (
                    f"line {event.start_mark.line + 1 if event.start_mark else '?'} has an alias (*{event.anchor:.50}); write its value out"
                )
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_YAML_DEPTH:
                return f"it is nested over {MAX_YAML_DEPTH} deep"
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
    return ""


def as_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain values, tuples as lists: what config.yaml and record.json hold."""
    values = dataclasses.asdict(config)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def defaults(config_class: type) -> dict[str, Any]:
    """The plain default of every field that has one, as `as_dict` would write it."""
    found = {field.name: field.default for field in dataclasses.fields(config_class) if field.default is not dataclasses.MISSING}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def differing(stored: dict[str, Any], ours: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """The options in which a record's configuration is not `ours`, each as `name (value there, value now)`; tuples count as lists.

    An option that did not exist when the record was made counts as its default; one that is no option any more is `absent`.
    """
    plain_ours, plain_defaults = json.loads(json.dumps(ours)), json.loads(json.dumps(defaults))
    pairs = {
        name: (stored.get(name, plain_defaults.get(name, "absent")), plain_ours.get(name, "absent"))
        for name in sorted(stored.keys() | ours.keys())
    }
    return [f"{name} ({there!r} there, {now!r} now)" for name, (there, now) in pairs.items() if there != now]


def to_yaml(config: Any) -> str:
    """A config dataclass as YAML that `--config` reads back to an equal object."""
    return yaml.safe_dump(as_dict(config), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file of at most `MAX_YAML_BYTES`, without aliases. Raises `UserError` naming the file when it holds anything else."""
    with path.open("rb") as file:
        content = file.read(MAX_YAML_BYTES + 1)
    if reason := _unreadable(content):
        raise UserError(f"{path} is not readable YAML ({reason}); delete it or restore it")
    try:
        values = yaml.safe_load(content.decode("utf-8-sig"))
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not readable YAML ({error!s:.200}); delete it or restore it") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds {type(values).__name__}, not a mapping of options; delete it or restore it")
    return values
