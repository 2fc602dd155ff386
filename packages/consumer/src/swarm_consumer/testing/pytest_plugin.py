"""Pytest fixtures of the test kit, loaded by pytest through the ``pytest11`` entry point."""
