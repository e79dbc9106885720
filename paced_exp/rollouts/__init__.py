"""Rollouts: K sampled responses a problem, from any engine with the same protocol, kept in a store that survives a kill."""

from paced_exp.rollouts.engine import Prompt, Rollout, RolloutEngine, rollout_seed
from paced_exp.rollouts.hf import HFEngine
from paced_exp.rollouts.store import ChunkStore

__all__ = ["ChunkStore", "HFEngine", "Prompt", "Rollout", "RolloutEngine", "rollout_seed"]
