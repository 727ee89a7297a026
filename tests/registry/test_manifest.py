from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import ValidationError

from localchat.registry.manifest import Manifest, Sampling
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


def test_a_manifest() -> None:
    made = Manifest.model_validate(manifest(sampling={"temperature": 0, "top_k": 3}))
    assert made.files[0].sources[0].parts[0].member == "a.gguf"
    assert made.sampling.pairs() == (("top_k", 3), ("temperature", 0.0))


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
        manifest(files=[file(sources=[{"type": "ftp"}])]),
        manifest(files=[file(sources=[{"type": "pypi", "parts": []}])]),
        manifest(files=[file(sources=[pypi(package="--index-url=x")])]),
        manifest(files=[file(sources=[pypi(package="a b")])]),
        manifest(files=[file(sources=[pypi(version="1.0 --pre")])]),
        manifest(files=[file(sources=[pypi(version=">=1")])]),
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


@pytest.mark.parametrize("model", [Manifest, Sampling, *Manifest.__subclasses__()])
def test_every_field_says_what_it_means(model: type[Manifest]) -> None:
    assert all(field.description for field in model.model_fields.values())
