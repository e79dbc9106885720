"""Divergences between teacher and student, and the tokens they are taken on."""
