"""The OpenAI client: files and batches of one account, through the openai SDK.

Services that speak OpenAI's API have the same client with another account.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, cast
from urllib.parse import quote

import httpx2
import openai

from batch_pipeline.errors import Refused, Undecided
from batch_pipeline.model import TERMINAL, Observation, Shard
from batch_pipeline.providers.calling import (
    CLOCK_MARGIN,
    FILE_LAG,
    LONG_SILENCE,
    Keyed,
    carried_by,
    opened,
    silence,
)
from batch_pipeline.providers.listing import check_unread, observed, paged
from batch_pipeline.providers.openai import answers
from batch_pipeline.providers.openai.account import (
    Account,
    check_page,
    of_openai,
    of_service,
    on_trial,
)
from batch_pipeline.providers.openai.facts import batch_endpoint
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Known, Odd, ignored
from batch_pipeline.providers.services import Service

_UNREAD = {"pending", "running", "notrunning"}  # of a file at Azure, which reads it first
_PAGE = 100  # batches a page, the most there are

_Endpoint: TypeAlias = Literal[
    "/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/moderations"
]  # the SDK's own type; Azure's names are sent as they are


class _Answer(Protocol):
    @property
    def content(self) -> bytes: ...


class OpenAIClient(Keyed):
    """OpenAI's Batch API for one key; keeps nothing else, so threads may share it.

    The SDK never retries: what may be made again goes through *patience*, a create never does.
    """

    def __init__(self, account: Account) -> None:
        self._whose, self._calls = account, account.calls
        service = account.service  # it has to show that it does; Azure's own API is known to
        self._speaks = service is None or service.azure_api_version is not None
        self._sdk = account.sdk
        self._files = self._sdk.files.with_raw_response
        self._batches = self._sdk.batches.with_raw_response
        weakref.finalize(self, self._sdk.close)  # the SDK closes only what it made itself
        self.account, self.clock = account.calls.account, account.calls.clock
        self.names_batches = account.service is None  # a service may drop metadata

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, patience: Patience | None = None) -> OpenAIClient:
        """The client of OPENAI_API_KEY, at OPENAI_BASE_URL if set.

        Raises Unauthorized when there is no usable key, UsageError when the URL is none.
        """
        return cls(of_openai(env, patience=patience or Patience()))

    @classmethod
    def of_service(
        cls,
        name: str,
        service: Service,
        env: Mapping[str, str],
        *,
        patience: Patience | None = None,
    ) -> OpenAIClient:
        """The client of a service, with its own key and address; OPENAI_… variables are not used.

        Raises Unauthorized, which names the service's variable, when there is no usable key.
        """
        return cls(of_service(name, service, env, patience=patience or Patience()))

    def __del__(self) -> None:
        # the SDK's objects hold each other, so Python may come to its open sockets before to it
        self._sdk.close()

    def upload(self, lines: Path, *, name: str) -> str:
        """Stream the file up and return its file id; a lost answer leaves an orphan."""
        filename = name if name.endswith(".jsonl") else f"{name}.jsonl"

        def send() -> answers.File:
            with opened(lines) as handle:  # each try from its first byte
                return self._calls.ask(
                    f"upload of {filename}",
                    lambda: (
                        self._files.create(
                            file=(filename, handle), purpose="batch", timeout=silence(LONG_SILENCE)
                        ).content
                    ),
                    answers.File,
                )

        file = self._calls.patience.call(lambda: on_trial(self._whose, send))
        self._calls.event("file uploaded", file_id=file.id, bytes=lines.stat().st_size)
        self._until_read(file)
        return file.id

    def _check_api(self) -> None:
        if self._speaks:
            return
        what = "look at the list of batches, before the first is sent,"
        page = self._calls.patience.call(
            lambda: on_trial(self._whose, lambda: self._page_once(what))
        )
        check_page(self._whose, page)
        self._speaks = True

    def _until_read(self, file: answers.File) -> None:
        """Give a service that reads files before it takes batches of them a minute for it."""
        waits = iter(FILE_LAG)
        while (file.status or "").lower() in _UNREAD and (wait := next(waits, None)) is not None:
            self._calls.patience.sleep(wait)
            file = self._file(file.id)

    def _file(self, file_id: str) -> answers.File:
        return self._calls.again(
            f"look at file {file_id}", lambda: self._files.retrieve(file_id).content, answers.File
        )

    def create(self, shard: Shard, lines: Path, *, file_id: str | None) -> Observation:  # noqa: ARG002 - the lines are up already
        """Start the batch, once; see the protocol.

        A file that OpenAI does not see yet is certain refusal and waited for, about a minute;
        NotFound when it never shows up. Before its first batch, a service shows by its list that
        it speaks OpenAI's API: OtherApi when it does not.
        """
        self._check_api()
        if file_id is None:
            raise ValueError(f"shard {shard.shard_id} has no file: upload its lines first.")
        made = self._calls.when_seen(lambda: self._create_once(shard, file_id))
        return self._calls.created(shard, made)

    def _create_once(self, shard: Shard, file_id: str) -> Observation:
        metadata, endpoint = carried_by(shard), batch_endpoint(shard.endpoint, self._whose.service)
        batch = self._calls.ask(
            f"create of a batch for shard {shard.shard_id} from file {file_id}",
            lambda: (
                self._batches.create(
                    input_file_id=file_id,
                    endpoint=cast("_Endpoint", endpoint),
                    completion_window="24h",
                    metadata=metadata,
                ).content
            ),
            answers.Batch,
            costs=True,
        )
        return answers.observation(batch)

    def find(self, shard: Shard, *, since: datetime, known: Known) -> Observation | None:
        """The batch with the shard's intent, created after *since* (clocks may differ a little).

        None is said only after the whole listing until then was read; any error is raised. A
        service may not keep metadata: then the first result of a batch of as many requests that
        is nobody's tells, and while there is none it is Undecided.
        """
        intent = carried_by(shard)["intent"]
        unsaid: str | None = None
        unread: list[bytes] = []
        for seen in self.observe(since=since - CLOCK_MARGIN, odd=unread.append):
            if seen.metadata.get("intent") == intent:
                return seen
            if self.names_batches or seen.metadata or seen.batch_id in known.batch_ids:
                continue
            if seen.total in {0, shard.requests}:
                first = self.first_id(seen)
                if first is not None and known.is_ours(first):
                    return seen
                unsaid = seen.batch_id if first is None else unsaid
        check_unread(self._calls.voice.name, shard, unread)
        if unsaid is not None:
            raise Undecided(
                f"{self._calls.voice.name}: batch {unsaid} carries no metadata and may be shard "
                f"{shard.shard_id}. Nothing is sent again while it may be: compare the two at the "
                "service."
            )
        return None

    def first_id(self, seen: Observation) -> str | None:
        """The custom_id of the batch's first result; see the protocol."""
        file_id = seen.output_file_id or seen.error_file_id
        if seen.status not in TERMINAL or not file_id:
            return None
        what = f"look at the first result in file {file_id}"
        return self._calls.first_id(what, lambda: self._content(file_id))

    def observe(self, *, since: datetime, odd: Odd = ignored) -> Iterator[Observation]:
        """Every batch of the account created after *since*, newest first, page by page."""
        start = since.astimezone(UTC).replace(microsecond=0)  # OpenAI's times are whole seconds
        listed = paged(self._page, limit=_PAGE, name=self._calls.voice.name)
        return observed(listed, answers.Batch, answers.observation, start=start, odd=odd)

    def _page(self, after: str | None) -> answers.Page:
        return self._calls.patience.call(lambda: self._page_once("listing of batches", after))

    def _page_once(self, what: str, after: str | None = None) -> answers.Page:
        since = openai.omit if after is None else after
        return self._calls.ask(
            what, lambda: self._batches.list(limit=_PAGE, after=since).content, answers.Page
        )

    def retrieve(self, batch_id: str) -> Observation:
        """One batch; NotFound when this account has none of that id."""
        return self._calls.patience.call(lambda: self._look(batch_id))

    def _look(self, batch_id: str) -> Observation:
        return self._said(f"look at batch {batch_id}", lambda: self._batches.retrieve(batch_id))

    def _said(self, what: str, call: Callable[[], _Answer]) -> Observation:
        return answers.observation(self._calls.ask(what, lambda: call().content, answers.Batch))

    def cancel(self, batch_id: str) -> Observation:
        """Ask OpenAI to stop the batch; no error if it has ended, or is ending, already."""
        what = f"cancel of batch {batch_id}"
        return self._calls.cancel(
            batch_id,
            lambda: self._said(what, lambda: self._batches.cancel(batch_id)),
            lambda: self._look(batch_id),
        )

    def download(self, file_id: str, into: Path) -> int:
        """Stream a result file to *into*, whole or not at all, and return its bytes."""
        what = f"download of file {file_id}"
        size = self._calls.download(what, into, lambda: self._content(file_id))
        self._calls.event("file downloaded", file_id=file_id, bytes=size)
        return size

    @contextmanager
    def _content(self, file_id: str) -> Iterator[httpx2.Response]:
        """The answer that holds a file, unread."""
        with self._sdk.files.with_streaming_response.content(file_id) as answer:
            yield answer.http_response

    def delete_file(self, file_id: str) -> None:
        """Delete a file at OpenAI; no error if it is gone already."""
        self._calls.delete("file", file_id, lambda: self._files.delete(file_id).content)

    def delete_batch(self, batch_id: str) -> None:
        """Refused: there is no such call."""
        raise Refused(
            f"{self._calls.voice.name}: batch {batch_id} cannot be deleted, this API has no call "
            "for it. Its files can be deleted; the batch itself holds no answers."
        )

    def close(self) -> None:
        """Give back the connections."""
        self._sdk.close()

    def dashboard_url(self, batch_id: str) -> str | None:
        """The batch's page on OpenAI's platform; None when we talk to another host."""
        host = self._calls.host
        if host != "api.openai.com" and not host.endswith(".api.openai.com"):
            return None
        return f"https://platform.openai.com/batches/{quote(batch_id, safe='')}"
