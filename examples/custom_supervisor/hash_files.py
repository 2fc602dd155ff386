"""Hash the files of a folder on every core, without Kafka: a pool of finite work on swarm_supervisor.

    python examples/custom_supervisor/hash_files.py FOLDER [NODES] > sums

Node k of n takes every n-th file and writes "<scrypt digest>  <name>" lines, each with one write(2). A node that dies
is replaced and does its share again; when all shares are done, run() returns 0.
"""

import hashlib
import os
import sys
from pathlib import Path

from swarm_supervisor import Node, SettingsError, Supervisor
from swarm_supervisor.cpus import available_cpus
from swarm_supervisor.logs import configure


def digest(path: Path) -> str:
    """Return a digest that is expensive on purpose (scrypt: 16 MB and some 50 ms a file)."""
    return hashlib.scrypt(path.read_bytes(), salt=path.name.encode(), n=2**14, r=8, p=1, dklen=16).hex()


def main(folder: str, nodes: int) -> int:
    """Hash all files of a folder; return the exit code."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())  # before the fork: shared by all nodes

    def hash_share(node: Node) -> int:
        for path in files[node.id :: nodes]:
            node.healthy()  # from the thread that works: a hash that hangs falls silent
            if node.stopping.is_set():
                return 1
            os.write(1, f"{digest(path)}  {path.name}\n".encode())
        return 0

    return Supervisor(
        hash_share, nodes=nodes, name="hashes", restart="on-failure", node_restart_delay=0.1, on_crash_loop="exit"
    ).run()


if __name__ == "__main__":
    configure()
    try:
        sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else available_cpus()))
    except (IndexError, ValueError, OSError, SettingsError) as error:
        sys.exit(f"usage: hash_files.py FOLDER [NODES]: {error}")
