"""The first frame shows no message: what draws messages is imported when there is one."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
from localchat.tui.widgets.transcript.transcript import Transcript
heavy = {"markdown_it", "pygments.lexers", "textual.highlight"}
heavy.add("localchat.tui.widgets.transcript.turn")
print(sorted(heavy & sys.modules.keys()))
"""


def test_an_empty_transcript_needs_nothing_that_draws_messages() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
