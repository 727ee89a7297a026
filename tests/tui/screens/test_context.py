from __future__ import annotations

from dataclasses import replace

import pytest
from textual.app import App

from localchat.tui import themes
from localchat.tui.chats.context import ContextUse, Cost
from localchat.tui.screens.context import ContextScreen
from localchat.tui.widgets.transcript.asked import CopyAsked
from tests.tui.screens.looking import seen, until

PROMPT = "<s>system\nBe brief.</s>\n<s>user\nType </s> please</s>\n<s>assistant\n"
USE = ContextUse(
    (
        Cost("system", "Be brief.", 3),
        Cost("user", "Why is\nthe sky [b]blue[/b]?", 6),
        Cost("assistant", "Because \x1b[31mof Rayleigh scattering, " * 9, 1200),
        Cost("user", "Type </s> please", 5),
    ),
    prompt_tokens=1234,
    context=8192,
    prompt=PROMPT,
    said=((10, 19), (32, 48)),
)
DROPPED = replace(
    USE,
    costs=(
        USE.costs[0],
        *(replace(cost, is_dropped=True) for cost in USE.costs[1:3]),
        USE.costs[3],
    ),
    prompt_tokens=40,
    context=512,
)


class Opened(App[None]):
    def __init__(self, use: ContextUse) -> None:
        super().__init__()
        for theme in themes.THEMES:
            self.register_theme(theme)
        self.theme = "localchat"
        self.copied: list[CopyAsked] = []
        self._use = use

    def on_mount(self) -> None:
        self.push_screen(ContextScreen(self._use))

    def on_copy_asked(self, event: CopyAsked) -> None:
        self.copied.append(event)

    def line(self, words: str) -> str:
        """The line on the screen that has these words."""
        return next(line.strip() for line in seen(self).split("\n") if words in line)


async def test_each_message_has_a_line_with_its_cost_and_a_bar() -> None:
    app = Opened(USE)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        assert "1,234 of 8,192 tokens · 15%" in seen(app)
        assert (
            app.line("left for") == "█ messages 1,214   ▓ template 20   ░ left for the reply 6,958"
        )
        assert app.line("System").split() == ["System", "Be", "brief.", "3", "█"]
        assert " ".join(app.line("blue").split()) == "You Why is the sky [b]blue[/b]? 6 █"
        long = app.line("Because")
        assert long.startswith("Assistant  Because [31mof Rayleigh")
        assert long.endswith(f"…  1,200  {'█' * 21}")
        assert "left out" not in seen(app)
        assert "longer than" not in seen(app)


async def test_what_would_be_left_out_is_said_in_words() -> None:
    app = Opened(DROPPED)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        assert "2 messages would be left out: the conversation is too long." in seen(app)
        assert app.line("Because").startswith("Assistant  left out · Because")
        assert app.line("Because").endswith("  " + "░" * 21)
        assert "left out" not in app.line("Be brief")
        assert app.line("left for") == "█ messages 8   ▓ template 32   ░ left for the reply 472"
    app = Opened(replace(DROPPED, is_summarised=True, costs=DROPPED.costs[:2]))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        assert "1 message would be summarised" in seen(app)
        assert app.line("Why is").startswith("You        summarised · Why")


async def test_what_can_not_be_sent_is_said() -> None:
    app = Opened(replace(USE, context=1000))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        assert "1,234 of 1,000 tokens · 123%" in seen(app)
        assert "longer than the context: it can't be answered" in seen(app)


@pytest.mark.parametrize(("tokens", "context"), [(9, 10), (9, 5), (900, 1000), (0, 10), (9, 0)])
async def test_the_bar_is_as_wide_as_the_panel(tokens: int, context: int) -> None:
    app = Opened(ContextUse((Cost("user", "x", tokens),), max(tokens - 1, 0), context, "x"))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        bar, total = map(str.strip, seen(app).split("\n")[4:6])
        assert len(bar) == 84
        assert {*bar} <= {*"█▓░"}
        assert total.startswith(f"{max(tokens - 1, 0)} of ")


async def test_tab_shows_the_prompt_and_goes_back() -> None:
    app = Opened(USE)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("tab")
        await until(pilot, lambda: "<s>assistant" in seen(app))
        assert "What the model sees" in seen(app)
        assert "Bold is what the template adds" in seen(app)
        assert "Because" not in seen(app)
        line = next(
            strip for strip in app.screen._compositor.render_strips() if "Type" in strip.text
        )
        bold = "".join(one.text for one in line if one.style is not None and one.style.bold)
        assert bold.strip() == "</s>", "the one that the user typed is text"
        await pilot.press("shift+tab")
        await until(pilot, lambda: "Because" in seen(app))
        assert "What fills the context" in seen(app)


async def test_where_the_template_can_not_be_told_nothing_is_said_of_it() -> None:
    app = Opened(replace(USE, said=()))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("tab")
        await until(pilot, lambda: "<s>assistant" in seen(app))
        assert "Bold" not in seen(app)


async def test_the_prompt_can_be_copied_from_both() -> None:
    app = Opened(USE)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("c", "tab", "c")
        await until(pilot, lambda: len(app.copied) == 2)
        assert [(one.text, one.what) for one in app.copied] == [(PROMPT, "the prompt")] * 2


@pytest.mark.parametrize("key", ["escape", "f3"])
async def test_it_is_closed(key: str) -> None:
    app = Opened(USE)
    async with app.run_test() as pilot:
        await pilot.press(key)
        await until(pilot, lambda: not isinstance(app.screen, ContextScreen))


async def test_long_lists_and_prompts_are_scrolled_by_keys() -> None:
    costs = tuple(Cost("user", f"Number {number}", 1) for number in range(600))
    prompt = "".join(f"Number {number}\n" for number in range(600))
    app = Opened(replace(USE, costs=costs, prompt=prompt, said=((0, len(prompt)),)))
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.pause()
        assert "Number 1 " in seen(app)
        for number in range(3):
            await pilot.press("home")
            await until(pilot, lambda: "Number 1 " in f"{seen(app)} ".replace("\n", " "))
            await pilot.press("end")
            await until(pilot, lambda: "Number 599" in seen(app))
            await pilot.press("tab")
            title = "fills" if number % 2 else "sees"
            await until(pilot, lambda title=title: title in seen(app).split("\n")[0])  # type: ignore[misc]


async def test_in_a_small_terminal_it_fills_the_screen() -> None:
    app = Opened(DROPPED)
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.pause()
        lines = seen(app).split("\n")
        assert lines[0].strip() == "What fills the context"
        assert lines[-1].strip() == "tab what the model sees   c copy it   esc close"
        assert app.line("░ left") == "█ messages 8   ▓ template 32   ░ left 472"
        assert "█" in app.line("Be brief")
        await pilot.resize_terminal(40, 20)
        await pilot.pause()
        assert "█" not in app.line("Be brief"), "the words need the room"
        assert app.line("Be brief").split() == ["System", "Be", "brief.", "3"]


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (12, 40), (300, 3)])
@pytest.mark.parametrize("theme", ["localchat", "ansi-dark"])
async def test_it_can_be_any_size(size: tuple[int, int], theme: str) -> None:
    app = Opened(DROPPED)
    app.theme = theme
    async with app.run_test(size=size) as pilot:
        await pilot.press("tab", "tab")
        await pilot.pause()
        seen(app)
