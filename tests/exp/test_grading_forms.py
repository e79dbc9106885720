r"""Forms of an answer: correct LaTeX that math-verify alone does not read passes, and look-alikes of another value do not."""

import math
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paced_exp.grading.grader import Grader, exact_match
from paced_exp.grading.spelling import plain, respelled, with_fractions, with_magnitudes
from tests.support.grading_setup import boxed, problem

# gold: (answers that are correct, answers that are wrong)
Table = dict[str, tuple[list[str], list[str]]]

ARGUMENTS: Table = {
    r"\frac{1}{2}": ([r"\frac 1 2", r"\dfrac 1 2", r"\tfrac 1 2", r"\frac1 2", r"\frac 12", r"\frac{1} 2", r"\frac 1{2}"], [r"\frac 2 1"]),
    r"\frac 1 2": (["0.5", r"\frac12", r"\frac{2}{4}"], ["2", r"\frac 1 3"]),
    "2": ([], [r"\frac x 2", r"\frac \pi 2", r"1\colon 2"]),  # math-verify reads each as 2
    r"\frac{x}{2}": ([r"\frac x 2", r"\frac x{2}", "0.5x"], ["2", r"\frac 2 x"]),
    r"\frac{\pi}{2}": ([r"\frac \pi 2", r"\frac\pi2", r"\frac\pi{2}"], ["2", r"\frac 2 \pi"]),
    r"\frac{1}{\frac{1}{2}+x}": ([r"\frac 1 {\frac 1 2+x}"], [r"\frac 1 {\frac 1 3+x}"]),
    r"\frac{1}{10}": ([r"\frac1{10}", r"\frac110"], [r"\frac11"]),
    r"\frac{5}{2}": ([], [r"\frac 12 5"]),  # its author means 12/5
    r"\binom{n}{k}": ([r"\binom n k", r"\binom nk"], [r"\binom k n"]),
    "3": ([r"\log_2 8", r"\log_{2} 8", r"\log_2{8}"], [r"\log_2 9", r"\log_3 8"]),
    r"\log_2 3": ([r"\log_{2}{3}", r"\frac{\ln 3}{\ln 2}"], [r"\log_3 2"]),
    r"\sqrt[3]{2}": ([r"\sqrt[3]2", r"\sqrt[3] 2"], [r"\sqrt[4]2", r"\sqrt2"]),
    "1": ([r"2(\frac12)", r"2\left(1/2\right)", r"\lg 10"], [r"\lg 1"]),
    r"\frac{5}{2}x": ([], [r"2(\frac12)x"]),
}
LETTERS: Table = {
    "3x": (
        ["3x", r"3\cdot x", r"x\cdot 3", r"\frac{6x}{2}", "y=3x", "3x.", "x+2x", r"\text{3x}", "3 x"],
        ["3", "3X", "x^3", "3y", "x=3", "x"],
    ),
    "2k": (["k+k", r"2\cdot k"], ["2", "k", "2m"]),
    "4m": (["4m", "4 m", r"4\cdot m", r"m\cdot 4", r"\frac{8m}{2}", "m+3m", "x=4m", r"4\text{ m}"], ["4", "4n", "4M", "5m", "4m^2", "m"]),
    "4": (["4m", "4 m", "x=4 m", "4t", r"\frac82 m"], ["4x", "4ab", "4a b", "4+t"]),
    # math-verify drops t, h, c and others at the end as units: it reads both sides of the wrong pairs as the same.
    r"\pi r^2 h": ([r"\pi r^2h", r"\pi hr^2"], [r"\pi r^2", r"\pi r^2 t"]),
    "v_0 t": (["v_0t", "tv_0"], ["v_0"]),
    "v_0": (["v_0"], ["v_0 t"]),
    "a + c": (["c+a", "a+c"], ["a + d", "a", "c"]),
    "t + 3": (["3 + t"], ["3"]),
    "2ab": (["2ba", r"2a\cdot b"], ["2"]),
}
MAGNITUDES: Table = {
    "6": (
        [r"6\text{ apples}", r"0.5\text{ dozen}"],
        [r"6\text{ million}", r"6\text{ thousand}", r"6\text{ dozen}", r"6\text{ hundred}", r"6\text{k}", "6 million", r"6\text{ million dollars}"],
    ),
    "6000000": ([r"6\text{ million}", "6 million", r"6{,}000\text{ thousand}", r"\text{6 million}"], [r"6\text{ billion}", r"6\text{ thousand}"]),
    # The gold answer names the unit.
    r"6\text{ million}": (["6", "6 million", "6000000", r"6\times10^6", r"6000\text{ thousand}"], [r"6\text{ billion}", "6000", "7"]),
    "72": ([r"6\text{ dozen}", r"6\text{ dozens of eggs}"], ["6"]),
}  # fmt: skip
RATIOS: Table = {
    "1:2:3": (["1:2:3", "2:4:6", r"\frac12:1:\frac32", "1 : 2 : 3", "a:b:c=1:2:3", "(1:2:3)"], ["4:8:3", "1:6", "1/6", "1/2/3", "3:2:1", "1:2", "0:0:0"]),
    "2:3": (["4:6", r"\frac23", "2/3", "a:b=2:3", "2{:}3"], ["3:2", "2,3", "2:3:1"]),
    r"\frac{2}{3}": (["2:3", "4:6"], ["3:2", "2:3:1"]),
    "0:1": (["0:2"], ["1:0", "0:0", "1:1"]),
    "0:0": (["0:0"], ["1:1"]),
    "1:x": (["2:2x"], ["x:1", "1:2x"]),
    "3:30": (["3:30", "03:30", r"3:30\text{ p.m.}", "3:30 PM"], ["1:10", "4:40", "6:60", "0.1", r"\frac{1}{10}", "7:00"]),
    "2:15": (["2:15", r"2:15\text{ p.m.}", r"\frac{2}{15}"], ["4:30"]),  # a ratio in lowest terms, or a time
    r"3:30\text{ p.m.}": (["3:30", r"\text{3:30 pm}"], [r"3:30\text{ a.m.}", "1:10", r"\frac{1}{10}"]),
    "6": ([], ["12:2:1", "6:00"]),
}  # fmt: skip
WORDS: Table = {
    "BCDA": (["BCDA", r"\text{BCDA}"], ["ABCD", "DCBA", r"\text{ABCD}"]),
    r"\text{BCDA}": (["BCDA"], ["ABCD"]),
    "even": (["Even", r"\text{even}"], ["neve", "odd"]),
    "no": (["No"], ["on"]),
    "ab": (["ba", r"a\cdot b", "a b"], ["a", "a+b"]),
    "xyz": (["zyx"], ["xy"]),
    r"\text{A and C}": (["A and C", r"A\text{ and }C"], ["A and B", "A"]),
    r"\text{June 20}": (["June 20", r"\text{June }20", "june 20."], ["June 21", "June", "20"]),
    r"\text{no solution}": (["No solution"], ["solution", "no"]),
}
NAMES: Table = {
    "x=2,y=3": (["2,3", "(2,3)", "x=2,y=3", "y=3,x=2", r"x=2\text{ and }y=3"], ["3,2", "(3,2)", r"\{3,2\}", "[2,3]", "2,3,4", "x=3,y=2", "2"]),
    "a=1,b=2,c=3": (["1,2,3", "c=3,b=2,a=1"], ["3,2,1", "1,3,2"]),
    "x=1,x=2": (["1,2", "2,1", r"\{2,1\}"], ["1", "1,3"]),
    "x=2,y=2": (["2,2"], ["2,3"]),
}  # fmt: skip
OTHERS: Table = {
    "6": ([], [r"6,\ldots", "6, ...", r"\{6,\ldots\}", "6…", r"\le 6", "<6", r"\ge 6", "~6"]),
    r"\{1,6\}": ([], [r"\{1,\ldots,6\}"]),
    r"x\le 6": ([r"6\ge x"], [r"\le 6"]),
    "55": ([r"1+2+\cdots+10=55"], [r"55\ldots"]),
    "5": ([r"5~\text{cm}", "5~cm", "5~"], ["1~5"]),
    r"\frac12": ([r"\sin 30^\circ", r"\cos(60^\circ)", r"\sin\left(30^\circ\right)", r"\sin{30°}"], [r"\sin 30", r"\sin 60^\circ", r"\cos 30^\circ"]),
    r"\sin 20^\circ": ([r"\cos 70^\circ", r"\sin(20^\circ)"], [r"\sin 20", r"\cos 20^\circ"]),
    r"\frac14": ([r"\sin^2 30^\circ", r"\sin^{2}(30^\circ)", r"(\sin 30^\circ)^2"], [r"\sin^2 60^\circ"]),
    "30": (["30°", r"30\degree"], ["31°"]),
    r"0.3\overline{6}": ([r"\frac{11}{30}", r"0.3\bar{6}", r"0.3\overline{66}"], ["0.3", "0.36", "0.366", "0.6", r"0.\overline{36}", r"0.3\overline{6}1"]),
    r"\frac13": ([r"0.\overline{3}", r"0.\overline 3", r".\dot{3}", r"33.\overline{3}\%"], [r"0.\overline{33}1", r"0.\overline{2}"]),
    r"\frac43": ([r"1.\overline{3}"], [r"1 0.\overline{3}"]),
    r"\emptyset": ([r"\varnothing", r"\{\}"], ["0", r"\{0\}"]),
    "1000": ([r"\text{1,000}", r"\mathbf{1,000}"], [r"\text{1,00}", r"\text{1,001}"]),
    r"\text{1,000}": (["1000", "1,000"], ["1"]),
    r"\text{5-7}": (["5-7"], ["-2"]),  # a score or a range
}  # fmt: skip


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1) as grader:
        yield grader


@pytest.mark.parametrize(
    "table",
    [ARGUMENTS, LETTERS, MAGNITUDES, RATIOS, WORDS, NAMES, OTHERS],
    ids=["arguments", "letters", "magnitudes", "ratios", "words", "names", "others"],
)
def test_forms(grader, table):
    rows = [(gold, answer, i == 0) for gold, sides in table.items() for i, side in enumerate(sides) for answer in side]
    rows += [(gold, gold, True) for gold in table]
    passed = grader.grade([problem(gold) for gold, _, _ in rows], [boxed(answer) for _, answer, _ in rows])
    assert [row for row, correct in zip(rows, passed, strict=True) if correct != row[2]] == []


def test_unlike_parts_give_unlike_ratios(grader):
    """Against the definition: up to a factor for ratios of three parts, and part by part for times of day."""
    ratios = [(a, b, c) for a in (1, 2, 4) for b in (1, 2, 6) for c in (1, 3)]
    pairs = [(one, other) for one in ratios for other in ratios]
    passed = grader.grade([problem("{}:{}:{}".format(*one)) for one, _ in pairs], [boxed("{}:{}:{}".format(*other)) for _, other in pairs])
    assert passed == [len({Fraction(x, y) for x, y in zip(one, other, strict=True)}) == 1 for one, other in pairs]
    times = [(hours, minutes) for hours in (1, 2, 4, 12) for minutes in (0, 10, 20, 40)]
    clocks = [(one, other) for one in times for other in times]
    passed = grader.grade([problem(f"{h}:{m:02}") for (h, m), _ in clocks], [boxed(f"{h}:{m:02}") for _, (h, m) in clocks])
    assert passed == [one == other for one, other in clocks]


@given(st.integers(0, 999), st.text("0123456789", max_size=6), st.text("0123456789", min_size=1, max_size=6))
def test_repeating_decimals_are_their_fractions(whole, fixed, repeated):
    text = with_fractions(rf"-{whole}.{fixed}\overline{{{repeated}}}x")
    assert text.startswith("-\\frac{") and text.endswith("}x")
    numerator, denominator = text.removeprefix("-\\frac{").removesuffix("}x").split("}{")
    # The decimal, written out to 60 places.
    written = Fraction(f"{whole}.{fixed}{repeated * 60}"[: len(str(whole)) + 61])
    assert 0 <= Fraction(int(numerator), int(denominator)) - written < Fraction(1, 10**59)


@given(
    st.integers(-720, 720), st.sampled_from(["sin", "cos"]), st.sampled_from([r"\{} {}^\circ", r"\{}({}^{{\circ}})", r"\{}{{{}^\circ}}"])
)
@settings(max_examples=20, deadline=None)
def test_sines_of_degrees_are_their_values(grader, degrees, name, form):
    number = getattr(math, name)(math.radians(degrees))
    answer = boxed(form.format(name, degrees))
    assert grader.grade([problem(f"{number + shift:.9f}") for shift in (0, 0.01)], [answer] * 2) == [True, False]


LONG = [r"\frac " * 160, r"\frac1" * 160, r"\frac{" * 160, r"\frac{1}" * 120, "1 million " * 99, "1," * 490 + " million", "0." * 490]
LONG += [r"0.\overline{" * 80, "1 " * 490, "(" * 990, "{" * 990, r"\text{" * 160, r"\sin" * 240, r"\sin^{2}(" * 100, "1:" * 490, "~" * 990]
LONG += [r"\ " * 490, "9" * 990, "1(" * 490, " " * 990, "a " * 490, "1 dozen" + " dozen" * 160]


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:9])
def test_respelling_takes_bounded_time(text):
    began = time.process_time()
    with_magnitudes(with_fractions(respelled(text)))
    plain(text)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("gold", "answer", "correct"),
    [
        ("$5", "$5", True),
        ("5$", "5$", True),
        ("$5$", "5", True),
        (r"\text{B}", r"\text{B}", True),
        (r"\text{B}", "B", True),
        (r"\mathrm{B}", r"$\textbf{B}$", True),
        (r"\text{A} or \text{B}", r"\text{A} or \text{B}", True),
        (r"\text{B}", "C", False),
        ("$5", "6", False),
        ("$", "$$", False),  # nothing is left of either
        (r"\text{B}", r"\text{}", False),
    ],
)
def test_exact_match_reads_both_sides_alike(gold, answer, correct):
    assert exact_match(gold, answer) is correct


@given(st.text(alphabet="AB$ {}\\text0", min_size=1, max_size=12))
def test_every_answer_matches_itself_exactly(text):
    assert exact_match(text, text)
