"""Finds the endpoint for a request, or the reason to refuse the request. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from swarm_liveness._serving.answers import Endpoint
from swarm_liveness._serving.request import RefusedError, Request, parse_query


class Routes:
    """The endpoints of a server, by path."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = dict(endpoints)

    def find(self, method: bytes, target: bytes) -> tuple[Endpoint, Request]:
        """The endpoint for a request, and the request with the parameters that the endpoint reads.

        Raises RefusedError for an unknown path, a method other than GET and HEAD, and a bad query.
        """
        encoded, _, query = target.partition(b"?")
        path = encoded.decode("ascii", "replace")
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            paths = ", ".join(sorted(self._endpoints))
            raise RefusedError(404, f"{path[:80]} does not exist: the paths are {paths}")
        if method not in (b"GET", b"HEAD"):
            reason = "only GET and HEAD are allowed: everything here is read-only"
            raise RefusedError(405, reason, (("Allow", "GET, HEAD"),))
        return endpoint, Request(path, parse_query(query)).only(endpoint.parameters)
