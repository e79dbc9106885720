"""The model cards: what a record says stands in it, the same bytes each time, and a header that YAML reads."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from paced_exp.evaluation import compress_card
from paced_exp.evaluation.card_parts import CARD, write_card
from paced_exp.training import teacher_card
from paced_exp.training.model_card import card


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
    first = write_card(tmp_path, card(record)).read_bytes()
    assert write_card(tmp_path, card(record)).read_bytes() == first and (tmp_path / CARD).exists()
    header = first.decode().split("---\n")[1]
    assert yaml.safe_load(header) == {"library_name": "transformers", "tags": ["paced", "distillation"]}


def test_a_teacher_s_card_says_what_its_record_says(record: dict[str, Any]) -> None:
    config = {"student": "a/small", "problems": "lab:train", "advantage": "w_reinforce", "positive_weight": 0.1, "guide": 0.5}
    record |= {
        "config": {**config, "batch": 16, "K": 8, "kl": 0.001, "learning_rate": 3e-4, "steps": None},
        "training": {
            "updates": 120,
            "problems": 2000,
            "flops": {"training": 4e12, "reference": 1e12, "rollouts": 1e12},
            "rollouts": {"responses": 15360, "guided": 40},
            "first_pass_rate": 0.5,
            "last_pass_rate": 0.75,
        },
    }
    text = teacher_card.card(record)
    for words in (
        "# small, trained by policy gradient",
        "after 120 updates of 16 problems, each with a group of 8 rollouts",
        "- Problems: `lab:train`, 2000 of them.",
        "- Rollouts: 15360, 40 of them with a hint.",
        "for their length: 2.",
        "| `advantage` | w_reinforce |",
        "| `kl` | 0.001 |",
        "50.0% of the first update's, 75.0% of the last's. 6e+12 FLOPs",
        "| `lab:mid` | 50 | 50.0 [49.0, 51.0] | 75.0 [74.0, 76.0] | 20.0 [20.0, 20.0] |",
        "python -m paced_exp.teacher --config config.yaml",
    ):
        assert words in text, words
    assert "`steps`" not in text and "Not evaluated." in teacher_card.card(record | {"evaluation": None})
    assert yaml.safe_load(text.split("---\n")[1])["tags"] == ["paced", "policy-gradient"]


def test_a_compressed_model_s_card_says_what_its_record_says(record: dict[str, Any]) -> None:
    evaluation = record["evaluation"]
    entries = [{"method": name, "bytes": size, "share": size / 2000, **evaluation} for name, size in (("whole", 2000), ("2:4+int8", 500))]
    record |= {"config": {"model": "runs/distill/model"}, "parameters": {"all": 1000, "compressed": 600}, "methods": entries}
    (text,) = [compress_card.cards(record)["2:4+int8"]]
    for words in (
        "# model, compressed by 2:4+int8",
        "linear layers compressed, 600 of 1000 in all",
        "500 bytes packed, 25.0% of the whole model",
        "- `lab:mid`: +2.0 [+1.0, +3.0]",
        "python -m paced_exp.compress --config config.yaml",
    ):
        assert words in text, words
    assert list(compress_card.cards(record)) == ["2:4+int8"]
