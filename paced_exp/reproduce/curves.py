"""The measured kernels of a scale, from the records of its probes against accuracy.

`aligned`: what a step on a problem of each pass rate does to accuracy on other problems. `fitted`: the weight of most progress along the
pool's mean gradient for the noise it brings. Rows that weigh by one wait for the record.
"""

import dataclasses
from pathlib import Path

from paced_exp.reproduce.probes import ALIGNMENT, probes_of
from paced_exp.reproduce.scales import Scale


def with_curves(scale: Scale, results: Path) -> Scale:
    """The scale with its measured kernels, and what its plan says where some are not measured yet. Raises `UserError` for a damaged record."""
    found: dict[str, str] = {}
    waiting = []
    for probe, variant in zip(probes_of(scale, ALIGNMENT), scale.alignment, strict=True):
        if variant.kernels is None:
            continue
        record = probe.record(results)
        if record is None:
            waiting.append(probe)
            continue
        curves = {"aligned": record["accuracy"]["curve"], "fitted": record["gram"]["curve"]}
        found |= {f"{name}{variant.kernels}": curve for name, curve in curves.items() if curve}
    if waiting:
        keys = ", ".join(probe.key for probe in waiting)
        words = f"rows by measured kernels wait for the probe that measures them ({keys}): {waiting[0].command}"
        scale = dataclasses.replace(scale, waiting=words)
    return dataclasses.replace(scale, curves=found) if found else scale
