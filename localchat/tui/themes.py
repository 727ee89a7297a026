"""The two themes of ours, and which theme suits a terminal before the user has chosen one."""

from __future__ import annotations

from textual.theme import Theme

# Code is coloured with the text variables: keywords as accent, names as primary, strings as
# success, numbers and functions as warning, imports as error. By themselves they are tints of the
# theme's colours; here they can be told apart although the theme has one accent.
DARK = Theme(
    name="localchat",
    dark=True,
    primary="#7fb2d9",
    secondary="#8f9bab",
    accent="#7fb2d9",
    warning="#d9b26a",
    error="#e07f7f",
    success="#8fbf8a",
    foreground="#d8dade",
    background="#15171a",
    surface="#1b1e22",
    panel="#24282e",
    variables={
        "text-primary": "#9cc6e6",
        "text-secondary": "#a9b4c2",
        "text-accent": "#b9a7e0",
        "text-warning": "#e0c084",
        "text-error": "#ec9a9a",
        "text-success": "#a5cfa0",
        "border": "#4f7ea3",
        "border-blurred": "#33383f",
        "block-cursor-background": "#2f4255",
        "block-cursor-foreground": "#eceef1",
        "footer-key-foreground": "#9cc6e6",
        "scrollbar": "#343a42",
        "scrollbar-hover": "#454c56",
        "scrollbar-active": "#7fb2d9",
        "scrollbar-background": "#15171a",
    },
)
LIGHT = Theme(
    name="localchat-light",
    dark=False,
    primary="#2f6f9f",
    secondary="#66717f",
    accent="#2f6f9f",
    warning="#8a5a00",
    error="#b3393d",
    success="#2f7a3d",
    foreground="#24272b",
    background="#fbfbf9",
    surface="#f2f2ef",
    panel="#e7e7e3",
    variables={
        "text-primary": "#23587f",
        "text-secondary": "#4d5764",
        "text-accent": "#6a3fa0",
        "text-warning": "#7a4f00",
        "text-error": "#a02c30",
        "text-success": "#276833",
        "border": "#5585aa",
        "border-blurred": "#d3d3ce",
        "block-cursor-background": "#cfe0ee",
        "block-cursor-foreground": "#17191c",
        "footer-key-foreground": "#23587f",
        "scrollbar": "#cfcfca",
        "scrollbar-hover": "#b9b9b3",
        "scrollbar-active": "#2f6f9f",
        "scrollbar-background": "#fbfbf9",
    },
)
THEMES = (DARK, LIGHT)


def suited(color_system: str | None, no_color: bool, background: str = "") -> str:
    """The name of the theme for a terminal.

    `color_system` is what Rich says of it ("truecolor", "256", "standard" or None), `background`
    its COLORFGBG. Where there are 16 colours or none, they are the user's own palette.
    """
    is_light = background.rpartition(";")[2] in ("7", "15")
    if no_color or color_system not in ("truecolor", "256"):
        return "ansi-light" if is_light else "ansi-dark"
    return (LIGHT if is_light else DARK).name
