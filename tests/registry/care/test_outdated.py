"""What is installed against what is offered now."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localchat.errors import NetworkNeeded
from localchat.registry import installed
from localchat.registry.care.outdated import Comparison, compare
from localchat.registry.installed import Record
from localchat.registry.sources import patience
from tests.registry.conftest import Sample
from tests.registry.conftest import sample as sample
from tests.registry.faults import Fault, Kind
from tests.registry.hub import Hub
from tests.registry.hub import hub as hub
from tests.registry.planted import FILE, REPO, content, on_hub, put


def ask(sample: Sample, record: Record, *, online: bool = False) -> Comparison:
    return compare(record, sample.places, sample.watcher, online=online)


class TestCatalogue:
    def test_current(self, sample: Sample) -> None:
        record = sample.pull().record
        assert ask(sample, record) == Comparison(
            "tiny", "current", sample.sha256, sample.sha256, "catalogue", record.when
        )

    def test_outdated(self, sample: Sample) -> None:
        record = sample.pull().record
        manifest = sample.catalog / "tiny.toml"
        manifest.write_text(manifest.read_text().replace(sample.sha256, "a" * 64))
        found = ask(sample, record)
        assert (found.state, found.installed, found.offered) == (
            "outdated",
            sample.sha256,
            "a" * 64,
        )

    def test_withdrawn(self, sample: Sample) -> None:
        record = sample.pull().record
        (sample.catalog / "tiny.toml").unlink()
        found = ask(sample, record)
        assert (found.state, found.offered, found.by) == ("withdrawn", None, "catalogue")

    def test_imported(self, sample: Sample) -> None:
        record = put(sample.places, content())
        for online in (False, True):
            found = ask(sample, record, online=online)
            assert (found.state, found.by) == ("unknown", None)


class TestHub:
    @pytest.fixture(autouse=True)
    def _endpoint(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setattr(patience, "PAUSE", 0.0)

    @pytest.fixture
    def record(self, hub: Hub, sample: Sample) -> Record:
        digest = hub.add(REPO, FILE, content())
        sources = {digest: [on_hub(revision=hub.commit(REPO))]}
        name = f"{REPO}:Q4_K_M"
        return put(
            sample.places,
            content(),
            name=name,
            keys=(name.lower(),),
            sources=sources,
            origin="hub",
        )

    def test_offline_it_is_not_known(self, hub: Hub, sample: Sample, record: Record) -> None:
        assert ask(sample, record).state == "unknown"
        assert hub.requests == []

    def test_current_and_outdated(self, hub: Hub, sample: Sample, record: Record) -> None:
        hub.add(REPO, "README.md", b"another commit")
        assert ask(sample, record, online=True).state == "current"
        new = hub.add(REPO, FILE, content(2))
        found = ask(sample, record, online=True)
        assert (found.state, found.offered, found.by) == ("outdated", new, "hub")
        assert hub.bodies == []

    def test_the_branch_that_was_asked_for_is_the_one_that_counts(
        self, hub: Hub, sample: Sample, record: Record
    ) -> None:
        hub.add(REPO, FILE, content(), revision="v1")
        hub.add(REPO, FILE, content(2))
        assert ask(sample, replace(record, name=f"{REPO}@v1"), online=True).state == "current"
        assert ask(sample, record, online=True).state == "outdated"

    def test_the_file_or_all_of_it_is_gone(self, hub: Hub, sample: Sample, record: Record) -> None:
        hub.repositories[REPO].commits[hub.commit(REPO)].pop(FILE)
        found = ask(sample, record, online=True)
        assert (found.state, found.by) == ("withdrawn", "hub")
        del hub.repositories[REPO]
        assert ask(sample, record, online=True).state == "withdrawn"

    def test_an_unpinned_model_of_the_catalogue(
        self, hub: Hub, sample: Sample, record: Record
    ) -> None:
        source = f'[[files.sources]]\ntype = "hub"\nrepo = "{REPO}"\nfile = "{FILE}"'
        sample.add_manifest(
            "free",
            'name = "free"\nfamily = "Free"\nlicence = "MIT"\nparameters = 1\ncontext_length = 1',
            f'[[files]]\nquantization = "Q4_K_M"\n{source}',
        )
        installed.forget(record.name, sample.places)
        record = sample.pull("free").record
        assert not record.is_pinned
        assert ask(sample, record).state == "unknown"
        assert ask(sample, record, online=True).state == "current"
        hub.add(REPO, FILE, content(2))
        assert ask(sample, record, online=True).state == "outdated"

    def test_out_of_reach(self, hub: Hub, sample: Sample, record: Record) -> None:
        hub.schedule_metadata(then=Fault(Kind.STATUS, status=503))
        with pytest.raises(NetworkNeeded):
            ask(sample, record, online=True)

    def test_an_edited_lock_file_is_no_source(
        self, hub: Hub, sample: Sample, record: Record
    ) -> None:
        odd = replace(record, sources={record.sha256: [{"type": "odd"}]})
        assert ask(sample, odd, online=True).state == "unknown"
        assert hub.requests == []
