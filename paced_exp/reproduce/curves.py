"""The measured kernels of a scale, from the record of its first probe against accuracy.

`aligned`: what a step on a problem of each pass rate does to accuracy on other problems. `fitted`: the weight of most progress along the
pool's mean gradient for the noise it brings. Rows that weigh by one wait for the record.
"""

import dataclasses
from pathlib import Path

from paced_exp.reproduce.probes import ALIGNMENT, probes_of
from paced_exp.reproduce.scales import Scale


def with_curves(scale: Scale, results: Path) -> Scale:
    """The scale with its measured kernels, and a note where it has none yet. Raises `UserError` for a damaged record."""
    probes = probes_of(scale, ALIGNMENT)
    if not probes:
        return scale
    record = probes[0].record(results)
    if record is None:
        note = f"rows by measured kernels wait for the probe that measures them: {probes[0].command}"
        return dataclasses.replace(scale, notes=(*scale.notes, note))
    found = {"aligned": record["accuracy"]["curve"], "fitted": record["gram"]["curve"]}
    return dataclasses.replace(scale, curves={name: curve for name, curve in found.items() if curve})
