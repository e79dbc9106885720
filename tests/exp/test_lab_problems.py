"""The lab's problems: splits that share no prompt, streams that repeat, worked solutions that are right line by line."""

import itertools
import math
import re
from fractions import Fraction

import pytest
import reasoning_gym

from paced_exp.core.errors import UserError
from paced_exp.data.answers import extract_boxed
from paced_exp.data.lab import solutions
from paced_exp.data.lab.families import FAMILIES, MATHEMATICS, RETENTION
from paced_exp.data.lab.solutions import concise
from paced_exp.data.lab.splits import DEFAULT_SIZES, SPLITS, bucket, lab_problems
from paced_exp.data.problem import Problem
from paced_exp.grading.grader import LAB_FAMILIES, lab_pass
from paced_exp.models.lab_checkpoints import CHECKPOINTS, checkpoint_path

DRAWN = {"pretrain": 2500, "train": 2500, "mid": 600, "hard-a": 500, "hard-b": 500, "retention": 1500, "rehearsal": 1000} | {
    **{f"harder-{split}": 600 for split in ("pretrain", "train", "mid", "hard-a", "hard-b")},
    **{f"easier-{split}": 167 for split in ("mid", "hard-a", "hard-b")},
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Problem]]:
    return {split: list(itertools.islice(lab_problems(split), size)) for split, size in DRAWN.items()}


# ---- splits and streams


def of_one_use(one: str, other: str) -> bool:
    """Whether two splits may share prompts: they are forms of one for other models, distillation trains on both, or models were pretrained on both."""
    plain, other_plain = (name.removeprefix("harder-").removeprefix("easier-") for name in (one, other))
    return plain == other_plain or any({plain, other_plain} <= uses for uses in ({"train", "pool"}, {"pretrain", "rehearsal"}))


def test_no_prompt_of_one_split_occurs_in_another(drawn: dict[str, list[Problem]]) -> None:
    prompts = {split: {problem.prompt for problem in problems} for split, problems in drawn.items()}
    for one, other in itertools.combinations(prompts, 2):
        if not of_one_use(one, other):
            assert not prompts[one] & prompts[other], (one, other)
    # Not by luck: a prompt's hash says which splits may use it.
    for split, problems in drawn.items():
        assert all(bucket(problem.prompt) in SPLITS[split].buckets for problem in problems)
    for (name, one), (other_name, other) in itertools.combinations(SPLITS.items(), 2):
        if of_one_use(name, other_name):
            own_families = ("rehearsal", "easier-train", "easier-pool", "easier-mid", "easier-hard-a", "easier-hard-b")
            assert one.buckets == other.buckets and (one.families == other.families or {name, other_name} & {*own_families})
        else:
            assert not set(one.buckets) & set(other.buckets) or not one.families.keys() & other.families.keys()


def test_no_prompt_or_id_occurs_twice_in_a_split(drawn: dict[str, list[Problem]]) -> None:
    for split, problems in drawn.items():
        assert len({problem.prompt for problem in problems}) == len({problem.id for problem in problems}) == DRAWN[split]


def test_families_and_levels_are_those_of_the_split(drawn: dict[str, list[Problem]]) -> None:
    for split, problems in drawn.items():
        families = {problem.metadata["family"] for problem in problems}
        assert families == SPLITS[split].families.keys()
        assert {problem.metadata["level"] for problem in problems} == set(SPLITS[split].levels)
        for problem in problems:
            assert (problem.source, problem.split, problem.grader) == (f"lab:{problem.metadata['family']}", split, "lab")
            assert problem.metadata["level"] <= len(FAMILIES[problem.metadata["family"]].levels)
    assert len(MATHEMATICS) >= 5 and len(RETENTION) >= 3 and not MATHEMATICS.keys() & RETENTION.keys()
    assert not {problem.metadata["family"] for problem in drawn["train"]} & RETENTION.keys()


def test_a_stream_is_a_function_of_split_and_seed(drawn: dict[str, list[Problem]]) -> None:
    for split, problems in drawn.items():
        assert list(itertools.islice(lab_problems(split), 40)) == problems[:40]
        other = list(itertools.islice(lab_problems(split, seed=1), 40))
        assert [problem.prompt for problem in other] != [problem.prompt for problem in problems[:40]]
        assert not {problem.id for problem in other} & {problem.id for problem in problems}


def test_interleaved_streams_do_not_disturb_each_other() -> None:
    one, other = lab_problems("train", 3), lab_problems("retention", 3)
    mixed = [next(stream) for _ in range(20) for stream in (one, other)]
    assert mixed[::2] == list(itertools.islice(lab_problems("train", 3), 20))
    assert mixed[1::2] == list(itertools.islice(lab_problems("retention", 3), 20))


def test_names_that_are_not_known_list_the_known() -> None:
    with pytest.raises(
        UserError, match="lab:test is not a lab split; known: lab:pretrain, lab:train, lab:pool, lab:mid, lab:hard-a, lab:hard-b"
    ):
        next(lab_problems("test"))
    with pytest.raises(UserError, match="lab:professor is not a lab model; known: lab:student, lab:teacher"):
        checkpoint_path("professor")
    assert [checkpoint_path(name).name for name in CHECKPOINTS] == list(CHECKPOINTS)
    assert DEFAULT_SIZES.keys() == {*SPLITS, "facts"} and min(DEFAULT_SIZES[name] for name in SPLITS) >= 300


# ---- answers


def test_every_answer_passes_its_own_verifier_and_another_does_not(drawn: dict[str, list[Problem]]) -> None:
    scores = {family: reasoning_gym.get_score_answer_fn(family) for family in FAMILIES}
    for problem in itertools.chain.from_iterable(drawn.values()):
        assert problem.solution is not None
        answer = extract_boxed(problem.solution)
        family, entry = problem.metadata["family"], problem.metadata["entry"]
        assert answer is not None
        assert scores[family](answer, {"question": problem.prompt, "answer": problem.answer, "metadata": entry}) == 1.0, problem
        assert lab_pass(problem, answer) and not lab_pass(problem, f"{answer}1") and not lab_pass(problem, "")


def test_the_grader_knows_every_family() -> None:
    assert FAMILIES.keys() <= LAB_FAMILIES


# ---- worked solutions

NUMBER = r"-?\d+(?:\.\d+)?"


def value_of(text: str, unknown: str = "", solution: Fraction = Fraction(0)) -> Fraction:
    """The value of sums and products written left to right, `*` and `/` first; numbers, and `unknown` with a coefficient, only."""
    terms: list[tuple[str, list[tuple[str, str]]]] = []
    tokens = text.split()
    assert len(tokens) % 2 == 1, text
    operator = "+"
    for position, token in enumerate(tokens):
        if position % 2:
            operator = token
        elif operator in "+-":
            terms.append((operator, [("*", token)]))
        else:
            terms[-1][1].append((operator, token))
    total = Fraction(0)
    for sign, factors in terms:
        product = Fraction(1)
        for how, factor in factors:
            part = atom(factor, unknown, solution)
            product = product * part if how == "*" else product / part
        total = total + product if sign == "+" else total - product
    return total


def atom(text: str, unknown: str, solution: Fraction) -> Fraction:
    if unknown and text.endswith(unknown):
        coefficient = text[: -len(unknown)].removesuffix("*")
        return solution * (-1 if coefficient == "-" else Fraction(coefficient or "1"))
    assert re.fullmatch(NUMBER, text), text
    return Fraction(text)


def test_the_reader_of_lines_reads_them_right() -> None:
    assert value_of("2 * 18 + 12") == 48 and value_of("1.5 - -2.25") == Fraction("3.75") and value_of("7 / 2") == Fraction(7, 2)
    assert value_of("3*x - 2", "x", Fraction(4)) == 10 and value_of("5 - -x", "x", Fraction(1)) == 6


def test_every_line_of_every_solution_is_right(drawn: dict[str, list[Problem]]) -> None:
    checked = dict.fromkeys(MATHEMATICS, 0)
    for problem in itertools.chain.from_iterable(drawn.values()):
        family, entry = problem.metadata["family"], problem.metadata["entry"]
        if family in RETENTION:
            assert problem.solution == f"\\boxed{{{problem.answer}}}"
            continue
        assert problem.solution is not None
        *lines, last = problem.solution.split("\n")
        assert last == f"\\boxed{{{problem.answer}}}"
        unknown = entry["variable"] if family == "simple_equations" else ""
        solution = Fraction(problem.answer) if unknown else Fraction(0)
        for line in lines:
            sides = line.split(" = ")
            assert len(sides) >= 2, line
            assert len({value_of(side, unknown, solution) for side in sides}) == 1, (problem.prompt, line)
        checked[family] += len(lines)
    assert min(checked.values()) > 500, checked


def results(problem: Problem) -> list[str]:
    """What stands at the end of each line of work."""
    assert problem.solution is not None
    return [line.split(" = ")[-1] for line in problem.solution.split("\n")[:-1]]


def test_the_work_starts_at_the_question_and_ends_at_the_answer(drawn: dict[str, list[Problem]]) -> None:
    for problem in itertools.chain.from_iterable(drawn.values()):
        family, entry, answer = problem.metadata["family"], problem.metadata["entry"], problem.answer
        lines = (problem.solution or "").split("\n")[:-1]
        if family in ("chain_sum", "decimal_chain_sum"):
            assert value_of(entry["expression"]) == Fraction(answer) == Fraction(results(problem)[-1])
            assert lines[0].startswith(entry["expression"].split()[0]) and entry["expression"] in problem.prompt
            # Each line goes on from the result before.
            assert [line.split()[0] for line in lines[1:]] == results(problem)[:-1]
        elif family == "products":
            assert value_of(entry["expression"]) == Fraction(answer) == Fraction(results(problem)[-1])
        elif family == "gcd":
            first, second = entry["numbers"]
            assert math.gcd(first, second) == int(answer)
            assert lines[0].split()[0] == str(max(first, second)) and lines[-1].endswith(f"* {answer} + 0")
        elif family == "fraction_simplification":
            simplified = Fraction(entry["numerator"], entry["denominator"])
            assert answer == f"{simplified.numerator}/{simplified.denominator}"
            if math.gcd(entry["numerator"], entry["denominator"]) > 1:
                assert results(problem)[-2:] == answer.split("/")
        elif family == "simple_equations":
            left, right = entry["equation"].split(" = ")
            assert value_of(left, entry["variable"], Fraction(answer)) == Fraction(right)
            assert not lines or results(problem)[-1] == answer


def test_the_concise_solution_is_the_end_of_the_worked_one(drawn: dict[str, list[Problem]]) -> None:
    for problem in drawn["train"][:400]:
        entry = {"question": problem.prompt, "answer": problem.answer, "metadata": problem.metadata["entry"]}
        short = concise(FAMILIES[problem.metadata["family"]].steps, entry)
        assert problem.solution is not None and problem.solution.endswith(short)
        work = problem.solution.count("\n")
        assert short.count("\n") == work - work // 2 and extract_boxed(short) == problem.answer


def test_results_keep_the_last_number_of_every_line(drawn: dict[str, list[Problem]]) -> None:
    plain = shorter = 0
    for problem in drawn["train"][:400]:
        entry = {"question": problem.prompt, "answer": problem.answer, "metadata": problem.metadata["entry"]}
        short = solutions.results(FAMILIES[problem.metadata["family"]].steps, entry)
        assert problem.solution is not None and extract_boxed(short) == problem.answer
        for line, whole in zip(short.split("\n"), problem.solution.split("\n"), strict=True):  # no step is left out
            assert whole.endswith(line) and (" = " not in whole or whole.endswith(f" = {line}"))
        plain, shorter = plain + len(problem.solution), shorter + len(short)
    assert shorter < 0.75 * plain


def test_results_by_hand() -> None:
    steps = [["1 + 2 = 3", "3 - 5 = -2"], ["2*x = 9 - 1 = 8", "x = 8 / 2 = 4"], []]
    found = [solutions.results(lambda entry, lines=lines: lines, {"answer": "7"}) for lines in steps]
    assert found == ["3\n-2\n\\boxed{7}", "8\n4\n\\boxed{7}", "\\boxed{7}"]


def test_digitwise_work_is_true_and_ends_as_the_worked_solution_does(drawn: dict[str, list[Problem]]) -> None:
    longer = 0
    for problem in drawn["train"][:1000]:
        if problem.metadata["family"] not in ("chain_sum", "products"):
            continue
        entry = {"question": problem.prompt, "answer": problem.answer, "metadata": problem.metadata["entry"]}
        spelt = solutions.digitwise(FAMILIES[problem.metadata["family"]].steps, entry).split("\n")
        assert problem.solution is not None
        for line, whole in zip(spelt, problem.solution.split("\n"), strict=True):
            sides, worked = line.split(" = "), whole.split(" = ")
            assert (sides[0], sides[-1]) == (worked[0], worked[-1])
            if len(sides) > 1:
                assert len({value_of(side) for side in sides}) == 1, line
            longer += len(sides) > len(worked)
    assert longer > 100


def test_digitwise_by_hand() -> None:
    lines = [
        "85 + 76 = 161",
        "62 - 17 = 45",
        "-23 - 45 = -68",
        "21 - 30 = -9",
        "6720 + 252 = 6972",
        "9 + 85 = 94",
        "87 * 40 = 3480",
        "87 * 7 = 609",
        "80 * 7 = 560",
        "87 * 1 = 87",
        "35 = 2 * 14 + 7",
        "2*x = 52 - 2 = 50",
    ]
    assert solutions.digitwise(lambda entry: lines, {"answer": "7"}).split("\n") == [
        "85 + 76 = 155 + 6 = 161",
        "62 - 17 = 52 - 7 = 45",
        "-23 - 45 = -63 - 5 = -68",
        "21 - 30 = -9",
        "6720 + 252 = 6920 + 52 = 6970 + 2 = 6972",
        "9 + 85 = 94",
        "87 * 40 = 3200 + 280 = 3480",
        "87 * 7 = 560 + 49 = 609",
        *lines[8:],
        "\\boxed{7}",
    ]
