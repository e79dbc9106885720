"""Numbers of an evaluation: pass@k, intervals over problems, paired differences."""
