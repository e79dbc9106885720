"""examples/gsm8k.py on a file in GSM8K's layout and tiny random models: what it prints runs, and trains by the weights that it wrote."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import ROOT, refusal
from tests.support.tiny_models import tiny_model, tiny_tokenizer

PROBLEMS = 6
SMALL = "--steps 1 --warmup 1 --batch 2 --micro-batch 2 --candidates 1"


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run([sys.executable, "-W", "error", *arguments], capture_output=True, text=True, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gsm8k")
    for seed, name in enumerate(("student", "teacher")):
        tiny_model(seed=seed, context=512).save_pretrained(folder / name)
        tiny_tokenizer().save_pretrained(folder / name)
    rows = [
        {
            "question": f"Ann has {n} apples and buys 4. How many has she?",
            "answer": f"She has {n} + 4 = <<{n}+4={n + 4}>>{n + 4}.\n#### {n + 4}",
        }
        for n in range(PROBLEMS)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def printed(folder: Path) -> str:
    arguments = "--student student --teacher teacher --problems train.jsonl --test train.jsonl -K 2 --max-new-tokens 8 --device cpu"
    return run([str(ROOT / "examples" / "gsm8k.py"), *arguments.split(), "--estimator", "posterior"], folder)


@pytest.mark.slow
def test_prompts_and_grading_are_shown(printed: str) -> None:
    assert "Ann has 0 apples and buys 4." in printed and "put the final answer in \\boxed{}." in printed
    assert f"{PROBLEMS} of {PROBLEMS} worked solutions pass" in printed


@pytest.mark.slow
def test_every_problem_is_counted_and_weighed(printed: str, folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "runs" / "gsm8k" / "weights.jsonl").read_text().splitlines()]
    assert [row["problem_id"] for row in rows] == [f"train-{n}" for n in range(PROBLEMS)] and {row["K"] for row in rows} == {2}
    assert sum(row["weight"] for row in rows) == pytest.approx(PROBLEMS)


@pytest.mark.slow
def test_the_commands_that_it_prints_train_and_evaluate(printed: str, folder: Path) -> None:
    train, test = [line for line in printed.splitlines() if line.startswith("python -m ")]
    assert refusal(train) == refusal(test) == ""
    run([*train.split()[1:], *SMALL.split()], folder)
    record = json.loads((folder / "runs" / "gsm8k" / "distilled" / "record.json").read_text())
    assert record["weights"]["problems"] == PROBLEMS and record["references"]["solution"] == PROBLEMS  # the random teacher solves none
    run([*test.split()[1:], "--replicates", "100"], folder)
    assert json.loads((folder / "runs" / "gsm8k" / "evaluated" / "record.json").read_text())["sources"][0]["problems"] == PROBLEMS


def test_what_is_wrong_is_said_in_one_line(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "gsm8k.py"), "--student", "student", "--teacher", "teacher", "--problems", "no.jsonl"],
        capture_output=True, text=True, cwd=folder, timeout=100,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr == "error: source 'no.jsonl': no such file; check the path\n"
