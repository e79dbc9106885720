"""From GSM8K to a weighted distillation: how problems are prompted and graded, how often the student solves each, what each weighs, and how to train.

    python examples/gsm8k.py --student Qwen/Qwen3-0.6B --teacher Qwen/Qwen3-8B --limit 1000 --device cuda --engine vllm
    python examples/gsm8k.py --student MODEL --teacher TEACHER --problems train.jsonl --test test.jsonl --out runs/mine

Models are folders, hub ids or GGUF files. A file has GSM8K's layout: `question`, and an `answer` that ends in "#### 42". It prints the commands that train and
evaluate, and runs neither: they take hours where this takes minutes. The same command goes on after a kill.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

import paced_exp as paced
from paced_exp.core.errors import exit_cleanly
from paced_exp.data.prompts import rendered_prompt
from paced_exp.data.sources import load_problems
from paced_exp.grading.grader import Grader

SHOWN = 20  # worked solutions that are graded, to see that the grader and the answers agree


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of this example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", required=True, help="the model that shall learn")
    parser.add_argument("--teacher", required=True, help="the model that it learns from; it must read the student's tokens")
    parser.add_argument("--problems", default="hub:openai/gsm8k:train", help="to train on: hub:NAME or a file")
    parser.add_argument("--test", default="hub:openai/gsm8k:test", help="to evaluate on: hub:NAME or a file")
    parser.add_argument("--limit", type=int, help="so many problems, drawn at random; all when left out")
    parser.add_argument("-K", type=int, default=8, help="answers that the student samples to each problem")
    parser.add_argument("--estimator", default="plugin", help="plugin, which gained most in our trainings, posterior or empirical_bayes")
    parser.add_argument("--max-new-tokens", type=int, default=512, help="longest answer; a longer one counts as wrong")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="hf", help="hf, or vllm on GPUs")
    parser.add_argument("--out", type=Path, default=Path("runs/gsm8k"))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Show, count, weigh, and print the commands that train and evaluate."""
    given = options(argv)

    # 1. Problems. The first one as the student reads it: a message in the student's own chat template.
    problems = load_problems(given.problems, limit=given.limit)
    student = paced.load_model(given.student, device=given.device)
    print(f"{len(problems)} problems; the first, as the student reads it:\n{rendered_prompt(student.tokenizer, problems[0])}\n")

    # 2. Grading. What stands in the last \boxed{} must equal the gold answer; the worked solutions must pass, or the answers were read wrongly.
    solved = [problem for problem in problems if problem.solution][:SHOWN]
    with Grader(workers=1) as grader:
        passed = grader.grade(solved, [str(problem.solution) for problem in solved])
    print(f"{sum(passed)} of {len(solved)} worked solutions pass\n")

    # 3. Pass rates: k of K answers are correct. Resumed from its folder; every answer is kept in rollouts.parquet.
    shared = {"device": given.device, "engine": given.engine, "max_new_tokens": given.max_new_tokens}
    rates = paced.pass_rates(given.student, given.problems, K=given.K, limit=given.limit, out=given.out / "pass_rates", **shared)
    print(f"{rates}\n")

    # 4. Weights: p(1 - p), of mean one over the problems that are trained on.
    weights = paced.weights(rates, estimator=given.estimator)
    print(f"{weights}\n")
    file = weights.save(given.out / "weights.jsonl")

    # 5. Training. The teacher reads the worked solution and writes a reference, on which the student is trained with these weights.
    sampling = ["--device", given.device, "--engine", given.engine, "--max-new-tokens", str(given.max_new_tokens)]
    train = ["--student", given.student, "--teacher", given.teacher, "--problems", given.problems, "--weights", str(file), *sampling]
    train += ["--limit", str(given.limit)] if given.limit else []
    train += ["--learning-rate", "1e-6", "--evaluate", "none", "--out", str(given.out / "distilled")]
    test = ["--model", str(given.out / "distilled" / "model"), "--against", given.student, "--problems", given.test, *sampling]
    test += ["--samples", "4", "--out", str(given.out / "evaluated")]
    print("to train, and to compare the trained student with the untrained one:")
    print(shlex.join(["python", "-m", "paced_exp.distill", *train]))
    print(shlex.join(["python", "-m", "paced_exp.evaluate", *test]))


if __name__ == "__main__":
    exit_cleanly(main)
