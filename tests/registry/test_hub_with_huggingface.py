"""What the real huggingface_hub makes of the fake hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.registry.faults import GOOD, Fault, Kind
from tests.registry.hub import Hub
from tests.registry.plain_client import CONTENT, DIGEST, NAME, REPO, SIZE


@pytest.fixture
def url(hub: Hub) -> str:
    """The address of a file of `CONTENT`."""
    assert hub.add(REPO, NAME, CONTENT) == DIGEST
    return hub.location(REPO, NAME)


Script = Callable[..., Any]


@pytest.fixture
def huggingface(hub: Hub, tmp_path: Path) -> Script:
    """Runs code with `hf` imported in a process that knows this hub only; returns its `result`."""

    def run(code: str, **values: object) -> Any:
        program = (
            "import json, sys, huggingface_hub as hf\n"
            "globals().update(json.loads(sys.argv[1]))\n"
            f"{code}\nprint(json.dumps(result))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, json.dumps(values)],
            env=os.environ | hub.environment(tmp_path / "hf"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


METADATA = """
url = hf.hf_hub_url(repo, name)
about = hf.get_hf_file_metadata(url, token="hf_mine")
result = [url, about.commit_hash, about.etag, about.size, about.location]
"""

DOWNLOAD = """
info = hf.HfApi().model_info(repo, revision="main", files_metadata=True)
result = [info.sha] + [[s.rfilename, s.size, s.lfs and s.lfs.sha256] for s in info.siblings]
result.append(hf.HfApi().model_info(repo).sha)
result.append(hf.hf_hub_download(repo, name))
"""

ERRORS = """
result = []
for owner, revision, file in tries:
    for call in (
        lambda: hf.get_hf_file_metadata(hf.hf_hub_url(owner, file, revision=revision)),
        lambda: hf.HfApi().model_info(owner, revision=revision),
    ):
        try:
            result.append(call() and "")
        except Exception as error:
            result.append(type(error).__name__)
"""


def test_huggingface_hub_downloads(hub: Hub, url: str, huggingface: Script) -> None:
    commit = hub.commit(REPO)
    *info, path = huggingface(DOWNLOAD, repo=REPO, name=NAME)
    assert info == [commit, [NAME, SIZE, DIGEST], commit]
    assert Path(path).read_bytes() == CONTENT
    assert [body.completed for body in hub.bodies] == [True]


def test_huggingface_hub_downloads_by_redirects(hub: Hub, url: str, huggingface: Script) -> None:
    hub.cdn = True
    hub.moved["old/name"] = REPO
    *_, path = huggingface(DOWNLOAD, repo="old/name", name=NAME)
    assert Path(path).read_bytes() == CONTENT
    assert [body.completed for body in hub.bodies] == [True]


@pytest.mark.parametrize("cdn", [False, True])
def test_huggingface_hub_reads_metadata(hub: Hub, url: str, huggingface: Script, cdn: bool) -> None:
    hub.cdn = cdn
    hub.token = "hf_mine"
    *about, location = huggingface(METADATA, repo=REPO, name=NAME)
    assert about == [url, hub.commit(REPO), DIGEST, SIZE]
    assert location.startswith(hub.cdn_url if cdn else hub.url)
    assert {request.authorization for request in hub.requests} == {"Bearer hf_mine"}


def test_huggingface_hub_tells_the_errors_apart(hub: Hub, url: str, huggingface: Script) -> None:
    missing = [(REPO, None, "no"), (REPO, "no", NAME), ("owner/no", None, NAME)]
    gated = [Fault(Kind.STATUS, status=status, code="GatedRepo") for status in (401, 403)]
    busy = [Fault(Kind.STATUS, status=status) for status in (429, 503)]
    # Of the missing, only the first has a listing.
    hub.schedule_metadata(GOOD, *gated, *busy)
    tries = [*missing, *[(REPO, None, NAME)] * 3]
    assert huggingface(ERRORS, tries=tries) == [
        *("RemoteEntryNotFoundError", ""),
        *("RevisionNotFoundError",) * 2,
        *("RepositoryNotFoundError",) * 2,
        *("GatedRepoError",) * 2,
        *("HfHubHTTPError",) * 2,
        *("", ""),
    ]
