"""What the tests of the probe share: models, problems, the arguments of a run on them, how a refusal looks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.probe.config import ProbeConfig
from tests.support.tiny_models import tiny_model, tiny_tokenizer

PROBLEMS, BINS, PER_BIN, K = 90, 5, 5, 4


def save(folder: Path, *, kind: str = "qwen3", seed: int = 0, context: int = 160) -> Path:
    tiny_model(kind, seed=seed, context=context).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def rows() -> list[dict[str, Any]]:
    return [
        {"id": f"sum{i:02}", "prompt": f"{i}+{i * i}=", "answer": str(i + i * i), "solution": f"\\boxed{{{i + i * i}}}", "grader": "exact"}
        for i in range(PROBLEMS)
    ]


def write_rows(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def arguments(models: Path, source: Path, out: Path, **changes: Any) -> list[str]:
    # float64 keeps out of the comparisons what the size of a batch does to rounding.
    options = {
        "student": models / "student",
        "teacher": models / "teacher",
        "problems": source,
        "K": K,
        "bins": BINS,
        "per-bin": PER_BIN,
        "max-new-tokens": 40,
        "batch-tokens": 150,
        "sketch-size": 512,
        "replicates": 100,
        "device": "cpu",
        "dtype": "float64",
        "seed": 5,
        "out": out,
        **changes,
    }
    return [text for name, value in options.items() for text in ((f"-{name}" if name == "K" else f"--{name}"), str(value))]


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "record.json").read_text())


def comparable(folder: Path) -> dict[str, Any]:
    """The record without what time and place decide."""
    record = record_of(folder)
    assert record.pop("seconds").keys() == {"load", "rollouts", "references", "gradients", "estimates"}
    for circumstance in ("provenance", "checksum"):
        record.pop(circumstance)
    record["config"].pop("out")
    return record


def config_of(argv: list[str]) -> ProbeConfig:
    return configs.parse(ProbeConfig, argv, "paced_exp.snr_probe", "Probe.")


def refused(main: Callable[[], None], capsys: pytest.CaptureFixture[str], *, bars: bool = False) -> str:
    """The one line on stderr with which `main` ends with status 2 (behind what progress bars wrote, where some stages had run)."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        exit_cleanly(main)
    captured = capsys.readouterr()
    assert stopped.value.code == 2 and captured.out == ""
    lines = captured.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and lines[-1] == errors[0] and (bars or len(lines) == 1), captured.err
    return errors[0]


class NoEngine:
    """Nothing is left to generate."""

    def generate(self, prompts: list[Any], *_: Any, **__: Any) -> list[Any]:
        assert prompts == []
        return []
