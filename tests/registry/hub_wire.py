"""How `hub.Hub` speaks HTTP, well or badly: what a request asks for, and its answer's headers."""

from __future__ import annotations

import json
import re
import socket
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.registry.faults import GOOD, WITHOUT_LENGTH, Fault, Kind
from tests.registry.traffic import Body, Request
from tests.registry.transfer import Transfer

if TYPE_CHECKING:
    from .hub import Blob
    from .hub_server import Server

_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_CDN = re.compile(r"/cdn/(?P<revision>[^/]+)/(?P<repo>[^/]+/[^/]+)/(?P<path>.+)")
_LISTING = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")

_SEND_BUFFER = 64 << 10  # small, so that what was sent is little ahead of what was read


class _Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code


class _Place(NamedTuple):
    repo: str
    commit: str
    path: str
    blob: Blob


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        self.hub = self.server.hub
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.transfer = Transfer(self.request, self.hub)
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, self.server.server_port, headers)
        self.hub.requests.append(request)
        address = urlsplit(self.path)
        try:
            if self.server.is_cdn:
                self._file(_match(_CDN, address.path))
            elif found := _LISTING.fullmatch(address.path):
                self._listing(found, blobs="blobs" in parse_qs(address.query))
            else:
                self._file(_match(_RESOLVE, address.path))
        except _Refused as refusal:
            self._refuse(Fault(Kind.STATUS, status=refusal.status, code=refusal.code))

    # What is asked for

    def _admit(self, repo: str) -> None:
        token = self.hub.token
        if token and self.headers["Authorization"] != f"Bearer {token}":
            raise _Refused(401 if self.headers["Authorization"] is None else 403, "GatedRepo")
        if repo not in self.hub.repositories:
            raise _Refused(404, "RepoNotFound")

    def _commit(self, repo: str, revision: str) -> str:
        if (commit := self.hub.repositories[repo].find(revision)) is None:
            raise _Refused(404, "RevisionNotFound")
        return commit

    def _moved(self, repo: str) -> bool:
        if to := self.hub.moved.get(repo):
            self._redirect(307, self.path.replace(repo, to, 1))
            return True
        return False

    def _listing(self, found: re.Match[str], blobs: bool) -> None:
        repo = found["repo"]
        if self._moved(repo):
            return
        self._admit(repo)
        commit = self._commit(repo, unquote(found["revision"] or "main"))
        fault = self.hub.metadata_faults.take()
        if self._instead(fault):
            return
        is_etag = fault.kind is Kind.ETAG
        siblings: list[dict[str, object]] = []
        for path, blob in self.hub.repositories[repo].commits[commit].items():
            size = max(0, blob.size + fault.by) if fault.kind is Kind.WRONG_SIZE else blob.size
            sha256 = fault.value if is_etag else blob.sha256
            lfs = {"sha256": sha256, "size": size, "pointerSize": 134}
            about = {"size": size, "blobId": blob.sha256[:40], "lfs": lfs} if blobs else {}
            siblings.append({"rfilename": path, **about})
        sha = fault.value if fault.kind is Kind.COMMIT else commit
        listing = {"id": repo, "sha": sha, "private": False, "siblings": siblings}
        self._reply(200, {"Content-Type": "application/json"}, json.dumps(listing).encode())

    def _file(self, found: re.Match[str]) -> None:
        repo = found["repo"]
        if not self.server.is_cdn:
            if self._moved(repo):
                return
            self._admit(repo)
        commit = self._commit(repo, unquote(found["revision"]))
        path = unquote(found["path"])
        if (blob := self.hub.repositories[repo].commits[commit].get(path)) is None:
            raise _Refused(404, "EntryNotFound")
        place = _Place(repo, commit, path, blob)
        is_elsewhere = self.hub.cdn and not self.server.is_cdn
        if self.command == "HEAD":
            fault = self.hub.metadata_faults.take()
        else:
            fault = GOOD if is_elsewhere else self.hub.body_faults.take()
        if self._instead(fault):
            return
        if fault.kind is Kind.SWAPPED:
            place = place._replace(blob=blob.swapped())
        if is_elsewhere:
            self._send_elsewhere(place, fault)
        else:
            self._send_file(place, fault)

    # What is answered

    def _instead(self, fault: Fault) -> bool:
        """Whether the fault was all of the answer."""
        if fault.kind is Kind.STATUS:
            self._refuse(fault)
        elif fault.kind is Kind.REDIRECT:
            self._redirect(302, fault.value)
        elif fault.kind is Kind.LOOP:
            self._redirect(302, self.path)
        elif self.command == "HEAD" or self.path.startswith("/api/"):
            # These have no body worth parting: the answer itself doesn't come, or comes late.
            if fault.kind is Kind.STALL:
                self.hub.stall(fault.seconds)
            self._end(fault)
            return fault.kind in (Kind.FIN, Kind.RST)
        else:
            return False
        return True

    def _reply(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, fault: Fault) -> None:
        headers = {"X-Error-Code": fault.code} if fault.code else {}
        if fault.retry_after is not None:
            headers["Retry-After"] = str(fault.retry_after)
        self._reply(fault.status, headers, b"It can't be had.")

    def _redirect(self, status: int, location: str, headers: dict[str, str] | None = None) -> None:
        self._reply(status, {"Location": location, **(headers or {})}, b"It is elsewhere.")

    def _send_elsewhere(self, place: _Place, fault: Fault) -> None:
        size = len(_altered(place.blob.content, fault))
        path = f"{place.commit}/{place.repo}/{quote(place.path)}"
        about = {
            "X-Linked-Etag": _quoted(fault, Kind.ETAG, place.blob.sha256),
            "X-Linked-Size": str(size),
            "X-Repo-Commit": fault.value if fault.kind is Kind.COMMIT else place.commit,
        }
        self._redirect(302, f"{self.hub.cdn_url}/cdn/{path}", about)

    def _send_file(self, place: _Place, fault: Fault) -> None:
        content = _altered(place.blob.content, fault)
        # As networks that name their objects in their own way.
        own_name = f"{place.blob.sha256[32:]}-1" if self.server.is_cdn else place.blob.sha256
        etag = _quoted(fault, Kind.ETAG, own_name)
        span = self._span(len(content), etag, fault)
        if span is None:
            self._reply(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        status, start, stop = span
        self.send_response(status)
        self.send_header("ETag", etag)
        self.send_header("Accept-Ranges", "bytes")
        if not self.server.is_cdn:
            commit = fault.value if fault.kind is Kind.COMMIT else place.commit
            self.send_header("X-Repo-Commit", commit)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        if fault.kind is Kind.GZIP:
            self.send_header("Content-Encoding", "gzip")
        if fault.kind is Kind.CHUNKED:
            self.send_header("Transfer-Encoding", "chunked")
        elif fault.kind in WITHOUT_LENGTH:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(stop - start))
        if self.command == "HEAD":
            self.end_headers()
            return
        body = Body(place.path, start, stop - start, fault)
        self.hub.bodies.append(body)
        self.end_headers()
        self.transfer.send(content[start:stop], fault, body)
        self._end(fault)

    def _end(self, fault: Fault) -> None:
        """Ends the connection, if that is the fault."""
        if fault.kind is Kind.FIN:
            self.close_connection = True
        elif fault.kind is Kind.RST:
            self.transfer.prepare_reset()
            self.close_connection = True
            # Closed here and really, for the server would first shut it down: that sends a FIN.
            self.rfile.close()
            self.connection.close()

    def _span(self, size: int, etag: str, fault: Fault) -> tuple[int, int, int] | None:
        """Status, start and stop of what is sent; None if what is asked for can't be."""
        asked = _RANGE.fullmatch(self.headers["Range"] or "") if self.command == "GET" else None
        status, start, stop = 200, 0, size
        is_same = self.headers["If-Range"] in (None, etag)
        if asked and is_same and fault.kind is not Kind.RANGE_IGNORED:
            status, start = 206, int(asked[1])
            stop = min(size, int(asked[2]) + 1) if asked[2] else size
            if start >= stop:
                return None
        if fault.kind is Kind.WRONG_RANGE and self.command == "GET":
            start = (start + fault.by) % size
            return 206, start, stop if stop > start else size
        return status, start, stop


def _match(pattern: re.Pattern[str], path: str) -> re.Match[str]:
    if found := pattern.fullmatch(path):
        return found
    raise _Refused(404, "")


def _altered(content: memoryview, fault: Fault) -> memoryview:
    """The file as it is with a size that is wrong."""
    if fault.kind is not Kind.WRONG_SIZE:
        return content
    if fault.by > 0:
        return memoryview(bytes(content) + bytes(fault.by))
    return content[: max(0, len(content) + fault.by)]


def _quoted(fault: Fault, kind: Kind, good: str) -> str:
    return f'"{fault.value if fault.kind is kind else good}"'
