"""Sizes of the models of a scale, those that are not made yet among them."""

from pathlib import Path

from paced_exp.models.shapes import PUBLISHED, Shape
from paced_exp.models.shapes import shape_of as known_shape

# Of the gpu scale's models before they are pretrained (runs/gpu.sh), by the recipe of paced_exp.lab.recipes; a test compares.
_PLANNED = Shape(512, 8, 16, 16, 32, 1536, 543, tied=True, qk_norm=True)


def shape_of(model: str) -> Shape:
    """The shape of a model: as `paced_exp.models.shapes` has it, or, for a folder not made yet, planned."""
    known = model in PUBLISHED or model.startswith("lab:") or (Path(model) / "config.json").exists()
    return known_shape(model) if known else _PLANNED
