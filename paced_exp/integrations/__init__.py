"""PACED's weights in other people's trainers: TRL (`trl`), verl (`verl`), prime-rl (`prime_rl`), NeMo-RL (`nemo_rl`), slime (`slime`).

Each module imports the peer that it serves and refuses, in one line, a version outside the range that was tested (`peers`). The files that a
peer reads are written by `paced export` and need no peer. docs/integrations has a page of each.
"""
