"""`Hub`, a fake of a model hub on the loopback interface that can be told to misbehave.

It speaks what huggingface_hub asks of one: resolved files with ranges, models' listings and the
errors' headers. What goes wrong is scheduled with the values of `faults`; everything asked and
every byte sent is on record. `hub_wire` writes the answers, `transfer` their bodies.
"""

from __future__ import annotations

import hashlib
import mmap
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import pytest

from tests.registry.faults import GOOD, Fault, Schedule
from tests.registry.hub_server import Server
from tests.registry.traffic import Body, Request


@dataclass(frozen=True)
class Blob:
    """A file's content."""

    content: memoryview
    """Its bytes; those of a big file are mapped, not read."""

    sha256: str
    """Their SHA-256, 64 hex digits."""

    @classmethod
    def of(cls, content: bytes | Path) -> Blob:
        if isinstance(content, Path):
            with content.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            view = memoryview(mapped)
        else:
            view = memoryview(content)
        return cls(view, hashlib.sha256(view).hexdigest())

    @property
    def size(self) -> int:
        return len(self.content)

    def swapped(self) -> Blob:
        """Another content of the same size: every bit the other way round."""
        return Blob.of(bytes(self.content).translate(bytes(range(255, -1, -1))))


@dataclass
class Repository:
    """The commits of one model, as git would have them: all files of each."""

    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    """By 40 hex digits."""

    branches: dict[str, str] = field(default_factory=dict)
    """The last commit of each branch."""

    def commit(self, branch: str, path: str, blob: Blob) -> None:
        before = self.commits.get(self.branches.get(branch, ""), {})
        files = dict(sorted({**before, path: blob}.items()))
        tree = "".join(f"{name} {file.sha256}\n" for name, file in files.items())
        name = hashlib.sha256(tree.encode()).hexdigest()[:40]
        self.commits[name] = files
        self.branches[branch] = name

    def find(self, revision: str) -> str | None:
        """The commit of a branch's name, or of itself."""
        return revision if revision in self.commits else self.branches.get(revision)


class Hub:
    """A fake hub with threads, on ports of its own; a context manager.

        with Hub() as hub:
            digest = hub.add("org/repo", "model.gguf", content)
            hub.schedule(Fault(Kind.RST, at=1000), Fault(Kind.STATUS, status=429, retry_after=0))
            fetch(hub.url, ...)
            assert hub.sent["model.gguf"] == ...

    On leaving, stalls end, connections are cut, and an exception in a thread of the hub is raised.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        """By `org/name`."""

        self.moved: dict[str, str] = {}
        """Repositories that were renamed: requests are sent on to the new name, on this hub."""

        self.cdn = False
        """Whether files are served by a content network of another origin, by redirect.

        Its ETag of a file is not the hub's, nor the sha256.
        """

        self.token: str | None = None
        """If set, files and listings are gated: only requests that carry it are answered."""

        self.rate: float | None = None
        """Bytes a second for each body; None is as fast as it goes. May be changed at any time."""

        self.bodies: list[Body] = []
        """Every file body begun, in order."""

        self.requests: list[Request] = []
        """Every request, in order."""

        self.failures: list[BaseException] = []
        """Exceptions in the hub's own threads."""

        self.body_faults = Schedule()
        self.metadata_faults = Schedule()
        self.closed = threading.Event()
        self._released = threading.Event()
        self._servers = (Server(self), Server(self, is_cdn=True))

    @property
    def url(self) -> str:
        """The endpoint: what HF_ENDPOINT would be."""
        return self._servers[0].url

    @property
    def cdn_url(self) -> str:
        """The content network's origin."""
        return self._servers[1].url

    def add(self, repo: str, path: str, content: bytes | Path, revision: str = "main") -> str:
        """Commits a file, and returns its sha256; a `Path` may be big, and is not copied.

        The branch moves on to a new commit; older commits stay as they were.
        """
        blob = Blob.of(content)
        self.repositories.setdefault(repo, Repository()).commit(revision, path, blob)
        return blob.sha256

    def commit(self, repo: str, revision: str = "main") -> str:
        """The 40 hex digits of a revision."""
        found = self.repositories[repo].find(revision)
        assert found, f"{repo} has no revision {revision}"
        return found

    def location(self, repo: str, path: str, revision: str = "main") -> str:
        """The address of a file."""
        return f"{self.url}/{repo}/resolve/{revision}/{path}"

    def schedule(self, *faults: Fault, then: Fault = GOOD) -> None:
        """Sets what goes wrong with the next answers that have a file's body: GETs."""
        self.body_faults.set(*faults, then=then)

    def schedule_metadata(self, *faults: Fault, then: Fault = GOOD) -> None:
        """Sets what goes wrong with the next answers to HEAD, and to requests for listings."""
        self.metadata_faults.set(*faults, then=then)

    def release(self) -> None:
        """Ends the stalls that are going on; later ones stall."""
        released, self._released = self._released, threading.Event()
        released.set()

    def stall(self, seconds: float) -> None:
        """Returns after `seconds`, or when released."""
        self._released.wait(seconds)

    @property
    def sent(self) -> Counter[str]:
        """Bytes of bodies sent so far, by the file's path in its repository."""
        total: Counter[str] = Counter()
        for body in list(self.bodies):
            total[body.path] += body.sent
        return total

    def environment(self, home: Path) -> dict[str, str]:
        """What makes huggingface_hub use this hub only, with its cache in `home`.

        It reads these variables when it is imported: they are for a process of its own.
        """
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "3",
            "HF_HUB_ETAG_TIMEOUT": "2",
        }

    def __enter__(self) -> Hub:
        for server in self._servers:
            server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closed.set()
        self._released.set()
        for server in self._servers:
            server.stop()
        if error is None and self.failures:
            raise self.failures[0]


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub that behaves, and has nothing yet."""
    with Hub() as running:
        yield running
