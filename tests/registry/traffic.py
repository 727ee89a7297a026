"""What went over a hub's connections: the records that tests count and compare."""

from __future__ import annotations

from dataclasses import dataclass

from tests.registry.faults import Fault


@dataclass(frozen=True)
class Request:
    """One request, as it came."""

    method: str
    """GET or HEAD."""

    path: str
    """The path and the query, as they were sent."""

    port: int
    """Of the hub, or of its content network: two origins."""

    headers: dict[str, str]
    """All headers, by their names in lower case."""

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    @property
    def if_range(self) -> str | None:
        return self.headers.get("if-range")

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass
class Body:
    """One file body that was begun. It changes while it is sent."""

    path: str
    """The file's path in its repository."""

    start: int
    """Its first byte's place in the file."""

    length: int
    """How many bytes a good answer would have had."""

    fault: Fault
    """What went wrong with it."""

    sent: int = 0
    """Bytes handed to the kernel so far: at least those that the client has."""

    @property
    def completed(self) -> bool:
        """Whether all that was to be sent, with this fault, was sent: the client didn't leave."""
        return self.sent == self.fault.planned(self.length)
