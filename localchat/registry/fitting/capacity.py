"""What this machine has for a model: memory, VRAM, disk, and how fast its memory is."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from localchat import bandwidth, hardware, room
from localchat.engine.threads import default_threads
from localchat.paths import Paths

# Those of NVIDIA, of AMD's compute driver, of any driver that Vulkan uses, and of Windows beneath.
_GPU_FILES = ("dev/nvidia[0-9]*", "dev/kfd", "dev/dri/renderD*", "dev/dxg")

_PATIENCE = 30  # seconds; a GPU's driver may take its time to start


@dataclass(frozen=True, slots=True)
class Capacity:
    """Bytes that can be had now, and bytes a second."""

    memory: int
    swap: int
    vram: int
    """In GPUs with memory of their own, if this build of llama.cpp uses them."""
    disk: int
    """Free where models are kept."""
    bandwidth: float | None
    """Of reading memory with as many threads as compute; None: it could not be measured."""
    threads: int
    """Those it was measured with."""


class Devices:
    """Asks llama.cpp, from here on, what it can compute on: in a process of its own.

    A broken library would end that one, and it works while the caller does something else. A
    context manager.
    """

    def __init__(self, *, wanted: bool = True) -> None:
        """Not `wanted`: nothing is asked, for who does not use GPUs.

        Nor where there are none: the process takes 0.2 s of one core.
        """
        self._process: subprocess.Popen[str] | None = None
        if wanted and gpus_may_be_there():
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "localchat.llama.devices"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )

    def __enter__(self) -> Devices:
        return self

    def __exit__(self, *_: object) -> None:
        """Who does not wait for the answer any more ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def vram(self) -> int:
        """Free bytes of GPUs that have memory of their own; 0 where it can't be told.

        `localchat doctor` says why.
        """
        if self._process is None:
            return 0
        try:
            said, _ = self._process.communicate(timeout=_PATIENCE)
            build = json.loads(said)
            if not build["offloads"]:
                return 0
            own = [device["free"] for device in build["devices"] if device["has_own_memory"]]
            return sum(map(int, own))
        except (subprocess.TimeoutExpired, ValueError, TypeError, KeyError):
            return 0


def gpus_may_be_there(root: Path = Path("/")) -> bool:
    """Whether a driver of GPUs with memory of their own has made a device: a few looks at files.

    Apple's GPUs have none, wherever llama.cpp runs on them.
    """
    return any(any(root.glob(pattern)) for pattern in _GPU_FILES)


def find(paths: Paths, devices: Devices, threads: int = 0) -> Capacity:
    """What there is now. `threads`: compute threads; 0: as many as an engine takes."""
    here = room.find()
    threads = threads or default_threads()
    remembered = paths.cache / "bandwidth.json"
    return Capacity(
        memory=here.memory,
        swap=here.swap,
        vram=devices.vram(),
        disk=_free(paths.models),
        # After the question above, whose process would compete for the memory.
        bandwidth=bandwidth.find(hardware.find(), threads, remembered),
        threads=threads,
    )


def _free(folder: Path) -> int:
    """Bytes free on the disk of a folder that may not be there yet."""
    for existing in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(existing).free
    return 0
