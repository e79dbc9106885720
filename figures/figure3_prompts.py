"""Figure 3: what student and teacher read of the same problem, from the real templates and the lab student's own chat template.

python -m figures.figure3_prompts [--out figures/out]
"""

import textwrap
from pathlib import Path
from typing import Any

from figures.command import run
from paced_exp.data.problem import Problem
from paced_exp.data.prompts import PromptKind, user_message
from paced_exp.data.sources import load_problems
from paced_exp.models.lab_checkpoints import checkpoint_path
from paced_exp.plotting.style import COLORS, new_figure, save_figure

NAME = "figure3_prompts"
PANELS: tuple[tuple[PromptKind, str, str], ...] = (
    ("plain", "student", "blue"),
    ("privileged", "teacher, with the expert solution", "orange"),
    ("concise", "teacher, asked to be concise", "green"),
)
WIDTH = 38
CAPTION = """
What the models read of one problem of the lab: the student (left); the teacher that sees the expert solution (middle); and the teacher of concise
self-distillation (right). Below the line, the response: the very same token ids are appended to every prompt, never re-tokenised text. The texts
come from paced_exp.prompts and the lab student's chat template.
"""


def rendered(problem: Problem, kind: PromptKind) -> str:
    """The prompt as text under the lab student's chat template."""
    import jinja2

    template = (checkpoint_path("student") / "chat_template.jinja").read_text()
    messages = [{"role": "user", "content": user_message(problem, kind)}]
    return jinja2.Template(template).render(messages=messages, add_generation_prompt=True)


def example() -> Problem:
    """The first training problem of the lab."""
    return load_problems("lab:train", limit=1)[0]


def _wrapped(text: str) -> str:
    return "\n".join(part for line in text.split("\n") for part in (textwrap.wrap(line, WIDTH) or [""]))


def draw_prompt(axis: Any, problem: Problem, kind: PromptKind, title: str, color: str) -> None:
    """A prompt, a line, and the response behind it."""
    axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    axis.grid(visible=False)
    axis.set_title(title, loc="left", color=COLORS[color])
    mono = {"fontfamily": "DejaVu Sans Mono", "fontsize": 6, "va": "top"}
    axis.text(0.03, 0.95, _wrapped(rendered(problem, kind)), **mono)
    axis.axhline(0.3, color=COLORS[color], lw=1)
    axis.text(0.03, 0.25, _wrapped(f"{problem.solution}<|end|>"), color=COLORS["grey"], **mono)


def draw(out: Path) -> list[Path]:
    """Draw the three prompts into out/."""
    problem = example()
    figure, axes = new_figure("double", 1.9, ncols=3)
    for axis, (kind, title, color) in zip(axes, PANELS, strict=True):
        draw_prompt(axis, problem, kind, title, color)
    return save_figure(figure, NAME, out, caption=CAPTION)


if __name__ == "__main__":
    run(draw, __doc__)
