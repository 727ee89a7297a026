"""How the screen looks: pictures that were looked at, and are compared with what it draws now.

After a change that is meant: `scripts/test tests/tui/test_snapshots.py --snapshot-update`, then
look at each picture that `git status` names.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from localchat.events import Event
from localchat.paths import Paths
from localchat.store.records import NewConversation, NewMessage
from localchat.store.store import Store
from localchat.tui.chats import run
from localchat.tui.chats.live import Live
from localchat.tui.start import Start
from localchat.tui.widgets.prompt.area import PromptArea
from localchat.tui.widgets.transcript import thinking
from tests.tui.conftest import Stage, make_stage_app

Play = Callable[[Stage], Awaitable[None]]
Scene = Callable[..., bool]

ANSWER = """\
Sunlight is scattered by the molecules of the air, and **short wavelengths** are scattered most:

- blue light about five times as much as red,
- violet even more, but there is less of it and the eye is weak there.

```python
def scattered(wavelength: float) -> float:
    return 1 / wavelength**4  # Rayleigh
```

| colour | nm | scattered |
|:-------|---:|----------:|
| blue | 450 | 5.2 |
| red | 680 | 1.0 |
"""
QUESTION = "Why is the sky blue?"


class SteadyLive(Live):
    """Every event takes half a second, however fast the machine is."""

    def __init__(self, reply: int, content: str = "", reasoning: str = "") -> None:
        self._now = 100.0
        super().__init__(reply, content, reasoning, clock=lambda: self._now)

    def take(self, event: Event) -> None:
        self._now += 0.5
        super().take(event)


@pytest.fixture
def scene(snap_compare: Any, places: Paths, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Whether the screen looks as it did, after `play`."""
    monkeypatch.setattr(run, "Live", SteadyLive)
    monkeypatch.setattr(thinking.Thinking.__init__, "__defaults__", (lambda: 100.0,))

    def look(
        play: Play,
        *,
        size: tuple[int, int] = (100, 30),
        theme: str = "localchat",
        start: Start | None = None,
    ) -> bool:
        app, clients = make_stage_app(places, start=start)

        async def prepare(pilot: Pilot[int]) -> None:
            app.theme = theme
            app.animation_level = "none"
            at = Stage(app, pilot, clients)
            await at.settle()
            at.main.query_one(PromptArea).cursor_blink = False
            await play(at)
            await pilot.pause(0.2)

        try:
            return bool(snap_compare(app, run_before=prepare, terminal_size=size))
        finally:
            app.close()

    return look


@pytest.fixture
def earlier(places: Paths) -> str:
    """Conversations of some days; the id of the newest."""
    now = time.time()
    titles = (
        "Names for a small boat",
        "Regular expression for dates",
        "What to see in Lisbon in three days, on foot",
        "日本語の挨拶",
    )
    with Store.open(places) as store:
        ids = store.add(
            [
                NewConversation(
                    (
                        NewMessage("user", QUESTION),
                        NewMessage("assistant", ANSWER, 0),
                    ),
                    title=title,
                    created=now - 60 * number,
                    updated=now - 60 * number,
                )
                for number, title in enumerate(titles)
            ]
        )
    assert ids[0] is not None
    return ids[0]


async def nothing(at: Stage) -> None:
    pass


async def reading(at: Stage) -> None:
    await at.say("Summarise the minutes of the meeting.")
    at.client.prefill(200, 4000)
    at.client.prefill(1720, 4000)
    await at.until(lambda: at.chat.live and at.chat.live.prefill == (1720, 4000))


async def streaming(at: Stage) -> None:
    await at.say(QUESTION)
    for piece in ANSWER.splitlines(keepends=True)[:6]:
        at.client.give(piece, tokens=15)
    await at.until(lambda: at.chat.live and at.chat.live.tokens == 90)
    await at.until(lambda: at.main.status_line.context_used == at.chat.context_used)


async def thought(at: Stage) -> None:
    await at.say(QUESTION)
    at.client.think("The user asks about the sky.\n", tokens=8)
    at.client.think("I should explain scattering, briefly.\n", tokens=8)
    await at.until(lambda: "scattering, briefly" in at.shown)


async def answered(at: Stage) -> None:
    await thought(at)
    at.client.give("Air scatters **short wavelengths** most, and blue light is short.")
    at.client.finish()
    await at.until(lambda: not at.chat.is_busy)


async def died(at: Stage) -> None:
    await at.say("Tell me a story.")
    at.client.give("Once upon a time there was a")
    await at.until(lambda: "there was a" in at.shown)
    at.client.die()
    await at.until(lambda: not at.chat.is_busy)


async def branched(at: Stage) -> None:
    await at.take_turn("Name a colour.", "Red.")
    at.client.give("Blue, like the sea on a clear morning.")
    at.client.finish()
    at.main.action_command("regen")
    await at.until(lambda: not at.chat.is_busy and "2/2" in at.shown)
    await at.pilot.press("shift+tab", "up")


async def side_by_side(at: Stage) -> None:
    at.main.action_command("compare", QUESTION)
    await at.until(lambda: at.clients[1].requests)
    at.client.give(ANSWER)
    at.client.finish()
    await at.until(lambda: "Rayleigh" in at.shown)
    at.clients[1].give("Because of the **air**: it scatters blue light more than red.")
    at.clients[1].finish()
    await at.until(lambda: "scatters blue" in at.shown and "keeps the left" in at.shown)


async def keys(at: Stage) -> None:
    await at.pilot.press("f1")
    await at.until(lambda: "Everywhere" in at.shown)


async def commands(at: Stage) -> None:
    await at.pilot.press("/")
    await at.until(lambda: "/incognito" in at.shown)


async def palette(at: Stage) -> None:
    await at.pilot.press("ctrl+p", *"branch")
    await at.until(lambda: "next version" in at.shown)
    await at.until(lambda: all(worker.is_finished for worker in at.app.workers))


@pytest.mark.parametrize(
    ("play", "size", "theme"),
    [
        pytest.param(nothing, (100, 30), "localchat", id="empty"),
        pytest.param(nothing, (60, 20), "localchat", id="empty-narrow"),
        pytest.param(reading, (100, 30), "localchat", id="prefill"),
        pytest.param(streaming, (100, 30), "localchat", id="streaming"),
        pytest.param(streaming, (60, 20), "localchat", id="streaming-narrow"),
        pytest.param(streaming, (200, 40), "localchat", id="streaming-wide"),
        pytest.param(streaming, (100, 30), "localchat-light", id="streaming-light"),
        pytest.param(streaming, (100, 30), "ansi-dark", id="streaming-ansi"),
        pytest.param(thought, (100, 30), "localchat", id="thinking"),
        pytest.param(answered, (100, 30), "localchat", id="thinking-folded"),
        pytest.param(died, (100, 30), "localchat", id="error"),
        pytest.param(branched, (100, 30), "localchat", id="branches"),
        pytest.param(keys, (100, 40), "localchat", id="keys"),
        pytest.param(commands, (100, 30), "localchat", id="commands"),
        pytest.param(palette, (100, 30), "localchat", id="palette"),
    ],
)
def test_it_looks_as_it_did(scene: Scene, play: Play, size: tuple[int, int], theme: str) -> None:
    assert scene(play, size=size, theme=theme)


def test_a_conversation_with_a_history_beside_it(scene: Scene, earlier: str) -> None:
    assert scene(nothing, start=Start(earlier), size=(110, 32))


def test_two_replies_side_by_side(scene: Scene) -> None:
    assert scene(side_by_side, size=(110, 26))


def test_the_same_in_light(scene: Scene, earlier: str) -> None:
    assert scene(nothing, start=Start(earlier), size=(110, 32), theme="localchat-light")


def test_a_chat_that_nothing_is_kept_of(scene: Scene) -> None:
    assert scene(nothing, start=Start(is_private=True))
