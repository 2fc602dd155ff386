"""swarm-cli: run a swarm of Kafka consumer processes with one command.

The command line is a thin joint: it loads the application, composes the packages and shows what they say. Every
decision is made in one of them.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
