"""Progress bars with a rate and an ETA. They are on stderr, so that stdout only has results."""

import sys
from typing import Any

from tqdm.auto import tqdm

_BURST = 0.05  # updates within this share of the first one's time after it count as part of it: one batch that finishes at once


class Bar(tqdm):  # type: ignore[type-arg, misc, unused-ignore]
    """A tqdm bar whose rate and ETA leave out the first and the last update. They are unknown until the rest took as long as the first.

    The first item takes longer or shorter than others: code is compiled, memory is mapped, a batch is filled. The last update may be the first of
    many that finish together, after a time that all of them took.
    """

    _first: tuple[float, float] | None = None  # time and count at the first update, at the last one, and at the one before that
    _last = _before = (0.0, 0.0)
    _tokens = 0

    def update(self, n: float | None = 1) -> bool | None:
        """Add `n`. With 0 only the shown time changes."""
        now, count = self._time(), self.n + (n or 0)
        if n and (self._first is None or now - self._first[0] <= _BURST * (self._first[0] - self.start_t)):
            self._first = (now if self._first is None else self._first[0]), count
        if n:
            self._last, self._before = (now, count), self._last
        shown: bool | None = super().update(n)
        return shown

    def watch(self, finished: int, tokens: int) -> None:
        """Add finished rollouts, and sampled tokens, which are shown beside the count."""
        self._tokens += tokens
        self.update(finished)

    @property
    def format_dict(self) -> dict[str, Any]:
        """The values that tqdm prints, with this class's rate (0 is printed as unknown)."""
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
    """A bar with description, share done, count, rate in `unit`/s and ETA. In a notebook with ipywidgets it is a widget.

    Terminals and notebooks redraw the line. Elsewhere, such as in a log file, a new line is printed every ten seconds.
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
        miniters=0,  # print by the clock, even if nothing has finished
        dynamic_ncols=terminal,
        leave=True,
    )
