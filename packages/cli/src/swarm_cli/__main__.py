"""``python -m swarm_cli`` is ``swarm-cli``."""

from __future__ import annotations

from swarm_cli.main import main

if __name__ == "__main__":
    main()
