"""The first look at a model: damage is refused, a strange template is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.errors import VerificationFailed
from localchat.host import check
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.care import examine, removal
from localchat.registry.catalogue import folder as catalog_folder
from localchat.registry.pull import pull
from tests.conftest import Quiet
from tests.registry.hub import Hub
from tests.registry.hub import hub as hub
from tests.registry.planted import FILE, REPO, files_of, put, spoil
from tests.tiny_models import CHATML

Tiny = Callable[..., Path]


@pytest.fixture
def watcher() -> Quiet:
    return Quiet()


def test_the_digest_of_the_template(places: Paths, tiny: Tiny, watcher: Quiet) -> None:
    record = put(places, tiny().read_bytes())
    known = examine.digest(CHATML)
    assert examine.first_look(record, places, watcher) == known
    assert examine.first_look(record, places, watcher, known) == known
    assert watcher.notes == []


@pytest.mark.parametrize("template", [None, "{{ messages }}"])
def test_another_template_than_the_known_one_is_said(
    places: Paths, tiny: Tiny, watcher: Quiet, template: str | None
) -> None:
    record = put(places, tiny(chat_template=template).read_bytes())
    found = examine.first_look(record, places, watcher, examine.digest(CHATML))
    assert found == examine.digest(template)
    assert watcher.notes == [
        "Note: the chat template in the file is not the one the catalogue knows"
        " (localchat models show model --template)."
    ]


def test_damage_is_told_apart_by_where_the_file_is_from(
    places: Paths, tiny: Tiny, watcher: Quiet, tmp_path: Path
) -> None:
    spoiled = tmp_path / "spoiled.gguf"
    shutil.copyfile(tiny(), spoiled)
    data = spoil(spoiled).read_bytes()
    ours = put(places, data, served="/theirs.gguf")
    with pytest.raises(VerificationFailed) as caught:
        examine.first_look(ours, places, watcher)
    assert str(caught.value).startswith("/theirs.gguf is damaged: ")
    published = put(places, data, origin="hub")
    with pytest.raises(VerificationFailed) as caught:
        examine.first_look(published, places, watcher)
    assert "was damaged before it was published" in str(caught.value)


def test_a_header_that_can_not_be_read_has_no_template(
    places: Paths, watcher: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert examine.template_digest(places.models / "none.gguf") is None
    monkeypatch.setattr(check, "check", lambda _: check.Verdict("refused", "so"))
    record = put(places, b"GGUF")
    assert examine.first_look(record, places, watcher) is None
    assert watcher.notes == ["Note: this llama.cpp can't use model yet: so."]


def test_a_long_look_is_announced(
    places: Paths, tiny: Tiny, watcher: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = put(places, tiny().read_bytes())
    monkeypatch.setattr(examine, "_LONG", record.size)
    examine.first_look(record, places, watcher)
    monkeypatch.setattr(examine, "_LONG", record.size - 1)
    examine.first_look(record, places, watcher)
    assert watcher.notes == ["Looking at every weight once …"]


class TestPull:
    @pytest.fixture(autouse=True)
    def _endpoint(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)

    def test_damaged_tensors_are_not_installed(
        self, hub: Hub, places: Paths, tiny: Tiny, watcher: Quiet, tmp_path: Path
    ) -> None:
        path = tmp_path / "model.gguf"
        shutil.copyfile(tiny(), path)
        digest = hub.add(REPO, FILE, spoil(path).read_bytes())
        with pytest.raises(VerificationFailed) as caught:
            pull(REPO, places, offline=False, watcher=watcher)
        assert caught.value.exit_code == 4
        assert installed.records(places) == []
        assert not installed.location(digest, places).exists()

    def test_damage_that_came_with_an_update_leaves_what_was_there(
        self, hub: Hub, places: Paths, tiny: Tiny, watcher: Quiet, tmp_path: Path
    ) -> None:
        hub.add(REPO, FILE, tiny())
        record = pull(REPO, places, offline=False, watcher=watcher).record
        path = tmp_path / "model.gguf"
        shutil.copyfile(tiny(), path)
        hub.add(REPO, FILE, spoil(path).read_bytes())
        with pytest.raises(VerificationFailed):
            pull(REPO, places, offline=False, watcher=watcher)
        assert installed.records(places) == [record]
        assert all(path.exists() for path in files_of(record, places))

    def test_who_clears_up_meanwhile_takes_nothing(
        self,
        hub: Hub,
        places: Paths,
        tiny: Tiny,
        watcher: Quiet,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What came in whole is not recorded before it was looked at."""
        hub.add(REPO, FILE, tiny())
        monkeypatch.setattr(examine, "first_look", lambda *_: removal.collect(places) or None)
        record = pull(REPO, places, offline=False, watcher=watcher).record
        assert record.is_untouched(places)

    def test_a_template_that_the_catalogue_does_not_know(
        self,
        hub: Hub,
        places: Paths,
        tiny: Tiny,
        watcher: Quiet,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        digest = hub.add(REPO, FILE, tiny())
        manifest = tmp_path / "catalog" / "odd.toml"
        manifest.parent.mkdir()
        manifest.write_text(
            'name = "odd"\nfamily = "Odd"\nlicence = "MIT"\nparameters = 1\ncontext_length = 1\n'
            f'template_sha256 = "{"a" * 64}"\n[[files]]\nquantization = "F32"\n'
            f'size = {tiny().stat().st_size}\nsha256 = "{digest}"\n'
            f'[[files.sources]]\ntype = "hub"\nrepo = "{REPO}"\nfile = "{FILE}"\n'
        )
        monkeypatch.setattr(catalog_folder, "PACKAGED", manifest.parent)
        record = pull("odd", places, offline=False, watcher=watcher).record
        assert record.template_sha256 == examine.digest(CHATML)
        assert watcher.notes[-1] == (
            "Note: the chat template in the file is not the one the catalogue knows"
            " (localchat models show odd --template)."
        )

    def test_nothing_but_the_file_and_its_repository_is_asked_for(
        self, hub: Hub, places: Paths, tiny: Tiny, watcher: Quiet
    ) -> None:
        hub.add(REPO, FILE, tiny())
        pull(REPO, places, offline=False, watcher=watcher)
        commit = hub.commit(REPO)
        asked = {request.path.partition("?")[0] for request in hub.requests}
        assert asked == {f"/api/models/{REPO}", f"/{REPO}/resolve/{commit}/{FILE}"}
