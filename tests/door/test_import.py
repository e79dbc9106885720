"""`import paced_exp as paced`: what it exports, what it costs, and names that are both a verb and a module."""

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import paced_exp as paced
from paced_exp.__main__ import VERBS

ROOT = Path(__file__).resolve().parents[2]


def run_python(code: str) -> str:
    """The stdout of a fresh interpreter that runs `code` in the repository root, warnings as errors."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_exported_name_resolves_and_is_documented() -> None:
    for name in paced.__all__:
        assert getattr(paced, name).__doc__, name
    assert set(paced.__all__) <= set(dir(paced))
    with pytest.raises(AttributeError, match=r"^module 'paced_exp' has no attribute 'prob'$"):
        paced.prob  # noqa: B018


def test_type_checkers_see_the_same_exports() -> None:
    tree = ast.parse((ROOT / "paced_exp" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {name: f"paced_exp.{module}" for name, module in paced._HOME.items()}


def test_the_import_loads_nothing_and_weights_load_numpy_and_scipy_alone() -> None:
    heavy = "[m for m in ('numpy', 'scipy', 'pandas', 'matplotlib', 'torch', 'transformers', 'yaml') if m in sys.modules]"
    code = (
        "import sys, os, json, time; t = time.process_time(); import paced_exp as paced; s = time.process_time() - t; first = "
        f"{heavy}; paced.weights({{'problem_id': 'abc', 'k': [0, 1, 4], 'K': [4, 4, 4]}}); paced.Beta; paced.UserError; paced.Problem; "
        f"print(json.dumps([s, first, {heavy}, os.environ['OMP_WAIT_POLICY'], os.environ['OPENBLAS_NUM_THREADS']]))"
    )
    seconds, first, then, policy, threads = json.loads(run_python(code))
    assert seconds < 0.1 and first == [] and then == ["numpy", "scipy"] and (policy, threads) == ("PASSIVE", "1")


def test_a_command_reads_its_options_before_it_loads_what_takes_seconds() -> None:
    """A bad option is refused at once, and pages are written from records without torch."""
    commands = [module for module, _ in VERBS.values() if module.startswith("paced_exp")]
    pages = [f"paced_exp.reproduce.{name}" for name in ("tables", "claims_page", "readme", "report", "macros", "seal", "figure_floats")]
    heavy = "{'torch', 'transformers', 'datasets', 'pandas', 'matplotlib', 'trl', 'vllm'}"
    code = f"import importlib, sys; [importlib.import_module(name) for name in {[*commands, *pages]}]; print(sorted({heavy} & set(sys.modules)))"
    assert run_python(code).strip() == "[]"


@pytest.mark.parametrize("verb", paced._BOTH)
@pytest.mark.parametrize("first", ["import paced_exp.core.errors", "import paced_exp.{verb}", "from paced_exp import {verb}"])
def test_a_verb_with_a_module_of_its_name_is_both_whatever_was_imported_first(verb: str, first: str) -> None:
    code = f"{first.format(verb=verb)}; import paced_exp as paced; from paced_exp import {verb}; print(paced.{verb} is {verb}, {verb})"
    same, shown = run_python(code).split(" ", 1)
    assert same == "True" and shown.startswith(f"<module 'paced_exp.{verb}' from ")


@pytest.mark.parametrize("verb", paced._BOTH)
def test_a_module_is_called_as_the_verb_of_its_name(verb: str) -> None:
    module = importlib.import_module(f"paced_exp.{verb}")
    function = getattr(importlib.import_module(f"paced_exp.{paced._HOME[verb]}"), verb)
    assert getattr(paced, verb) is module and inspect.isfunction(function) and callable(module)
    assert inspect.signature(module) == inspect.signature(function)
    typo = {"sampels": 1} if verb != "weights" else {"rates": {"problem_id": [], "k": [], "K": []}}
    with pytest.raises(paced.UserError, match=r"has no option `sampels`|for at least one problem"):
        getattr(paced, verb)(**typo)


def test_all_modules_with_the_name_of_a_verb_are_callable() -> None:
    modules = {path.stem for path in (ROOT / "paced_exp").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert modules & set(paced.__all__) == set(paced._BOTH)
