"""Rollouts: K sampled responses a problem, from any engine with the same protocol, kept in a store that survives a kill.

engine: the protocol. hf: the default engine (imports torch). store: the journal. collect: problems through engine, grader and store.
"""
