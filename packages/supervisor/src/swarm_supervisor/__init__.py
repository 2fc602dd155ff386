"""A fork supervisor: loads once, forks N nodes copy-on-write, watches and restarts them."""

__version__ = "0.1.0"
