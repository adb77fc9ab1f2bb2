"""Whose key it is and where it goes: OpenAI itself, or a service that speaks its API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import openai

from batch_pipeline.errors import NotFound, OtherApi, Unreadable
from batch_pipeline.providers.calling import (
    Caller,
    base_url_in,
    certificates,
    key_in,
    silence,
)
from batch_pipeline.providers.failed_calls import Said, Voice
from batch_pipeline.providers.listing import Page, item, shape
from batch_pipeline.providers.openai import errors
from batch_pipeline.providers.openai.answers import Batch
from batch_pipeline.providers.openai.record import RECORD
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.services import Service

BASE_URL = "https://api.openai.com/v1"
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """A connection with a key. The SDK never retries: who calls it decides that."""

    sdk: openai.OpenAI
    calls: Caller
    service: Service | None = None


def of_openai(env: Mapping[str, str], *, patience: Patience) -> Account:
    """OpenAI's own account in *env*.

    Raises Unauthorized when there is no usable key, UsageError when the URL is none.
    """
    key, http = key_in(env, RECORD.key_variable, RECORD.name), _transport()
    sdk = openai.OpenAI(
        api_key=key,
        base_url=base_url_in(env, "OPENAI_BASE_URL", BASE_URL, title="OpenAI"),
        max_retries=0,
        timeout=silence(patience.answer),
        http_client=http,
    )
    # set here: a variable that is set but empty means none, and the SDK would send it empty
    sdk.organization = env.get("OPENAI_ORG_ID") or None
    sdk.project = env.get("OPENAI_PROJECT_ID") or None
    return _account(sdk, http, errors.VOICE, key, patience)


def of_service(
    name: str, service: Service, env: Mapping[str, str], *, patience: Patience
) -> Account:
    """The account of *service* with the key of its own variable; nothing of OpenAI's goes there.

    Raises Unauthorized when there is no usable key.
    """
    key, http = key_in(env, service.key_variable, name), _transport()
    azure = service.azure_api_version
    sdk = (
        partial(openai.OpenAI, base_url=service.base_url)
        if azure is None
        else partial(openai.AzureOpenAI, azure_endpoint=service.base_url, api_version=azure)
    )(
        api_key=key,
        max_retries=0,
        timeout=silence(patience.answer),
        http_client=http,
    )
    # the SDK has read OpenAI's variables by itself: none of them may reach another house
    sdk.organization = sdk.project = sdk.admin_api_key = None
    sdk._custom_headers = {}  # noqa: SLF001 - OPENAI_CUSTOM_HEADERS, which may hold OpenAI's key
    settings = f"{service.key_variable}, and base_url of {name!r} in the services file,"
    voice = Voice(name=name, title=name, settings=settings)
    return _account(sdk, http, voice, key, patience, service)


def _transport() -> openai.DefaultHttpxClient:
    return openai.DefaultHttpxClient(verify=certificates(), follow_redirects=False)


def _account(
    sdk: openai.OpenAI,
    http: openai.DefaultHttpxClient,
    voice: Voice,
    key: str,
    patience: Patience,
    service: Service | None = None,
) -> Account:
    url = str(sdk.base_url)
    calls = Caller(voice, errors, patience, key, url, sdk.organization, sdk.project)
    calls.clock.listen(http)
    return Account(sdk, calls, service)


def on_trial(account: Account, ask: Callable[[], _Parsed]) -> _Parsed:
    """The answer; OtherApi where a service has no such call, or answers in another shape."""
    try:
        return ask()
    except (Unreadable, NotFound) as error:
        if account.service is None:
            raise
        said = str(error)
    raise OtherApi(f"{said} {account.calls.voice.then(OtherApi)}")


def check_page(account: Account, page: Page) -> None:
    """OtherApi when nothing in a service's list of batches is a batch."""
    if page.data and all(item(raw, Batch)[0] is None for raw in page.data):
        heard = Said(f"each of its batches is {shape(page.data[0])}, with no id and status of one")
        raise account.calls.voice.error(OtherApi, "look at the list of batches", heard)
