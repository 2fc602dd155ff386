"""The names of scopes and of their partitions in the mapping: 16 bytes each. Pure."""

from __future__ import annotations

from hashlib import blake2b

from swarm_consumer._scheduling.ledger import Key

DIGEST = 16
NONE = bytes(DIGEST)


class ScopeName:
    """The digest of a scope, and those of partitions in it."""

    __slots__ = ("_hash", "digest")

    def __init__(self, scope: str) -> None:
        self._hash = blake2b(scope.encode("utf-8", "surrogatepass") + b"\0", digest_size=DIGEST)
        self.digest = self._hash.digest()

    def partition(self, key: Key) -> bytes:
        """Return the digest of a partition of this scope."""
        named = self._hash.copy()
        named.update(f"{key[0]}\0{key[1]}".encode("utf-8", "surrogatepass"))
        return named.digest()
