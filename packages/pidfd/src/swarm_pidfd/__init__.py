"""A race-free handle on a Linux process: pidfd, wait, signal, exit status."""

__version__ = "0.1.0"
