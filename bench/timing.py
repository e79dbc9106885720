"""Comparing contenders on a machine that may be busy: in turns, piece by piece, by processor time."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


def interleaved(contenders: Mapping[str, Callable[[Any], object]], pieces: Sequence[Any]) -> dict[str, list[float]]:
    """Processor seconds of every contender on every piece, all contenders in turn on one piece before the next.

    Processor time does not count what other programs take, and turns of a second or less see the same clock rate and memory traffic. The
    order within a turn is reversed from piece to piece, so that no contender always finds the caches as the same other one left them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number, piece in enumerate(pieces):
        for name in list(contenders) if number % 2 == 0 else list(reversed(list(contenders))):
            began = time.process_time()
            contenders[name](piece)
            seconds[name].append(time.process_time() - began)
    return seconds


def ratios(seconds: dict[str, list[float]], base: str) -> dict[str, dict[str, float]]:
    """Each contender's cost relative to `base`: of the whole (`total`), and median and quartiles over the pieces (its spread)."""
    table = {}
    for name, values in seconds.items():
        by_piece = np.array(values) / np.array(seconds[base])
        low, median, high = np.quantile(by_piece, [0.25, 0.5, 0.75])
        table[name] = {
            "total": sum(values) / sum(seconds[base]),
            "median": float(median),
            "quartile_low": float(low),
            "quartile_high": float(high),
        }
    return table
