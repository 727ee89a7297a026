"""Commands about the conversation on the screen, and about others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from localchat.errors import UsageError
from localchat.tui.aside import aside
from localchat.tui.commands.table import command

if TYPE_CHECKING:
    from localchat.tui.screens.main import MainScreen


@command("new", "begin a new chat", binding="chat.new")
async def new(screen: MainScreen, argument: str) -> None:
    screen.show(screen.chats.new())
    if argument:
        screen.chat_pane.send(argument)


@command("incognito", "begin a chat of which nothing is kept")
async def incognito(screen: MainScreen, argument: str) -> None:
    screen.show(screen.chats.new(is_private=True))
    if argument:
        screen.chat_pane.send(argument)


@command("regen", "give another reply beside the last one", binding="chat.regenerate")
async def regen(screen: MainScreen, argument: str) -> None:
    del argument
    screen.chat_pane.refuse_while_busy()
    if not screen.chat.messages:
        raise UsageError("There is no reply yet.")
    screen.chat.regenerate()
    screen.chat_pane.show_messages()


@command("continue", "go on with a reply that was cut off", binding="chat.continue")
async def go_on(screen: MainScreen, argument: str) -> None:
    del argument
    screen.chat_pane.refuse_while_busy()
    last = screen.chat.last_reply
    if last is None:
        raise UsageError("There is no reply to go on with.")
    screen.chat.continue_reply(last.id)
    screen.chat_pane.show_messages()


@command("undo", "take back what you said last, and the reply to it")
async def undo(screen: MainScreen, argument: str) -> None:
    del argument
    screen.chat_pane.refuse_while_busy()
    said = next((one for one in reversed(screen.chat.messages) if one.role == "user"), None)
    if said is None:
        raise UsageError("There is nothing to take back yet.")
    await aside(lambda: screen.chat.go_back(said.parent))
    screen.chat_pane.show_messages()
    screen.chat_pane.prompt.load(said.content)
    screen.say("Taken back. It stays in the history, as a branch.")


@command("edit", "write your last message, or message N, anew: a branch", argument="[N]")
async def edit(screen: MainScreen, argument: str) -> None:
    screen.chat_pane.begin_edit(_message(screen, argument, "user" if not argument else None))


@command(
    "branch", "show the next version of message N, or of the last with several", argument="[N]"
)
async def branch(screen: MainScreen, argument: str) -> None:
    screen.chat_pane.refuse_while_busy()
    chat = screen.chat
    if argument:
        message = _message(screen, argument)
    else:
        found = [one.id for one in chat.messages if one.id in chat.alternatives]
        if not found:
            raise UsageError("This conversation has no branches: edit or regenerate makes one.")
        message = found[-1]
    siblings = chat.alternatives.get(message, (message,))
    if len(siblings) == 1:
        raise UsageError("That message has no other version: edit or regenerate makes one.")
    await screen.chat_pane.go_to(siblings[(siblings.index(message) + 1) % len(siblings)])


@command("search", "search all conversations", argument="[words]", binding="sidebar.find")
async def search(screen: MainScreen, argument: str) -> None:
    screen.history_pane.remove_class("-folded")
    await screen.history_pane.search(argument)


@command("export", "write the conversation to a file: .md or .json", argument="[file]")
async def export(screen: MainScreen, argument: str) -> None:
    from localchat.tui.chats import export

    path = Path(argument).expanduser() if argument else None
    chat = screen.chat
    written = await aside(lambda: export.write(chat, path))
    screen.say(f"Written to {written}.")


@command("save", "give the conversation a title", argument="[title]")
async def save(screen: MainScreen, argument: str) -> None:
    chat = screen.chat
    if chat.is_private:
        raise UsageError("Nothing of this chat is kept, so there is nothing to name.", "/export")
    if chat.conversation is None:
        raise UsageError("There is nothing to keep yet: each turn is kept as it is sent.")
    if not argument:
        screen.say(f"Everything is kept already, as “{chat.title}”. /save TITLE renames it.")
        return
    await aside(lambda: chat.rename(argument))
    screen.history_pane.reload()


def _message(screen: MainScreen, argument: str, role: str | None = None) -> int:
    """The id of the message that an argument means: its number as counted on the screen."""
    counted = [one for one in screen.chat.messages if one.role != "system"]
    if not argument:
        found = [one.id for one in counted if role in (None, one.role)]
        if not found:
            raise UsageError("There is no message yet.")
        return found[-1]
    if not argument.isdecimal() or not 1 <= int(argument) <= len(counted):
        raise UsageError(f"There is no message {argument}: they are counted from 1, the first.")
    return counted[int(argument) - 1].id
