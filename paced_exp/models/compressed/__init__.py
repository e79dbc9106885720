"""Compressed weights: rounded to few bits, pruned, and packed into a file of the size that a table may claim."""
