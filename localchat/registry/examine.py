"""A first look at a model that just came in: is it sound, and is its template the known one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from localchat import gguf
from localchat.errors import LocalchatError, VerificationFailed
from localchat.host import check
from localchat.paths import Paths
from localchat.registry.download import Watcher
from localchat.registry.installed import Record
from localchat.registry.offers import Offer


def first_look(offer: Offer, record: Record, paths: Paths, watcher: Watcher) -> str | None:
    """The digest of the chat template inside the file; None if it has none.

    Every tensor is validated, in a process of its own. What the user should know is noted: a
    template other than the manifest's, a model that this llama.cpp can't load.
    Raises VerificationFailed for a file whose weights are damaged, though its digest is right.
    """
    path = record.path(paths)
    verdict = check.check(path)
    if verdict.kind == "damaged":
        raise VerificationFailed(
            f"The file of {offer.name} is the published one, but it is damaged: {verdict.reason}",
            "localchat models list, and take another quantization or model",
        )
    if verdict.kind != "ok":
        watcher.note(f"Note: this llama.cpp can't use {offer.name} yet: {verdict.reason}")
    found = template_digest(path)
    if offer.template_sha256 not in (None, found):
        watcher.note(
            f"Note: the chat template in the file is not the one the catalogue knows"
            f" (localchat models show {offer.name} --template)."
        )
    return found


def template_digest(path: Path) -> str | None:
    """sha256 of the chat template inside a GGUF file; None where there is none to be read."""
    text = template(path)
    return hashlib.sha256(text.encode("utf-8")).hexdigest() if text is not None else None


def template(path: Path) -> str | None:
    """The chat template inside a GGUF file; None where there is none to be read."""
    try:
        with path.open("rb") as file:
            return gguf.chat_template(file, path.stat().st_size)
    except (OSError, LocalchatError):
        return None
