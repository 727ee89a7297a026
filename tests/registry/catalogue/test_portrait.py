"""All that is known of a model: each source of it, and what is shown where they differ."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import ModelLoadFailed, ModelNotFound
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.care import examine, imports
from localchat.registry.catalogue.portrait import Portrait, portray
from localchat.registry.files import blobs
from tests.conftest import Quiet
from tests.registry.conftest import Sample
from tests.registry.conftest import sample as sample
from tests.registry.hub import hub as hub
from tests.registry.planted import files_of, put, write_split
from tests.tiny_models import CHATML

Tiny = Callable[..., Path]


def shown(portrait: Portrait) -> dict[str, str]:
    return dict(portrait.rows())


def bring(path: Path, places: Paths, name: str = "mine", **options: Any) -> None:
    given = {"way": "copy", "projector": None, "watcher": Quiet()} | options
    imports.import_file(path, places, name=name, **given)


class TestOfTheCatalogue:
    def test_not_installed(self, places: Paths) -> None:
        found = portray("QWEN3-4B", places)
        assert (found.name, found.installed, found.path, found.template) == (
            "qwen3-4b",
            False,
            None,
            None,
        )
        rows = shown(found)
        assert rows["installed"] == "no"
        assert rows["digest"] == "pinned"
        assert "template" not in rows
        assert list(rows) == [
            "name",
            "also",
            "family",
            "kind",
            "parameters",
            "architecture",
            "context",
            "quantization",
            "size",
            "licence",
            "reads",
            "thinking",
            "tools",
            "draft model",
            "sampling",
            "sha256",
            "digest",
            "source",
            "installed",
        ]

    def test_no_such_model(self, places: Paths) -> None:
        with pytest.raises(ModelNotFound, match="Did you mean qwen3-4b"):
            portray("qwen3-4bb", places)
        with pytest.raises(ModelNotFound) as caught:
            portray("owner/repo:Q4_0", places)
        assert caught.value.hint == "localchat pull owner/repo:Q4_0"

    def test_installed(self, places: Paths, installed_starter: Path) -> None:
        found = portray("starter", places)
        assert (found.installed, found.path, found.linked) == (True, str(installed_starter), False)
        assert (found.title, found.template_state) == ("Smollm2 135M 8k Lc100K Mix1 Ep2", "pinned")
        assert found.template_sha256 == examine.digest(found.template)
        assert shown(found)["template"] == "in the file, 872be49dbb63, pinned"

    def test_its_file_is_there_without_a_record(
        self, places: Paths, installed_starter: Path
    ) -> None:
        installed.lock_file(places).unlink()
        assert portray("starter", places).path == str(installed_starter)

    def test_the_template_of_the_catalogue_is_in_use(self, sample: Sample, tiny: Tiny) -> None:
        sample.pull()
        found = portray("tiny", sample.places)  # whose bytes are no GGUF
        assert not found.installed
        assert found.problem is not None
        assert "problem" in shown(found)


class TestTemplates:
    """Fault row 22: a backdoor in a template needs no code, so any difference is shown."""

    def write(self, sample: Sample, path: Path, **changes: str) -> None:
        sample.content = path.read_bytes()
        put(
            sample.places,
            sample.content,
            name="tiny",
            keys=("tiny", "wee"),
            origin="catalogue",
            chat_template=changes.get("chat_template"),
        )
        sample.write_manifest(**changes)
        manifest = sample.catalog / "tiny.toml"
        if "chat_template" not in changes:
            lines = manifest.read_text().splitlines()
            manifest.write_text("\n".join(x for x in lines if not x.startswith("chat_template")))

    @pytest.mark.parametrize(
        ("template", "state", "row"),
        [
            (CHATML, "pinned", "in the file, {digest}, pinned"),
            (CHATML + " ", "changed", "in the file, {digest}, changed"),
            (None, "changed", "in the file, none, changed"),
        ],
    )
    def test_against_the_pinned_one(
        self, sample: Sample, tiny: Tiny, template: str | None, state: str, row: str
    ) -> None:
        pin = examine.digest(CHATML)
        assert pin is not None
        self.write(sample, tiny(chat_template=template), template_sha256=pin)
        found = portray("wee", sample.places)
        assert (found.template, found.template_state) == (template, state)
        digest = (examine.digest(template) or "")[:12]
        assert shown(found)["template"] == row.format(digest=digest)

    def test_in_place_of_the_one_in_the_file(self, sample: Sample, tiny: Tiny) -> None:
        self.write(sample, tiny(), chat_template="{{ ours }}", template_sha256="a" * 64)
        found = portray("tiny", sample.places)
        assert (found.template, found.template_is_own) == ("{{ ours }}", False)
        digest = (examine.digest(CHATML) or "")[:12]
        assert shown(found)["template"] == f"not the one in the file ({digest}, changed)"

    def test_against_the_one_that_was_there_when_it_came(self, places: Paths, tiny: Tiny) -> None:
        bring(tiny(), places)
        assert portray("mine", places).template_state == "pinned"

    def test_a_file_that_nobody_knows(self, places: Paths, tiny: Tiny) -> None:
        assert portray(str(tiny()), places).template_state == "unpinned"
        found = portray(str(tiny(chat_template=None)), places)
        assert shown(found)["template"] == "none"


class TestOfAFile:
    def test_a_path(self, places: Paths, tiny: Tiny) -> None:
        found = portray(str(tiny()), places)
        assert (found.name, found.path) == (str(tiny()), str(tiny()))
        assert (found.title, found.architecture, found.quantization) == (
            "tiny model",
            "llama",
            "F32",
        )
        assert found.size == tiny().stat().st_size
        assert (found.sha256, found.is_pinned, found.when) == ((), None, None)
        assert not places.models.exists()

    def test_no_gguf(self, places: Paths, tmp_path: Path) -> None:
        path = tmp_path / "x.gguf"
        path.write_bytes(b"nothing")
        with pytest.raises(ModelLoadFailed):
            portray(str(path), places)

    def test_an_alias(self, places: Paths, tiny: Tiny) -> None:
        installed.set_alias("short", str(tiny()), places)
        assert portray("short", places).path == str(tiny())
        installed.set_alias("four", "qwen3-4b", places)
        assert portray("FOUR", places).name == "qwen3-4b"


class TestImported:
    def test_what_its_header_says(self, places: Paths, tiny: Tiny) -> None:
        bring(tiny(), places)
        found = portray("mine", places)
        assert (found.title, found.architecture, found.context_length) == (
            "tiny model",
            "llama",
            256,
        )
        assert found.parameters
        assert shown(found)["installed"] == f"{found.when}, from {tiny()}"

    def test_a_link(self, places: Paths, tiny: Tiny) -> None:
        bring(tiny(), places, way="link")
        found = portray("mine", places)
        assert found.linked
        assert shown(found)["path"].endswith(f"{found.sha256[0]}.gguf (a link)")

    def test_one_that_is_split(self, places: Paths, tmp_path: Path) -> None:
        bring(write_split(tmp_path / "split")[0], places)
        found = portray("mine", places)
        assert len(found.sha256) == 3
        assert found.parameters is None  # the header counts those of its own file
        assert found.path == str(installed.find("mine", places).path(places))  # type: ignore[union-attr]

    @pytest.mark.parametrize("is_gone", [True, False])
    def test_one_that_can_not_be_read(self, places: Paths, tiny: Tiny, is_gone: bool) -> None:
        bring(tiny(), places)
        record = installed.find("mine", places)
        assert record is not None
        (path,) = files_of(record, places)
        path.unlink()
        if not is_gone:
            path.write_bytes(b"GGUF" + b"\xff" * 100)
        found = portray("mine", places)
        assert (found.installed, found.template, found.sha256) == (False, None, (record.sha256,))
        assert found.problem is not None
        assert shown(found)["problem"] == found.problem
        assert shown(found)["installed"].startswith(record.when)

    def test_a_link_that_leads_nowhere(self, places: Paths, tiny: Tiny, tmp_path: Path) -> None:
        path = tmp_path / "x.gguf"
        shutil.copyfile(tiny(), path)
        bring(path, places, way="link")
        path.unlink()
        found = portray("mine", places)
        assert (found.installed, found.linked) == (False, True)
        assert blobs.is_linked(found.sha256[0], places)
