from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult

from localchat.sanitize import clean
from localchat.tui.widgets.status_line import StatusLine

EVERYTHING: dict[str, Any] = {
    "phase": "prefill",
    "percent": 43.4,
    "time_left": 11.2,
    "rate": 142.4,
    "model": "smollm2-135m",
    "quantization": "Q4_1",
    "context_used": 1204,
    "context_total": 8192,
    "is_private": True,
    "note": "offline",
    "hint": "F1 help",
}


class Screen(App[None]):
    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.line = StatusLine()
        for name, value in attributes.items():
            setattr(self.line, name, value)

    def compose(self) -> ComposeResult:
        yield self.line


async def shown(width: int = 120, **attributes: Any) -> str:
    async with Screen(**attributes).run_test(size=(80, 3)) as pilot:
        text = str(pilot.app.query_one(StatusLine).fitted(width - 2))
        assert cell_len(text) <= width - 2
        return text.rstrip()


async def test_idle_is_quiet() -> None:
    assert await shown() == "ready"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"phase": "loading", "model": "smollm2-135m"}, "loading smollm2-135m …"),
        ({"phase": "prefill"}, "reading the prompt …"),
        ({"phase": "prefill", "percent": 43}, "reading the prompt ███░░░ 43%"),
        (
            {"phase": "prefill", "percent": 43, "time_left": 11.2},
            "reading the prompt ███░░░ 43% · 12 s left",
        ),
        (
            {"phase": "prefill", "percent": 0.4, "time_left": 190},
            "reading the prompt ░░░░░░ 0% · 3 min left",
        ),
        ({"phase": "prefill", "percent": 99.9}, "reading the prompt █████░ 99%"),
        (
            {"phase": "prefill", "percent": 140, "time_left": -3},
            "reading the prompt ██████ 100% · 0 s left",
        ),
        ({"phase": "generating", "rate": 142.4}, "generating  142 t/s"),
        ({"phase": "generating", "rate": 3.14159}, "generating  3.1 t/s"),
        ({"phase": "stopping"}, "stopping …"),
        ({"is_private": True}, "ready  incognito: nothing is kept"),
        ({"note": "offline"}, "ready  offline"),
    ],
)
async def test_what_happens_stands_at_the_left(attributes: dict[str, Any], expected: str) -> None:
    assert await shown(**attributes) == expected


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (0, "░░░░░░░░ 0/8,192"),
        (None, "░░░░░░░░ 0/8,192"),
        (1, "█░░░░░░░ 1/8,192"),
        (1204, "█░░░░░░░ 1,204/8,192"),
        (6553, "██████░░ 6,553/8,192"),
        (6554, "██████░░ 6,554/8,192 nearly full"),
        (8191, "███████░ 8,191/8,192 nearly full"),
        (8192, "████████ 8,192/8,192 full"),
        (9000, "████████ 9,000/8,192 full"),
    ],
)
async def test_the_meter_warns_in_words(used: int | None, expected: str) -> None:
    text = await shown(context_used=used, context_total=8192)
    assert text.removeprefix("ready").strip() == expected


async def test_the_meter_warns_in_colour() -> None:
    async with Screen(context_total=100).run_test() as pilot:
        line = pilot.app.query_one(StatusLine)
        colours = []
        for used in (10, 85, 100):
            line.context_used = used
            colours.append(line.render().spans[-1].style)
        assert len(set(map(str, colours))) == 3


async def test_everything_has_its_place() -> None:
    assert await shown(150, **EVERYTHING) == (
        "reading the prompt ███░░░ 43% · 12 s left  142 t/s  incognito: nothing is kept  offline"
        "           smollm2-135m · Q4_1  █░░░░░░░ 1,204/8,192  F1 help"
    )


async def test_what_matters_least_gives_way_first() -> None:
    async with Screen(**EVERYTHING).run_test() as pilot:
        line = pilot.app.query_one(StatusLine)
        given_way = []
        marks = {
            "hint": "F1",
            "bar": "█░░░░░░░ 1",
            "quantization": "Q4_1",
            "sentence": "nothing is kept",
            "progress": "███░░░ 43%",
            "rate": "t/s",
            "numbers": "1,204",
            "note": "offline",
            "time": "12 s",
            "model": "smollm2",
            "private": "incognito",
        }
        for width in range(150, 0, -1):
            text = str(line.fitted(width))
            assert cell_len(text) <= width
            given_way += [
                name for name, mark in marks.items() if mark not in text and name not in given_way
            ]
        assert given_way == list(marks)


@pytest.mark.parametrize("phase", ["idle", "loading", "prefill", "generating", "stopping"])
async def test_60_columns_have_the_state_the_model_and_the_meter(phase: str) -> None:
    text = await shown(60, **EVERYTHING | {"phase": phase, "context_used": 7900})
    assert text.startswith(
        {"idle": "ready", "loading": "loading smollm2-135m", "prefill": "reading 43%"}.get(
            phase, phase
        )
    )
    assert text.count("smollm2-135m") == 1
    assert "full" in text
    assert "incognito" in text


async def test_names_are_harmless_and_short() -> None:
    hostile: dict[str, Any] = {
        "model": "evil\x1b]0;title\x07\n[red]" + "x" * 5000,
        "quantization": "Q\x1b[2J\n",
        "note": "n\u202eo\nte",
        "hint": "\x9bF\n1",
        "context_total": 4096,
    }
    text = await shown(2000, **hostile)
    assert clean(text) == text
    assert "\n" not in text
    assert "evil]0;title [red]xxx" in text
    assert "· Q[2J  " in text
    assert "  no te  " in text
    assert text.endswith("  F 1")
    loading = await shown(60, **hostile, phase="loading")
    assert loading.startswith("loading evil]0;title [r… …")
    text = await shown(60, **hostile)
    assert "evil]0;title [r…" in text
    assert "0/4,096" in text


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 2)])
async def test_no_size_is_too_small(size: tuple[int, int]) -> None:
    async with Screen(**EVERYTHING).run_test(size=size) as pilot:
        await pilot.pause()


async def test_what_would_look_the_same_is_not_painted_again() -> None:
    class Counting(StatusLine):
        painted = 0

        def render(self) -> Any:
            self.painted += 1
            return super().render()

    app = Screen()
    app.line = Counting()
    async with app.run_test() as pilot:
        line = pilot.app.query_one(Counting)
        line.phase, line.rate, line.percent, line.time_left = "generating", 142.1, 50.1, 3.9
        await pilot.pause()
        painted = line.painted
        line.rate, line.percent, line.time_left = 142.3, 50.7, 3.2
        await pilot.pause()
        assert line.painted == painted
        line.rate = 143.0
        await pilot.pause()
        assert line.painted > painted


async def test_nothing_ticks() -> None:
    async with Screen(**EVERYTHING).run_test() as pilot:
        assert not pilot.app.query_one(StatusLine)._timers
