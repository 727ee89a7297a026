"""Asks the Hugging Face hub what a repository holds and where its files are.

The only importer of huggingface_hub, which is used for addresses, metadata, endpoints and tokens;
the bytes are received by `http`. What the hub says is checked before anything is named after it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from localchat.errors import LocalchatError, ModelNotFound, NetworkNeeded
from localchat.registry.manifest import HubSource
from localchat.registry.sources.http import Interruption, Patience, Remote
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

    def ask() -> Any:
        return hub.get_hf_file_metadata(url, token=token, endpoint=endpoint())

    found = _patiently(ask, source.repo, f"{source.file} at {source.revision}", note)
    return Located(
        Remote(url, _authorization(hub, token)),
        found.etag if _DIGEST.fullmatch(found.etag or "") else None,
        found.size,
        found.commit_hash if _COMMIT.fullmatch(found.commit_hash or "") else None,
    )


def look_at(repo: str, revision: str | None, *, token: bool, note: Callable[[str], None]) -> Repo:
    """The files of a repository. Raises as `locate`."""
    hub = _library()

    def ask() -> Any:
        api = hub.HfApi(endpoint=endpoint(), token=token)
        return api.model_info(repo, revision=revision, files_metadata=True)

    found = _patiently(ask, repo, revision or "", note)
    if not _COMMIT.fullmatch(found.sha or ""):
        raise NetworkNeeded(f"The hub names no commit of {repo}.")
    files = tuple(
        RepoFile(each.rfilename, each.size, each.lfs.sha256 if each.lfs else None)
        for each in found.siblings or ()
    )
    card = found.card_data.to_dict() if found.card_data else {}
    licence = card.get("license")
    return Repo(found.sha, files, licence if isinstance(licence, str) else None)


def from_url(url: str) -> HubSource | None:
    """The hub's own name for a file whose address was copied from its pages; None for others."""
    hosts = "|".join(re.escape(host) for host in ("https://huggingface.co", endpoint()) if host)
    match = re.fullmatch(
        rf"(?:{hosts})/([^/?]+/[^/?]+)/(?:resolve|blob)/([^/?]+)/([^?]+)(?:\?.*)?", url
    )
    if match is None:
        return None
    return HubSource(repo=match[1], revision=match[2], file=match[3])


def _library() -> Any:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import huggingface_hub

    return huggingface_hub


def _authorization(hub: Any, token: bool) -> dict[str, str]:
    found = hub.get_token() if token else None
    return {"Authorization": f"Bearer {found}"} if found else {}


def _patiently(ask: Callable[[], Any], repo: str, what: str, note: Callable[[str], None]) -> Any:
    patience = Patience(note)
    while True:
        try:
            with _translated(repo, what):
                return ask()
        except Interruption as reason:
            patience.wait(reason)


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
        code = error.response.status_code if error.response is not None else 0
        reason = f"the hub answered {code}"
        if code in (408, 429) or code >= 500:
            after = error.response.headers.get("Retry-After", "")
            raise Interruption(reason, float(after) if after.isdecimal() else None) from error
        raise NetworkNeeded(f"{repo}: {reason}.") from error
    except (errors.OfflineModeIsEnabled, errors.HFValidationError, ValueError) as error:
        raise LocalchatError(f"The hub can't be asked for {repo}: {clean(str(error))}.") from error
    except httpx2.TransportError as error:
        raise Interruption(f"the hub can't be reached ({clean(str(error))[:200]})") from error
