"""Commands about what the next turns are made with."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from localchat.errors import UsageError
from localchat.tui.aside import aside
from localchat.tui.chats.settings import choose_preset, parse_setting
from localchat.tui.commands.table import command

if TYPE_CHECKING:
    from localchat.tui.screens.main import MainScreen


@command("model", "choose a model, or download one", argument="[name]", binding="chat.models")
async def model(screen: MainScreen, argument: str) -> None:
    chat = screen.chat
    if not argument:
        from localchat.tui.screens.models import ModelPicker

        picker = ModelPicker(screen.places, screen.settings, chat.settings.model, screen.downloads)
        name = await screen.app.push_screen_wait(picker)
        if name is None:
            return
        argument = name
    from localchat.registry.resolve import resolve

    await aside(lambda: resolve(argument, screen.places))
    await screen.change(replace(chat.settings, model=argument))
    screen.warm()


@command("settings", "show and change what this chat is asked with", binding="chat.settings")
async def settings(screen: MainScreen, argument: str) -> None:
    from localchat.tui.screens.settings import SettingsPanel

    panel = SettingsPanel(screen.places, screen.chat.settings, argument or None)
    chosen = await screen.app.push_screen_wait(panel)
    if chosen is not None:
        await screen.change(chosen)


@command("system", "give the model instructions for this chat", argument="[text]")
async def system(screen: MainScreen, argument: str) -> None:
    if argument:
        await screen.change(replace(screen.chat.settings, system=argument))
        screen.say("The instructions hold from the next turn on.")
    else:
        await settings(screen, "system")


@command("preset", "use a preset's instructions and values", argument="[name] [key=value]")
async def preset(screen: MainScreen, argument: str) -> None:
    if not argument:
        await settings(screen, "preset")
        return
    try:
        name, *rest = shlex.split(argument)
    except ValueError as error:
        raise UsageError(
            f"That can't be read: {error}.", "/preset NAME key='some words'"
        ) from error
    pairs = [part.partition("=") for part in rest]
    if not all(equals for _, equals, _ in pairs):
        raise UsageError(
            "What follows a preset's name is key=value.", "/preset translate language=German"
        )
    given = {key: value for key, _, value in pairs}
    chat, places = screen.chat, screen.places
    chosen = await aside(
        lambda: choose_preset(chat.settings, None if name == "none" else name, given, places)
    )
    await screen.change(chosen)
    screen.say(f"The preset {name} holds from the next turn on.")


@command("set", "change one value, such as temperature 0.2", argument="<name> <value>")
async def set_value(screen: MainScreen, argument: str) -> None:
    if not argument:
        await settings(screen, "")
        return
    name, _, value = argument.replace("=", " ", 1).partition(" ")
    await screen.change(parse_setting(screen.chat.settings, name, value))
    screen.say(f"{name} holds from the next turn on.")


@command(
    "think",
    "let the model think first, or not; alone: show or fold thoughts",
    argument="[on|off|auto]",
)
async def think(screen: MainScreen, argument: str) -> None:
    if argument:
        await set_value(screen, f"reasoning {argument}")
    else:
        screen.chat_pane.transcript.action_thinking()


@command("image", "attach a picture", argument="<file>")
async def image(screen: MainScreen, argument: str) -> None:
    del argument
    raise UsageError(
        f"{screen.chat.settings.model} is used for text alone here: pictures need a model with a"
        " projector, which this version does not load yet.",
        "Describe the picture in words, or attach a text file: /file PATH",
    )


@command("file", "put a text file before what you write", argument="<path>")
async def file(screen: MainScreen, argument: str) -> None:
    if not argument:
        raise UsageError("Which file?", "/file PATH, or type @ to choose one")
    screen.chat_pane.prompt.attach(Path(argument).expanduser())
