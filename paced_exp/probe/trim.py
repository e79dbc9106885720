"""A finished probe's estimates without the largest gradients of every bin: how much of its answer rests on a few problems.

    python -m paced_exp.probe.trim runs/verdict --share 0.01 --out results/desk/snr_robustness/trimmed

It changes the population (the problems left out are not random ones), so it is a check of robustness and no better estimate. Ours.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.config import read_yaml
from paced_exp.errors import UserError, exit_cleanly
from paced_exp.gradients import GradientSums
from paced_exp.json_files import write_checked
from paced_exp.probe.estimates import MINIMUM, BinData, curve_record, estimate_curve
from paced_exp.probe.stages import load_sums
from paced_exp.run_folder import provenance, read_json


def trimmed(sums: GradientSums, share: float) -> GradientSums:
    """The sums without the ceil(share n) gradients of largest norm.

    Their part of ||sum g||^2 is known from the sketches alone: the exact value of all is corrected by the difference of the sketched ones.
    """
    order = np.argsort(sums.norms_squared, kind="stable")
    kept = np.sort(order[: len(order) - int(np.ceil(share * len(order)))])
    sketches = sums.sketches[kept]
    change = float((sketches.sum(0, dtype=float) ** 2).sum() - (sums.sketches.sum(0, dtype=float) ** 2).sum())
    return GradientSums(sums.norms_squared[kept], sketches, sums.sum_norm_squared + change)


def largest_share(sums: GradientSums, share: float) -> float:
    """What part of sum ||g||^2 the ceil(share n) largest gradients hold."""
    ascending = np.sort(sums.norms_squared)
    return float(ascending[len(ascending) - int(np.ceil(share * len(ascending))) :].sum() / ascending.sum())


def trimmed_record(run: Path, share: float) -> dict[str, Any]:
    """The record of the trimmed estimates of the finished probe in `run`. Raises `UserError` where there is none."""
    if not 0 < share < 1:
        raise UserError(f"--share {share} must lie between 0 and 1")
    if not (run / "record.json").exists() or not (run / "gradients").is_dir():
        raise UserError(f"{run} is no folder of a finished probe at one update; name the --out of one")
    config, rows = read_yaml(run / "config.yaml"), read_json(run / "record.json")["bins"]
    sums = [found for path in sorted((run / "gradients").glob("bin-*.npz")) if len((found := load_sums(path)).norms_squared) >= MINIMUM]
    if [len(found.norms_squared) for found in sums] != [row["n"] for row in rows]:
        raise UserError(f"{run}: the gradients are not those of its record; run the probe again")
    data = [
        BinData(row["pass_rate"], row["posterior_pass_rate"], trimmed(found, share), row["offered"])
        for row, found in zip(rows, sums, strict=True)
    ]
    curve = estimate_curve(data, replicates=config["replicates"], seed=config["seed"])
    return {
        "kind": "snr_probe_trimmed",
        "config": config,
        "share": share,
        "largest_share": [largest_share(found, share) for found in sums],
        **curve_record(curve),
        "provenance": provenance(config["seed"]),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: estimate again, print both ends, write the record."""
    parser = argparse.ArgumentParser(prog="paced_exp.probe.trim", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished probe")
    parser.add_argument("--share", type=float, default=0.01, help="share of every bin's gradients that is left out (default 0.01)")
    parser.add_argument("--out", type=Path, required=True, help="folder for record.json")
    arguments = parser.parse_args(argv)
    record = trimmed_record(arguments.run, arguments.share)
    write_checked(arguments.out / "record.json", record)
    for row, held in zip(record["bins"], record["largest_share"], strict=True):
        print(
            f"p = {row['pass_rate']:.2f}: {row['n']} gradients, SNR^2 {row['snr_squared']:.5f}; those left out held {held:.1%} of the squared norm"
        )
    for end in ("low", "high"):
        print(record["verdict"][end]["words"])
    print(arguments.out / "record.json")


if __name__ == "__main__":
    exit_cleanly(main)
