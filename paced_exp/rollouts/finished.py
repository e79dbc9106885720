"""The end of a run of rollouts: its tables and its record, from the stores with all rollouts."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from paced_exp.core import config as configs
from paced_exp.core.run_folder import provenance
from paced_exp.data.problem import Problem
from paced_exp.data.problem_tables import STOPPING_KEY
from paced_exp.data.prompt_hashes import hashes_of, with_hashes
from paced_exp.rollouts.config import KIND, RolloutConfig
from paced_exp.rollouts.pass_rates import FINGERPRINT_KEY, Fingerprint, pass_rates, warn_of_truncation, with_weights, write_pass_rates
from paced_exp.rollouts.stopping import Stopping
from paced_exp.rollouts.store import ChunkStore, write_stores
from paced_exp.rollouts.summary import summary


@dataclass(frozen=True)
class Finished:
    """All rollouts of `problems`, in `stores`. stopping: the rule by which they were stopped early; None for K of each."""

    config: RolloutConfig
    problems: Sequence[Problem]
    stores: Sequence[ChunkStore]
    fingerprint: Fingerprint
    stopping: Stopping | None
    skipped_long: int

    def write(self, folder: Path, session: dict[str, Any]) -> dict[str, Any]:
        """Write rollouts.parquet and pass_rates.parquet into `folder`. Returns the record. session: what this session made, for the record."""
        order = [problem.id for problem in self.problems]
        outcomes = pd.concat([store.outcomes() for store in self.stores], ignore_index=True)
        rates = pass_rates(outcomes).set_index("problem_id").loc[order].reset_index()
        k, K = rates["k"].to_numpy(), rates["K"].to_numpy()
        metadata = {FINGERPRINT_KEY: json.dumps(asdict(self.fingerprint), sort_keys=True)}
        adaptive: dict[str, Any] = {}
        if self.stopping is not None:
            adaptive = {"adaptive": self.stopping.record(K)}
            metadata[STOPPING_KEY] = json.dumps(adaptive["adaptive"], sort_keys=True)
            rates = rates.assign(unbiased=self.stopping.rates(k, K))
        write_stores(folder / "rollouts.parquet", self.stores, order, metadata)
        weighed = with_hashes(with_weights(rates, stopped=self.stopping is not None), hashes_of(self.problems))
        write_pass_rates(folder / "pass_rates.parquet", weighed, self.fingerprint, metadata.get(STOPPING_KEY))
        warn_of_truncation(rates, self.config.max_new_tokens)
        return {
            "kind": KIND,
            "config": configs.as_dict(self.config),
            **summary(rates, [problem.source for problem in self.problems]),
            **adaptive,
            "skipped_long": self.skipped_long,
            "session": session,
            "provenance": provenance(self.config.seed),
        }


def problems_hash(problems: Sequence[Problem]) -> str:
    """SHA-256 over problems and their order."""
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps(asdict(problem), sort_keys=True).encode())
    return f"sha256:{digest.hexdigest()}"
