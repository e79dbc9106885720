"""How far a picture drawn on another processor may lie from the one in figures/out.

With the locked versions the same commit draws the same picture everywhere, up to the last bit of the numbers behind it: that moves a
coordinate by 1e-13 or so, which flips the rounding of a few antialiased pixels (five pixels of theory_robustness.png by one level of 255)
and of a last digit in the SVG and the PDF. So pictures are compared as pixels of the PNG: the same size, and a root mean square of at most
`TOLERANCE` levels of 255 over all pixels and channels. A curve that moves by one pixel makes about 4, a changed word about 1. PDF, SVG and
caption are compared between runs on one machine only, where they are the same bytes.
"""

from pathlib import Path

import matplotlib.image
import numpy as np

#: Levels of 255.
TOLERANCE = 0.5


def picture_distance(left: Path, right: Path) -> float:
    """Root mean square difference of two PNG files in levels of 255; infinite for different sizes. OSError for a file that is no picture."""
    first, second = (np.asarray(matplotlib.image.imread(path), dtype=np.float64) for path in (left, right))
    if first.shape != second.shape:
        return float("inf")
    return 255 * float(np.sqrt(np.mean((first - second) ** 2)))
