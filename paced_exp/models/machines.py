"""Machines of accelerators by name, and what a run needs of one: memory on each device, hours, and whether it fits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from paced_exp.core.errors import UserError

# What is reached of a device's peak: of its products, and of its memory's rate in decoding; and the share of its memory that a run may fill.
# Assumptions, and printed as such.
PRODUCTS, READING, USABLE = 0.4, 0.6, 0.9


@dataclass(frozen=True)
class Machine:
    """Devices of one kind. memory: bytes of each; products: dense 16-bit floating-point operations a second of each; reading: bytes a second."""

    name: str
    devices: int
    memory: float
    products: float
    reading: float


# GB, TFLOP/s (16 bits, dense) and TB/s, from the makers' data sheets.
_KNOWN = {
    "4090": (24, 165, 1.01),
    "l40s": (48, 362, 0.86),
    "a100-40gb": (40, 312, 1.56),
    "a100": (80, 312, 2.04),
    "h100": (80, 989, 3.35),
    "h200": (141, 989, 4.8),
    "b200": (180, 2250, 8.0),
}


def machine_named(name: str) -> Machine:
    """`h100` or `8xh100`. Raises `UserError` for any other."""
    found = re.fullmatch(r"(?:([1-9]\d{0,3})x)?([\w-]+)", name.lower())
    if found is None or found[2] not in _KNOWN:
        raise UserError(f"`dry_run` {name} is not known; known: {', '.join(_KNOWN)}, and several as 8xh100")
    memory, products, reading = _KNOWN[found[2]]
    return Machine(name, int(found[1] or 1), memory * 1e9, products * 1e12, reading * 1e12)


@dataclass(frozen=True)
class SamplingLoad:
    """Responses to sample: `rollouts` of at most `longest` tokens behind prompts of `prompt` tokens on average, by a model of `parameters`.

    parameters: those a token is multiplied with. weights: bytes of the model. cache: bytes of keys and values of one token. devices: that hold
    one copy of the model. copies: of the model, at work at once. rows: at most that many responses at once in a copy; None for as many as fit.
    """

    rollouts: float
    prompt: float
    longest: int
    parameters: int
    weights: float
    cache: float
    devices: int = 1
    copies: int = 1
    rows: int | None = None

    def live(self, machine: Machine) -> int:
        """How many responses of full length fit beside the weights; 0 if none."""
        free = USABLE * machine.memory * self.devices - self.weights
        fitting = max(0, int(free / (self.cache * (self.prompt + self.longest))))
        return fitting if self.rows is None else min(fitting, self.rows)

    def hours(self, machine: Machine) -> float:
        """At most: every response has its full length. A step of decoding takes its products or its reading, whichever is longer."""
        rows = max(1, min(self.live(machine), int(self.rollouts / self.copies) or 1))
        products, reading = PRODUCTS * machine.products * self.devices, READING * machine.reading * self.devices
        held = rows * (self.prompt + self.longest / 2) * self.cache
        step = max(2 * self.parameters * rows / products, (self.weights + held) / reading)
        prompts = 2 * self.parameters * self.prompt * self.rollouts / products
        return (self.rollouts * self.longest / rows * step + prompts) / self.copies / 3600


@dataclass(frozen=True)
class Needs:
    """What a run needs. lines: of what it is about. memory: (of what, bytes on each device) at the moment that needs most. hours: (of what, hours).

    longest: tokens of a response, for the words. fix: what helps where memory does not suffice.
    """

    machine: Machine
    lines: Sequence[str]
    memory: Sequence[tuple[str, float]]
    hours: Sequence[tuple[str, float]]
    longest: int
    fix: str

    def text(self) -> str:
        """Memory and hours as lines. Raises `UserError` where the memory does not suffice, with the largest parts and what helps."""
        machine, needed = self.machine, sum(size for _, size in self.memory)
        usable = USABLE * machine.memory
        if needed > usable:
            parts = sorted(self.memory, key=lambda part: -part[1])[:3]
            named = ", ".join(f"{words} {size / 1e9:.1f} GB" for words, size in parts)
            raise UserError(
                f"`dry_run` {machine.name}: the run needs {needed / 1e9:.1f} GB on each device ({named}), which may fill {usable / 1e9:.1f} of its "
                f"{machine.memory / 1e9:.0f} GB; {self.fix}"
            )
        total = sum(hours for _, hours in self.hours)
        devices = f"; {total * machine.devices:.1f} device hours" if machine.devices > 1 else ""
        return "\n".join(
            [
                *self.lines,
                f"memory of each of {machine.devices} devices, {machine.memory / 1e9:.0f} GB ({machine.name}):",
                *(f"  {words:<58} {size / 1e9:8.1f} GB" for words, size in self.memory),
                f"  {'together':<58} {needed / 1e9:8.1f} GB: fits",
                f"hours at most, every response having {self.longest:,} tokens:",
                *(f"  {words:<58} {hours:8.2f} h" for words, hours in self.hours),
                f"  {'together':<58} {total:8.2f} h{devices}",
                f"assumed: {PRODUCTS:.0%} of the peak in products, {READING:.0%} in reading, {USABLE:.0%} of the memory; nothing was run",
            ]
        )
