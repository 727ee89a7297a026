from __future__ import annotations

import re

import pytest
from rich.color import Color as RichColor
from textual.app import App
from textual.color import Color
from textual.highlight import HighlightTheme
from textual.theme import BUILTIN_THEMES, Theme

from localchat.tui.themes import DARK, LIGHT, THEMES, suited
from tests.tui.conftest import Opened

GROUNDS = ("background", "surface", "panel")
TEXTS = (
    "foreground",
    "text",
    "text-primary",
    "text-secondary",
    "text-accent",
    "text-warning",
    "text-error",
    "text-success",
)
LEAST = 4.5  # WCAG 2.2, 1.4.3: text
LEAST_MUTED = 3.0


class Themed(App[None]):
    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.register_theme(theme)
        self.theme = theme.name


def luminance(color: Color) -> float:
    def linear(part: float) -> float:
        return part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(part / 255) for part in color.rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(text: Color, ground: Color) -> float:
    lighter, darker = sorted((luminance(text), luminance(ground)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def drawn(value: str, ground: Color) -> Color:
    """What a value of CSS looks like there."""
    if value.startswith("auto"):
        share = float(value.removeprefix("auto ").rstrip("%")) / 100
        return ground + ground.get_contrast_text(share)
    return ground + Color.parse(value)


def test_contrast_of_black_and_white_is_21() -> None:
    assert contrast(Color.parse("#000"), Color.parse("#fff")) == pytest.approx(21)
    assert contrast(Color.parse("#777"), Color.parse("#fff")) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_all_text_can_be_read_on_all_grounds(theme: Theme) -> None:
    variables = Themed(theme).get_css_variables()
    for ground_name in GROUNDS:
        ground = Color.parse(variables[ground_name])
        for name in TEXTS:
            found = contrast(drawn(variables[name], ground), ground)
            assert found >= LEAST, f"{name} on {ground_name}: {found:.2f}"
        for name in ("text-muted", "foreground-muted", "primary", "border"):
            found = contrast(drawn(variables[name], ground), ground)
            assert found >= LEAST_MUTED, f"{name} on {ground_name}: {found:.2f}"
    cursor = Color.parse(variables["block-cursor-background"])
    assert contrast(drawn(variables["block-cursor-foreground"], cursor), cursor) >= LEAST


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_code_has_several_colours_that_can_be_read(theme: Theme) -> None:
    variables = Themed(theme).get_css_variables()
    ground = Color.parse(variables["surface"])
    colours = set()
    for style in HighlightTheme.STYLES.values():
        for name, share in re.findall(r"\$(\S+)(?: (\d+)%)?", style.partition(" on ")[0]):
            text = ground.blend(drawn(variables[name], ground), int(share or 100) / 100)
            assert contrast(text, ground) >= LEAST_MUTED, style
            colours.add(name)
    assert len({variables[name] for name in colours}) == len(colours) > 4


def test_dark_and_light_are_what_they_say() -> None:
    for theme in THEMES:
        assert theme.background is not None
        assert (luminance(Color.parse(theme.background)) < 0.2) == theme.dark
    assert DARK.dark
    assert not LIGHT.dark
    assert not {theme.name for theme in THEMES} & set(BUILTIN_THEMES)


@pytest.mark.parametrize(
    ("color_system", "no_color", "background", "expected"),
    [
        ("truecolor", False, "", "localchat"),
        ("truecolor", False, "15;0", "localchat"),
        ("truecolor", False, "0;15", "localchat-light"),
        ("256", False, "0;default;7", "localchat-light"),
        ("256", False, "nonsense", "localchat"),
        ("standard", False, "", "ansi-dark"),
        ("standard", False, "0;15", "ansi-light"),
        ("windows", False, "", "ansi-dark"),
        (None, False, "", "ansi-dark"),
        ("truecolor", True, "", "ansi-dark"),
        ("truecolor", True, "0;15", "ansi-light"),
    ],
)
def test_a_theme_suits_the_terminal(
    color_system: str | None, no_color: bool, background: str, expected: str
) -> None:
    assert suited(color_system, no_color, background) == expected
    assert expected in {*BUILTIN_THEMES, *(theme.name for theme in THEMES)}


async def test_without_colours_the_terminals_own_are_left(
    stage: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with stage() as at:
        rows = at.app.screen._compositor.render_strips()
        styles = [style for row in rows for _, style, _ in row if style is not None]
        assert at.app.theme == "ansi-dark"
        assert {style.color for style in styles} == {RichColor.default()}
        assert {style.bgcolor for style in styles} == {RichColor.default()}


async def test_the_screen_begins_with_the_theme_that_suits_the_terminal(
    stage: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLORFGBG", "0;15")
    monkeypatch.setenv("COLORTERM", "truecolor")
    async with stage() as at:
        assert at.app.theme == "localchat-light"
