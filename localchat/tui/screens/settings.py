"""The settings panel: everything that one chat is asked with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.css.query import NoMatches
from textual.events import DescendantFocus, Resize
from textual.screen import ModalScreen
from textual.widgets import Input, Select, Static, TextArea
from textual.worker import Worker, WorkerCancelled

from localchat.errors import LocalchatError, UsageError
from localchat.paths import Paths
from localchat.sanitize import clean
from localchat.tui.aside import aside
from localchat.tui.chats import options
from localchat.tui.chats.bounds import NUMBERS
from localchat.tui.chats.options import PresetOption
from localchat.tui.chats.settings import (
    OVERFLOW,
    REASONING,
    ChatSettings,
    choose_preset,
    parse_setting,
)
from localchat.tui.models import choices
from localchat.tui.screens.leaving import EndsWorkers
from localchat.tui.widgets.setting_row import Pick, SettingRow

_KEYS = "↑↓ move   ctrl+s save   esc leave it as it was"
_NONE = ""  # the preset that is none
_PARAMETER = "parameter-"  # what the ids of the fields of a preset's parameters begin with


class SettingsPanel(ModalScreen[ChatSettings | None], EndsWorkers):
    """Ends with the settings for the turns to come, or None for those there were."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save", id="settings.save", priority=True),
        Binding("escape", "leave", "Leave", id="settings.leave"),
    ]
    DEFAULT_CSS = """
    SettingsPanel {
        align: center middle;
        & > Vertical {
            width: 80;
            max-width: 100%;
            height: auto;
            max-height: 90%;
            background: $surface;
            padding: 1 0;
        }
        #title {
            padding: 0 2;
            margin-bottom: 1;
            text-style: bold;
        }
        #form {
            height: auto;
            max-height: 24;
            padding: 0 2;
            background: transparent;
            scrollbar-size-vertical: 1;
        }
        #parameters {
            height: auto;
        }
        #meaning {
            margin-top: 1;
            padding: 0 2;
            height: 3;
            color: $text-muted;
            &.-wrong {
                color: $text-error;
            }
        }
        #keys {
            padding: 0 2;
            height: 1;
            color: $text-disabled;
        }
        &.-small {
            & > Vertical {
                height: 100%;
                max-height: 100%;
                padding: 0;
            }
            #form {
                height: 1fr;
                max-height: 100%;
            }
            #title, #meaning {
                margin: 0;
            }
        }
    }
    """

    def __init__(self, places: Paths, settings: ChatSettings, focus: str | None = None) -> None:
        """`focus` is the setting to begin with."""
        super().__init__()
        self._places = places
        self._draft = settings
        self._focus = focus or "preset"
        self._presets: dict[str, PresetOption] = {}
        self._models: list[str] = []
        self._meanings: dict[str, str] = {}
        self._given = dict(settings.parameters)
        self._choosing: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        draft = self._draft
        with Vertical():
            yield Static("Settings of this chat", id="title", markup=False)
            with VerticalScroll(id="form", can_focus=False):
                preset = draft.preset or _NONE
                yield SettingRow("preset", Pick({preset: preset or "none"}, preset, "preset"))
                yield Vertical(id="parameters")
                yield SettingRow(
                    "system", TextArea(draft.system or "", placeholder="none", id="system")
                )
                yield SettingRow("model", _words([draft.model], draft.model, "model"))
                yield SettingRow("reasoning", _words(REASONING, draft.reasoning, "reasoning"))
                for name in NUMBERS:
                    yield SettingRow(name, Input(self._written(name), id=name))
                yield SettingRow("overflow", _words(OVERFLOW, draft.overflow, "overflow"))
            yield Static(id="meaning", markup=False)
            yield Static(_KEYS, id="keys", markup=False)

    def on_mount(self) -> None:
        self._focus_on(self._focus)
        self._load()

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < 80 or event.size.height < 30, "-small")

    # what can be chosen

    @work(exclusive=True, group="load")
    async def _load(self) -> None:
        """What files say comes when the form is there already."""
        found = await aside(lambda: options.presets(self._places))
        self._presets = {each.name: each for each in found}
        shown = {_NONE: "none"} | {each.name: _about(each) for each in found}
        chosen = self._draft.preset or _NONE
        self._pick("preset").offer({chosen: chosen} | shown)
        await self._show_parameters(chosen)
        await self._show_own_values()
        there = await aside(lambda: choices.there(self._places))
        self._models = sorted({each.name for each in there})
        self._show_model()
        self._meanings = await aside(options.meanings)
        self._explain()

    async def _show_parameters(self, preset: str) -> None:
        """Fields for what the preset leaves open."""
        place = self.query_one("#parameters", Vertical)
        await place.remove_children()
        for name, default in self._parameters(preset).items():
            field = Input(
                self._given.get(name, ""),
                placeholder=default or "has to be given",
                id=f"{_PARAMETER}{name}",
            )
            await place.mount(SettingRow(f"· {name}", field))

    @work(exclusive=True, group="own")
    async def _learn_own_values(self) -> None:
        await self._show_own_values()

    async def _show_own_values(self) -> None:
        """What holds where nothing is typed."""
        model = self._draft.model
        own = await aside(lambda: options.own_values(model, self._places))
        for name, value in own.items():
            what = "as many as the context holds" if value is None else f"the model's own {value}"
            self.query_one(f"#{name}", Input).placeholder = f"unset: {what}"

    def _show_model(self) -> None:
        names = dict.fromkeys([self._draft.model, *self._models])
        self._pick("model").offer({name: name for name in names})

    def _fill(self) -> None:
        """Shows what a preset has changed."""
        draft = self._draft
        system = self.query_one("#system", TextArea)
        if system.text != (draft.system or ""):
            system.load_text(draft.system or "")
        for name in NUMBERS:
            self.query_one(f"#{name}", Input).value = self._written(name)
        self._pick("reasoning").value = draft.reasoning
        self._show_model()

    def _written(self, name: str) -> str:
        value = self._draft.sampling.get(name)
        return "" if value is None else str(value)

    def _pick(self, name: str) -> Pick:
        return self.query_one(f"#{name}", Pick)

    def _parameters(self, preset: str) -> Mapping[str, str]:
        return self._presets[preset].parameters if preset in self._presets else {}

    # what is said

    @on(DescendantFocus)
    def _explain(self) -> None:
        """Says of the setting in focus what it means, or what is wrong with it."""
        row = self._row_in_focus
        for each in self.query(SettingRow):
            each.is_focused = each is row
        place = self.query_one("#meaning", Static)
        wrong = row.wrong if row is not None else ""
        place.set_class(bool(wrong), "-wrong")
        name = row.field.id or "" if row is not None else ""
        place.update(Content(clean(wrong or self._meaning(name))))

    def _meaning(self, name: str) -> str:
        if name.startswith(_PARAMETER):
            return "What the preset's instructions say in this place."
        chosen = self._presets.get(self._draft.preset or _NONE)
        if name == "preset" and chosen is not None and chosen.description:
            return f"{chosen.name}: {chosen.description}."
        return self._meanings.get(name, "")

    @property
    def _row_in_focus(self) -> SettingRow | None:
        for node in self.focused.ancestors_with_self if self.focused is not None else ():
            if isinstance(node, SettingRow):
                return node
        return None

    def _mark(self, name: str, wrong: str) -> None:
        """Says what is wrong with what a field has; empty: nothing."""
        for row in self.query(SettingRow):
            if row.field.id == name:
                row.wrong = wrong
        self._explain()

    def _focus_on(self, name: str) -> None:
        try:
            self.query_one(f"#{name}").focus()
        except NoMatches:
            self.query_one("#preset").focus()

    # what the user does

    @on(Input.Changed)
    def _type(self, event: Input.Changed) -> None:
        name, text = event.input.id or "", event.value
        if not name.startswith(_PARAMETER):
            self._take(name, text)
            return
        parameter = name.removeprefix(_PARAMETER)
        if text.strip() != self._given.get(parameter, ""):
            self._given[parameter] = text.strip()
            self._choosing = self._choose(str(self._pick("preset").value))

    @on(TextArea.Changed)
    def _instruct(self, event: TextArea.Changed) -> None:
        text = event.text_area.text
        if text != (self._draft.system or ""):
            self._draft = replace(self._draft, system=text)

    @on(Select.Changed)
    def _decide(self, event: Select.Changed) -> None:
        name, value = event.select.id or "", str(event.value)
        if name == "model":
            self._draft = replace(self._draft, model=value)
            self._learn_own_values()
        elif name != "preset":
            self._take(name, value)
        elif value != (self._draft.preset or _NONE):
            self._given = {}
            self._choosing = self._choose(value, is_new=True)

    def _take(self, name: str, text: str) -> None:
        wrong = ""
        try:
            self._draft = parse_setting(self._draft, name, text)
        except UsageError as error:
            wrong = str(error)
        self._mark(name, wrong)

    @work(exclusive=True, group="preset")
    async def _choose(self, preset: str, *, is_new: bool = False) -> None:
        """Fills in what a preset says; what is missing for it is asked for."""
        if is_new:
            await self._show_parameters(preset)
        given = {name: text for name, text in self._given.items() if text}
        lacking = [
            f"{_PARAMETER}{name}"
            for name, default in self._parameters(preset).items()
            if not default and name not in given
        ]
        for row in self.query("#parameters SettingRow").results(SettingRow):
            row.wrong = ""
        wrong = ""
        try:
            while True:
                draft = self._draft
                chosen = await aside(
                    lambda: choose_preset(draft, preset or None, given, self._places)  # noqa: B023
                )
                if self._draft is draft:  # else something was typed meanwhile
                    break
            self._draft = chosen
            self._fill()
        except LocalchatError as error:
            wrong = str(error)
        self._mark("preset", "" if lacking else wrong)
        for name in lacking[:1]:
            self._mark(name, wrong)

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        while self._choosing is not None and not self._choosing.is_finished:
            with contextlib.suppress(WorkerCancelled):  # for another one, which is waited for too
                await self._choosing.wait()
        for row in self.query(SettingRow):
            if row.wrong:
                row.field.focus()
                self._explain()
                return
        self.dismiss(self._draft)

    @on(Input.Submitted)
    def _enter(self) -> None:
        self.action_save()

    def action_leave(self) -> None:
        self.dismiss(None)


def _about(preset: PresetOption) -> str:
    about = "its file can't be used" if preset.trouble else preset.description
    return f"{preset.name} · {about}" if about else preset.name


def _words(words: Iterable[str], chosen: str, name: str) -> Pick:
    return Pick({word: word for word in words}, chosen, name)
