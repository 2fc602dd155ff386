"""The mapping that a supervisor makes for its nodes before it forks them."""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
from pathlib import Path

from swarm_consumer._scheduling.remembrance import Epitaph, InHand, Remembrance, Suspects
from swarm_consumer.errors import ConfigurationError
from swarm_consumer.progress._file import head, open_file
from swarm_consumer.progress._layout import MOST_PARTITIONS, Layout
from swarm_consumer.progress._life import LifeMemory, in_hand_of, suspects_of
from swarm_consumer.progress._own_page import mend
from swarm_consumer.progress._pages import Pages
from swarm_consumer.progress._records import packed_epitaph

PARTITIONS = 1024
"""Entries of a life page, if nothing else is said."""
MOST_NODES = 4096
_NO_BOOT = bytes(16)


class ProgressMemory:
    """Memory that all nodes of a swarm share. Make it in the parent; its children inherit it.

    nodes: node ids below this have pages of their own. Others have no memory, and say so to all.
    path: a file on a tmpfs, so that the notes outlive this process too. None: they end with the last process.
    partitions: how many partitions the notes of one life may name, those of all its groups together.

    ConfigurationError: the file cannot be used, or there is not enough memory.
    """

    def __init__(self, nodes: int, path: str | Path | None = None, partitions: int = PARTITIONS) -> None:
        if not 1 <= nodes <= MOST_NODES:
            raise ConfigurationError(f"the progress memory is for 1 to {MOST_NODES} nodes, not for {nodes}")
        if not 1 <= partitions <= MOST_PARTITIONS:
            raise ConfigurationError(
                f"the progress memory has room for 1 to {MOST_PARTITIONS} partitions a node, not for {partitions}"
            )
        layout = Layout(nodes, partitions)
        self._file = open_file(Path(path), layout) if path is not None else -1
        try:
            mapping = mmap.mmap(self._file, layout.size)
        except OSError as error:
            self._close_file()
            raise ConfigurationError(
                f"the progress memory of {layout.size / 2**20:.1f} MiB cannot be mapped: {error.strerror}; "
                "run fewer nodes, or switch it off"
            ) from error
        with contextlib.suppress(OSError):  # a kernel without huge pages
            mapping.madvise(mmap.MADV_NOHUGEPAGE)
        if path is None:
            first = head(layout, _NO_BOOT)
            mapping[: len(first)] = first
        self._map = mapping
        self._layout = layout
        self._lives: dict[tuple[int, int], tuple[Pages, LifeMemory]] = {}
        """Those of this process."""
        self._ended: dict[int, int] = {}
        """The generation of each page's last life that has ended, as this process and those that it forks know it."""
        self._run = secrets.randbits(64)
        if path is not None:
            self._mend()

    def _mend(self) -> None:
        """Put right what an earlier supervisor's processes left, all of which have ended: the file was free."""
        pages = Pages(self._map, self._layout, self._file)
        pages.missing_beyond(only_if_spoilt=True)
        for page in range(2 * self._layout.nodes):
            mend(pages, page)
        pages.close()

    def of_life(self, node_id: int, generation: int) -> Remembrance:
        """In the child: return the memory of its life, the same each time. It takes a page over."""
        if (node_id, generation) not in self._lives:
            pages = Pages(self._map, self._layout, self._file)
            self._lives[node_id, generation] = pages, LifeMemory(pages, node_id, generation, self._run, self._ended)
        return self._lives[node_id, generation][1]

    def epitaph(self, node_id: int, generation: int, epitaph: Epitaph) -> None:
        """In the parent, once a life is reaped and before the next one is forked: say how it ended. Never blocks.

        Its texts are cut: the reason to 300 bytes, the stack to some 2 KiB.
        """
        if 0 <= node_id < self._layout.nodes and not self._map.closed:
            pages = Pages(self._map, self._layout, self._file)
            self._ended |= dict.fromkeys(pages.taken_by(node_id, generation, self._run), generation)
            pages.close()
            at = self._layout.epitaph(node_id, generation)
            raw = packed_epitaph(at, self._run, generation, epitaph)
            self._map[at : at + len(raw)] = raw

    def in_hand(self, node_id: int, generation: int) -> list[tuple[InHand, Suspects | None]]:
        """In the parent: return what a life had in hand, with what it suspected then, for each of its partitions."""
        if not 0 <= node_id < self._layout.nodes or self._map.closed:
            return []
        pages = Pages(self._map, self._layout, self._file)
        notes = pages.of_life(node_id, generation, self._run)
        pages.close()
        return [(in_hand, suspects_of(one)) for one in notes if (in_hand := in_hand_of(one)) is not None]

    def close(self) -> None:
        """Let go of the mapping and its file, in this process. The file stays where it is."""
        for pages, _ in self._lives.values():
            pages.close()
        self._lives.clear()
        self._map.close()
        self._close_file()

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
