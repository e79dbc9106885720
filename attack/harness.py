"""Attacks: how they are declared, run and counted."""

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from paced_exp.core.errors import UserError


@dataclass(frozen=True)
class Attack:
    """One hostile input.

    area: grading, templates, configuration, folders, checkpoints, probe or records. name: unique within the area.
    run: takes an empty folder. It returns if the program withstands the attack and raises (AssertionError or another error) if it does not.
    slow: takes over two seconds on one core, and is left out of the quick suite.
    """

    area: str
    name: str
    run: Callable[[Path], None]
    slow: bool = False


@dataclass(frozen=True)
class Outcome:
    """The result of an attack. failure: the traceback; empty if the attack was withstood."""

    attack: Attack
    failure: str = ""


def try_attack(attack: Attack, folder: Path) -> Outcome:
    """Create `folder` and run the attack in it."""
    folder.mkdir(parents=True)
    try:
        attack.run(folder)
    except KeyboardInterrupt:
        raise
    except BaseException:  # a command's SystemExit counts as a failure too
        return Outcome(attack, traceback.format_exc(limit=-3))
    return Outcome(attack)


def refused(run: Callable[[], object], *named: str, most: int = 1000) -> None:
    """Assert that `run` raises a `UserError` of one line, with fewer than `most` characters, that names all of `named`."""
    try:
        run()
    except UserError as error:
        message = str(error)
        assert "\n" not in message and len(message) < most, message
        assert all(name in message for name in named), f"{message!r} does not name {named}"
    else:
        raise AssertionError("the input was accepted")


def summary(outcomes: Iterable[Outcome]) -> str:
    """A line for each area: how many attacks were tried, withstood (survived), and got through (failed)."""
    found = list(outcomes)
    lines = []
    for area in dict.fromkeys(outcome.attack.area for outcome in found):
        tried = [outcome for outcome in found if outcome.attack.area == area]
        failed = sum(bool(outcome.failure) for outcome in tried)
        lines.append(f"{area:14} tried {len(tried):4}  survived {len(tried) - failed:4}  failed {failed:4}")
    return "\n".join(lines)
