"""Hostile inputs, as a suite: `make attack` tries all of them, the tests try the quick ones."""
