"""Sizes of the models of a scale, those that are not made yet among them."""

from pathlib import Path

from paced_exp.models.lab_checkpoints import ADAPTERS
from paced_exp.models.shapes import PUBLISHED, Shape
from paced_exp.models.shapes import shape_of as known_shape

# Of models before they are made, by the recipes of paced_exp.lab.recipes; a test compares. SmolLM2-135M-Instruct with an adapter merged into
# it keeps its shape. Of all others, the gpu scale's (runs/gpu.sh).
_PLANNED = {
    "runs/lab/student-concise/checkpoint": Shape(128, 4, 4, 4, 32, 384, 543, tied=True, qk_norm=True),
    "runs/lab/student-0.1m/checkpoint": Shape(48, 2, 2, 2, 32, 144, 543, tied=True, qk_norm=True),
    "runs/lab/student-5m/checkpoint": Shape(256, 6, 8, 8, 32, 768, 543, tied=True, qk_norm=True),
    **dict.fromkeys(ADAPTERS, Shape(576, 30, 9, 3, 64, 1536, 49_152, tied=True)),
}
_PLANNED_GPU = Shape(512, 8, 16, 16, 32, 1536, 543, tied=True, qk_norm=True)


def shape_of(model: str) -> Shape:
    """The shape of a model: as `paced_exp.models.shapes` has it, or, for one that is not made yet, planned."""
    known = model in PUBLISHED or model.startswith("lab:") or (Path(model) / "config.json").exists()
    return known_shape(model) if known else _PLANNED.get(model, _PLANNED_GPU)
