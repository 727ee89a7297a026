"""The model picker, with real registry folders and a hub on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

from localchat.config import Settings
from localchat.errors import ConfigError
from localchat.paths import Paths
from localchat.registry import installed, resolve
from localchat.registry.care import imports
from localchat.registry.fitting import capacity, contenders
from localchat.tui.models import choices
from localchat.tui.models.downloads import Download, Downloads
from localchat.tui.screens.models import ModelPicker
from localchat.tui.widgets.model_list import ModelList
from tests.conftest import Quiet
from tests.registry.conftest import at_hub as at_hub
from tests.registry.conftest import sample as sample
from tests.registry.faults import Fault, Kind
from tests.registry.fitting.test_ranking import GB, MACHINE, MODEL
from tests.registry.hub import hub as hub
from tests.tui.models.offered import CONTENT, Offered
from tests.tui.models.offered import offered as offered
from tests.tui.screens.looking import seen, until

ASKED = "Download 1 MB from"
BEFORE = 300_000
"""Bytes that come before a source hangs."""
OPEN = "a picker that is open"


class Picking(App[None]):
    """Opens the picker over an empty screen."""

    def __init__(self, places: Paths, current: str = "mine", **settings: Any) -> None:
        super().__init__()
        self.places = places
        self.current = current
        self.settings = Settings(**settings)
        self.ended: list[Download] = []
        self.downloads = Downloads(places, self.ended.append, offline=self.settings.offline)
        self.chosen: str | None = OPEN

    def open(self) -> None:
        self.chosen = OPEN
        picker = ModelPicker(self.places, self.settings, self.current, self.downloads)
        self.push_screen(picker, lambda name: setattr(self, "chosen", name))

    def on_mount(self) -> None:
        self.open()

    @property
    def rows(self) -> list[str]:
        """Those of the list, with what is said below them."""
        found = self.screen.query_one(ModelList).options
        return [str(option.prompt).rstrip() for option in found if str(option.prompt)]

    @property
    def names(self) -> list[str]:
        """Of the models in the list."""
        found = self.screen.query_one(ModelList).options
        return [option.id for option in found if option.id]

    @property
    def highlighted(self) -> str | None:
        option = self.screen.query_one(ModelList).highlighted_option
        return option.id if option is not None else None

    def row(self, name: str) -> str:
        return str(self.screen.query_one(ModelList).get_option(name).prompt)

    def said(self, part: str) -> str:
        return str(self.screen.query_one(f"#{part}", Static).content)


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "find", lambda *_: MACHINE)


@pytest.fixture
def mine(places: Paths, tiny: Callable[..., Path]) -> Path:
    """A tiny model of the user's own, installed as `mine`."""
    path = tiny()
    imports.import_file(path, places, way="copy", name="mine", projector=None, watcher=Quiet())
    return path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue of a few models; none of them is installed."""
    planted = [
        replace(MODEL, name="large", licence_note="For research only."),
        replace(MODEL, name="small", weights=GB, download=GB, parameters=GB),
        replace(MODEL, name="huge", weights=50 * GB, download=50 * GB, parameters=40 * GB),
    ]
    everything = contenders.contenders
    monkeypatch.setattr(
        contenders,
        "contenders",
        lambda places: [*planted, *(each for each in everything(places) if each.installed)],
    )


async def judged(pilot: Pilot[None]) -> Picking:
    """Waits until all is in the list."""
    app = pilot.app
    assert isinstance(app, Picking)
    await until(pilot, lambda: app.screen.query(ModelList))
    await until(pilot, lambda: app.rows and "Looking at" not in app.rows[-1])
    return app


async def go_to(pilot: Pilot[None], name: str) -> None:
    app = pilot.app
    assert isinstance(app, Picking)
    while app.highlighted != name:
        await pilot.press("down")


@pytest.mark.usefixtures("mine", "few")
class TestList:
    async def test_installed_ones_then_those_that_fit(self, places: Paths) -> None:
        async with Picking(places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            assert app.names == ["mine", "small", "large"]
            assert [row.split()[0] for row in app.rows] == [
                "Installed", "•", "Fits", "small", "large",
            ]  # fmt: skip
            assert app.row("mine").rstrip().endswith("current")
            assert app.row("small").rstrip().endswith("recommended")
            assert "5.0 GB" in app.row("large")
            assert app.highlighted == "mine"
            assert "context 256" in app.said("facts")
            await pilot.press("down")
            assert app.highlighted == "small"
            assert "write at reading speed here" in app.said("facts")
            await pilot.press("down")
            assert app.said("facts").endswith("For research only.")
            await pilot.press("down")
            assert app.highlighted == "mine"

    async def test_what_is_installed_is_there_before_anything_is_judged(
        self, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go = threading.Event()
        monkeypatch.setattr(capacity, "find", lambda *_: go.wait(30) and MACHINE)
        async with Picking(places).run_test(size=(100, 40)) as pilot:
            app = pilot.app
            assert isinstance(app, Picking)
            await until(pilot, lambda: app.names == ["mine"])
            assert app.rows[-1] == "Looking at what fits this machine …"
            await pilot.press("x")
            assert app.names == []
            await pilot.press("backspace")
            go.set()
            await judged(pilot)
            assert app.names == ["mine", "small", "large"]

    async def test_the_highlight_stays_when_more_comes(
        self, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with Picking(places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await go_to(pilot, "large")
            app.screen.query_one(ModelList).focus()
            picker = app.screen
            assert isinstance(picker, ModelPicker)
            picker._load()
            await pilot.pause()
            await judged(pilot)
            assert app.highlighted == "large"

    async def test_an_engine_that_runs_is_marked(
        self, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = SimpleNamespace(serves=lambda name: name == "mine")
        monkeypatch.setattr(choices, "running", lambda _: [engine])
        async with Picking(places, "other").run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await until(pilot, lambda: app.row("mine").rstrip().endswith("running"))
            assert "•" not in app.row("mine")

    async def test_an_alias_is_the_current_model_too(self, places: Paths) -> None:
        installed.set_alias("own", "mine", places)
        async with Picking(places, "own").run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            assert app.row("mine").startswith("• ")

    async def test_a_file_is_the_current_model_too(self, places: Paths, mine: Path) -> None:
        async with Picking(places, str(mine)).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            assert app.names[0] == app.highlighted == str(mine)
            await pilot.press("enter")
            assert app.chosen == str(mine)

    async def test_letters_narrow_it(self, places: Paths) -> None:
        async with Picking(places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await pilot.press(*"sml")
            assert app.names == ["small"]
            assert app.highlighted == "small"
            await pilot.press(*"zz")
            assert app.rows == ["There is no such model."]
            assert app.said("facts") == ""
            await pilot.press("enter")
            assert app.chosen == OPEN
            await pilot.press(*["backspace"] * 5)
            assert app.names == ["mine", "small", "large"]

    async def test_what_is_too_large_is_found_by_its_name_and_says_why(self, places: Paths) -> None:
        async with Picking(places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await pilot.press(*"huge", "enter")
            assert app.rows[0].startswith("Too large")
            assert app.row("huge").splitlines()[1:] == [
                "    It does not fit this machine: memory short by 34.8 GB."
            ]
            assert app.downloads.names == []
            await pilot.press("escape")
            assert len(app.row("huge").splitlines()) == 1
            assert app.chosen == OPEN

    async def test_a_broken_catalogue_is_told(
        self, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_: Paths) -> Any:
            raise ConfigError("The manifest a.toml can't be used: [b]x.\x1b[2J", "look at it")

        monkeypatch.setattr(contenders, "contenders", broken)
        async with Picking(places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            assert app.names == ["mine"]
            assert app.rows[-1] == "The manifest a.toml can't be used: [b]x.[2J look at it"


@pytest.mark.usefixtures("mine", "few")
class TestChoosing:
    async def test_enter_chooses_an_installed_one(self, places: Paths) -> None:
        async with Picking(places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await pilot.press("enter")
            assert app.chosen == "mine"

    async def test_a_click_does_too(self, places: Paths) -> None:
        async with Picking(places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await pilot.click(ModelList, offset=(6, 1))
            assert app.chosen == "mine"

    @pytest.mark.parametrize("key", ["escape", "ctrl+o"])
    async def test_nothing_is_chosen(self, places: Paths, key: str) -> None:
        async with Picking(places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await pilot.press(key)
            assert app.chosen is None


@pytest.mark.usefixtures("mine")
class TestDownload:
    async def test_it_asks_shows_how_it_gets_on_and_can_be_chosen(self, offered: Offered) -> None:
        offered.hub.schedule(Fault(Kind.STALL, at=BEFORE, seconds=60))
        async with Picking(offered.places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await go_to(pilot, "little")
            await pilot.press("enter")
            await until(pilot, lambda: "Maker/Little-GGUF" in app.row("little"))
            assert app.row("little").splitlines()[1:] == [
                f"    {ASKED} {offered.hub.url} (Maker/Little-GGUF)? This uses the",
                "    network.",
            ]
            assert app.said("keys") == "enter download it   esc don't"
            assert offered.hub.requests == []

            await pilot.press("enter")
            await until(pilot, lambda: "33%" in app.row("little"))
            bar, words, *_ = app.row("little").splitlines()[1:]
            assert bar == "    " + "━" * 7 + "─" * 13
            assert words.startswith("    33% · 0 MB of 1 MB")
            assert app.said("keys").startswith("esc stop the download")
            await pilot.press("enter")
            assert app.chosen == OPEN

            offered.hub.release()
            await until(pilot, lambda: "✓ It is installed" in app.row("little"))
            await until(pilot, lambda: app.rows[0].startswith("Installed") and len(app.rows) == 3)
            assert app.highlighted == "little"
            await pilot.press("enter")
            assert app.chosen == "little"
            assert resolve.resolve("little", offered.places).path
            assert len(app.ended) == 1
            assert app.downloads.names == []

    async def test_without_a_yes_nothing_is_asked_of_anyone(self, offered: Offered) -> None:
        async with Picking(offered.places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await go_to(pilot, "little")
            for key in ("escape", "up", "x"):
                await go_to(pilot, "little")
                await pilot.press("enter")
                assert ASKED.removesuffix(" from") in app.row("little")
                await pilot.press(key)
                if key == "x":
                    await pilot.press("backspace")
                assert "Download" not in app.row("little")
            assert app.chosen == OPEN
            assert app.downloads.names == []
            assert offered.hub.requests == []

    async def test_esc_stops_it_and_the_next_one_goes_on(self, offered: Offered) -> None:
        offered.hub.schedule(Fault(Kind.STALL, at=BEFORE, seconds=60))
        async with Picking(offered.places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await go_to(pilot, "little")
            await pilot.press("enter", "enter")
            await until(pilot, lambda: "33%" in app.row("little"))
            await pilot.press("escape")
            assert app.row("little").splitlines()[1:] == ["    Stopping …"]
            offered.hub.release()
            await until(pilot, lambda: "Stopped." in app.row("little"))
            kept = offered.partial.stat().st_size
            assert app.row("little").splitlines()[1:] == [
                f"    Stopped. {kept / 1e6:.1f} of 0.9 MB are kept;"
                " the next download goes on from there.",
                "    Enter goes on with it.",
            ]
            await pilot.press("enter", "enter")
            await until(pilot, lambda: "✓ It is installed" in app.row("little"))
            assert offered.starts == [0, kept]
            assert offered.final.read_bytes() == CONTENT

    async def test_closed_it_goes_on(self, offered: Offered) -> None:
        offered.hub.schedule(Fault(Kind.STALL, at=BEFORE, seconds=60))
        async with Picking(offered.places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await go_to(pilot, "little")
            await pilot.press("enter", "enter")
            await until(pilot, lambda: "33%" in app.row("little"))
            await pilot.press("ctrl+o")
            assert app.chosen is None
            (download,) = app.downloads.running
            app.open()
            await judged(pilot)
            await until(pilot, lambda: "33%" in app.row("little"))
            await pilot.press("escape")
            assert app.chosen is None
            offered.hub.release()
            await until(pilot, lambda: app.ended == [download])
            assert download.model == "little"

    async def test_what_goes_wrong_is_a_sentence_in_its_place(self, offered: Offered) -> None:
        offered.hub.schedule_metadata(then=Fault(Kind.STATUS, status=403))
        async with Picking(offered.places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await go_to(pilot, "little")
            await pilot.press("enter", "enter")
            await until(pilot, lambda: "Enter tries again." in app.row("little"))
            assert app.row("little").splitlines()[1:] == [
                "    The hub does not tell what Maker/Little-GGUF has: it answered 403.",
                "    Enter tries again. Or else: localchat pull little",
            ]
            offered.hub.schedule_metadata()
            await pilot.press("enter", "enter")
            await until(pilot, lambda: "✓ It is installed" in app.row("little"))

    async def test_offline_it_refuses_and_says_what_to_do(self, offered: Offered) -> None:
        app = Picking(offered.places, offline=True)
        async with app.run_test(size=(100, 40)) as pilot:
            await judged(pilot)
            await go_to(pilot, "little")
            await pilot.press("enter", "enter")
            assert app.row("little").splitlines()[1:] == [
                "    localchat is offline (the setting 'offline'), so nothing is downloaded.",
                "    With the file at hand: localchat models import FILE",
            ]
            assert app.downloads.names == []
            assert offered.hub.requests == []
            await pilot.press("escape")
            assert "offline" not in app.row("little")

    async def test_nothing_ticks_while_nothing_comes_in(self, offered: Offered) -> None:
        async with Picking(offered.places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            picker = app.screen
            assert isinstance(picker, ModelPicker)
            assert picker._timer is not None
            assert not picker._timer._active.is_set()
            await go_to(pilot, "little")
            await pilot.press("enter", "enter")
            await until(pilot, lambda: "✓ It is installed" in app.row("little"))
            await until(pilot, lambda: picker._timer and not picker._timer._active.is_set())


@pytest.mark.usefixtures("few")
class TestLooks:
    async def test_small(self, places: Paths, mine: Path) -> None:
        async with Picking(places).run_test(size=(60, 20)) as pilot:
            app = await judged(pilot)
            await pilot.pause()
            lines = seen(app).splitlines()
            assert len(lines) == 20
            assert lines[0].startswith("  Type to find a model")
            assert lines[3].split()[:2] == ["•", "mine"]
            assert lines[-1] == "  ↑↓ move   enter choose   esc close"

    @pytest.mark.parametrize("size", [(1, 1), (12, 4), (30, 10), (200, 60)])
    async def test_any_size(self, places: Paths, mine: Path, size: tuple[int, int]) -> None:
        async with Picking(places).run_test(size=size) as pilot:
            app = await judged(pilot)
            await pilot.press("down", "enter")
            await pilot.resize_terminal(60, 20)
            await pilot.resize_terminal(*size)
            await pilot.press("escape", "escape")
            assert app.chosen is None

    async def test_without_colours_the_chosen_one_is_underlined(
        self, places: Paths, mine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        async with Picking(places).run_test(size=(100, 40)) as pilot:
            app = await judged(pilot)
            await pilot.pause()
            first, chosen = (app.screen.query_one(ModelList).render_line(y) for y in (0, 1))
            assert all(part.style and part.style.underline for part in chosen)
            assert not any(part.style and part.style.underline for part in first)
