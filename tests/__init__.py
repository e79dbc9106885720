"""The tests; `tests.support` holds what they share and what runs in processes of its own."""
