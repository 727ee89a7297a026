"""Asks the Hugging Face hub what a repository holds and where its files are.

The only importer of huggingface_hub, which is used for addresses, metadata, endpoints and tokens;
the bytes are received by `http`. What the hub says is checked before anything is named after it.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from localchat.errors import LocalchatError, ModelNotFound, NetworkNeeded
from localchat.registry.catalogue.manifest import HubSource
from localchat.registry.sources import address, patience
from localchat.registry.sources.address import Remote
from localchat.registry.sources.patience import TRANSIENT, Interruption, Patience
from localchat.sanitize import clean

# Read by the library when it is imported: it tells nobody what is done with it, and takes no token
# that was not asked for.
_QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
}
_T = TypeVar("_T")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Located:
    """One file of the hub, and where to get it."""

    remote: Remote
    sha256: str | None
    """What the hub says of its content; None if it says nothing that is a digest."""
    size: int | None
    """Bytes, as the hub has it."""
    commit: str | None
    """The commit that the revision stands for: it fixes the bytes."""


@dataclass(frozen=True, slots=True)
class RepoFile:
    """One file in a repository's list."""

    path: str
    size: int | None
    """Bytes."""
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Repo:
    """What a repository holds at one commit."""

    commit: str
    files: tuple[RepoFile, ...]
    licence: str | None
    """As its makers tagged it."""


def endpoint() -> str | None:
    """The hub's address where the user has set another than the usual one; None if not."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def locate(source: HubSource, *, token: bool, note: Callable[[str], None]) -> Located:
    """Asks where `source` is. With `token`, as the user who is logged in to the hub.

    Raises ModelNotFound (no such repository, revision or file), NetworkNeeded (out of reach, or
    access is not granted).
    """
    hub = _library()
    url = hub.hf_hub_url(source.repo, source.file, revision=source.revision, endpoint=endpoint())

    def ask() -> Located:
        found = hub.get_hf_file_metadata(
            url, token=token, timeout=patience.IDLE, endpoint=endpoint()
        )
        return Located(
            Remote(url, _authorization(hub, token)),
            found.etag if _DIGEST.fullmatch(found.etag or "") else None,
            found.size,
            found.commit_hash if _COMMIT.fullmatch(found.commit_hash or "") else None,
        )

    return _patiently(ask, source.repo, f"{source.file} at {source.revision}", note)


def look_at(repo: str, revision: str | None, *, token: bool, note: Callable[[str], None]) -> Repo:
    """The files of a repository. Raises as `locate`."""
    hub = _library()

    def ask() -> Repo:
        api = hub.HfApi(endpoint=endpoint(), token=token)
        found = api.model_info(repo, revision=revision, timeout=patience.IDLE, files_metadata=True)
        if not _COMMIT.fullmatch(found.sha or ""):
            raise NetworkNeeded(f"The hub names no commit of {repo}.")
        files = tuple(
            RepoFile(each.rfilename, each.size, each.lfs.sha256 if each.lfs else None)
            for each in found.siblings or ()
        )
        card = found.card_data.to_dict() if found.card_data else {}
        licence = card.get("license")
        return Repo(found.sha, files, licence if isinstance(licence, str) else None)

    return _patiently(ask, repo, revision or "revision main", note)


def from_url(url: str) -> HubSource | None:
    """The hub's own name for a file whose address was copied from its pages; None for others."""
    hosts = "|".join(re.escape(host) for host in ("https://huggingface.co", endpoint()) if host)
    match = re.fullmatch(
        rf"(?:{hosts})/([^/?]+/[^/?]+)/(?:resolve|blob)/([^/?]+)/([^?]+)(?:\?.*)?", url
    )
    if match is None:
        return None
    return HubSource(repo=match[1], revision=match[2], file=match[3])


@functools.cache
def _library() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import httpx2
    import huggingface_hub

    def check(request: httpx2.Request) -> None:
        address.check(str(request.url))

    def client() -> httpx2.Client:
        # The hub's word is the only one there is on files that nobody pinned: it has to be the
        # hub's, also where a redirect leads.
        return httpx2.Client(event_hooks={"request": [check]}, follow_redirects=True)

    huggingface_hub.set_client_factory(client)
    return huggingface_hub


def _authorization(hub: Any, token: bool) -> dict[str, str]:
    found = hub.get_token() if token else None
    return {"Authorization": f"Bearer {found}"} if found else {}


def _patiently(ask: Callable[[], _T], repo: str, what: str, note: Callable[[str], None]) -> _T:
    patient = Patience(note)
    while True:
        try:
            with _translated(repo, what):
                return ask()
        except Interruption as reason:
            patient.wait(reason)


@contextmanager
def _translated(repo: str, what: str) -> Iterator[None]:
    """Turns the library's errors into ours, or into an Interruption where a retry may help."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise NetworkNeeded(
            f"The makers of {repo} grant access on request only.",
            f"ask for it on the page of {repo}, log in with: hf auth login, then add --token",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"The hub has no repository {repo}, or it is private.",
            "localchat pull --token …, if you have access",
        ) from error
    except (errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise ModelNotFound(f"The repository {repo} has no {what}.") from error
    except errors.LocalTokenNotFoundError as error:
        raise NetworkNeeded("There is no token of the hub here.", "hf auth login") from error
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        if code in TRANSIENT:
            after = error.response.headers.get("Retry-After")
            raise Interruption(f"the hub answered {code}", after) from error
        raise NetworkNeeded(
            f"The hub does not tell what {repo} has: it answered {code}."
        ) from error
    except errors.HFValidationError as error:
        raise LocalchatError(f"{repo!r} is no name of a repository of the hub.") from error
    except httpx2.TransportError as error:
        raise Interruption(f"the hub can't be reached ({clean(str(error))[:200]})") from error
    except httpx2.TooManyRedirects as error:
        raise NetworkNeeded(f"The hub redirects without end when asked for {repo}.") from error
    # What it says is taken apart by the library, which lets all kinds of errors out.
    except (ValueError, TypeError, LookupError, AttributeError, httpx2.InvalidURL) as error:
        raise NetworkNeeded(f"What the hub says of {repo} can't be made out.") from error
