"""Progress bars with a rate and an ETA, on stderr, so that stdout holds results only."""

import sys
import warnings
from typing import Any

from tqdm import TqdmWarning

with warnings.catch_warnings():
    # In a notebook without ipywidgets it asks for them; the bar of text that it gives instead will do.
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

_BURST = 0.05  # updates that follow the first one within this share of the time it took belong to it: one batch, finished at once


class Bar(tqdm):  # type: ignore[type-arg, misc, unused-ignore]
    """A tqdm bar whose rate and ETA are means over what was done after the first update, and unknown until that is as long again.

    The first item takes other than its share of time: it compiles, maps memory, fills a batch. An ETA from it alone is off by any factor.
    The last update is left out too: it may be the first of many that arrive together, at the end of the time that they all took.
    """

    _first: tuple[float, float] | None = None  # time and count at the first update, at the last one, and at that before
    _last = _before = (0.0, 0.0)
    _tokens = 0

    def update(self, n: float | None = 1) -> bool | None:
        """Add `n`; with 0 only the clock goes on."""
        now, count = self._time(), self.n + (n or 0)
        if n and (self._first is None or now - self._first[0] <= _BURST * (self._first[0] - self.start_t)):
            self._first = (now if self._first is None else self._first[0]), count
        if n:
            self._last, self._before = (now, count), self._last
        shown: bool | None = super().update(n)
        return shown

    def watch(self, finished: int, tokens: int) -> None:
        """Add finished rollouts, and tokens sampled meanwhile, which are shown beside the count."""
        self._tokens += tokens
        self.update(finished)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm prints, with this class's rate (0 is printed as unknown)."""
        known: dict[str, Any] = super().format_dict
        done = self.n - self.initial
        rate = 0.0
        if known["elapsed"] and done and self.n == self.total:
            rate = done / known["elapsed"]
        elif self._first is not None:
            began, count = self._first
            until, reached = self._before
            if until - began >= began - self.start_t:
                rate = (reached - count) / max(until - began, 1e-9)
        postfix = ", ".join(text for text in (known["postfix"], f"{self._tokens} tokens" if self._tokens else "") if text)
        return {**known, "rate": rate, "postfix": postfix or None}


def progress(total: int | None, unit: str, description: str, initial: int = 0) -> Bar:
    """A bar: description, share done, count, rate in `unit`/s, ETA; a widget in a notebook that has ipywidgets.

    Off a terminal it prints a line every ten seconds. A notebook redraws the line as a terminal does, though it is none.
    """
    terminal = sys.stderr.isatty()
    redrawn = terminal or "ipykernel" in sys.modules
    return Bar(
        total=total,
        unit=f" {unit}",
        desc=description,
        initial=initial,
        file=sys.stderr,
        mininterval=0.2 if redrawn else 10,
        miniters=0,  # print by the clock alone: also while nothing has finished
        dynamic_ncols=terminal,
        leave=True,
    )
