"""What an attack is, and how attacks are run and counted."""

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from paced_exp.core.errors import UserError


@dataclass(frozen=True)
class Attack:
    """One hostile input.

    area: grading, templates, configuration, folders, checkpoints or records. name: unique within the area.
    run: given an empty folder, raises AssertionError (or anything else) when the attack gets through, and returns when the program
    withstands it. slow: left out of the quick suite, over two seconds on one core.
    """

    area: str
    name: str
    run: Callable[[Path], None]
    slow: bool = False


@dataclass(frozen=True)
class Outcome:
    """An attack with what came of it; `failure` is empty where it was withstood."""

    attack: Attack
    failure: str = ""


def try_attack(attack: Attack, folder: Path) -> Outcome:
    """Run one attack in `folder`, which is created."""
    folder.mkdir(parents=True)
    try:
        attack.run(folder)
    except KeyboardInterrupt:
        raise
    except BaseException:  # SystemExit of a command counts as much as an assertion
        return Outcome(attack, traceback.format_exc(limit=-3))
    return Outcome(attack)


def refused(run: Callable[[], object], *named: str, most: int = 1000) -> None:
    """Assert that `run` ends in a `UserError` of one line, shorter than `most` characters, that names all of `named`."""
    try:
        run()
    except UserError as error:
        message = str(error)
        assert "\n" not in message and len(message) < most, message
        assert all(name in message for name in named), f"{message!r} does not name {named}"
    else:
        raise AssertionError("it was believed")


def summary(outcomes: Iterable[Outcome]) -> str:
    """A line an area: how many attacks were tried, withstood, and got through."""
    found = list(outcomes)
    lines = []
    for area in dict.fromkeys(outcome.attack.area for outcome in found):
        tried = [outcome for outcome in found if outcome.attack.area == area]
        failed = sum(bool(outcome.failure) for outcome in tried)
        lines.append(f"{area:14} tried {len(tried):4}  survived {len(tried) - failed:4}  failed {failed:4}")
    return "\n".join(lines)
