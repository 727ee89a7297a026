"""Models on their way in: how they are ended, what stays of them, and what is said."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from localchat.errors import Interrupted
from localchat.paths import Paths
from localchat.registry import installed, pull
from localchat.tui.models.downloads import Download, Downloads
from localchat.tui.models.telling import of_download
from tests.conftest import wait_until
from tests.registry.conftest import at_hub as at_hub
from tests.registry.conftest import sample as sample
from tests.registry.faults import Fault, Kind
from tests.registry.hub import hub as hub
from tests.tui.models.offered import CONTENT, SIZE, Offered
from tests.tui.models.offered import offered as offered

SLOW = 400_000
"""Bytes a second: `little` takes two of them."""

BEFORE = 300_000
"""Bytes that come before a source hangs."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ended() -> list[Download]:
    return []


@pytest.fixture
def downloads(places: Paths, ended: list[Download]) -> Downloads:
    return Downloads(places, ended.append)


def finish(download: Download) -> None:
    wait_until(lambda: download.is_over)


class TestEnds:
    def test_it_comes_in(
        self, offered: Offered, downloads: Downloads, ended: list[Download]
    ) -> None:
        download = downloads.start("little")
        assert downloads.running == [download]
        finish(download)
        assert (download.state, download.model, download.error) == ("done", "little", None)
        assert (download.done, download.total) == (SIZE, SIZE)
        assert offered.final.read_bytes() == CONTENT
        wait_until(lambda: ended == [download])
        assert downloads.running == []

    def test_stopped_in_the_middle_it_goes_on_from_there(
        self, offered: Offered, downloads: Downloads, ended: list[Download]
    ) -> None:
        offered.hub.rate = SLOW
        download = downloads.start("little")
        wait_until(lambda: download.done > 0)
        download.stop()
        finish(download)
        assert (download.state, download.error) == ("stopped", None)
        kept = offered.partial.stat().st_size
        assert 0 < kept < SIZE
        assert not offered.final.exists()
        assert installed.find("little", offered.places) is None
        assert download.said == (
            f"{kept / 1e6:.1f} of 0.9 MB are kept; the next download goes on from there."
        )
        wait_until(lambda: ended == [download])

        offered.hub.rate = None
        again = downloads.start("little")
        finish(again)
        assert again.state == "done"
        assert offered.starts == [0, kept]
        assert offered.final.read_bytes() == CONTENT

    def test_stopped_while_the_source_hangs_it_ends_with_its_next_bytes(
        self, offered: Offered, downloads: Downloads
    ) -> None:
        offered.hub.schedule(Fault(Kind.STALL, at=BEFORE, seconds=60))
        download = downloads.start("little")
        wait_until(lambda: download.done == BEFORE)
        download.stop()
        assert not download.is_over
        assert of_download(download) == [("Stopping …", "$foreground-muted")]
        offered.hub.release()
        finish(download)
        assert download.state == "stopped"
        assert 0 < offered.partial.stat().st_size < SIZE

    def test_begun_again_while_the_first_is_stopping(
        self, offered: Offered, downloads: Downloads
    ) -> None:
        offered.hub.schedule(Fault(Kind.STALL, at=BEFORE, seconds=60))
        first = downloads.start("little")
        wait_until(lambda: first.done == BEFORE)
        assert downloads.start("little") is first
        first.stop()
        second = downloads.start("little")
        assert second is not first
        wait_until(lambda: "Another localchat is downloading" in second.said)
        offered.hub.release()
        finish(second)
        assert (first.state, second.state) == ("stopped", "done")
        assert offered.final.read_bytes() == CONTENT

    def test_what_went_wrong(self, offered: Offered, downloads: Downloads) -> None:
        offered.hub.schedule_metadata(then=Fault(Kind.STATUS, status=404, code="RevisionNotFound"))
        download = downloads.start("little")
        finish(download)
        assert download.state == "failed"
        (sentence, _), (after, _) = of_download(download)
        assert sentence.startswith("The repository Maker/Little-GGUF has no little-Q4_K_M.gguf")
        assert after == "Enter tries again. Or else: localchat pull little"

    def test_a_file_that_is_another(self, offered: Offered, downloads: Downloads) -> None:
        offered.hub.schedule(then=Fault(Kind.CORRUPT, at=5))
        download = downloads.start("little")
        finish(download)
        assert download.state == "failed"
        assert "is not the right one" in str(download.error)
        assert not offered.final.exists()

    def test_all_end_when_the_screen_is_left(self, offered: Offered, downloads: Downloads) -> None:
        offered.hub.rate = SLOW
        download = downloads.start("little")
        wait_until(lambda: download.done > 0)
        downloads.close(10)
        assert download.state == "stopped"
        assert offered.partial.stat().st_size > 0

    def test_leaving_does_not_wait_for_a_source_that_hangs(
        self, offered: Offered, downloads: Downloads
    ) -> None:
        offered.hub.schedule(Fault(Kind.STALL, at=BEFORE, seconds=60))
        download = downloads.start("little")
        wait_until(lambda: download.done == BEFORE)
        downloads.close(0)
        assert download.state == "stopping"
        offered.hub.release()
        finish(download)

    def test_a_fault_of_ours_does_not_look_like_a_download_that_goes_on(
        self, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(pull, "pull", fail)
        download = Download("little")
        with pytest.raises(ZeroDivisionError):
            download.run(places, offline=False)
        assert download.state == "failed"
        assert str(download.error) == "The download of little ended unexpectedly."

    def test_offline_nothing_is_asked(self, offered: Offered, ended: list[Download]) -> None:
        download = Downloads(offered.places, ended.append, offline=True).start("little")
        finish(download)
        assert download.state == "failed"
        assert "localchat is offline" in str(download.error)
        assert offered.hub.requests == []

    def test_what_was_stopped_is_remembered_and_the_rest_forgotten(
        self, offered: Offered, downloads: Downloads
    ) -> None:
        offered.hub.rate = SLOW
        download = downloads.start("little")
        wait_until(lambda: download.done > 0)
        downloads.forget_ended()
        assert downloads.names == ["little"]
        download.stop()
        finish(download)
        downloads.forget_ended()
        assert downloads.find("little") is download
        offered.hub.rate = None
        finish(downloads.start("little"))
        downloads.forget_ended()
        assert downloads.names == []


class TestPace:
    def test_rate_and_time_left(self) -> None:
        clock = Clock()
        download = Download("little", clock)
        assert of_download(download)[0][0] == "finding it …"
        download.progress(0, 10_000_000)
        assert (download.rate, download.time_left) == (None, None)
        assert of_download(download)[0][0] == "0% · 0 MB of 10 MB"
        for done in (1_000_000, 2_000_000):
            clock.now += 1
            download.progress(done, 10_000_000)
        assert (download.rate, download.time_left) == (1e6, 8.0)
        assert of_download(download)[0][0] == "20% · 2 MB of 10 MB · 1.0 MB/s · 0:08 left"

    def test_only_the_last_seconds_count(self) -> None:
        clock = Clock()
        download = Download("little", clock)
        for done in range(0, 2_000_000, 100_000):
            download.progress(done, 9_000_000_000)
            clock.now += 1
        for done in range(3_000_000, 9_000_000, 1_000_000):
            download.progress(done, 9_000_000_000)
            clock.now += 1
        assert download.rate == 1e6
        assert of_download(download)[0][0].endswith("2:29:52 left")

    def test_a_start_from_the_beginning(self) -> None:
        clock = Clock()
        download = Download("little", clock)
        for done in (0, 5_000_000, 1_000):
            download.progress(done, 10_000_000)
            clock.now += 1
        assert (download.done, download.rate) == (1_000, None)
        download.progress(500_000, 10_000_000)
        assert download.rate == 499_000

    def test_a_fast_source_costs_little(self) -> None:
        clock = Clock()
        download = Download("little", clock)
        for done in range(10_000):
            clock.now += 0.00001
            download.progress(done, 10_000)
        assert len(download._counts) < 3

    def test_the_last_look(self) -> None:
        download = Download("little")
        download.progress(10, 10)
        assert of_download(download)[0][0] == "all there; looking at it once …"

    def test_who_does_not_want_it_any_more_ends_it(self) -> None:
        download = Download("little")
        download.stop()
        with pytest.raises(Interrupted):
            download.progress(1, 10)


def test_the_hubs_library_is_imported_when_something_is_asked_of_it(places: Paths) -> None:
    code = (
        "import sys\nfrom localchat import config, paths\n"
        "from localchat.tui.models import choices, downloads, rows, search, telling\n"
        "found = choices.judged(config.Settings(), paths.find())\n"
        "choices.there(paths.find())\n"
        "print(*sorted({'huggingface_hub', 'httpx2'} & set(sys.modules)), len(found) > 20)"
    )
    run: Any = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout == "True\n"
