"""Run the ledger: `python -m paced_theory.verify`.

    python -m paced_theory.verify                          # every claim, as a table that fills while it runs
    python -m paced_theory.verify --only robustness.slope  # one claim, or one section by its name; may be repeated
    python -m paced_theory.verify --json                   # the same as a JSON list
    python -m paced_theory.verify --markdown > docs/theory.md

Exit status: 0 if every verdict is the recorded one, 1 if not, 2 for bad arguments.
"""

import argparse
import difflib
import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

from paced_theory.claims import SECTIONS, Claim, Outcome, ledger, run, sections
from paced_theory.claims.report import markdown, record, summary, table_row


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"verify: {message}; see python -m paced_theory.verify --help", file=sys.stderr)
        raise SystemExit(2)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m paced_theory.verify", description="Check every claim of the theory, or some of them.", allow_abbrev=False
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    form.add_argument("--markdown", action="store_true", help="print the page docs/theory.md instead of a table")
    parser.add_argument(
        "--only", metavar="ID", action="append", default=[], help="a claim such as robustness.slope or a section; repeatable"
    )
    return parser.parse_args(arguments)


def select(claims: Sequence[Claim], wanted: Sequence[str]) -> list[Claim]:
    """The claims whose id or section is in `wanted`, all if it is empty; ValueError with the nearest ids for an unknown one."""
    known = {claim.id for claim in claims} | set(SECTIONS)
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"sections are {', '.join(SECTIONS)}"
            raise ValueError(f"--only: no claim or section {name!r}; {hint}")
    return [claim for claim in claims if not wanted or claim.id in wanted or claim.id.split(".")[0] in wanted]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parse(arguments)
    try:
        chosen = select(ledger(), options.only)
    except ValueError as error:
        print(f"verify: {error}", file=sys.stderr)
        return 2
    if missing := [package for package in ("sympy", "mpmath") if find_spec(package) is None]:
        print(
            f"verify: {' and '.join(missing)}, which the symbolic checks need, not installed; "
            "run: pip install '.[theory]' (in a clone of this repository)",
            file=sys.stderr,
        )
        return 2
    outcomes: list[Outcome] = []
    machine_readable = options.json or options.markdown
    progress = sys.stderr if machine_readable else sys.stdout
    for position, claim in enumerate(chosen, 1):
        outcomes.append(run(claim))
        if not machine_readable or sys.stderr.isatty():
            print(table_row(outcomes[-1], position, len(chosen)), file=progress, flush=True)
    if options.json:
        print(json.dumps([record(outcome) for outcome in outcomes], indent=2, allow_nan=False))
    elif options.markdown:
        print(markdown(sections(), outcomes), end="")
    else:
        print(summary(outcomes))
    return 0 if all(outcome.as_recorded for outcome in outcomes) else 1


def run_as_script() -> int:
    """`main` for the shell: a closed pipe ends quietly, an interrupt with 130."""
    try:
        status = main()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # keeps the interpreter from complaining at exit
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run_as_script())
