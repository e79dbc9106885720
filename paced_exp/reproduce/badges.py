"""The badges at the head of the README, one SVG: drawn from the records, the ledger and the package's own description, which the tests compare."""

import tomllib
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from paced_exp.reproduce.findings import Outcome, Together
from paced_theory.claims import counts_by_source

_PACKAGE = Path(__file__).resolve().parents[2] / "pyproject.toml"
_HEIGHT, _LETTER, _PAD, _GAP = 20, 6.4, 7, 6  # pixels
_DARK, _BLUE = "#444444", "#0072b2"
# In the order in which they are said; every other verdict is open.
_SAID: dict[Together, str] = {
    "replicates": "replicate",
    "smaller than reported": "smaller",
    "equivalent within 1 point": "equivalent",
    "mixed": "mixed",
    "contradicted": "contradicted",
}


def badges(found: Sequence[Outcome]) -> str:
    """The SVG: verdicts on the paper's claims (ours left out), its theoretical statements, the versions of Python, the licence."""
    project = tomllib.loads(_PACKAGE.read_text(encoding="utf-8"))["project"]
    theory = counts_by_source()["paper"]
    return _drawn(
        [
            ("claims", verdicts(found)),
            ("theory", f"{theory['holds']} of {theory.total()} statements hold"),
            ("python", project["requires-python"].removeprefix(">=") + " or newer"),
            ("license", project["license"]),
        ]
    )


def verdicts(found: Sequence[Outcome]) -> str:
    """How many of the paper's claims have each verdict, such as "4 replicate, 1 contradicted, 6 open"."""
    own = [outcome.verdict for outcome in found if outcome.primary and not outcome.claim.statement]
    counted = Counter(_SAID.get(verdict, "open") for verdict in own)
    return ", ".join(f"{counted[words]} {words}" for words in (*_SAID.values(), "open") if counted[words])


def _drawn(parts: Sequence[tuple[str, str]]) -> str:
    shapes, at = [], 0.0
    for label, text in parts:
        for words, color in ((label, _DARK), (text, _BLUE)):
            width = round(len(words) * _LETTER + 2 * _PAD, 1)
            shapes.append(
                f'<rect x="{at:.1f}" width="{width}" height="{_HEIGHT}" fill="{color}"/>'
                f'<text x="{at + _PAD:.1f}" y="14" textLength="{len(words) * _LETTER:.1f}">{escape(words)}</text>'
            )
            at += width
        at += _GAP
    title = escape("; ".join(f"{label}: {text}" for label, text in parts))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{at - _GAP:.0f}" height="{_HEIGHT}" role="img" aria-label="{title}">\n<title>{title}</title>\n'
        '<g fill="#ffffff" font-family="Verdana, DejaVu Sans, sans-serif" font-size="11">\n' + "\n".join(shapes) + "\n</g>\n</svg>\n"
    )
