"""What is said below the row of a model: the question, the refusal, how its download gets on."""

from __future__ import annotations

from localchat.registry.fitting.ranking import size
from localchat.tui.models.choices import Choice
from localchat.tui.models.downloads import Download

Lines = list[tuple[str, str]]
"""(Text, style) each."""

_QUIET = "$foreground-muted"


def question(choice: Choice, source: str) -> Lines:
    """`source`: where it comes from, as far as is known."""
    about = "about " if choice.is_estimated else ""
    what = f"{about}{size(choice.size)}" if choice.size else "it"
    where = f" from {source}" if source else ""
    return [(f"Download {what}{where}? This uses the network.", "bold")]


def refusal(choice: Choice) -> Lines:
    """Why it can't be downloaded: it does not fit, or the user has said so."""
    if choice.verdict == "no":
        return [(f"It does not fit this machine: {', '.join(choice.reasons)}.", "$text-warning")]
    return [
        (
            "localchat is offline (the setting 'offline'), so nothing is downloaded.",
            "$text-warning",
        ),
        ("With the file at hand: localchat models import FILE", _QUIET),
    ]


def of_download(download: Download) -> Lines:
    match download.state:
        case "running":
            return [(progress(download), ""), (download.said, _QUIET)]
        case "stopping":
            return [("Stopping …", _QUIET)]
        case "stopped":
            said = download.said or "Nothing had come in yet."
            return [(f"Stopped. {said}", _QUIET), ("Enter goes on with it.", "")]
        case "failed":
            assert download.error is not None
            hint = f" Or else: {download.error.hint}" if download.error.hint else ""
            return [(str(download.error), "$text-error"), (f"Enter tries again.{hint}", _QUIET)]
        case "done":
            return [("✓ It is installed. Enter chooses it.", "$text-success")]


def progress(download: Download) -> str:
    """How far it is."""
    if not download.total:
        return "finding it …"
    if download.done >= download.total:
        return "all there; looking at it once …"
    parts = [
        f"{100 * download.done // download.total}%",
        f"{size(download.done)} of {size(download.total)}",
    ]
    if download.rate is not None:
        parts.append(f"{download.rate / 1e6:,.1f} MB/s")
    if download.time_left is not None:
        parts.append(f"{_duration(download.time_left)} left")
    return " · ".join(parts)


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
