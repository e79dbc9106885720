"""The package's public names, what importing it costs, and what it must not load."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import paced_theory

ROOT = Path(paced_theory.__file__).parent


def run_python(code):
    """The stdout of a fresh interpreter that runs `code` in the repository root, warnings as errors."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=True)
    return done.stdout.strip()


def test_every_exported_name_resolves_to_its_module():
    for name in paced_theory.__all__:
        value = getattr(paced_theory, name)
        assert value.__module__ == f"paced_theory.{paced_theory._HOME[name]}" and value.__name__ == name
        assert value.__doc__, f"{name} has no docstring"
    assert sorted(set(paced_theory.__all__)) == paced_theory.__all__
    assert set(paced_theory.__all__) <= set(dir(paced_theory))


def test_type_checkers_see_the_same_exports():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"paced_theory.{module}" for name, module in paced_theory._HOME.items()}


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match=r"^module 'paced_theory' has no attribute 'Betakernel'$"):
        paced_theory.Betakernel  # noqa: B018


def test_import_takes_less_than_half_a_second():
    # The processor time of the import itself, so that other programs on the machine do not count.
    code = "import time; t = time.process_time(); import paced_theory; print(time.process_time() - t)"
    assert min(float(run_python(code)) for _ in range(3)) < 0.5


def test_kernels_and_weights_load_within_a_second_and_without_sympy():
    code = (
        "import time, sys; t = time.process_time(); from paced_theory import BetaKernel, posterior_weight; s = time.process_time() - t;"
        "print(s, [m for m in ('sympy', 'scipy.optimize', 'scipy.stats', 'scipy.integrate') if m in sys.modules])"
    )
    seconds, loaded = run_python(code).split(" ", 1)
    assert loaded == "[]" and float(seconds) < 1.0


def test_no_module_loads_torch_or_the_experiments():
    code = (
        "import pkgutil, importlib, sys, paced_theory\n"
        "for m in pkgutil.walk_packages(paced_theory.__path__, 'paced_theory.'): importlib.import_module(m.name)\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'transformers', 'paced_exp', 'pandas', 'matplotlib')])"
    )
    assert run_python(code) == "[]"


def test_only_numpy_scipy_sympy_and_mpmath_are_imported():
    allowed = {"numpy", "scipy", "sympy", "mpmath", "paced_theory", *sys.stdlib_module_names}
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {module.split(".")[0] for module in modules} <= allowed, path


def test_the_test_left_out_elsewhere_exists() -> None:
    """tests/portable.py names the ledger's timing test, which pytest would not miss if it were renamed."""
    named = re.search(r'TIMED = "(.*)::(.*)"', (ROOT.parent / "tests" / "portable.py").read_text())
    assert named and f"def {named[2]}(" in (ROOT.parent / named[1]).read_text()
