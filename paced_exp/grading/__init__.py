"""Grading of untrusted responses."""
