"""How a model is compressed, by name. Without torch, so that a bad name is refused at once."""

from dataclasses import dataclass

from paced_exp.core.errors import UserError


@dataclass(frozen=True)
class Method:
    """A way to compress a matrix: prune (None, `2:4` or the share set to zero), then round to `bits` (None for bfloat16)."""

    name: str
    prune: str | float | None = None
    bits: int | None = None


def parse_method(text: str) -> Method:
    """Parse `bf16`, `int8`, `int4`, `2:4`, `magnitude:SHARE`, or a pruning and a number format joined by +, such as `2:4+int8`.

    >>> parse_method("magnitude:0.5+int4")
    Method(name='magnitude:0.5+int4', prune=0.5, bits=4)

    Raises `UserError` for anything else.
    """
    prune: str | float | None = None
    bits: int | None = None
    seen: list[str] = []
    for part in text.split("+"):
        kind, _, number = part.partition(":")
        if part in ("bf16", "int8", "int4"):
            seen.append("format")
            bits = {"bf16": None, "int8": 8, "int4": 4}[part]
        elif part == "2:4":
            seen.append("pruning")
            prune = part
        elif kind == "magnitude":
            seen.append("pruning")
            prune = _share(number, text)
        else:
            raise UserError(
                f"`methods`: {text!r} is not known; known: bf16, int8, int4, 2:4, magnitude:SHARE, and a pruning with a format, as 2:4+int8"
            )
    if len(set(seen)) < len(seen):
        raise UserError(
            f"`methods`: {text!r} names two of one kind; join one pruning (2:4, magnitude:SHARE) and one format (bf16, int8, int4)"
        )
    return Method(text, prune, bits)


def _share(number: str, text: str) -> float:
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise UserError(f"`methods`: the share of {text!r} must be above 0 and below 1, as in magnitude:0.5")
    return share
