"""The command `paced`: its verbs are the modules' own commands."""

import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from paced_exp.__main__ import VERBS


def paced(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-m", "paced_exp", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_verbs_are_listed(arguments: tuple[str, ...]) -> None:
    done = paced(*arguments)
    assert done.returncode == 0 and not done.stderr
    for verb, (module, does) in VERBS.items():
        assert f"{verb} " in done.stdout and does in done.stdout and f"python -m {module})" in done.stdout
        assert find_spec(module) is not None


def test_the_list_takes_under_a_third_of_a_second() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        paced("--help")
        return time.perf_counter() - began

    # The least of several, so that other programs on the machine do not count.
    assert min(seconds() for _ in range(7)) < 0.3


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("prob", "error: paced has no verb 'prob'; did you mean probe?\n"),
        ("evalutae", "error: paced has no verb 'evalutae'; did you mean evaluate?\n"),
        ("xyzzy", f"error: paced has no verb 'xyzzy'; known: {', '.join(VERBS)}\n"),
    ],
)
def test_an_unknown_verb_is_refused_in_one_line(verb: str, line: str) -> None:
    done = paced(verb, "--out", "x")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_takes_its_modules_options(verb: str) -> None:
    done = paced(verb, "--help")
    alone = subprocess.run([sys.executable, "-m", VERBS[verb][0], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == alone.returncode == 0 and done.stdout == alone.stdout != ""
    refused = paced(verb, "--no-such-option")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
