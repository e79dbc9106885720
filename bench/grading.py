r"""How far this project's grading agrees with math-verify's public test cases, read from a checkout of that project.

    git clone https://github.com/huggingface/Math-Verify && git -C Math-Verify checkout 5d148cf
    python -m bench.grading --cases Math-Verify          # into results/grading/math_verify.json

A case is a gold text, a response, and whether they should agree. Cases are read as literals from the `parametrize` decorators; no code of the
checkout is run. The cases (Apache-2.0) are not copied: the record holds counts and the places of cases (file and number).

Gold text and response are graded as a problem's answer and a response. If they have no box they get one, without dollar signs and without a
leading sentence. Cases of string choices and of options that this project does not use are left out and counted.
"""

import argparse
import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import write_checked
from paced_exp.core.run_folder import provenance
from paced_exp.data.answers import extract_answer
from paced_exp.data.problem import Problem
from paced_exp.grading.grader import Grader

OUT = Path(__file__).resolve().parent.parent / "results" / "grading" / "math_verify.json"
GOLD, RESPONSE, EXPECTED = {"gold"}, {"pred"}, {"expected", "result"}


@dataclass(frozen=True)
class Case:
    """A public case. where: its file and its number there. boxed: whether the response has a box, which this project's grading needs."""

    where: str
    gold: str
    response: str
    expected: bool

    @property
    def boxed(self) -> bool:
        return "\\boxed" in self.response


def read_cases(folder: Path) -> tuple[list[Case], int]:
    """All cases in the checkout's tests, and how many were left out. Raises `UserError` if there are none."""
    files = sorted((folder / "tests").glob("test_*.py"))
    found: list[Case] = []
    left_out = 0
    for path in files:
        numbered: list[Case] = []
        for names, values in _tables(ast.parse(path.read_text(encoding="utf-8"))):
            roles = [next((role for role in (GOLD, RESPONSE, EXPECTED) if name in role), None) for name in names]
            if [role for role in roles if role] != roles or len(names) != 3:
                left_out += len(values)
                continue
            for value in values:
                gold, response, expected = value
                if isinstance(gold, str) and isinstance(response, str):
                    numbered.append(Case(f"{path.name}:{len(numbered)}", gold, response, bool(expected)))
                else:
                    left_out += 1
        found += numbered
    if not found:
        raise UserError(f"--cases {folder} has no cases in tests/test_*.py; give a checkout of github.com/huggingface/Math-Verify")
    return found, left_out


def _tables(tree: ast.Module) -> Iterator[tuple[list[str], list[tuple[object, ...]]]]:
    """Names and rows of every `@pytest.mark.parametrize(names, rows)`. Rows that are not literals are skipped."""
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "parametrize" and len(node.args) == 2
        ):
            continue
        names, rows = node.args
        if isinstance(names, ast.Constant) and isinstance(names.value, str) and isinstance(rows, ast.List):
            values = []
            for row in rows.elts:
                try:
                    value = ast.literal_eval(row)
                except ValueError:
                    continue
                values.append(value if isinstance(value, tuple) else (value,))
            yield [name.strip() for name in names.value.split(",")], values


def bare(text: str) -> str:
    r"""The part of a text that is graded: its boxes; without a box, its last formula in dollar signs, `\[ \]` or `\( \)`; otherwise all of it."""
    boxed = extract_answer(text)
    if boxed is not None:
        return boxed
    maths = re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", text, re.DOTALL)
    return next(part for part in maths[-1] if part) if maths else text


def measure(cases: Sequence[Case]) -> list[bool]:
    """This project's verdict on every case."""
    problems = [Problem(case.where, case.gold, bare(case.gold), None, "math-verify", "tests", "math") for case in cases]
    responses = [case.response if case.boxed else f"\\boxed{{{bare(case.response)}}}" for case in cases]
    with Grader() as grader:
        return grader.grade(problems, responses)


def alone(case: Case) -> bool:
    """math-verify's verdict on the same texts, without this project's rules."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    gold, response = (parse(f"\\boxed{{{bare(text)}}}", extraction_config=config) for text in (case.gold, case.response))
    return bool(verify(gold, response))


def class_of(case: Case, verdict: bool) -> str:
    """Why this project's verdict differs from the one that math-verify's authors expect.

    passed: it passes here. rule: math-verify passes the same texts, but one of `paced_exp.grading.rules` refuses them. prose: the answer is in
    a sentence without a box, which this project does not read. form: math-verify does not read this form in a box either.
    """
    if verdict:
        return "passed"
    if alone(case):
        return "rule"
    outside = re.sub(r"\$\$.+?\$\$|\$.+?\$|\\\[.+?\\\]|\\\(.+?\\\)", "", case.response, flags=re.DOTALL)
    return "prose" if not case.boxed and re.search(r"[A-Za-z]{2,}", outside) else "form"


def main(argv: Sequence[str] | None = None) -> None:
    """Grade the cases, print agreement, write the record."""
    parser = argparse.ArgumentParser(prog="bench.grading", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True, help="a checkout of github.com/huggingface/Math-Verify")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--show", action="store_true", help="print every case of disagreement")
    arguments = parser.parse_args(argv)
    cases, left_out = read_cases(arguments.cases)
    verdicts = measure(cases)
    counts: Counter[tuple[bool, bool]] = Counter((case.expected, verdict) for case, verdict in zip(cases, verdicts, strict=True))
    differing = [(case, verdict) for case, verdict in zip(cases, verdicts, strict=True) if case.expected != verdict]
    record: dict[str, Any] = {
        "kind": "grading",
        "suite": "math-verify's public cases",
        "suite_sha256": sha256(
            "\n".join(f"{case.where} {case.gold} {case.response} {case.expected}" for case in cases).encode()
        ).hexdigest(),
        "math_verify": version("math-verify"),
        "cases": len(cases),
        "left_out": left_out,
        "should_pass": {"passed": counts[True, True], "failed": counts[True, False]},
        "should_fail": {"passed": counts[False, True], "failed": counts[False, False]},
        "disagree": {case.where: class_of(case, verdict) for case, verdict in differing},
        "provenance": provenance(0),
    }
    write_checked(arguments.out, record)
    if arguments.show:
        for case, verdict in differing:
            print(
                f"{case.where} ({class_of(case, verdict)}): expected {case.expected}, graded {verdict}\n  gold {case.gold[-200:]!r}\n  response {case.response[-200:]!r}"
            )
    print(
        f"{len(cases)} cases, {left_out} left out; {len(cases) - len(differing)} agree; of {sum(n for (e, _), n in counts.items() if e)} that "
        f"should pass {counts[True, False]} fail, of {sum(n for (e, _), n in counts.items() if not e)} that should fail {counts[False, True]} pass"
    )
    print(", ".join(f"{name} {count}" for name, count in sorted(Counter(record["disagree"].values()).items())))
    print(arguments.out)


if __name__ == "__main__":
    exit_cleanly(main)
