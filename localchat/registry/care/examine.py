"""A first look at a model that just came in: is it sound, and is its template the known one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from localchat import gguf
from localchat.errors import ModelLoadFailed, VerificationFailed
from localchat.host import check
from localchat.paths import Paths
from localchat.registry.download import Watcher
from localchat.registry.installed import Record

_LONG = 2 * 10**9  # bytes that take longer to read than one waits without a word


def first_look(
    record: Record, paths: Paths, watcher: Watcher, template_sha256: str | None = None
) -> str | None:
    """The digest of the chat template inside the file; None if it has none.

    Every tensor is validated, in a process of its own. What the user should know is noted: a
    template with another digest than `template_sha256`, a model that this llama.cpp can't load.
    Raises VerificationFailed for a file whose weights are damaged, though its digest is right.
    """
    if record.size > _LONG:
        watcher.note("Looking at every weight once …")
    path = record.path(paths)
    verdict = check.check(path)
    if verdict.kind == "damaged":
        if record.origin == "import":
            raise VerificationFailed(
                f"{record.served} is damaged: {verdict.reason}.",
                "get the file again from where it comes from",
            )
        raise VerificationFailed(
            f"The file of {record.name} is what it should be, but was damaged before it was"
            f" published: {verdict.reason}.",
            "localchat models list, and take another quantization or model",
        )
    if verdict.kind != "ok":
        watcher.note(f"Note: this llama.cpp can't use {record.name} yet: {verdict.reason}.")
    found = template_digest(path)
    if template_sha256 not in (None, found):
        watcher.note(
            f"Note: the chat template in the file is not the one the catalogue knows"
            f" (localchat models show {record.name} --template)."
        )
    return found


def template_digest(path: Path) -> str | None:
    """sha256 of the chat template inside a GGUF file; None where there is none to be read."""
    try:
        return digest(gguf.read_file(path, whole=True).chat_template)
    except ModelLoadFailed:
        return None


def digest(template: str | None) -> str | None:
    """sha256 of a chat template, as manifests and the lock file have it."""
    return None if template is None else hashlib.sha256(template.encode("utf-8")).hexdigest()
