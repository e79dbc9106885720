"""Worked solutions of the lab's problems, written from reasoning-gym's metadata.

Each function of a family takes a reasoning-gym entry and returns the lines of work that lead to the answer. `worked` adds the boxed answer.
`concise` keeps the last lines of work only, for prompts that ask for a concise answer; `results` keeps all lines and of each only its result, which
a small model can follow. `digitwise` spells sums and products of long numbers out, one digit at a time. Lines are short, so that a 1 M-parameter
model learns them.
"""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

Entry = dict[str, Any]
Steps = Callable[[Entry], list[str]]


def worked(steps: Steps, entry: Entry) -> str:
    """The full worked solution: every line of work, then the boxed answer."""
    return "\n".join([*steps(entry), f"\\boxed{{{entry['answer']}}}"])


def concise(steps: Steps, entry: Entry) -> str:
    """The concise solution: the second half of the work (rounded up), then the boxed answer."""
    lines = steps(entry)
    return "\n".join([*lines[len(lines) // 2 :], f"\\boxed{{{entry['answer']}}}"])


def results(steps: Steps, entry: Entry) -> str:
    """The concise solution that skips no step: of every line of work what stands behind its last equals sign, then the boxed answer."""
    lines = [line.rsplit(" = ", 1)[-1] for line in steps(entry)]
    return "\n".join([*lines, f"\\boxed{{{entry['answer']}}}"])


# A line of work that is one sum, difference or product of whole numbers.
_OPERATION = re.compile(r"(?P<left>-?\d+) (?P<operator>[+*-]) (?P<right>-?\d+) = (?P<result>-?\d+)")


def digitwise(steps: Steps, entry: Entry) -> str:
    """The worked solution with its sums and products spelt out: `85 + 76 = 155 + 6 = 161` and `87 * 40 = 3200 + 280 = 3480`.

    A number is added digit by digit, from its first. A first factor of two digits is split into tens and units; a longer one stays as it is.
    """
    return "\n".join([*map(_digit_by_digit, steps(entry)), f"\\boxed{{{entry['answer']}}}"])


def _digit_by_digit(line: str) -> str:
    found = _OPERATION.fullmatch(line)
    if found is None:
        return line
    left, operator, right = int(found["left"]), found["operator"], int(found["right"])
    head = f"{found['left']} {operator} {found['right']}"
    if operator == "*":
        if not 10 <= left < 100 or right < 2 or left % 10 == 0:
            return line
        return f"{head} = {left // 10 * 10 * right} + {left % 10 * right} = {found['result']}"
    parts = _place_values(abs(right))
    if abs(left) < 10 or len(parts) < 2:
        return line
    down = (operator == "-") != (right < 0)
    total, between = left, ""
    for position, part in enumerate(parts[:-1], 1):
        total += -part if down else part
        between += f" = {total} {'-' if down else '+'} {sum(parts[position:])}"
    return f"{head}{between} = {found['result']}"


def _place_values(number: int) -> list[int]:
    """703 as [700, 3]."""
    digits = str(number)
    return [int(digit) * 10 ** (len(digits) - position) for position, digit in enumerate(digits, 1) if digit != "0"]


def direct(entry: Entry) -> list[str]:
    """No work: the answer follows directly from the prompt."""
    return []


def _running_totals(tokens: list[str], value: Callable[[str], Any]) -> list[str]:
    """The lines `a + b = s` and `s - c = t` for `a + b - c`. They are exact, since `value` is int or Decimal."""
    total, lines = value(tokens[0]), []
    for operator, term in zip(tokens[1::2], tokens[2::2], strict=True):
        result = total + value(term) if operator == "+" else total - value(term)
        lines.append(f"{total} {operator} {term} = {result}")
        total = result
    return lines


def chain_sum(entry: Entry) -> list[str]:
    """One addition or subtraction a line, from left to right."""
    return _running_totals(entry["metadata"]["expression"].split(), int)


def decimal_chain_sum(entry: Entry) -> list[str]:
    """One addition or subtraction of exact decimals a line, from left to right."""
    return _running_totals(entry["metadata"]["expression"].split(), Decimal)


def _multiply(left: int, right: int) -> list[str]:
    """The lines of one product. If both factors have several digits, the partial products by the right factor's digits are added."""
    if right < 10 or left < 10:
        return [f"{left} * {right} = {left * right}"]
    parts = _place_values(right)
    lines = [f"{left} * {part} = {left * part}" for part in parts]
    if len(parts) > 1:
        lines += _running_totals(" + ".join(str(left * part) for part in parts).split(), int)
    return lines


def products(entry: Entry) -> list[str]:
    """One product after the other, from left to right (`_multiply`)."""
    numbers = [int(number) for number in entry["metadata"]["expression"].split(" * ")]
    total, lines = numbers[0], []
    for number in numbers[1:]:
        lines += _multiply(total, number)
        total *= number
    return lines


def _euclid(a: int, b: int) -> list[str]:
    """Euclid's algorithm from the larger number: lines like `48 = 2 * 18 + 12`, until the remainder is 0."""
    a, b = max(a, b), min(a, b)
    lines = []
    while b:
        lines.append(f"{a} = {a // b} * {b} + {a % b}")
        a, b = b, a % b
    return lines


def gcd(entry: Entry) -> list[str]:
    """Euclid's algorithm on the two numbers."""
    first, second = entry["metadata"]["numbers"]
    return _euclid(first, second)


def fraction_simplification(entry: Entry) -> list[str]:
    """Euclid's algorithm on numerator and denominator; then both are divided by their greatest common divisor."""
    numerator, denominator = entry["metadata"]["numerator"], entry["metadata"]["denominator"]
    divisor = math.gcd(numerator, denominator)
    lines = _euclid(numerator, denominator)
    if divisor > 1:
        lines += [f"{numerator} / {divisor} = {numerator // divisor}", f"{denominator} / {divisor} = {denominator // divisor}"]
    return lines


def simple_equations(entry: Entry) -> list[str]:
    """Isolate the term with the unknown, then divide by its coefficient.

    reasoning-gym writes a*x = c, a*x + b = c, a*x - b = c or b - a*x = c, with `a*` left out when a = 1 and `-x` for a = -1.
    """
    x = entry["metadata"]["variable"]
    left, right = entry["metadata"]["equation"].split(" = ")
    terms, value = left.split(), int(right)
    position = next(i for i, term in enumerate(terms) if term.endswith(x))
    unknown = terms[position]
    lines = []
    if len(terms) == 3:
        constant = int(terms[2 - position])
        if position == 2 and terms[1] == "-":  # b - a*x = c  ->  a*x = b - c
            lines.append(
                f"{unknown} = {constant} - {value} = {constant - value}"
                if value >= 0
                else f"{unknown} = {constant} + {-value} = {constant - value}"
            )
            value = constant - value
        else:
            sign, back = ("+", "-") if terms[1] == "+" else ("-", "+")
            result = value - constant if sign == "+" else value + constant
            lines.append(f"{unknown} = {value} {back} {constant} = {result}")
            value = result
    coefficient = unknown.removesuffix(x).removesuffix("*")
    if coefficient:
        lines.append(f"{x} = {value} / {'-1' if coefficient == '-' else coefficient} = {entry['answer']}")
    return lines
