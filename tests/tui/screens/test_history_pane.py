from __future__ import annotations

import apsw
import pytest

from localchat.errors import LocalchatError
from localchat.paths import Paths
from localchat.store.records import NewConversation, NewMessage
from localchat.store.store import Store
from localchat.tui.screens import history_pane
from localchat.tui.start import Start
from localchat.tui.widgets.sidebar.listing import Listing
from localchat.tui.widgets.sidebar.rows import Entry, Found
from localchat.tui.widgets.sidebar.sidebar import Sidebar
from tests.tui.conftest import Opened, Stage

SOON = 0.01
NEVER = 1000.0


def listed(at: Stage) -> list[str]:
    """What the list has, on the screen or below it."""
    rows = at.app.screen.query_one(Listing)._rows
    return [one.title for one in rows if isinstance(one, Entry | Found)]


def contents(at: Stage) -> list[str]:
    return [one.content for one in at.chat.messages]


def told(at: Stage, words: str) -> bool:
    return any(words in note for note in at.notes)


def keep(places: Paths, *conversations: NewConversation) -> list[str]:
    with Store.open(places) as store:
        return [id_ or "" for id_ in store.add(conversations)]


def talk(*said: str, updated: float = 0, title: str | None = None) -> NewConversation:
    """What was said in turn, by the user first."""
    messages = [
        NewMessage("user" if at % 2 == 0 else "assistant", text, None if at == 0 else at - 1)
        for at, text in enumerate(said)
    ]
    own = title is not None
    return NewConversation(tuple(messages), title=title, title_is_own=own, updated=updated)


def many(count: int) -> list[NewConversation]:
    return [talk(f"Talk {number}", "Yes.", updated=1e9 - number) for number in range(count)]


async def search(at: Stage, words: str) -> None:
    await at.pilot.press("ctrl+f")
    await at.pilot.press(*words)


class TestListing:
    async def test_a_hundred_at_first_and_the_others_on_the_way_down(
        self, stage: Opened, places: Paths
    ) -> None:
        keep(places, *many(250))
        async with stage() as at:
            await at.until(lambda: len(listed(at)) == 100)
            at.main.history_pane.focus_list()
            await at.pilot.press("end")
            await at.until(lambda: len(listed(at)) == 200)
            await at.pilot.press("end")
            await at.until(lambda: len(listed(at)) == 250)
            await at.pilot.press("end")
            await at.pilot.pause()
            assert listed(at) == [f"Talk {number}" for number in range(250)]
            at.main.history_pane.reload()  # as after every reply
            await at.main.workers.wait_for_complete()
            assert len(listed(at)) == 250

    async def test_what_is_asked_for_twice_is_read_once(self, stage: Opened, places: Paths) -> None:
        keep(places, *many(250))
        async with stage() as at:
            await at.until(lambda: len(listed(at)) == 100)
            pane = at.main.history_pane
            last = pane._listed[-1]
            pane.post_message(Sidebar.MoreAsked(last))
            await at.until(lambda: len(listed(at)) == 200)
            pane._more_asked(Sidebar.MoreAsked(last))
            await at.until(lambda: len(listed(at)) == 250)
            assert listed(at) == [f"Talk {number}" for number in range(250)]

    async def test_a_deletion_does_not_end_the_list(
        self, stage: Opened, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history_pane, "DELETION_DELAY", NEVER)
        keep(places, *many(150))
        async with stage() as at:
            await at.until(lambda: len(listed(at)) == 100)
            at.main.history_pane.focus_list()
            await at.pilot.press("d")
            await at.until(lambda: len(listed(at)) == 99)
            await at.pilot.press("end")
            await at.until(lambda: len(listed(at)) == 149)

    async def test_a_new_one_is_there_at_once(self, stage: Opened, places: Paths) -> None:
        keep(places, talk("Older", "Yes."))
        async with stage() as at:
            await at.until(lambda: listed(at) == ["Older"])
            await at.say("Newer")
            await at.until(lambda: listed(at) == ["Newer", "Older"])


class TestSearching:
    async def test_while_it_is_typed(self, stage: Opened, places: Paths) -> None:
        keep(places, talk("About tides", "The moon."), talk("About bread", "Flour."))
        async with stage() as at:
            await search(at, "moo")
            await at.until(lambda: listed(at) == ["About tides"])
            await at.pilot.press("x")
            await at.until(lambda: "Nothing was found" in at.shown)
            await at.pilot.press("backspace")
            await at.until(lambda: listed(at) == ["About tides"])
            await at.pilot.press("escape")
            await at.until(lambda: len(listed(at)) == 2)
            await search(at, "moo")  # the same once more
            await at.until(lambda: listed(at) == ["About tides"])

    async def test_only_what_was_typed_last_is_searched_for(
        self, stage: Opened, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep(places, talk("About tides", "The moon."))
        async with stage() as at:
            pane = at.main.history_pane
            find, searched = pane._find, []

            def note(text: str) -> object:
                searched.append(text)
                return find(text)

            monkeypatch.setattr(pane, "_find", note)
            monkeypatch.setattr(history_pane, "_TYPING", 0.5)
            await search(at, "moon")
            await at.until(lambda: listed(at) == ["About tides"] and searched)
            assert searched == ["moon"]

    async def test_a_hit_opens_the_conversation_at_its_message(
        self, stage: Opened, places: Paths
    ) -> None:
        said = [f"{'Question' if at % 2 == 0 else 'Answer'} {at}\n\n" * 5 for at in range(60)]
        said[20] = "The needle is here"
        keep(places, talk(*said))
        async with stage() as at:
            await search(at, "needle")
            await at.until(lambda: "needle" in at.shown)
            await at.pilot.press("enter", "enter")
            transcript = at.main.chat_pane.transcript
            await at.until(lambda: transcript.chosen is not None)
            assert transcript.chosen is not None
            assert transcript.chosen.content == "The needle is here"
            await at.until(lambda: at.shown.count("needle is here") == 2)  # and in the list
            assert transcript.has_focus
            assert not transcript.is_following

    async def test_a_hit_on_another_branch(self, stage: Opened, places: Paths) -> None:
        found = NewConversation(
            (
                NewMessage("user", "Question"),
                NewMessage("assistant", "The needle is here", 0),
                NewMessage("assistant", "Nothing is here", 0),
            ),
            leaf=2,
        )
        keep(places, found)
        async with stage() as at:
            await search(at, "needle")
            await at.until(lambda: "needle" in at.shown)
            await at.pilot.press("enter", "enter")
            await at.until(lambda: at.main.chat_pane.transcript.chosen is not None)
            assert contents(at) == ["Question", "The needle is here"]
            assert "1/2" in at.shown

    async def test_a_title_that_was_found_opens_the_conversation(
        self, stage: Opened, places: Paths
    ) -> None:
        keep(places, talk("Question", "Answer", title="The needle"))
        async with stage() as at:
            await search(at, "needle")
            await at.until(lambda: listed(at) == ["The needle"])
            await at.pilot.press("enter", "enter")
            await at.until(lambda: contents(at) == ["Question", "Answer"])
            await at.until(lambda: at.main.chat_pane.prompt.has_focus_within)
            assert at.main.chat_pane.transcript.chosen is None
            assert at.notes == []

    async def test_what_is_deleted_is_not_found(
        self, stage: Opened, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history_pane, "DELETION_DELAY", NEVER)
        keep(
            places,
            talk("About tides", "The moon."),
            talk("About the sea", "The moon."),
            talk("About bread", "Flour."),
        )
        async with stage() as at:
            await search(at, "moon")
            await at.until(lambda: len(listed(at)) == 2)
            await at.pilot.press("down", "d")
            await at.until(lambda: len(listed(at)) == 1)
            await at.until(lambda: told(at, "Deleted the chat"))
            await at.pilot.press("up", "end", "x")
            await at.until(lambda: listed(at) == [])
            await at.pilot.press("backspace")
            await at.until(lambda: len(listed(at)) == 1)
            at.main.history_pane.undo_deletion()
            await at.until(lambda: len(listed(at)) == 2)

    async def test_what_is_shown_stays_when_another_is_deleted_for_good(
        self, stage: Opened, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep(places, *many(1), *(talk("About tides", f"The moon {n}.") for n in range(9)))
        async with stage() as at:
            await search(at, "moon")
            await at.until(lambda: len(listed(at)) == 9)
            await at.pilot.press("down", "down", "down")
            listing = at.app.screen.query_one(Listing)
            chosen = listing.chosen
            monkeypatch.setattr(history_pane, "DELETION_DELAY", SOON)
            key = at.main.history_pane._listed[0].id
            at.main.history_pane.post_message(Sidebar.DeleteAsked(key))
            store = at.main.chats.history.store()
            await at.until(lambda: store.stats().conversations == 9)
            await at.main.workers.wait_for_complete()
            assert listing.chosen == chosen

    async def test_what_is_deleted_is_called_by_its_title_wherever_it_was_found(
        self, stage: Opened, places: Paths
    ) -> None:
        keep(places, *many(120), talk("Far away", "The needle."))
        async with stage() as at:
            await search(at, "needle")
            await at.until(lambda: listed(at) == ["Far away"])
            await at.pilot.press("down", "d")
            await at.until(lambda: told(at, "Deleted the chat “Far away”"))


class TestRenaming:
    async def test_it_is_kept(self, stage: Opened, places: Paths) -> None:
        (key,) = keep(places, talk("Question", "Answer"))
        async with stage() as at:
            await at.until(lambda: listed(at) == ["Question"])
            await at.main.open(key)
            at.main.history_pane.focus_list()
            await at.pilot.press("r", *"Of ", "enter")
            await at.until(lambda: listed(at) != ["Question"])
            title = listed(at)[0]
            assert at.chat.title == title
        with Store.open(places) as store:
            assert store.conversation(key).title == title

    async def test_nothing_typed_gives_the_first_words_back(
        self, stage: Opened, places: Paths
    ) -> None:
        (key,) = keep(places, talk("Question", "Answer", title="Own"))
        async with stage() as at:
            await at.until(lambda: listed(at) == ["Own"])
            at.main.history_pane.post_message(Sidebar.Renamed(key, ""))
            await at.until(lambda: listed(at) == ["Question"])

    async def test_of_one_that_is_not_kept_there_is_nothing_to_rename(
        self, stage: Opened, places: Paths
    ) -> None:
        async with stage(start=Start(is_private=True)) as at:
            await at.take_turn("Secret")
            await at.until(lambda: listed(at) == ["Incognito: Secret"])
            at.main.history_pane.post_message(Sidebar.Renamed(at.chat.key or "", "Other"))
            await at.until(lambda: told(at, "Nothing of that chat is kept"))
            assert listed(at) == ["Incognito: Secret"]


class TestDeleting:
    async def test_it_can_be_undone(self, stage: Opened, places: Paths) -> None:
        keep(places, *many(3))
        async with stage() as at:
            await at.until(lambda: len(listed(at)) == 3)
            at.main.history_pane.focus_list()
            await at.pilot.press("d")
            await at.until(lambda: listed(at) == ["Talk 1", "Talk 2"])
            await at.until(lambda: told(at, "Ctrl+Z brings it back"))
            await at.pilot.press("ctrl+z")
            await at.until(lambda: len(listed(at)) == 3)
            await at.until(lambda: told(at, "Brought back the chat “Talk 0”"))
            await at.pilot.press("ctrl+z")
            await at.until(lambda: told(at, "no deletion to undo"))
            assert at.main.chats.history.store().stats().conversations == 3

    async def test_it_is_carried_out_a_little_later(
        self, stage: Opened, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history_pane, "DELETION_DELAY", SOON)
        keep(places, *many(2))
        async with stage() as at:
            await at.until(lambda: len(listed(at)) == 2)
            at.main.history_pane.focus_list()
            await at.pilot.press("d")
            store = at.main.chats.history.store()
            await at.until(lambda: store.stats().conversations == 1)
            await at.pilot.press("ctrl+z")
            await at.until(lambda: told(at, "no deletion to undo"))
            assert listed(at) == ["Talk 1"]

    async def test_it_is_carried_out_on_leaving(self, stage: Opened, places: Paths) -> None:
        keep(places, *many(2))
        async with stage() as at:
            await at.until(lambda: len(listed(at)) == 2)
            at.main.history_pane.focus_list()
            await at.pilot.press("d")
            await at.until(lambda: len(listed(at)) == 1)
        with Store.open(places) as store:
            assert [one.conversation.title for one in store.newest()] == ["Talk 1"]

    async def test_of_the_chat_on_the_screen_a_new_one_takes_the_place(
        self, stage: Opened, places: Paths
    ) -> None:
        async with stage() as at:
            await at.take_turn("Question")
            key = at.chat.key or ""
            at.main.history_pane.post_message(Sidebar.DeleteAsked(key))
            await at.until(lambda: contents(at) == [] and listed(at) == [])
            at.main.action_undo_deletion()
            await at.until(lambda: listed(at) == ["Question"])
            await at.main.open(key)
            assert contents(at) == ["Question", "Yes."]

    async def test_another_chat_than_the_one_on_the_screen_leaves_that_alone(
        self, stage: Opened, places: Paths
    ) -> None:
        (key,) = keep(places, talk("Other", "Answer"))
        async with stage() as at:
            await at.take_turn("Question")
            at.main.history_pane.post_message(Sidebar.DeleteAsked(key))
            await at.until(lambda: listed(at) == ["Question"])
            assert contents(at) == ["Question", "Yes."]

    async def test_while_its_reply_is_written(
        self, stage: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history_pane, "DELETION_DELAY", SOON)
        async with stage() as at:
            await at.say("Question")
            at.client.give("Half")
            await at.until(lambda: at.chat.live and at.chat.live.content)
            chat = at.chat
            at.main.history_pane.post_message(Sidebar.DeleteAsked(chat.key or ""))
            await at.until(lambda: at.chat is not chat)
            store = at.main.chats.history.store()
            await at.until(lambda: store.stats().conversations == 0 and not chat.is_busy)
            assert listed(at) == []

    async def test_what_can_not_be_deleted_is_in_the_list_again(
        self, stage: Opened, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history_pane, "DELETION_DELAY", SOON)
        keep(places, *many(1))
        async with stage() as at:
            await at.until(lambda: len(listed(at)) == 1)

            def refuse(key: str) -> None:
                raise LocalchatError("It is in use.")

            monkeypatch.setattr(at.main.chats, "delete", refuse)
            at.main.history_pane.focus_list()
            await at.pilot.press("d")
            await at.until(lambda: told(at, "It is in use."))
            await at.until(lambda: listed(at) == ["Talk 0"])

    async def test_of_one_of_which_nothing_is_kept(
        self, stage: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history_pane, "DELETION_DELAY", SOON)
        async with stage(start=Start(is_private=True)) as at:
            await at.take_turn("Secret")
            chat = at.chat
            await at.until(lambda: listed(at) == ["Incognito: Secret"])
            at.main.history_pane.post_message(Sidebar.DeleteAsked(chat.key or ""))
            await at.until(lambda: at.chat is not chat and not at.main.chats.private)
            assert listed(at) == []
            await at.until(lambda: told(at, "Deleted the chat “Incognito: Secret”"))

    async def test_a_message_does_not_come_back_under_a_reply(self, stage: Opened) -> None:
        async with stage() as at:
            await at.take_turn("One")
            await at.take_turn("Two")
            await at.main.chat_pane.delete(at.chat.messages[2].id)
            await at.until(lambda: contents(at) == ["One", "Yes."])
            await at.say("Three")
            at.client.give("Half")
            await at.until(lambda: at.chat.live and at.chat.live.content)
            at.main.action_undo_deletion()
            await at.until(lambda: told(at, "is being written"))
            at.client.finish()
            await at.until(lambda: not at.chat.is_busy)
            assert contents(at) == ["One", "Yes.", "Three", "Half"]
            at.main.action_undo_deletion()  # it still can
            await at.until(lambda: contents(at) == ["One", "Yes.", "Two", "Yes."])


class TestPrivate:
    async def test_it_is_listed_as_long_as_the_screen_is_open(
        self, stage: Opened, places: Paths
    ) -> None:
        keep(places, talk("Older", "Yes."))
        async with stage(start=Start(is_private=True)) as at:
            await at.until(lambda: listed(at) == ["Older"])
            await at.take_turn("Secret")
            await at.until(lambda: listed(at) == ["Incognito: Secret", "Older"])
            key = at.chat.key or ""
            at.main.action_command("new")
            await at.until(lambda: contents(at) == [])
            at.main.history_pane.post_message(Sidebar.Chosen(key, None))
            await at.until(lambda: contents(at) == ["Secret", "Yes."])
            await search(at, "secret")
            await at.until(lambda: "Nothing was found" in at.shown)
        async with stage() as at:
            await at.until(lambda: listed(at) == ["Older"])


class TestTrouble:
    async def test_a_history_that_can_not_be_opened(self, stage: Opened, places: Paths) -> None:
        places.history.mkdir(parents=True)
        async with stage() as at:
            await at.until(lambda: at.notes)
            await at.say("Question")
            await at.until(lambda: not at.chat.is_busy and at.main.chat_pane.prompt.text)
            assert at.main.chat_pane.prompt.text == "Question"
            at.main.action_command("incognito")  # which needs no history
            await at.until(lambda: at.chat.is_private)
            at.main.chat_pane.prompt.load("")
            await at.take_turn("Question")
            assert contents(at) == ["Question", "Yes."]

    async def test_a_history_of_a_newer_version_can_be_read(
        self, stage: Opened, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (key,) = keep(places, talk("About tides", "The moon."))
        monkeypatch.setattr(history_pane, "DELETION_DELAY", SOON)
        make_newer(places)
        async with stage() as at:
            await at.until(lambda: listed(at) == ["About tides"])
            await search(at, "moon")
            await at.until(lambda: "The moon" in at.shown)
            await at.pilot.press("enter", "enter")
            await at.until(lambda: contents(at) == ["About tides", "The moon."])
            await at.pilot.press("escape")
            await at.say("More?")
            await at.until(lambda: told(at, "newer localchat") and not at.chat.is_busy)
            await at.until(lambda: at.main.chat_pane.prompt.text == "More?")
            pane = at.main.history_pane
            pane.post_message(Sidebar.Renamed(key, "Other"))
            pane.post_message(Sidebar.DeleteAsked(key))
            refused = "newer localchat"  # when it was sent, renamed and deleted
            await at.until(lambda: sum(refused in note for note in at.notes) >= 3)
            await at.until(lambda: listed(at) == ["About tides"])
            assert at.client.requests == []


def make_newer(places: Paths) -> None:
    """As if a newer localchat had written the history."""
    connection = apsw.Connection(str(places.history))
    connection.pragma("user_version", 99)
    connection.close()
