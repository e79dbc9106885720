"""What a scale is: which models, problems and budget the grids run with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MOST_SEEDS = 20  # of a row that are read; a record of a later seed is not


@dataclass(frozen=True)
class Setup:
    """A student with its teacher, and the budget chosen on its unweighted baseline.

    teacher: a model, or `self`. updates: of the optimiser. learning_rate: its peak; where the scale's rates are selected, the first tried.
    options: of `DistillConfig`, where the setup needs others than its scale.
    """

    student: str
    teacher: str
    updates: int
    learning_rate: float
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProbeVariant:
    """An SNR probe of a scale.

    key: folder of its record under results/SCALE. words: what is probed, for pages. options: of `ProbeConfig`. setup: of the scale, whose
    models and training it has. kernels: the ending of the names of the measured kernels that it gives, `aligned` and `fitted`; None gives none.
    """

    key: str
    words: str
    options: dict[str, Any]
    setup: str = "distillation"
    kernels: str | None = None


Side = Literal["beyond", "mastered"]


@dataclass(frozen=True)
class ChosenPools:
    """Pools most of whose problems are never or always solved: `beyond` reach, and `mastered` (chosen_pools.py).

    source: of the problems that are drawn and rolled out by the untrained student of the setup `distillation`; drawn: how many; K: rollouts of
    each. seed: of problems and rollouts, which nothing else uses. size: problems in a pool. share: of them at k = 0, or at k = K.
    """

    source: str
    drawn: int
    size: int
    K: int = 10
    seed: int = 95
    share: float = 0.8

    def words(self, side: Side) -> str:
        """A pool in words, all that decides it included: what stands in the options of its cells in the place of a source."""
        at = "0" if side == "beyond" else f"{self.K}"
        return f"{self.size} of {self.drawn} of {self.source}, {self.share:g} of them with k = {at} of {self.K} (seed {self.seed})"


@dataclass(frozen=True)
class Made:
    """How a model is made that a scale needs and that is not shipped. command: makes it. cost: how long that takes, in words."""

    command: str
    cost: str


@dataclass(frozen=True)
class Scale:
    """What turns a grid's row into a run.

    setups: by name: distillation, self-distillation, llama, concise. tiers: three evaluation sources, easiest first, with the paper's
    benchmark each stands for. seeds: of main tables, and of the others. shared: options of every run. prompt_tokens, response_tokens:
    typical lengths, for estimates alone. flops_per_second: of one device or CPU thread, (training, sampling), for estimates.
    protocol: 1 (docs/protocol.md) or 2 (docs/protocol-v2.md); its tables are run and printed. first_seed: of every row. curves: measured kernels by
    name, from the records of probes. many_samples: `evaluation` for tables that show pass@k. policy: options
    of every run of `paced_exp.teacher`. rows: of a scale that runs part of the tables alone, its rows by table. chosen: its pools chosen by pass
    rate. made: by name, the models that are made before its runs. models: them in words, for the head of a column. about: what its page says first.
    waiting: what its plan says of rows whose measured kernels are not there yet.
    probes: the SNR probes behind figure 2 and claim C1. robustness: those that ask whether the answer holds for another loss, response, part of
    the model or number of rollouts; no claim rests on them. alignment: those against accuracy, which give measured kernels.
    device: cpu (one thread a cell) or cuda. selected: whether records under results/NAME/selection decide the rates (learning_rates.py).
    """

    name: str
    setups: dict[str, Setup]
    problems: str
    limit: int
    tiers: tuple[str, str, str]
    retention: str
    evaluation: dict[str, Any]
    shared: dict[str, Any]
    seeds: tuple[int, int]
    prompt_tokens: int
    response_tokens: int
    flops_per_second: tuple[float, float]
    start_seconds: float
    probes: tuple[ProbeVariant, ...]
    device: str = "cpu"
    selected: bool = False
    notes: tuple[str, ...] = ()
    robustness: tuple[ProbeVariant, ...] = ()
    alignment: tuple[ProbeVariant, ...] = ()
    protocol: int = 2
    first_seed: int = 0
    curves: dict[str, str] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    many_samples: dict[str, int] = field(default_factory=lambda: {"samples": 32, "evaluate_limit": 230})
    rows: Mapping[str, tuple[str, ...]] | None = None
    chosen: ChosenPools | None = None
    made: Mapping[str, Made] = field(default_factory=dict)
    models: str = ""
    about: str = ""
    waiting: str = ""

    def seed_range(self, count: int) -> range:
        """The first `count` seeds."""
        return range(self.first_seed, self.first_seed + count)

    @property
    def sources(self) -> tuple[str, ...]:
        """All evaluation sources, the tiers and then retention."""
        return (*self.tiers, self.retention)


BENCHMARKS = ("MATH-500", "AIME 2024", "AIME 2025")  # what the three tiers stand for, in the paper's tables
