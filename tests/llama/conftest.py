from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localchat.llama import library
from localchat.llama.context import Context
from localchat.llama.model import Model

NewContext = Callable[..., Context]


@pytest.fixture(scope="session", autouse=True)
def _started() -> None:
    library.start(lambda line: None)


@pytest.fixture(scope="session")
def model(starter: Path) -> Iterator[Model]:
    model = Model(str(starter))
    yield model
    model.close()


@pytest.fixture
def new_context(model: Model) -> Iterator[NewContext]:
    """Makes contexts of the starter model; they are closed after the test."""
    contexts: list[Context] = []

    def make(*, of: Model = model, n_ctx: int = 512, n_batch: int = 128) -> Context:
        context = Context(of, n_ctx=n_ctx, n_batch=n_batch, n_sequences=4, n_threads=1)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
