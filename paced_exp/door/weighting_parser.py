"""Commands that weigh counts, without jsonargparse, which the other commands use: these must run where only numpy and scipy are installed."""

import argparse
import dataclasses
from collections.abc import Collection
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args, get_type_hints

from paced_exp.core.errors import UserError, flag_of
from paced_exp.core.options import meanings
from paced_exp.weighting import Weighting

NAMES = [field.name for field in dataclasses.fields(Weighting)]


class _Parser(argparse.ArgumentParser):
    """Refuses in the one line that every command of this package refuses in."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see: python -m {self.prog} --help)")


def weighting_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with the argument `counts` and the options of `Weighting`."""
    parser = _Parser(prog=prog, description=description)
    parser.add_argument(
        "counts", type=Path, help="file with problem_id, k and K, or of rollouts, with problem_id and correct: .jsonl, .csv or .parquet"
    )
    help_of = meanings(Weighting)
    hints = get_type_hints(Weighting)
    for option in dataclasses.fields(Weighting):
        kind = next(one for one in (*get_args(hints[option.name]), hints[option.name]) if one is not NoneType)
        shown = "" if option.default is None else f" (default: {option.default})"
        parser.add_argument(flag_of(option.name), type=kind, default=option.default, help=help_of[option.name].replace("%", "%%") + shown)
    return parser


def taken(given: dict[str, Any], names: Collection[str] = NAMES) -> Weighting:
    """The weighting among the parsed options, which are taken out of `given`. Raises `UserError` as `Weighting` does."""
    return Weighting(**{name: given.pop(name) for name in names})
