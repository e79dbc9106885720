"""Rollouts: K sampled responses to each problem, from interchangeable engines, kept in a store that survives a kill.

engine: the protocol. hf: the default engine (imports torch). store: the journal. collect: sampling, grading and storing of problems.
"""
