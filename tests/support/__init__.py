"""Models, problems, records and scripts that several test files use. Fixtures are in the conftest.py files."""
