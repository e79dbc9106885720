"""The model card: what a record says stands in it, the same bytes each time, and a header that YAML reads."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from paced_exp.training.model_card import CARD, card, write_card


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


@pytest.fixture
def record() -> dict[str, Any]:
    source = {
        "source": "lab:mid",
        "problems": 50,
        "samples": 4,
        "mean": interval(0.5),
        "pass_at": {"4": interval(0.75)},
        "tokens": interval(20),
    }
    config = {"student": "a/small", "teacher": "b/large", "problems": "lab:train", "method": "paced", "weights": None, "batch": 32}
    return {
        "config": {**config, "alpha": 1.0, "K": 8, "stages": "forward_kl", "learning_rate": 5e-4, "seed": 3},
        "weights": {"problems": 900, "dropped": 100, "effective_problems": 712.4},
        "references": {"teacher": 700, "solution": 200},
        "skipped_long": 2,
        "training": {"updates": 20, "flops": 1.5e12, "first_loss": 0.25, "last_loss": 0.125},
        "evaluation": {
            "sources": [source],
            "against": {
                "model": "a/small",
                "differences": [{"source": "lab:mid", "mean": interval(0.02)}],
                "forgetting": [{"source": "lab:retention", "drop": interval(0.01)}],
            },
        },
        "provenance": {"versions": {"torch": "2.13.0"}},
    }


def test_it_says_what_the_record_says(record: dict[str, Any]) -> None:
    text = card(record)
    for words in (
        "# small, distilled from large",
        "after 20 updates of 32 problems",
        "Weights: `paced`.",
        "`lab:train`, 900 of them",
        "weight of zero: 100. Effective number of problems: 712.",
        "References: 700 teacher, 200 solution.",
        "for their length: 2.",
        "| `alpha` | 1.0 |",
        "| `learning_rate` | 0.0005 |",
        "Loss 0.2500 before the first update, 0.1250 at the last",
        "| `lab:mid` | 50 | 50.0 [49.0, 51.0] | 75.0 [74.0, 76.0] | 20.0 [20.0, 20.0] |",
        "- `lab:mid`: +2.0 [+1.0, +3.0]",
        "- forgotten of `lab:retention`: +1.0 [+0.0, +2.0]",
        "python -m paced_exp.distill --config config.yaml",
        "Made with torch 2.13.0.",
    ):
        assert words in text, words
    assert "`beta`" not in text  # an option that the record does not have


def test_what_was_not_done_is_said(record: dict[str, Any]) -> None:
    record |= {"evaluation": None, "references": {}, "skipped_long": 0}
    record["config"] |= {"teacher": "self", "method": None, "weights": "weights.jsonl"}
    text = card(record)
    assert "Not evaluated." in text and "References" not in text and "length:" not in text
    assert "# small, distilled from itself" in text and "Weights: `weights.jsonl`." in text


def test_the_header_is_yaml_and_the_bytes_are_the_same(record: dict[str, Any], tmp_path: Path) -> None:
    first = write_card(tmp_path, record).read_bytes()
    assert write_card(tmp_path, record).read_bytes() == first and (tmp_path / CARD).exists()
    header = first.decode().split("---\n")[1]
    assert yaml.safe_load(header) == {"library_name": "transformers", "tags": ["paced", "distillation"]}
