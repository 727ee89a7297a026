"""Where everything lives. The only module that knows a folder's name.

`LOCALCHAT_HOME` moves all of it under one folder; otherwise the platform's own places are used.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import LocalchatError

# sun_path holds 104 bytes on macOS, 108 on Linux; a socket's name takes 24 of them.
_LONGEST_RUNTIME_PATH = 78


@dataclass(frozen=True, slots=True)
class Paths:
    """All folders and files, as absolute paths. Nothing is created by asking for one."""

    config: Path
    """config.toml and other files the user writes."""
    data: Path
    """Models and conversations."""
    cache: Path
    """What can be computed again."""
    state: Path
    """Logs."""
    runtime: Path
    """Sockets of running engines; private to the user."""

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def presets(self) -> Path:
        """The user's own, see `localchat.presets`."""
        return self.config / "presets"

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def history(self) -> Path:
        """The conversations, see `localchat.store`."""
        return self.data / "history.db"

    @property
    def snapshots(self) -> Path:
        return self.cache / "snapshots"

    @property
    def speeds(self) -> Path:
        """How fast models were, see `localchat.speeds`."""
        return self.cache / "speeds"

    @property
    def logs(self) -> Path:
        return self.state / "logs"


def find() -> Paths:
    """The paths in force for this user and environment."""
    home = os.environ.get("LOCALCHAT_HOME")
    if home:
        base = Path(os.path.expanduser(home)).absolute()  # noqa: PTH111 - Path's own can raise
        return Paths(
            config=base,
            data=base / "data",
            cache=base / "cache",
            state=base / "state",
            runtime=_short(base / "run"),
        )
    # The one third-party import of the base layer: other systems' folder rules are its work.
    from platformdirs import PlatformDirs

    dirs = PlatformDirs("localchat", appauthor=False)
    return Paths(
        config=Path(dirs.user_config_dir),
        data=Path(dirs.user_data_dir),
        cache=Path(dirs.user_cache_dir),
        state=Path(dirs.user_state_dir),
        runtime=_runtime(Path(dirs.user_cache_dir)),
    )


def _runtime(cache: Path) -> Path:
    """$XDG_RUNTIME_DIR where a login session made one, else a folder in the cache.

    platformdirs is not asked: it names /run/user/UID even where nothing made it.
    """
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and Path(session).is_dir():
        return _short(Path(session) / "localchat")
    return _short(cache / "run")


def _short(runtime: Path) -> Path:
    """`runtime`, or a folder with a short name in its place where a socket's path won't fit."""
    if len(os.fsencode(runtime)) <= _LONGEST_RUNTIME_PATH:
        return runtime
    digest = hashlib.sha256(os.fsencode(runtime)).hexdigest()[:12]
    import tempfile

    return Path(tempfile.gettempdir()) / f"localchat-{digest}"


def make_private(folder: Path) -> Path:
    """Creates `folder` (mode 0700, whatever the umask) and returns it.

    Raises LocalchatError if it is a link, belongs to someone else, or can't be made: others
    could then read prompts or answer in the engine's place.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise LocalchatError(
                f"{folder} is not a folder of yours, so it is not safe to use.",
                "Remove it, or set LOCALCHAT_HOME to a folder of your own.",
            )
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise LocalchatError(
            f"The folder {folder} can't be created: {error.strerror}.",
            "Set LOCALCHAT_HOME to a folder you can write to.",
        ) from error
    return folder
