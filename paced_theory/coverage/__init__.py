"""Simulated coverage of the intervals that this project prints: `python -m paced_theory.coverage`."""
