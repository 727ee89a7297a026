"""Commands about the screen itself, and about what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localchat.errors import UsageError
from localchat.tui.aside import aside
from localchat.tui.commands.table import TABLE, command

if TYPE_CHECKING:
    from localchat.tui.chats.chat import Chat
    from localchat.tui.screens.main import MainScreen


@command("help", "show all keys and commands", binding="app.help")
async def help_(screen: MainScreen, argument: str) -> None:
    del argument
    from localchat.tui import keys
    from localchat.tui.screens.help import HelpScreen

    await screen.app.push_screen(
        HelpScreen(keys.groups(screen.settings.keys or {}), TABLE.values())
    )


@command("context", "show what each message costs, and what the model sees", binding="chat.context")
async def context(screen: MainScreen, argument: str) -> None:
    del argument
    from localchat.tui.screens.context import ContextScreen

    chat, typed = screen.chat, screen.chat_pane.prompt.text
    use = await aside(lambda: chat.measure(typed or None))
    await screen.app.push_screen(ContextScreen(use))


@command(
    "compare",
    "send a prompt to two models or settings, side by side",
    argument="[text]",
    binding="chat.compare",
)
async def compare(screen: MainScreen, argument: str) -> None:
    from localchat.tui.screens.compare import CompareScreen

    screen.chat_pane.refuse_while_busy()
    await screen.app.push_screen(CompareScreen(screen, argument))


@command("stats", "show how fast the last reply was, and how full the context is")
async def stats(screen: MainScreen, argument: str) -> None:
    del argument
    screen.say(summary(screen.chat))


@command("theme", "choose a theme, which is kept", argument="[name]")
async def theme(screen: MainScreen, argument: str) -> None:
    if not argument:
        screen.app.search_themes()
        return
    names = screen.app.available_themes
    if argument not in names:
        raise UsageError(f"There is no theme {argument!r}.", f"One of: {', '.join(sorted(names))}")
    screen.app.theme = argument


@command("quit", "leave; what has come of replies is kept", binding="app.quit")
async def quit_(screen: MainScreen, argument: str) -> None:
    del argument
    await screen.app.action_quit()


def summary(chat: Chat) -> str:
    """What is known of the last reply, in sentences."""
    last = chat.last_reply
    ran = last.generations[-1] if last is not None and last.generations else None
    if ran is None or ran.usage is None or ran.timings is None:
        return "Nothing was measured yet: there is no reply."
    usage, timings = ran.usage, ran.timings
    rate = f", {chat.last_rate:.1f} tokens/s" if chat.last_rate else ""
    return (
        f"{ran.provenance.model}: prompt {usage.prompt_tokens:,} tokens"
        f" ({usage.cached_tokens:,} cached), reply {usage.completion_tokens:,} tokens{rate};"
        f" first token after {timings.queue + timings.prefill:.2f} s;"
        f" context {chat.context_used:,} of {chat.context:,} tokens."
    )
