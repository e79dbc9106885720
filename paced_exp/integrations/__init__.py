"""PACED's weights in other people's trainers: TRL (`trl`), verl (`verl`), prime-rl (`prime_rl`), NeMo-RL (`nemo_rl`), slime (`slime`).

A module that imports its peer refuses another version than it accepts in one line (`peers`). The files that a peer reads are written by
`paced export` and need no peer. docs/integrations has a page of each.
"""
