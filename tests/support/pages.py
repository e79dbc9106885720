"""What tests of the pages share: README.md, CONTRIBUTING.md and docs/, their blocks of code, commands, links and anchors."""

import argparse
import contextlib
import io
import itertools
import os
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from paced_exp.__main__ import VERBS
from paced_exp.core import config as configs

ROOT = Path(__file__).resolve().parents[2]
SITE_PAGES = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *SITE_PAGES]
FENCE = re.compile(r"^ {0,3}(```+|~~~+)(.*)$")
PARSES = re.compile(r"argparse|command\(|with_dry_run\(|subcommands|weighting_parser|figures\.command")
OURS = ("paced_exp", "paced_theory", "figures", "bench", "attack")


def name_of(page: Path) -> str:
    """A page's path in the repository, for the names of tests."""
    return page.relative_to(ROOT).as_posix()


# ---- code


def blocks(language: str, pages: Sequence[Path] = tuple(PAGES)) -> list[tuple[str, str]]:
    """(name, text) of every fenced block of a language, whose fence says nothing else."""
    return [
        (f"{name_of(page)}-{number}", text)
        for page in pages
        for number, text in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S))
    ]


def check_python(code: str, folder: Path, seconds: int = 300) -> None:
    """Run a block in `folder`, warnings as errors. It must print what stands behind its prints, in this order; a trainer prints lines between."""
    environment = os.environ | {"TRL_EXPERIMENTAL_SILENCE": "1"}  # TRL says of its GKD trainer, by a warning, that it is experimental
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=folder, timeout=seconds, env=environment
    )
    assert done.returncode == 0, done.stderr
    lines = iter(done.stdout.splitlines())
    assert [wanted for wanted in re.findall(r"^print\(.*\)  # (.*)$", code, re.M) if wanted not in lines] == []


# ---- commands


def commands(page: Path) -> list[tuple[str, bool]]:
    """Every command of ours that a page shows, on one line, and whether it is whole: one in the text may leave out what the text is not about."""
    text = page.read_text(encoding="utf-8")
    shown = [(line, True) for _, block in blocks("console", [page]) for line in block.replace("\\\n", " ").splitlines()]
    shown += [(line, False) for line in re.findall(r"`([^`\n]+)`", prose(text))]
    return list(dict.fromkeys((" ".join(line.split()), whole) for line, whole in shown if _ours(line.strip())))


def _ours(line: str) -> bool:
    named = re.match(r"(?:\S*python3? |accelerate launch )-m ([\w.]+)", line)
    return named[1].split(".")[0] in OURS if named else re.match(r"paced [a-z]", line) is not None


class Parsed(BaseException):
    """Raised in place of running a command whose options were accepted."""


@cache
def refusal(command: str, whole: bool = True) -> str:
    """What the parser of a command says against it; empty if it is accepted. Nothing is run.

    A command ends at a comment, at `>`, `|` and `&&`, and `...` stands for further options. Words in capitals stand for names: that there is no
    such thing is no refusal, and neither is a package that is not installed here. whole: whether what is required must be there.
    """
    words = list(itertools.takewhile(lambda word: word not in (">", "|", "&&"), shlex.split(command, comments=True)))
    words = [word for word in words if word != "..."]
    if words[0] == "paced":
        if words[1] not in VERBS:
            return f"paced has no verb {words[1]}"
        module, arguments = VERBS[words[1]][0], words[2:]
    else:
        place = words.index("-m") + 1
        module, arguments = words[place], words[place + 1 :]
    file = _file_of(module)
    if file is None:
        return f"there is no module {module}"
    if not PARSES.search(file.read_text(encoding="utf-8")):
        return f"{module} parses nothing, so that it would run"
    said = _said(module, arguments)
    placeholders = [word for word in words if re.fullmatch(r"[A-Z]{2,}", word)]
    allowed = [r"not installed", *(rf"\b{word} is not known" for word in placeholders), *([] if whole else [r"\brequired\b"])]
    return "" if any(re.search(pattern, said) for pattern in allowed) else said


def _file_of(module: str) -> Path | None:
    """The file that `python -m` runs."""
    try:
        spec = find_spec(module)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = find_spec(f"{module}.__main__")
    except ModuleNotFoundError:
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _said(module: str, arguments: Sequence[str]) -> str:
    def stopping(real: Any) -> Any:
        def parsed(*given: Any, **named: Any) -> Any:
            real(*given, **named)
            raise Parsed

        return parsed

    errors = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")  # of libraries that a benchmark imports, and of runpy for a module that is imported already
        patch.setattr(configs, "parse", stopping(configs.parse))
        patch.setattr(argparse.ArgumentParser, "parse_args", stopping(argparse.ArgumentParser.parse_args))
        patch.setattr(sys, "argv", [module, *arguments])
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except Parsed:
            return ""
        except SystemExit as left:
            return f"status {left.code}: {errors.getvalue().strip()}" if left.code else ""  # --help leaves with 0
    return "it ran without parsing"


# ---- links


def prose(text: str) -> str:
    """`text` with its fenced blocks left out, line for line."""
    return "\n".join(line if outside else "" for line, outside in _lines(text))


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    closing = None
    for line in text.split("\n"):
        fence = FENCE.match(line)
        if closing is None and fence:
            closing = fence[1]
            yield line, False
        else:
            yield line, closing is None
            if closing is not None and line.strip() == closing:
                closing = None


def links(text: str) -> list[tuple[str, str]]:
    """(path, anchor) of every link that is not to another site."""
    spans = re.sub(r"`[^`\n]*`", "", prose(text))  # a link in code is none
    found = re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)", spans)
    return [(path, anchor) for path, anchor in found]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    made = set()
    for heading in re.findall(r"^#{1,6} (.+?)\s*#*$", prose(text), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = found.get(slug, 0)
        found[slug] = number + 1
        made.add(slug if number == 0 else f"{slug}-{number}")
    return made
