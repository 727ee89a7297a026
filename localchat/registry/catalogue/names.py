"""What a name that the user typed means: a model of the catalogue, of the hub, an address, a file.

qwen3-4b   qwen3-4b:q8_0                        a model of the catalogue, or an alias
owner/repo   owner/repo:Q4_K_M                  a repository of the hub, a quantization in it
hf:owner/repo/file.gguf   ...@revision          a file of the hub
https://...gguf                                 an address
./file.gguf   /models/file.gguf   file.gguf     a file of this machine
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from localchat.errors import UsageError

_REPO = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
    r"(?:/(?P<file>[^:@\x00-\x1f]+\.gguf)|:(?P<tag>\w[\w-]*))?"
    r"(?:@(?P<revision>\w[\w./-]*))?",
    re.IGNORECASE,
)
# A quantization in a file's name: Q4_K_M, IQ4_XS, F16, MXFP4, in any case, between separators.
_TAG = re.compile(
    r"(?<![A-Z0-9])"
    r"([IT]?Q\d(?:_[A-Z0-9]{1,3})*|BF16|FP?16|FP?32|(?:MX|NV)FP4(?:_MOE)?)"
    r"(?![A-Z0-9])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class CatalogueName:
    """NAME or NAME:QUANT; what it is not in any case is a path."""

    text: str


@dataclass(frozen=True, slots=True)
class HubName:
    """A file of a repository of the hub; one of `file` and `tag`, or neither."""

    repo: str
    file: str | None = None
    tag: str | None = None
    """Quantization, in upper case; with what its maker puts before it, as in UD-Q4_K_XL."""
    revision: str | None = None

    def __str__(self) -> str:
        """What to type for it; the hub's names know upper and lower case."""
        end = f"@{self.revision}" if self.revision else ""
        if self.file:
            return f"hf:{self.repo}/{self.file}{end}"
        return f"{self.repo}{f':{self.tag}' if self.tag else ''}{end}"


@dataclass(frozen=True, slots=True)
class UrlName:
    url: str


@dataclass(frozen=True, slots=True)
class PathName:
    """A file of this machine, as typed."""

    text: str


Parsed = CatalogueName | HubName | UrlName | PathName


def parse(text: str) -> Parsed:
    """What `text` means. Asks the file system only where a path and a repository look alike.

    Raises UsageError for what begins like a name of the hub and is none.
    """
    lower = text.lower()
    if lower.startswith(("http://", "https://")):
        return UrlName(text)
    if lower.startswith("hf:"):
        match = _REPO.fullmatch(text[len("hf:") :].lstrip("/"))
        if match is None or ".." in text:
            raise UsageError(
                f"{text!r} is no name of a model on the hub.",
                "localchat pull hf:OWNER/REPO/FILE.gguf, or OWNER/REPO:Q4_K_M",
            )
        return _hub_name(match)
    if lower.endswith(".gguf") or text.startswith(("/", "./", "../", "~")):
        return PathName(text)
    if os.sep not in text:
        return CatalogueName(text)
    match = _REPO.fullmatch(text)
    if match is None or match["file"] or ".." in text or os.path.lexists(text):
        return PathName(text)
    return _hub_name(match)


def quantization(file: str) -> str | None:
    """The quantization that a file's name tells, as llama.cpp writes it; None if it tells none.

    Where the name itself does not, the folder's may.
    """
    folder, _, name = file.rpartition("/")
    found = _TAG.findall(name) or _TAG.findall(folder.rpartition("/")[2])
    return re.sub(r"\AFP", "F", found[-1].upper()) if found else None


def _hub_name(match: re.Match[str]) -> HubName:
    tag = match["tag"]
    return HubName(match["repo"], match["file"], tag and tag.upper(), match["revision"])
