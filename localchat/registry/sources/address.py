"""Addresses of files: which ones are asked at all, and who is told a secret.

https only, or http to this machine; credentials stay with the origin they are for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from localchat.errors import NetworkNeeded
from localchat.sanitize import clean


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the bytes of one file are."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent to the origin of `url` alone."""

    def headers_for(self, url: str) -> dict[str, str]:
        """What `url`, where the file is after redirects, is told of `headers`."""
        return dict(self.headers) if _origin(url) == _origin(self.url) else {}


def check(url: str) -> str:
    """The same address. Raises NetworkNeeded for anything but https, and http to this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        scheme = host = ""
    else:
        scheme = parts.scheme
    if host and (scheme == "https" or (scheme == "http" and _is_loopback(host))):
        return url
    raise NetworkNeeded(f"The source leads to {clean(url)[:200]!r}, which is not https.")


def follow(url: str, location: str) -> str:
    """Where a redirect leads to. Raises as `check`."""
    try:
        return check(urljoin(url, location))
    except ValueError:
        return check(location)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname, port
