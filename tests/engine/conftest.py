from __future__ import annotations

from pathlib import Path

import pytest

from localchat.llama import library
from localchat.llama.model import Model
from localchat.llama.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def starter_vocabulary(starter: Path) -> Vocabulary:
    library.start(lambda line: None)
    return Model(str(starter)).vocabulary
