"""Shared foundations: configuration, run folders, clocks, atomic files, progress, errors."""
