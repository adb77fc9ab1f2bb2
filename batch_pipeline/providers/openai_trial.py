"""Whether a service answers as OpenAI does, found out before anything costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from batch_pipeline.errors import NotFound, OtherApi, Unreadable
from batch_pipeline.providers.heard import Said
from batch_pipeline.providers.listing import Page, item, shape
from batch_pipeline.providers.openai_account import Account
from batch_pipeline.providers.openai_answers import Batch

_Parsed = TypeVar("_Parsed")


def on_trial(account: Account, ask: Callable[[], _Parsed]) -> _Parsed:
    """The answer; OtherApi where a service has no such call, or answers in another shape."""
    try:
        return ask()
    except (Unreadable, NotFound) as error:
        if account.service is None:
            raise
        said = str(error)
    raise OtherApi(f"{said} {account.voice.then(OtherApi)}")


def check_page(account: Account, page: Page) -> None:
    """OtherApi when nothing in a service's list of batches is a batch."""
    if page.data and all(item(raw, Batch)[0] is None for raw in page.data):
        heard = Said(f"each of its batches is {shape(page.data[0])}, with no id and status of one")
        raise account.voice.error(OtherApi, "look at the list of batches", heard)
