"""Whose key it is and where it goes: OpenAI itself, or a service that speaks its API."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import openai

from batch_pipeline.errors import NotFound, OtherApi, Unauthorized, Unreadable, UsageError
from batch_pipeline.providers.calling import Clock, certificates
from batch_pipeline.providers.failed_calls import Said, Voice, scrubber
from batch_pipeline.providers.listing import Page, item, shape
from batch_pipeline.providers.openai.answers import Batch
from batch_pipeline.providers.services import Service

BASE_URL = "https://api.openai.com/v1"
_CONNECT_SECONDS = 5.0
_OPENAI = Voice(
    name="openai",
    title="OpenAI",
    settings="OPENAI_API_KEY (OPENAI_ORG_ID, OPENAI_PROJECT_ID, OPENAI_BASE_URL)",
)


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """A connection with a key. The SDK never retries: who calls it decides that."""

    sdk: openai.OpenAI
    voice: Voice
    digest: str  # a short hash of the key and of all that says where it goes
    scrub: Callable[[str], str]
    clock: Clock
    service: Service | None = None

    @property
    def host(self) -> str:
        """Where calls go."""
        return self.sdk.base_url.host


def of_openai(env: Mapping[str, str], *, answer: float) -> Account:
    """OpenAI's own account in *env*; no answer may be silent for longer than *answer* seconds.

    Raises Unauthorized when there is no usable key, UsageError when the URL is none.
    """
    key = _key(env, "OPENAI_API_KEY", "openai")
    organization = env.get("OPENAI_ORG_ID") or None
    project = env.get("OPENAI_PROJECT_ID") or None
    clock = Clock()
    sdk = openai.OpenAI(
        api_key=key,
        base_url=_base_url(env),
        max_retries=0,
        timeout=silence(answer),
        http_client=_transport(clock),
    )
    # set here: a variable that is set but empty means none, and the SDK would send it empty
    sdk.organization, sdk.project = organization, project
    digest = _digest(key, str(sdk.base_url), organization, project)
    return Account(sdk, _OPENAI, digest, scrubber(key), clock)


def of_service(name: str, service: Service, env: Mapping[str, str], *, answer: float) -> Account:
    """The account of *service* with the key of its own variable; nothing of OpenAI's goes there.

    Raises Unauthorized when there is no usable key.
    """
    key, clock = _key(env, service.key_variable, name), Clock()
    if service.azure_api_version is None:
        sdk = openai.OpenAI(
            api_key=key,
            base_url=service.base_url,
            max_retries=0,
            timeout=silence(answer),
            http_client=_transport(clock),
        )
    else:
        sdk = openai.AzureOpenAI(
            api_key=key,
            azure_endpoint=service.base_url,
            api_version=service.azure_api_version,
            max_retries=0,
            timeout=silence(answer),
            http_client=_transport(clock),
        )
    # the SDK has read OpenAI's variables by itself: none of them may reach another house
    sdk.organization = sdk.project = sdk.admin_api_key = None
    sdk._custom_headers = {}  # noqa: SLF001 - OPENAI_CUSTOM_HEADERS, which may hold OpenAI's key
    settings = f"{service.key_variable}, and base_url of {name!r} in the services file,"
    return Account(
        sdk,
        Voice(name=name, title=name, settings=settings),
        _digest(key, str(sdk.base_url), None, None),
        scrubber(key),
        clock,
        service,
    )


def silence(seconds: float) -> openai.Timeout:
    """The timeout of a call that may be silent for so long."""
    return openai.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))


def _digest(*whose: str | None) -> str:
    return hashlib.sha256("\x1f".join(part or "" for part in whose).encode()).hexdigest()[:16]


def _key(env: Mapping[str, str], variable: str, name: str) -> str:
    key = env.get(variable, "").strip()  # keys mounted as files end in a newline
    if not key:
        raise Unauthorized(
            f"{name}: {variable} is not set or empty, so nothing can be sent or looked up. "
            "Set it in the environment (a .env file of the project will do)."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Unauthorized(
            f"{name}: {variable} holds characters that no key has (a blank, a line break, a "
            "quotation mark of a word processor?). Copy the key again."
        )
    return key


def _base_url(env: Mapping[str, str]) -> str:
    url = (env.get("OPENAI_BASE_URL") or "").strip() or BASE_URL
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
        raise UsageError(
            "OPENAI_BASE_URL is not an http(s) URL. Leave it unset for OpenAI itself, or give one "
            "such as http://127.0.0.1:8000/v1."
        )
    return url


def _transport(clock: Clock) -> openai.DefaultHttpxClient:
    http = openai.DefaultHttpxClient(verify=certificates(), follow_redirects=False)
    clock.listen(http)
    return http


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
