"""Every manifest that ships: valid, unambiguous, and honest about what is pinned."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from localchat.engine.chat_template import ChatTemplate
from localchat.fit import KV_BYTES, Footprint
from localchat.registry.catalogue import catalog
from localchat.registry.catalogue.manifest import HubSource, Manifest, PypiSource
from localchat.types import Message

FOLDER = Path(__file__).parents[2] / "models"
PATHS = sorted(FOLDER.glob("*.toml"))
COMMIT = re.compile(r"[0-9a-f]{40}")

MODELS = {
    path.stem: Manifest.model_validate(tomllib.loads(path.read_text("utf-8"))) for path in PATHS
}
EACH = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
SHAPED = [model for model in MODELS.values() if model.shape is not None]


@EACH
def test_the_file_is_named_after_its_model(model: Manifest) -> None:
    assert MODELS.get(model.name) is model


def test_no_two_models_share_a_name() -> None:
    names = Counter(name for model in MODELS.values() for name in (model.name, *model.aliases))
    assert [name for name, count in names.items() if count > 1] == []


def test_the_families_and_kinds_that_must_be_there() -> None:
    families = {model.family for model in MODELS.values()}
    assert families >= {"LLaMA", "TinyLlama", "Falcon", "Falcon3", "Falcon-H1", "StableLM", "MPT"}
    kinds = {model.kind for model in MODELS.values()}
    assert kinds >= {"chat", "base", "coder", "vision", "embedding"}
    assert {"falcon-7b", "falcon-40b-instruct", "smollm2-135m", "gemma3-270m"} <= MODELS.keys()


def test_the_starter_comes_from_a_package_index() -> None:
    starter = MODELS["smollm2-135m"]
    assert "starter" in starter.aliases
    assert isinstance(starter.files[0].sources[0], PypiSource)


@EACH
def test_a_draft_is_a_smaller_model_with_the_same_tokens(model: Manifest) -> None:
    if model.draft is None:
        return
    draft = MODELS[model.draft]
    assert draft.parameters < model.parameters
    assert draft.shape is not None
    assert model.shape is not None
    assert draft.shape.vocabulary == model.shape.vocabulary


@EACH
def test_a_source_on_the_hub_names_its_commit_or_the_note_says_why_not(model: Manifest) -> None:
    hub = [
        source for blob in model.blobs for source in blob.sources if isinstance(source, HubSource)
    ]
    if any(COMMIT.fullmatch(source.revision) is None for source in hub):
        assert model.note is not None
        assert "commit" in model.note or "Not pinned" in model.note


@EACH
def test_a_file_without_a_digest_says_so(model: Manifest) -> None:
    is_pinned = all(blob.pinned for blob in model.blobs)
    assert is_pinned != (model.note or "").startswith("Not pinned")


def test_a_digest_belongs_to_one_model_and_one_size() -> None:
    owners: dict[str, set[tuple[str, int | None]]] = {}
    for model in MODELS.values():
        for blob in model.blobs:
            if blob.sha256 is not None:
                owners.setdefault(blob.sha256, set()).add((model.name, blob.size))
    assert {digest: places for digest, places in owners.items() if len(places) > 1} == {}


def test_no_two_files_of_a_repository_are_the_same() -> None:
    places = Counter(
        (source.repo, source.file)
        for model in MODELS.values()
        for blob in model.blobs
        for source in blob.sources
        if isinstance(source, HubSource)
    )
    assert [place for place, count in places.items() if count > 1] == []


@EACH
def test_vision_comes_with_what_it_needs(model: Manifest) -> None:
    if model.kind == "vision":
        assert model.projector is not None
    if model.projector is not None:
        assert "image" in model.modalities


@EACH
def test_the_size_fits_the_number_of_weights(model: Manifest) -> None:
    """4 to 11 bits a weight: the widest is a Q8_0 file that holds its embeddings twice."""
    for file in model.files:
        if file.total is not None:
            assert 4 < 8 * file.total / model.parameters < 11


def test_most_models_have_a_shape() -> None:
    assert len(SHAPED) > 0.9 * len(MODELS)


@pytest.mark.parametrize("model", SHAPED, ids=lambda model: model.name)
def test_the_memory_of_a_shape_can_be_estimated(model: Manifest) -> None:
    header = model.header
    assert header is not None
    weights = model.files[0].total or model.parameters // 2
    needed = Footprint(header, weights, "f16", sequences=6, batch=512)
    short, long = needed.estimate(4096), needed.estimate(8192)
    assert short.total > weights
    assert long.kv_cache > short.kv_cache
    assert needed.trained_context == model.context_length
    assert 0 < short.kv_cache / 4096 / KV_BYTES["f16"] < 2**21


@pytest.mark.parametrize("model", SHAPED, ids=lambda model: model.name)
def test_a_shape_speaks_of_every_layer(model: Manifest) -> None:
    assert model.shape is not None
    keys = model.shape.keys
    lists = [value for value in keys.values() if isinstance(value, tuple)]
    assert all(len(value) == keys["block_count"] for value in lists)


@EACH
def test_a_template_of_the_catalogue_tells_the_speakers_apart(model: Manifest) -> None:
    if model.chat_template is None:
        return
    template = ChatTemplate(model.chat_template, bos="<s>", eos="</s>")
    turns = (Message("user", "ONE"), Message("assistant", "TWO"), Message("user", "THREE"))
    plain = template.render(turns)
    before_reply, after_reply = plain.partition("TWO")[0], plain.partition("TWO")[2]
    assert "ONE" in before_reply
    assert "THREE" in after_reply
    assert not plain.rstrip().endswith("THREE")
    spoken = before_reply.partition("ONE")[0].strip()
    assert spoken.removeprefix("<s>")
    assert spoken not in before_reply.partition("ONE")[2]  # the reply is not the user's
    assert "FIRST" in template.render((Message("system", "FIRST"), *turns)).partition("ONE")[0]


def test_a_name_alone_means_q4_k_m_where_there_is_one() -> None:
    """What users of such tools expect; but the starter is the file that a package carries."""
    others = [
        manifest.name
        for manifest in catalog.load()
        if "Q4_K_M" in {file.quantization for file in manifest.files[1:]}
    ]
    assert others == ["smollm2-135m"]
