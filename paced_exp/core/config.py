"""Configurations: a frozen dataclass for each command, made of the groups in `options`. jsonargparse reads the command line and YAML.

A configuration raises `UserError` in `__post_init__` for invalid values. So a bad value gives the same line in a YAML file, on the command line and
in Python; commands name options as flags.
"""

import argparse
import dataclasses
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from paced_exp.core.errors import UserError
from paced_exp.core.options import check_known, grouped

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
Returned = TypeVar("Returned")

# A run's own config.yaml has about two thousand characters, nested two deep.
MAX_YAML_BYTES = 100_000
MAX_YAML_DEPTH = 20
LARGEST_INTEGER = 2**63 - 1


def _normalise(argument: str) -> str:
    """An argument in jsonargparse's form. It names options after fields (--per_bin, --K); people type --per-bin, -K 8, -K8 and -K=8.

    A mapping's key after a dot (--columns.prompt-text) and a value after an equals sign are not changed.
    """
    if short := re.fullmatch(r"-K=?(.*)", argument, re.DOTALL):
        return f"--K={short[1]}" if short[1] else "--K"
    return re.sub(r"^--[^.=]*", lambda name: "--" + name[0][2:].replace("-", "_"), argument)


def _dashed(text: str) -> str:
    """`text` with option names as people type them: dashes for underscores, -K for --K."""
    return re.sub(r"--K\b", "-K", re.sub(r"--[A-Za-z][A-Za-z0-9_]*", lambda name: name[0].replace("_", "-"), text))


def _spelt_out(arguments: Sequence[str], config_class: type) -> list[str]:
    """`arguments` in jsonargparse's form.

    A switch without a value (--skip-long) gets `true`, repeated options (--table a --table b) become a list, and an option that is given by its
    place gets its name.
    """
    hints = {f"--{name}": hint for name, hint in get_type_hints(config_class).items()}
    lists = {name for name, hint in hints.items() if list in (get_origin(part) for part in (hint, *get_args(hint)))}
    placed = next((field.name for field in dataclasses.fields(config_class) if field.metadata.get("positional")), None)
    spelt: list[str] = []
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, equals, value = argument.partition("=")
        if hints.get(argument) is bool and following.lower() not in ("true", "false", "yes", "no", "on", "off"):
            spelt.append(f"{name}=true")
        elif name in lists and not (value if equals else following).startswith("["):
            spelt.append(f"{name}+{equals}{value}")
        elif placed and not argument.startswith("-") and not (spelt and spelt[-1].startswith("--") and "=" not in spelt[-1]):
            spelt.append(f"--{placed}={argument}")
            placed = None  # a second one is refused
        else:
            spelt.append(argument)
    return spelt


def parse(config_class: type[Config], argv: Sequence[str] | None, prog: str, description: str) -> Config:
    """Parse `argv` (default: the process's) into `config_class`.

    A field without a default that is not keyword-only is a positional argument. A field with `metadata={"positional": True}` may be given by
    its place or by its name, and a field of type list several times. `--config FILE` reads YAML as written by `--print-config` or as in a run
    folder's config.yaml; later options override it. `--help` shows `description` and the options group by group. Raises `UserError` for anything
    that jsonargparse refuses, in one line that names the option.
    """
    # Imported here, since modules without a command line do not need it.
    from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

    class Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Keeps the lines of the description."""

    class Parser(ArgumentParser):
        """Prints options with dashes, such as --max-new-tokens; jsonargparse prints the names of fields."""

        def format_help(self, *args: Any, **kwargs: Any) -> str:
            return _dashed(super().format_help(*args, **kwargs))

        def format_usage(self) -> str:
            return _dashed(super().format_usage())

    parser = Parser(prog=prog, description=description, exit_on_error=False, formatter_class=Formatter)
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    every = {field.name for field in dataclasses.fields(config_class)}
    for group, members in grouped(config_class).items():
        section = parser.add_argument_group((group.__doc__ or "").split("\n")[0].rstrip("."))
        section.add_class_arguments(config_class, as_group=False, as_positional=True, skip=every - {field.name for field in members})
    arguments = [_normalise(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    arguments = _spelt_out(arguments, config_class)
    for name, following in itertools.pairwise([*arguments, ""]):
        if name == "--config" or name.startswith("--config="):
            _check_config_file(following if name == "--config" else name.removeprefix("--config="))
    try:
        values = parser.parse_args(arguments)
    except (ArgumentError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        with flags_of(config_class):
            raise _refusal(str(error), config_class, prog) from error
    fields = values.as_dict()
    fields.pop("config", None)
    with flags_of(config_class):
        for name, value in fields.items():
            if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
                raise UserError(f"option `{name}` {str(value)[:20]}... is larger than {LARGEST_INTEGER}, which no option can be")
        return config_class(**fields)


def _refusal(reason: str, config_class: type[Config], prog: str) -> UserError:
    """jsonargparse's error in one line. It lists every type that it tried; the beginning names the option and the reason."""
    reason = re.sub(r"\s+", " ", reason).strip()
    if choice := re.search(r'^Parser key "(\w+)":.*?Expected a typing\.Literal\[(.*?)\].*?G(?:ot|iven) value: (.*)', reason):
        try:
            check_known(choice[1], choice[3][:100], tuple(part.strip(" '") for part in choice[2].split(",")))
        except UserError as error:
            return error
    named = re.sub(r'Parser key "(\w+)"', r"option --\1", reason)
    return UserError(f"{_dashed(named)[:300]} (see: python -m {prog} --help)")


@contextmanager
def flags_of(config_class: "type[DataclassInstance]") -> Iterator[None]:
    """Name the options of `config_class` as flags in errors from within. Other arguments stay as they are."""
    try:
        yield
    except UserError as error:
        flags = [field.name for field in dataclasses.fields(config_class) if field.kw_only or field.default is not dataclasses.MISSING]
        raise error.in_flags(flags) from error


def command(config_class: type[Config], prog: str, description: str) -> Callable[[Callable[[Config], Returned]], Callable[..., Returned]]:
    """Make a function of a configuration an entry point that parses command-line arguments (default: the process's)."""

    def entry(body: Callable[[Config], Returned]) -> Callable[..., Returned]:
        @wraps(body)
        def main(argv: Sequence[str] | None = None) -> Returned:
            config = parse(config_class, argv, prog, description)
            with flags_of(config_class):
                return body(config)

        return main

    return entry


def with_dry_run(
    config_class: type[Config], prog: str, description: str, plan: Callable[[Config, str], str]
) -> Callable[[Callable[[Config], None]], Callable[..., None]]:
    """As `command`, of an entry point that also takes `--dry-run MACHINE`: it prints `plan(configuration, MACHINE)`, and nothing runs."""
    told = f"{description} With --dry-run MACHINE (h100, 8xh100, ...) it prints memory and hours, and runs nothing."

    def entry(body: Callable[[Config], None]) -> Callable[..., None]:
        def main(argv: Sequence[str] | None = None) -> None:
            arguments, machine = _without_dry_run(sys.argv[1:] if argv is None else argv)

            def planned(config: Config) -> None:
                try:
                    print(plan(config, str(machine)))
                except UserError as error:
                    raise error.in_flags(["dry_run"]) from error

            command(config_class, prog, told)(body if machine is None else planned)(arguments)

        return wraps(body)(main)

    return entry


def _without_dry_run(argv: Sequence[str]) -> tuple[list[str], str | None]:
    """`argv` without --dry-run, and the machine that it names. Raises `UserError` where it names none."""
    rest, machine = list(argv), None
    for at, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name in ("--dry-run", "--dry_run"):
            machine = value if equals else next(iter(argv[at + 1 :]), "")
            if not machine or machine.startswith("-"):
                raise UserError("--dry-run needs the name of a machine, such as h100 or 8xh100")
            del rest[at : at + (1 if equals else 2)]
            break
    return rest, machine


def subcommands(prog: str, description: str, entries: Mapping[str, Callable[..., Returned]]) -> Callable[..., Returned]:
    """The entry point of several commands. The first argument chooses one, as in `paced_exp.lab pretrain student`.

    entries: entry points made by `command`, by name. Their docstrings are their help.
    """

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise UserError(f"{message} (see: python -m {prog} --help)")

    def main(argv: Sequence[str] | None = None) -> Returned:
        arguments = list(sys.argv[1:] if argv is None else argv)
        if not arguments or arguments[0] not in entries:
            parser = Parser(prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
            commands = parser.add_subparsers(dest="command", required=True)
            for name, entry in entries.items():
                commands.add_parser(name, help=(entry.__doc__ or "").split("\n")[0].rstrip("."))
            parser.parse_args(arguments[:1])
        return entries[arguments[0]](arguments[1:])

    return main


def _check_config_file(name: str) -> None:
    """Raise `UserError` for a file whose content is refused (`_unreadable`). jsonargparse refuses a file that cannot be opened."""
    path = Path(name)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_YAML_BYTES + 1)
    except (OSError, ValueError):
        return
    if reason := _unreadable(content):
        raise UserError(f"--config {name} is not a readable configuration ({reason}); mend the file, or give the options themselves")


def _unreadable(content: bytes) -> str:
    """Why `content` is refused as YAML; empty if it is accepted. Aliases are refused, since a few can expand to more than any memory holds."""
    if len(content) > MAX_YAML_BYTES:
        return f"it has over {MAX_YAML_BYTES} bytes"
    import yaml  # not with this module: a command must be able to say that it is not installed

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


def as_dict(config: "DataclassInstance") -> dict[str, Any]:
    """A configuration as config.yaml and record.json hold it: group by group, with tuples as lists and paths as text."""
    values = dataclasses.asdict(config)
    return {field.name: _plain(values[field.name]) for members in grouped(type(config)).values() for field in members}


def defaults(config_class: "type[DataclassInstance]") -> dict[str, Any]:
    """The default of every field that has one, as in `as_dict`."""
    return {field.name: _plain(field.default) for field in dataclasses.fields(config_class) if field.default is not dataclasses.MISSING}


def earlier(config_class: "type[DataclassInstance]") -> dict[str, Any]:
    """What a record that lacks an option was made with: its default, or `metadata={"earlier": ...}` where that was otherwise before the option."""
    told = {field.name: field.metadata["earlier"] for field in dataclasses.fields(config_class) if "earlier" in field.metadata}
    return defaults(config_class) | told


def without_added(config: "DataclassInstance") -> dict[str, Any]:
    """The options of `config` without those that came later (`metadata={"omitted": True}`) and have their default, so that keys stay as they were."""
    added = {field.name: field.default for field in dataclasses.fields(config) if field.metadata.get("omitted")}
    return {name: value for name, value in as_dict(config).items() if not (name in added and value == added[name])}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def differing(stored: dict[str, Any], ours: dict[str, Any], earlier: dict[str, Any]) -> list[str]:
    """The options in which a record's configuration differs from `ours`, each as `name (value there, value now)`.

    An option that did not exist when the record was made counts as in `earlier`. An option that no longer exists is `absent` now. Tuples count as
    lists.
    """
    plain_ours, plain_earlier = json.loads(json.dumps(ours)), json.loads(json.dumps(earlier))
    pairs = {
        name: (stored.get(name, plain_earlier.get(name, "absent")), plain_ours.get(name, "absent"))
        for name in sorted(stored.keys() | ours.keys())
    }
    return [f"{name} ({there!r} there, {now!r} now)" for name, (there, now) in pairs.items() if there != now]


def to_yaml(config: "DataclassInstance") -> str:
    """A config dataclass as YAML that `--config` reads back to an equal object."""
    import yaml

    text: str = yaml.safe_dump(as_dict(config), sort_keys=False, allow_unicode=True)
    return text


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file of at most `MAX_YAML_BYTES`, without aliases. Raises `UserError` for any other content, naming the file."""
    import yaml

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
