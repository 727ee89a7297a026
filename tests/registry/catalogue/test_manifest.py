"""What a manifest may say, and above all what it may not: its values become paths and arguments."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from localchat.fit import Footprint
from localchat.registry.catalogue.manifest import (
    Blob,
    HubSource,
    Manifest,
    ModelFile,
    PypiPart,
    PypiSource,
    Sampling,
    Shape,
    UrlSource,
)
from localchat.types import SamplingParams


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a-1.5",
        "family": "A",
        "parameters": 1,
        "context_length": 1,
        "licence": "CC0-1.0",
        "files": [file()],
    } | changes


def file(**changes: Any) -> dict[str, Any]:
    return {"quantization": "Q4_0", "size": 1, "sha256": "0" * 64, "sources": [pypi()]} | changes


def pypi(**changes: Any) -> dict[str, Any]:
    part = {"package": "a", "version": "1.0", "member": "a.gguf"} | changes
    return {"type": "pypi", "parts": [part]}


def hub(**changes: Any) -> dict[str, Any]:
    return {"type": "hub", "repo": "owner/name", "file": "a.gguf"} | changes


def url(address: str = "https://example.org/a.gguf") -> dict[str, Any]:
    return {"type": "url", "url": address}


def unpinned(*absent: str, **changes: Any) -> dict[str, Any]:
    made = file(sources=[hub()], **changes)
    return {key: value for key, value in made.items() if key not in absent}


def shape(**keys: Any) -> dict[str, Any]:
    numbers = {"block_count": 2, "embedding_length": 64, "attention.head_count": 4}
    return {"vocabulary": 100, "keys": numbers | keys}


def test_a_manifest() -> None:
    made = Manifest.model_validate(manifest(sampling={"temperature": 0, "top_k": 3}))
    source = made.files[0].sources[0]
    assert isinstance(source, PypiSource)
    assert source.parts[0].member == "a.gguf"
    assert made.sampling.pairs() == (("top_k", 3), ("temperature", 0.0))
    assert (made.kind, made.modalities, made.thinking, made.tools) == (
        "chat",
        ("text",),
        "none",
        False,
    )
    assert made.header is None
    assert made.files[0].pinned


def test_a_source_is_named_in_full() -> None:
    made = Manifest.model_validate(
        manifest(files=[file(sources=[pypi(), hub(file="b/c.gguf", revision="v1"), url()])])
    )
    assert [str(source) for source in made.files[0].sources] == [
        "a 1.0",
        "hf:owner/name/b/c.gguf@v1",
        "https://example.org/a.gguf",
    ]


@pytest.mark.parametrize("absent", [("sha256",), ("size",), ("sha256", "size")])
def test_what_the_hub_can_tell_may_be_absent(absent: tuple[str, ...]) -> None:
    made = Manifest.model_validate(manifest(files=[unpinned(*absent)]))
    assert made.files[0].pinned == ("sha256" not in absent)
    assert made.files[0].total == (None if "size" in absent else 1)


@pytest.mark.parametrize("absent", ["sha256", "size"])
@pytest.mark.parametrize("source", [pypi(), url()])
def test_what_no_other_source_can_tell_may_not(absent: str, source: dict[str, Any]) -> None:
    bad = unpinned(absent) | {"sources": [hub(), source]}
    with pytest.raises(ValidationError, match="tells no digest"):
        Manifest.model_validate(manifest(files=[bad]))
    with pytest.raises(ValidationError, match="tells no digest"):
        Manifest.model_validate(manifest(files=[file(shards=[without_quantization(bad)])]))


def without_quantization(made: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in made.items() if key != "quantization"}


def test_a_split_file_is_as_large_as_its_pieces() -> None:
    piece = {"size": 2, "sha256": "1" * 64, "sources": [hub()]}
    made = Manifest.model_validate(manifest(files=[file(shards=[piece, piece])])).files[0]
    assert made.total == 5
    assert len(made.blobs) == 3
    del piece["size"]
    assert Manifest.model_validate(manifest(files=[file(shards=[piece])])).files[0].total is None


def test_the_header_of_a_shape() -> None:
    keys = {"attention.head_count_kv": [0, 2], "attention.key_length": 8}
    made = Manifest.model_validate(
        manifest(architecture="lfm2", shape=shape(**keys), context_length=512)
    )
    header = made.header
    assert header is not None
    assert header.architecture == "lfm2"
    assert header.values("attention.head_count_kv") == (0, 2)
    assert header.number("context_length") == 512
    assert header.vocabulary_size == 100
    needed = Footprint(header, 1000, "f16", sequences=1, batch=8).estimate(256)
    assert needed.kv_cache == 256 * 2 * (8 + 16) * 2  # tokens, heads, key and value, bytes


@pytest.mark.parametrize(
    "bad",
    [
        manifest(shape=shape()),
        manifest(architecture="llama", shape=shape() | {"vocabulary": 0}),
        manifest(architecture="llama", shape={"vocabulary": 1, "keys": {"block_count": 1}}),
        manifest(architecture="llama", shape=shape(block_count="many")),
        manifest(architecture="", shape=shape()),
    ],
)
def test_what_a_shape_may_not_be(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate(bad)


@pytest.mark.parametrize(
    "name",
    ["a.gguf", "A.GGUF", "sub/dir/a.gguf", "a b(1)+c-00001-of-00002.gguf", "_a.gguf", "ä.gguf"],
)
def test_names_of_files_on_the_hub(name: str) -> None:
    Manifest.model_validate(manifest(files=[file(sources=[hub(file=name)])]))


@pytest.mark.parametrize(
    "bad",
    [
        *(
            hub(file=name)
            for name in (
                "../a.gguf",
                "a/../b.gguf",
                "a/./b.gguf",
                "/a.gguf",
                "a//b.gguf",
                "~/a.gguf",
                ".gguf",
                ".a.gguf",
                "a/.b.gguf",
                "a.bin",
                "a.gguf/",
                "a.gguf\n",
                "a\n.gguf",
                "a\x00.gguf",
                "a\x1b.gguf",
                "a\\b.gguf",
                "a?b.gguf",
                "a#b.gguf",
                "%2e%2e/a.gguf",
                "c:a.gguf",
                "-a.gguf",
                "--out=a.gguf",
                "a/-b.gguf",
                " a.gguf",
                "",
            )
        ),
        *(
            hub(repo=name)
            for name in (
                "name",
                "owner/name/more",
                "../name",
                "owner/..",
                "/name",
                "owner/",
                "-o/name",
                "owner/-n",
                "owner/na me",
                "owner/name\n",
                "https://example.org/owner/name",
                "o/" + "n" * 199,
            )
        ),
        *(
            hub(revision=name)
            for name in (
                "",
                "../main",
                "refs/../main",
                "main/..",
                "/main",
                "main/",
                "refs//pr",
                "-main",
                "main/-a",
                "ma in",
                "main\n",
                "main?a",
                "main#a",
                "m" * 201,
            )
        ),
        *(
            url(address)
            for address in (
                "ftp://example.org/a.gguf",
                "file:///etc/passwd",
                "example.org/a.gguf",
                "https://",
                " https://example.org/a.gguf",
                "https://example.org/a b.gguf",
                "https://example.org/a.gguf\n",
                "https://example.org/\x1b.gguf",
                "javascript:https://example.org",
                "--https://example.org/a.gguf",
            )
        ),
        {"type": "ftp"},
        {"repo": "owner/name", "file": "a.gguf"},
        hub(token="x"),
        url() | {"sha256": "0" * 64},
        {"type": "pypi", "parts": []},
        pypi(package="--index-url=x"),
        pypi(package="a b"),
        pypi(package="a\n"),
        pypi(version="1.0 --pre"),
        pypi(version=">=1"),
        pypi(version="1.0\n"),
        pypi(member=""),
    ],
    ids=str,
)
def test_what_a_source_may_not_be(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate(manifest(files=[file(sources=[bad])]))


@pytest.mark.parametrize(
    "bad",
    [
        manifest(name="A"),
        manifest(name="a/b"),
        manifest(name="a:b"),
        manifest(name="..", extra=1),
        manifest(name="../a"),
        manifest(name="a\n"),
        manifest(aliases=["B"]),
        manifest(files=[]),
        manifest(files=[file(), file()]),
        manifest(unknown=1),
        manifest(context_length=0),
        manifest(sampling={"temperature": -1}),
        manifest(sampling={"top_p": 1.1}),
        manifest(sampling={"heat": 1}),
        manifest(files=[file(sha256="0" * 63)]),
        manifest(files=[file(sha256="A" * 64)]),
        manifest(files=[file(sha256="../" + "0" * 61)]),
        manifest(files=[file(sha256="0" * 64 + "\n")]),
        manifest(files=[file(size=0)]),
        manifest(files=[file(sources=[])]),
        manifest(files=[file(quantization="q4_0")]),
        manifest(files=[file(quantization="Q4/0")]),
        manifest(files=[file(shards=[file()])]),
        manifest(projector=file()),
        manifest(projector={"sources": [pypi()]}),
        manifest(projector={"sources": [hub(file="../a.gguf")]}),
        manifest(kind="toy"),
        manifest(parameters=0),
        manifest(active_parameters=0),
        manifest(released="1999-01"),
        manifest(released="2025-1"),
        manifest(released="2025-01-01"),
        manifest(licence=""),
        manifest(licence_note=""),
        manifest(note=""),
        manifest(modalities=["smell"]),
        manifest(thinking="sometimes"),
        manifest(draft="../a"),
        manifest(draft="B"),
        manifest(template_sha256="0" * 63),
    ],
)
def test_what_a_manifest_may_not_say(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate(bad)


def test_manifests_are_values() -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate(manifest()).name = "b"


def test_sampling_defaults_are_fields_of_the_sampling_parameters() -> None:
    fields = {field.name for field in dataclasses.fields(SamplingParams)}
    assert set(Sampling.model_fields) <= fields


@pytest.mark.parametrize(
    "model",
    [PypiPart, PypiSource, HubSource, UrlSource, Blob, ModelFile, Sampling, Shape, Manifest],
)
def test_every_field_says_what_it_means(model: type[BaseModel]) -> None:
    assert all(field.description for field in model.model_fields.values())
