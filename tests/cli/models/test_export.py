from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from localchat.paths import Paths
from localchat.registry.installed import Record
from tests.conftest import CommandRunner
from tests.registry.planted import files_of, flip

from .conftest import Done, Runner

ALONE = """
import os, sys
def audit(event, given):
    if event == "socket.getaddrinfo" or (event == "socket.__new__" and given[1] != 1):
        os._exit(9)
sys.addaudithook(audit)
from localchat.cli.main import main
main()
"""


def test_the_folder_is_named(models: Runner, mine: Record, tmp_path: Path) -> None:
    folder = tmp_path / "stick" / "mine"
    done = models("export", "mine", str(folder))
    assert done == Done(0, f"{folder}\n", "On the other machine: localchat models import mine\n")
    assert (folder / "model.json").exists()


def test_json(models: Runner, mine: Record, tmp_path: Path) -> None:
    told = json.loads(models("export", "mine", str(tmp_path / "out"), "--json").out)
    assert told["folder"] == str(tmp_path / "out")
    assert told["weights"] == [{"name": "mine.gguf", "size": mine.size, "sha256": mine.sha256}]
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert told == about | {"folder": told["folder"]}


def test_to_a_machine_that_never_had_a_network(
    localchat: CommandRunner, installed_starter: Path, tmp_path: Path
) -> None:
    """The real starter model, from home to home, with every other socket refused."""
    folder = tmp_path / "stick"
    assert localchat("models", "export", "starter", str(folder)).returncode == 0
    sums = subprocess.run(
        ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=False
    )
    assert sums.returncode == 0
    other = os.environ | {"LOCALCHAT_HOME": str(tmp_path / "other")}

    def there(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-c", ALONE, *arguments],
            env=other,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    try:
        done = there("models", "import", str(folder))
        assert (done.returncode, done.stdout) == (0, "smollm2-135m\n")
        shown = json.loads(there("models", "show", "starter", "--json").stdout)
        assert (shown["licence"], shown["sampling"]["top_p"]) == ("Apache-2.0", 0.9)
        assert (shown["template_state"], shown["linked"]) == ("pinned", False)
        assert there("models", "verify").stdout == "smollm2-135m: ok, 98.4 MB\n"
        question = ("The capital of France is", "--raw", "--temp", "0", "--max-tokens", "3")
        done = there(*question)
        assert done.returncode == 0
        assert "Paris" in done.stdout
        assert done.stdout == localchat(*question).stdout
    finally:
        there("stop", "--all")


def test_a_damaged_model(models: Runner, mine: Record, places: Paths, tmp_path: Path) -> None:
    flip(files_of(mine, places)[0], 1000)
    assert models("export", "mine", str(tmp_path / "out")) == Done(
        4,
        "",
        "Error: The file of mine is damaged; it was not exported.\n"
        "Try: localchat models repair mine\n",
    )
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use(models: Runner, mine: Record, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    done = models("export", "mine", str(tmp_path))
    assert done == Done(
        2,
        "",
        f"Error: {tmp_path} is not empty.\nTry: localchat models export mine ANOTHER-FOLDER\n",
    )
    assert models("export", "mine", str(tmp_path / "a file")).code == 2


def test_a_damaged_bundle(models: Runner, mine: Record, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    models("export", "mine", str(folder))
    models("rm", "-y", "mine")
    flip(folder / "mine.gguf", 2000)
    done = models("import", str(folder))
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith(f"Error: {folder / 'mine.gguf'} is damaged: its sha256 is ")
    assert done.err.endswith("Try: copy the bundle again from where it comes from\n")
