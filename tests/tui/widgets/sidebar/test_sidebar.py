from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from textual import constants
from textual.app import App, ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Input

from localchat.tui import themes
from localchat.tui.widgets.sidebar.fields import TitleField
from localchat.tui.widgets.sidebar.listing import Listing
from localchat.tui.widgets.sidebar.sidebar import Sidebar
from tests.tui.widgets.sidebar.samples import conversation, conversations, hit

NAMES = [
    "Prime numbers",
    "A letter to the landlord about the heating",
    "日本語のタイトルはとても長いので切られます",
    "שלום עולם מה שלומך היום ידידי הטוב",
    "[bold red]markup[/] \x1b[31m",
    "👩‍👩‍👧‍👦🎉🎂 a party with very many guests",
]


class Other(Input):
    """What else can have the focus."""


class Screen(App[None]):
    AUTO_FOCUS = None
    CSS = "Sidebar { height: 1fr; }"

    def __init__(self, *, theme: str = "localchat") -> None:
        super().__init__(ansi_color=None)
        for one in themes.THEMES:
            self.register_theme(one)
        self.theme = theme
        self.sidebar = Sidebar()
        self.posted: list[Message] = []

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield self.sidebar
            yield Other()

    def keep(self, message: Message) -> None:
        self.posted.append(message)

    on_sidebar_chosen = keep
    on_sidebar_search_changed = keep
    on_sidebar_new_asked = keep
    on_sidebar_renamed = keep
    on_sidebar_delete_asked = keep
    on_sidebar_more_asked = keep


@pytest.fixture(autouse=True)
def _no_animation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "TEXTUAL_ANIMATIONS", "none")


def lines(app: Screen) -> list[str]:
    """What the list shows, without what is blank at the ends."""
    listing = app.query_one(Listing)
    width = listing.scrollable_content_region.width
    strips = [listing.render_line(y) for y in range(listing.size.height)]
    assert all(strip.cell_length == width for strip in strips)
    return [strip.text.rstrip() for strip in strips]


def seen(app: Screen) -> list[str]:
    return [line for line in lines(app) if line]


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Layouts come with the next frame, which no pause waits for."""
    for _ in range(1000):
        if condition():
            return
        await pilot.pause(0.01)
    raise AssertionError("it did not happen in time")


async def posted(pilot: Pilot[None]) -> list[Message]:
    """What was posted since the last call."""
    await pilot.pause()
    app = pilot.app
    assert isinstance(app, Screen)
    messages, app.posted = app.posted, []
    return messages


async def test_conversations_by_day() -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        app.sidebar.show(
            [
                conversation(1, NAMES[0]),
                conversation(2, NAMES[1]),
                conversation(3, "Names for a cat", days=1),
            ]
        )
        await pilot.pause()
        assert lines(app)[:6] == [
            " Today",
            "   Prime numbers",
            "   A letter to the landlord…",
            "",
            " Yesterday",
            "   Names for a cat",
        ]


async def test_nothing_yet() -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        await pilot.pause()
        assert seen(app) == [" No conversations yet. Each", " one that you begin is kept", " here."]
        await pilot.press("tab", "down", "up", "j", "k", "pageup", "pagedown", "home", "end")
        await pilot.press("enter", "d", "r")
        assert await posted(pilot) == []


async def test_marks_need_no_colour() -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        app.sidebar.show([conversation(number) for number in range(4)])
        app.sidebar.running = frozenset({conversation(1).id})
        app.sidebar.finished = frozenset({conversation(2).id})
        app.sidebar.current = conversation(0).id
        await pilot.pause()
        assert seen(app) == [" Today", "▎  Title 0", " • Title 1", " ✓ Title 2", "   Title 3"]
        app.sidebar.focus_list()
        await pilot.press("down")
        assert seen(app)[1:3] == ["▎  Title 0", "▸• Title 1"]
        app.query_one(Other).focus()
        await pilot.pause()
        assert seen(app)[2] == " • Title 1"


async def test_the_cursor_is_seen_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Screen(theme="ansi-dark")
    async with app.run_test(size=(80, 16)) as pilot:
        app.sidebar.show(conversations(3))
        app.sidebar.focus_list()
        await pilot.pause()
        first, second = (app.query_one(Listing).render_line(y) for y in (1, 2))
        assert all(style and style.reverse for _, style, _ in first)
        assert not any(style and style.reverse for _, style, _ in second)


@pytest.mark.parametrize("theme", ["localchat", "localchat-light", "ansi-dark", "textual-light"])
async def test_the_cursor_covers_its_row_in_every_theme(theme: str) -> None:
    app = Screen(theme=theme)
    async with app.run_test(size=(80, 16)) as pilot:
        app.sidebar.show(conversations(3))
        app.sidebar.running = frozenset({conversation(0).id})
        app.sidebar.current = conversation(0).id
        app.sidebar.focus_list()
        await pilot.pause()
        listing = app.query_one(Listing)
        looks = [
            {(style.bgcolor, style.reverse) for _, style, _ in listing.render_line(y) if style}
            for y in (1, 2)
        ]
        assert len(looks[0]) == 1
        assert looks[0] != looks[1]


async def test_titles_are_harmless_and_have_their_width() -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        app.sidebar.show([conversation(number, name) for number, name in enumerate(NAMES)])
        for width in (30, 24, 8, 3):
            app.sidebar.styles.width = width
            await pilot.pause()
            assert not any("\x1b" in line for line in lines(app))
        app.sidebar.styles.width = 40
        await until(pilot, lambda: "   [bold red]markup[/] [31m" in lines(app))


async def test_keys_move_and_open() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        shown = conversations(30, a_day=3)
        app.sidebar.show(shown)
        app.sidebar.current = shown[1].id
        app.sidebar.focus_list()
        await pilot.press("enter", "down", "enter", "j", "enter", "k", "enter", "up", "enter")
        assert await posted(pilot) == [
            Sidebar.Chosen(shown[place].id, None) for place in (1, 2, 3, 2, 1)
        ]
        await pilot.press("end", "enter", "down", "enter", "home", "enter", "up", "enter")
        assert await posted(pilot) == [
            Sidebar.Chosen(shown[place].id, None) for place in (29, 29, 0, 0)
        ]


async def test_pages_reach_both_ends_and_skip_nothing() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.sidebar.show(conversations(60, a_day=3))
        app.sidebar.focus_list()
        listing = app.query_one(Listing)
        for key, end in (("pagedown", 59), ("pageup", 0)):
            places = []
            for _ in range(30):
                await pilot.press(key)
                assert listing.chosen is not None
                places.append(int(listing.chosen.conversation, 16))
                assert any(line.startswith("▸") for line in lines(app))
            assert places[-1] == end
            steps = [abs(after - before) for before, after in pairwise(places)]
            assert max(steps) <= listing.size.height
            assert 0 not in steps[:5]


async def test_the_first_heading_is_seen_with_the_first_conversation() -> None:
    app = Screen()
    async with app.run_test(size=(80, 8)) as pilot:
        app.sidebar.show(conversations(30))
        app.sidebar.focus_list()
        await pilot.press("end", "home")
        assert lines(app)[0] == " Today"


async def test_a_click_opens() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        shown = conversations(30)
        app.sidebar.show(shown)
        await pilot.pause()
        await pilot.click(Listing, offset=(6, 3))
        assert await posted(pilot) == [Sidebar.Chosen(shown[2].id, None)]
        await pilot.click(Listing, offset=(6, 0))  # a heading
        assert await posted(pilot) == []
        app.sidebar.show(shown[:1])
        await pilot.pause()
        await pilot.click(Listing, offset=(6, 5))  # below the last one
        assert await posted(pilot) == []


async def test_what_lies_under_the_mouse_is_marked() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.sidebar.show(conversations(5))
        await pilot.pause()
        plain = app.query_one(Listing).render_line(2)
        await pilot.hover(Listing, offset=(6, 2))
        assert app.query_one(Listing).render_line(2) != plain
        await pilot.hover(Other)
        assert app.query_one(Listing).render_line(2) == plain


async def test_the_cursor_stays_with_its_conversation() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        shown = conversations(40)
        app.sidebar.show(shown)
        app.sidebar.focus_list()
        listing = app.query_one(Listing)
        await pilot.press(*["down"] * 20)
        assert lines(app)[-1] == "▸  Title 20"
        app.sidebar.show([conversation(99), *shown])
        await pilot.pause()
        assert listing.chosen is not None
        assert listing.chosen.conversation == shown[20].id
        assert lines(app)[-1] == "▸  Title 20"
        app.sidebar.show([conversation(99), *shown[:20], *shown[21:]])
        await pilot.pause()
        assert listing.chosen.conversation == shown[21].id
        app.sidebar.show([])
        await pilot.pause()
        assert listing.chosen is None


async def test_new_and_delete() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        shown = conversations(3)
        app.sidebar.show(shown)
        app.sidebar.focus_list()
        await pilot.press("n", "down", "d", "down", "delete")
        assert await posted(pilot) == [
            Sidebar.NewAsked(),
            Sidebar.DeleteAsked(shown[1].id),
            Sidebar.DeleteAsked(shown[2].id),
        ]


async def test_rename_in_place() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        shown = [conversation(1, "One\x1b"), conversation(2, NAMES[1])]
        app.sidebar.show(shown)
        app.sidebar.focus_list()
        await pilot.press("down", "r")
        field = app.focused
        assert isinstance(field, Input)
        assert field.value == NAMES[1]
        row = next(y for y, line in enumerate(lines(app)) if "landlord" in line)
        assert field.region.y == app.query_one(Listing).region.y + row
        assert app.sidebar.region.contains_region(field.region)
        await pilot.press(*"new d/", "enter")
        assert await posted(pilot) == [Sidebar.Renamed(shown[1].id, "new d/")]
        assert app.focused is app.query_one(Listing)
        assert not app.query("TitleField")
        await pilot.press("up", "r")
        assert isinstance(app.focused, Input)
        assert app.focused.value == "One"
        await pilot.press("end", "backspace", "backspace", "backspace", "enter")
        assert await posted(pilot) == [Sidebar.Renamed(shown[0].id, "")]


@pytest.mark.parametrize("key", ["escape", "tab", "enter"])
async def test_a_title_can_be_left_as_it_is(key: str) -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.sidebar.show(conversations(3))
        app.sidebar.focus_list()
        await pilot.press("r", *([] if key == "enter" else ["x"]), key)
        assert await posted(pilot) == []
        assert not app.query("TitleField")
        assert isinstance(app.focused, Listing)


async def test_a_title_is_done_with_once() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.sidebar.show(conversations(3))
        app.sidebar.focus_list()
        await pilot.press("r", "x")
        field = app.query_one(TitleField)
        await field.action_submit()
        field.action_leave()  # before the first one is heard of
        assert await posted(pilot) == [Sidebar.Renamed(conversation(0).id, "x")]


async def test_a_title_is_left_for_something_else() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.sidebar.show(conversations(3))
        app.sidebar.focus_list()
        await pilot.press("r", "x")
        app.query_one(Other).focus()
        await until(pilot, lambda: not app.query("TitleField"))
        assert await posted(pilot) == []
        assert isinstance(app.focused, Other)


async def test_search() -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        shown = conversations(3)
        app.sidebar.show(shown)
        app.sidebar.focus_list()
        await pilot.press("slash", *"nr d")
        assert [*map(repr, await posted(pilot))] == [
            f"Sidebar.SearchChanged(text={text!r})" for text in ("n", "nr", "nr d")
        ]
        assert "   Title 0" in lines(app)  # until the hits are there
        snippet = "… a text that is long before the nrword comes and goes on behind it"
        app.sidebar.show_hits(
            "nr d",
            [hit(7, "Title nr 7", [(6, 8)], message=None), hit(8, snippet, [(33, 39)], message=5)],
        )
        await pilot.pause()
        assert seen(app) == ["   Title nr 7", "   Title 8", "   …before the nrword comes…"]
        await pilot.press("enter", "enter", "down", "enter")
        assert await posted(pilot) == [
            Sidebar.Chosen(conversation(7).id, None),
            Sidebar.Chosen(conversation(8).id, 5),
        ]


async def test_a_search_can_begin_with_words() -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        await app.sidebar.search_for(" two words ")
        assert await posted(pilot) == [Sidebar.SearchChanged("two words")]
        assert isinstance(app.focused, Input)
        await pilot.press("down")
        await app.sidebar.search_for()
        await pilot.pause()
        assert isinstance(app.focused, Input)
        await app.sidebar.search_for("others")
        assert await posted(pilot) == [Sidebar.SearchChanged("others")]
        assert len(app.query("SearchField")) == 1


async def test_found_words_are_marked() -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        await pilot.press("tab", "slash", "x")
        app.sidebar.show_hits("x", [hit(8, "one two three two", [(4, 7), (14, 17)])])
        await pilot.pause()
        listing = app.query_one(Listing)
        bold = [text for text, style, _ in listing.render_line(1) if style and style.bold]
        assert bold == ["two", "two"]


async def test_hits_for_other_words_are_not_shown() -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        app.sidebar.show(conversations(1))
        app.sidebar.show_hits("", [hit(1, "late")])
        app.sidebar.focus_list()
        await pilot.press("slash", "a", "b")
        app.sidebar.show_hits("a", [hit(1, "late")])
        await pilot.pause()
        assert "   Title 0" in lines(app)
        app.sidebar.show_hits("ab", [])
        await pilot.pause()
        assert seen(app) == [" Nothing was found."]


@pytest.mark.parametrize("from_list", [False, True])
async def test_escape_ends_the_search(from_list: bool) -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        app.sidebar.show(conversations(2))
        app.sidebar.focus_list()
        await pilot.press("slash", "a")
        app.sidebar.show_hits("a", [hit(9, "a")])
        await pilot.press(*(["down"] if from_list else []), "escape")
        assert (await posted(pilot))[-1] == Sidebar.SearchChanged("")
        assert app.focused is app.query_one(Listing)
        assert seen(app) == [" Today", "▸  Title 0", "   Title 1"]
        assert app.query_one("#sidebar-hint").display
        app.sidebar.show(conversations(1))  # the search is over: this is seen
        await pilot.pause()
        assert seen(app) == [" Today", "▸  Title 0"]


async def test_escape_is_the_screens_where_nothing_is_searched() -> None:
    class Above(Screen):
        BINDINGS = [("escape", "above", "Above")]  # noqa: RUF012
        reached = 0

        def action_above(self) -> None:
            self.reached += 1

    app = Above()
    async with app.run_test(size=(80, 16)) as pilot:
        app.sidebar.show(conversations(2))
        app.sidebar.focus_list()
        await pilot.press("escape")
        assert app.reached == 1
        await pilot.press("slash", "escape")
        assert app.reached == 1


async def test_conversations_that_change_do_not_disturb_a_search() -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        app.sidebar.focus_list()
        await pilot.press("slash", "a")
        app.sidebar.show_hits("a", [hit(9, "a")])
        app.sidebar.show(conversations(3))
        await pilot.pause()
        assert seen(app) == ["   Title 9", "   a"]


async def test_up_from_the_first_goes_back_to_the_words() -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        app.sidebar.show(conversations(2))
        app.sidebar.focus_list()
        await pilot.press("up")
        assert isinstance(app.focused, Listing)
        await pilot.press("slash", "down", "up")
        assert isinstance(app.focused, Input)


async def test_the_mouse_opens_the_search() -> None:
    app = Screen()
    async with app.run_test(size=(80, 16)) as pilot:
        await pilot.click("#sidebar-hint")
        assert isinstance(app.focused, Input)
        assert not app.query_one("#sidebar-hint").display


async def test_more_is_asked_for_once_when_the_end_is_near() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        shown = conversations(100)
        app.sidebar.show(shown, has_more=True)
        app.sidebar.focus_list()
        assert await posted(pilot) == []
        await pilot.press("end", "up", "down", "home", "end")
        assert await posted(pilot) == [Sidebar.MoreAsked(shown[-1])]
        further = conversations(130)
        app.sidebar.show(further, has_more=True)
        await pilot.press("home", "end")
        assert await posted(pilot) == [Sidebar.MoreAsked(further[-1])]
        app.sidebar.show(further, has_more=False)
        await pilot.press("home", "end")
        assert await posted(pilot) == []


async def test_the_end_is_near_a_screen_before_it() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.sidebar.show(conversations(30, a_day=30), has_more=True)  # 31 lines, 10 are seen
        app.sidebar.focus_list()
        await pilot.press(*["down"] * 18)
        assert await posted(pilot) == []
        await pilot.press("down")
        await until(pilot, lambda: app.posted)


async def test_another_theme_paints_anew() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.sidebar.show(conversations(3))
        await pilot.pause()
        before = app.query_one(Listing).render_line(1)
        app.theme = "localchat-light"
        await until(pilot, lambda: app.query_one(Listing).render_line(1) != before)


async def test_more_is_asked_for_where_there_is_room() -> None:
    app = Screen()
    async with app.run_test(size=(80, 40)) as pilot:
        shown = conversations(3)
        app.sidebar.display = False
        await pilot.pause()
        app.sidebar.show(shown, has_more=True)
        assert await posted(pilot) == []  # nobody sees it
        app.sidebar.display = True
        await until(pilot, lambda: app.posted)
        assert await posted(pilot) == [Sidebar.MoreAsked(shown[-1])]


async def test_a_hit_asks_for_nothing_more() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.sidebar.show(conversations(100), has_more=True)
        app.sidebar.focus_list()
        await pilot.press("slash", "a")
        app.sidebar.show_hits("a", [hit(1, "a")])
        await pilot.press("down", "end")
        assert [*map(type, await posted(pilot))] == [Sidebar.SearchChanged]


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (10, 1), (30, 3)])
async def test_no_size_is_too_small(size: tuple[int, int]) -> None:
    app = Screen()
    async with app.run_test(size=size) as pilot:
        app.sidebar.show([conversation(number, name) for number, name in enumerate(NAMES)])
        app.sidebar.current = conversation(0).id
        app.sidebar.focus_list()
        await pilot.press("down", "pagedown", "end", "slash", "a")
        app.sidebar.show_hits("a", [hit(1, "a b c", [(0, 1)])])
        await pilot.press("down", "r", "x", "escape", "escape")
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "▎  Prime numbers" in lines(app))


async def test_of_thousands_only_what_is_seen_is_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        painted: list[str] = []

        def counted(text: str) -> str:
            painted.append(text)
            return text

        monkeypatch.setattr("localchat.tui.widgets.sidebar.rows.one_line", counted)
        app.sidebar.show(conversations(5000))
        await pilot.pause()
        assert 0 < len(painted) < 100
        app.sidebar.focus_list()
        await pilot.press("end")
        assert lines(app)[-1] == "▸  Title 4999"


def moving(app: Screen) -> bool:
    return app.query_one(Listing)._beat is not None


async def test_a_timer_runs_only_while_something_that_moves_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("localchat.tui.widgets.sidebar.listing._BEAT", 1e6)
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.animation_level = "full"
        app.sidebar.show(conversations(40))
        app.sidebar.focus_list()
        await until(pilot, lambda: " Today" in lines(app))
        listing = app.query_one(Listing)

        async def beats(count: int) -> None:
            for _ in range(count):
                listing._next_frame()
                await pilot.pause(0.05)

        assert not moving(app)
        app.sidebar.running = frozenset({conversation(1).id})
        await until(pilot, lambda: moving(app))
        await beats(5)
        assert moving(app)
        app.sidebar.display = False
        await until(pilot, lambda: listing.region.height == 0)
        await beats(2)
        assert not moving(app)
        app.sidebar.display = True
        await until(pilot, lambda: moving(app))
        app.sidebar.focus_list()
        await pilot.press("end")  # it is out of sight
        await pilot.pause(0.05)
        await beats(2)
        assert not moving(app)
        await pilot.press("home")
        await until(pilot, lambda: moving(app))
        app.sidebar.running = frozenset()
        await pilot.pause(0.05)
        await beats(2)
        assert not moving(app)


async def test_the_mark_of_a_reply_that_comes_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.tui.widgets.sidebar.listing._BEAT", 1e6)
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.animation_level = "full"
        app.sidebar.show(conversations(3))
        app.sidebar.running = frozenset({conversation(1).id})
        await until(pilot, lambda: moving(app))
        listing = app.query_one(Listing)
        for mark in "•·•":
            assert f" {mark} Title 1" in lines(app)
            listing._next_frame()
        app.sidebar.running = frozenset()
        app.sidebar.finished = frozenset({conversation(1).id})
        await pilot.pause()
        assert " ✓ Title 1" in lines(app)


async def test_nothing_moves_without_animations() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.animation_level = "none"
        app.sidebar.show(conversations(2))
        app.sidebar.running = frozenset({conversation(1).id})
        await pilot.pause()
        assert " • Title 1" in lines(app)
        assert not moving(app)


async def test_what_is_set_before_the_first_frame_is_shown() -> None:
    app = Screen()
    app.sidebar.show(conversations(2))
    app.sidebar.running = frozenset({conversation(0).id})
    app.sidebar.current = conversation(1).id
    async with app.run_test(size=(80, 12)) as pilot:
        await pilot.pause()
        assert seen(app) == [" Today", " • Title 0", "▎  Title 1"]


async def test_keys_can_be_given_to_other_actions() -> None:
    app = Screen()
    async with app.run_test(size=(80, 12)) as pilot:
        app.set_keymap({"sidebar.delete": "x", "sidebar.down": "s"})
        app.sidebar.show(conversations(2))
        app.sidebar.focus_list()
        await pilot.press("d", "s", "x")
        assert await posted(pilot) == [Sidebar.DeleteAsked(conversation(1).id)]
