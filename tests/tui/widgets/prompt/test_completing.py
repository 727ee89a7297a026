from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from textual.pilot import Pilot

from localchat.tui.widgets.prompt import offers, prompt
from localchat.tui.widgets.prompt.area import PromptArea
from localchat.tui.widgets.prompt.completions import Completions
from localchat.tui.widgets.prompt.prompt import Prompt
from tests.tui.widgets.prompt.screen import PromptApp, type_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("notes.md", "src/main.py", "src/notes/plan.md", "src/data.py", "README.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"text of {name}\n")
    return root


@pytest.fixture
def app(folder: Path) -> PromptApp:
    return PromptApp(folder)


def offered(app: PromptApp) -> list[str]:
    """The rows of the list as they are shown; none if it is closed."""
    found = app.query(Completions)
    if not found or not found.first().display:
        return []
    return [str(option.prompt) for option in found.first().options]


async def settled(pilot: Pilot[None]) -> None:
    """Until the folder was looked through, and what was found has been taken in."""
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def test_a_slash_offers_commands_in_columns(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press("/")
        assert offered(app) == [
            "/export [file]  Write the conversation to a file",
            "/fork           Go on in a copy",
            "/model <name>   Switch the model",
            "/theme <name>   Choose the colours",
        ]
        assert app.hints == "Tab completes · Up/Down chooses · Esc closes"
        await pilot.press("m")
        assert [row[:6] for row in offered(app)] == ["/model", "/theme"]


async def test_tab_completes_a_command_and_then_its_argument(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await type_in(pilot, "/th")
        await pilot.press("tab")
        assert app.prompt.text == "/theme "
        assert offered(app) == ["gruvbox", "nord", "textual-dark"]
        await pilot.press("n", "enter")
        assert app.prompt.text == "/theme nord"
        assert offered(app) == []
        await pilot.press("enter")
        assert app.posted(Prompt.CommandGiven) == [Prompt.CommandGiven("theme", "nord")]


async def test_enter_gives_a_command_that_takes_nothing(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press("/", "down", "enter")
        assert app.posted(Prompt.CommandGiven) == [Prompt.CommandGiven("fork", "")]


async def test_enter_gives_a_command_whose_name_is_whole(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await type_in(pilot, "/model")
        await pilot.press("enter")
        assert app.posted(Prompt.CommandGiven) == [Prompt.CommandGiven("model", "")]


async def test_escape_closes_the_list_until_another_word(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press("/", "escape")
        assert offered(app) == []
        await pilot.press("f")
        assert offered(app) == []
        await pilot.press("backspace", "backspace", "/")
        assert len(offered(app)) == 4


async def test_escape_is_left_to_others_while_there_is_no_list() -> None:
    class Stopping(PromptApp):
        BINDINGS = [("escape", "stop", "")]  # noqa: RUF012
        stopped = 0

        def action_stop(self) -> None:
            self.stopped += 1

    app = Stopping()
    async with app.run_test() as pilot:
        await pilot.press("/", "escape")
        assert app.stopped == 0
        await pilot.press("escape")
        assert app.stopped == 1


async def test_tab_is_left_to_others_while_there_is_no_list(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.query_one("#above").can_focus = True
        await pilot.press("a", "tab")
        assert app.focused is app.query_one("#above")


async def test_the_list_goes_with_the_focus(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press("/")
        app.set_focus(None)
        await pilot.pause()
        assert offered(app) == []


async def test_files_are_found_by_some_letters(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await type_in(pilot, "see @")
        await settled(pilot)
        assert offered(app)[:2] == ["@README.md", "@notes.md"]
        await type_in(pilot, "plan")
        await settled(pilot)
        assert offered(app) == ["@src/notes/plan.md"]
        await pilot.press("tab", "!")
        assert app.prompt.text == "see @src/notes/plan.md !"
        assert offered(app) == []


async def test_a_file_is_sent_before_the_prompt(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await type_in(pilot, "@read")
        await settled(pilot)
        await pilot.press("enter")
        await type_in(pilot, "is what?")
        await pilot.press("enter")
        await settled(pilot)
        text = "README.md:\n```\ntext of README.md\n```\n\n@README.md is what?"
        assert app.posted(Prompt.Submitted) == [Prompt.Submitted(text, "@README.md is what?")]
        assert app.prompt.text == ""


async def test_a_sent_file_comes_back_as_a_chip(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.prompt.attach(Path("notes.md"))
        await pilot.press("enter")
        await settled(pilot)
        sent = app.posted(Prompt.Submitted)[0].text
        app.prompt.history = [sent]
        await pilot.press("up")
        assert app.prompt.text == "@notes.md "
        await pilot.press("enter")
        await settled(pilot)
        assert app.posted(Prompt.Submitted)[1].text == sent


async def test_a_name_that_is_written_out_is_a_file(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await type_in(pilot, "see @notes.md")
        await settled(pilot)
        assert offered(app) == []
        await type_in(pilot, ", please")
        await pilot.press("enter")
        await settled(pilot)
        assert app.posted(Prompt.Submitted)[0].text.startswith("notes.md:\n```")


async def test_names_in_a_draft_become_files_again(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.prompt.load("see @notes.md.")
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert app.posted(Prompt.Submitted)[0].text.startswith("notes.md:\n```")


async def test_what_holds_a_file_already_does_not_get_it_again(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        text = "notes.md:\n```\nold\n```\n\nsee @notes.md "
        app.prompt.load(text)
        await settled(pilot)
        await pilot.press("enter")
        await settled(pilot)
        assert app.posted(Prompt.Submitted)[0].text == text.rstrip()


async def test_a_file_that_cannot_be_read_keeps_the_prompt(app: PromptApp, folder: Path) -> None:
    (folder / "bytes.txt").write_bytes(b"\xff\x00")
    async with app.run_test() as pilot:
        await type_in(pilot, "see ")
        app.prompt.attach(Path("bytes.txt"))
        await pilot.press("enter")
        await settled(pilot)
        assert not app.posted(Prompt.Submitted)
        assert app.prompt.text == "see @bytes.txt "
        assert "bytes.txt is not UTF-8 text: byte 0 is 0xff." in app.complaint


async def test_a_file_that_is_too_large_keeps_the_prompt(app: PromptApp, folder: Path) -> None:
    (folder / "big.txt").write_bytes(b"x" * (5 << 20))
    async with app.run_test() as pilot:
        app.prompt.attach(Path("big.txt"))
        await pilot.press("enter")
        await settled(pilot)
        assert not app.posted(Prompt.Submitted)
        assert "too large: it has 5.0 MiB, and 4 MiB is the most." in app.complaint


async def test_hidden_names_cannot_command_the_terminal(app: PromptApp, folder: Path) -> None:
    (folder / "a\x1b[31m.md").write_text("x")
    async with app.run_test() as pilot:
        await pilot.press("@")
        await settled(pilot)
        assert not any("[31m" in row for row in offered(app))


async def test_no_list_for_an_address(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await type_in(pilot, "me@notes")
        await settled(pilot)
        assert offered(app) == []


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (20, 8), (1, 1)])
async def test_the_list_lies_above_the_prompt_and_within_the_screen(size: tuple[int, int]) -> None:
    app = PromptApp()
    app.prompt.commands = [(f"command{number}", "<x>", "What it does") for number in range(20)]
    async with app.run_test(size=size) as pilot:
        await pilot.press("/")
        await pilot.pause()
        region = app.query_one(Completions).region
        if size[1] >= 20:
            assert region.height == 10
            assert region.bottom == app.prompt.region.y
        assert region.right <= size[0] or size == (1, 1)
        await pilot.press("ctrl+j", "ctrl+j")
        await pilot.pause()


async def test_the_list_lies_below_where_there_is_more_room() -> None:
    app = PromptApp()
    async with app.run_test(size=(60, 30)) as pilot:
        app.query_one("#above").display = False
        await pilot.pause()  # laid out without what was above
        await pilot.press("/")
        for _ in range(200):
            if app.query_one(Completions).region.y == app.prompt.region.bottom:
                return
            await pilot.pause(0.01)
        raise AssertionError(app.query_one(Completions).region)


async def test_a_click_chooses_and_leaves_the_focus(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press("/")
        await pilot.pause()
        await pilot.click(Completions, offset=(3, 3))
        assert app.prompt.text == "/model "
        assert app.focused is app.query_one(PromptArea)
        await pilot.press("escape", "ctrl+u", "/")
        await pilot.pause()
        await pilot.click(Completions, offset=(3, 2))
        assert app.posted(Prompt.CommandGiven) == [Prompt.CommandGiven("fork", "")]


async def test_moving_the_cursor_out_of_the_word_closes_the_list(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await pilot.press("a", "space", "@")
        await settled(pilot)
        assert offered(app)
        await pilot.press("left")
        await pilot.pause()
        assert offered(app) == []


async def test_walking_through_the_history_opens_no_list(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.prompt.history = ["first", "/model x"]
        await pilot.press("up")
        assert offered(app) == []
        await pilot.press("up")
        assert app.prompt.text == "first"


async def test_prompts_are_sent_in_their_order_however_long_a_file_takes(
    app: PromptApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_read = threading.Event()

    def slow(path: Path) -> str:
        is_read.wait(10)
        return path.name

    monkeypatch.setattr(prompt, "_enclosed", slow)
    async with app.run_test() as pilot:
        app.prompt.attach(Path("notes.md"))
        await pilot.press("enter", "b", "enter")
        assert not app.posted(Prompt.Submitted)
        is_read.set()
        await settled(pilot)
        sent = [message.text for message in app.posted(Prompt.Submitted)]
        assert sent == ["notes.md\n\n@notes.md", "b"]


async def test_what_is_found_too_late_opens_no_list(
    app: PromptApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_found = threading.Event()

    def slow(query: str, paths: Sequence[str]) -> list[offers.Offer]:
        is_found.wait(10)
        return [offers.Offer("notes.md")]

    monkeypatch.setattr(offers, "files", slow)
    async with app.run_test() as pilot:
        await pilot.press("@", "space")
        is_found.set()
        await settled(pilot)
        assert not app.prompt.is_listing
