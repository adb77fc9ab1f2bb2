"""The OpenAI client: files and batches of one account, through the openai SDK.

Services that speak OpenAI's API have the same client with another account.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Literal, NoReturn, Protocol, TypeAlias, TypeVar, cast
from urllib.parse import quote

import msgspec
import openai

from batch_pipeline.errors import (
    NotFound,
    ProviderError,
    Refused,
    Unavailable,
    Undecided,
)
from batch_pipeline.model import TERMINAL, Observation, RemoteStatus, Shard
from batch_pipeline.providers.calling import landing, readable_error
from batch_pipeline.providers.failed_calls import Said, cut_short
from batch_pipeline.providers.listing import check_unread, item, read
from batch_pipeline.providers.openai import answers, errors
from batch_pipeline.providers.openai.account import (
    Account,
    check_page,
    of_openai,
    of_service,
    on_trial,
    silence,
)
from batch_pipeline.providers.openai.facts import batch_endpoint
from batch_pipeline.providers.openai.naming import first_id, metadata_of
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Known, Odd, ignored
from batch_pipeline.providers.services import Service

_FILE_LAG = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)  # 60 s: how long an upload may stay unseen
_UNREAD = {"pending", "running", "notrunning"}  # of a file at Azure, which reads it first
_CLOCK_MARGIN = timedelta(minutes=10)  # how far OpenAI's clock and ours may be apart
_UPLOAD_SECONDS = 600.0  # after its last byte a large file is digested in silence
_PAGE = 100  # batches a page, the most there are
_PIECE = 1 << 20  # bytes of a download in memory at a time

_log = logging.getLogger(__name__)
_Parsed = TypeVar("_Parsed", bound=msgspec.Struct)
_Endpoint: TypeAlias = Literal[
    "/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/moderations"
]  # the SDK's own type; Azure's names are sent as they are
_Failure: TypeAlias = Callable[[Said], type[ProviderError]]


class _Answer(Protocol):
    @property
    def content(self) -> bytes: ...


class OpenAIClient:
    """OpenAI's Batch API for one key; keeps nothing else, so threads may share it.

    The SDK never retries: what may be made again goes through *patience*, a create never does.
    """

    def __init__(self, account: Account, *, patience: Patience) -> None:
        self._patience = patience
        self._whose = account
        service = account.service  # it has to show that it does; Azure's own API is known to
        self._speaks = service is None or service.azure_api_version is not None
        self._sdk = account.sdk
        weakref.finalize(self, self._sdk.close)  # the SDK closes only what it made itself
        self.account = account.digest
        self.clock = account.clock
        self.names_batches = account.service is None  # a service may drop metadata

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, patience: Patience | None = None) -> OpenAIClient:
        """The client of OPENAI_API_KEY, at OPENAI_BASE_URL if set.

        Raises Unauthorized when there is no usable key, UsageError when the URL is none.
        """
        patience = patience or Patience()
        return cls(of_openai(env, answer=patience.answer), patience=patience)

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
        patience = patience or Patience()
        return cls(of_service(name, service, env, answer=patience.answer), patience=patience)

    def __del__(self) -> None:
        # the SDK's objects hold each other, so Python may come to its open sockets before to it
        self._sdk.close()

    def __repr__(self) -> str:
        return f"OpenAIClient(account={self.account!r}, host={self._whose.host!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an OpenAIClient holds a key and is never serialised: build it from the environment "
            "where it is used."
        )

    def upload(self, lines: Path, *, name: str) -> str:
        """Stream the file up and return its file id; a lost answer leaves an orphan."""
        filename = name if name.endswith(".jsonl") else f"{name}.jsonl"

        def send() -> answers.File:
            with readable_error(lines), lines.open("rb") as handle:  # each try from its first byte
                return self._ask(
                    f"upload of {filename}",
                    lambda: self._sdk.files.with_raw_response.create(
                        file=(filename, handle),
                        purpose="batch",
                        timeout=silence(_UPLOAD_SECONDS),
                    ),
                    answers.File,
                )

        file = self._patience.call(lambda: on_trial(self._whose, send))
        self._event("file uploaded", file_id=file.id, bytes=lines.stat().st_size)
        self._until_read(file)
        return file.id

    def _check_api(self) -> None:
        if self._speaks:
            return
        what = "look at the list of batches, before the first is sent,"
        page = self._patience.call(lambda: on_trial(self._whose, lambda: self._page_once(what)))
        check_page(self._whose, page)
        self._speaks = True

    def _until_read(self, file: answers.File) -> None:
        """Give a service that reads files before it takes batches of them a minute for it."""
        waits = iter(_FILE_LAG)
        while (file.status or "").lower() in _UNREAD and (wait := next(waits, None)) is not None:
            self._patience.sleep(wait)
            file = self._file(file.id)

    def _file(self, file_id: str) -> answers.File:
        return self._patience.call(
            lambda: self._ask(
                f"look at file {file_id}",
                lambda: self._sdk.files.with_raw_response.retrieve(file_id),
                answers.File,
            )
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
        waits = iter(_FILE_LAG)
        while True:
            try:
                seen = self._create_once(shard, file_id)
            except NotFound:
                wait = next(waits, None)
                if wait is None:
                    raise
            else:
                self._event(
                    "batch created",
                    shard=shard.shard_id,
                    job=shard.job,
                    attempt=shard.attempt,
                    batch_id=seen.batch_id,
                )
                return seen
            self._patience.sleep(wait)

    def _create_once(self, shard: Shard, file_id: str) -> Observation:
        metadata, endpoint = metadata_of(shard), batch_endpoint(shard.endpoint, self._whose.service)
        batch = self._ask(
            f"create of a batch for shard {shard.shard_id} from file {file_id}",
            lambda: self._sdk.batches.with_raw_response.create(
                input_file_id=file_id,
                endpoint=cast("_Endpoint", endpoint),
                completion_window="24h",
                metadata=metadata,
            ),
            answers.Batch,
            errors.create_failure,
        )
        return answers.observation(batch)

    def find(self, shard: Shard, *, since: datetime, known: Known) -> Observation | None:
        """The batch with the shard's intent, created after *since* (clocks may differ a little).

        None is said only after the whole listing until then was read; any error is raised. A
        service may not keep metadata: then the first result of a batch of as many requests that
        is nobody's tells, and while there is none it is Undecided.
        """
        intent = metadata_of(shard)["intent"]
        unsaid: str | None = None
        unread: list[bytes] = []
        for seen in self.observe(since=since - _CLOCK_MARGIN, odd=unread.append):
            if seen.metadata.get("intent") == intent:
                return seen
            if self.names_batches or seen.metadata or seen.batch_id in known.batch_ids:
                continue
            if seen.total in {0, shard.requests}:
                first = self.first_id(seen)
                if first is not None and known.is_ours(first):
                    return seen
                unsaid = seen.batch_id if first is None else unsaid
        check_unread(self._whose.voice.name, shard, unread)
        if unsaid is not None:
            raise Undecided(
                f"{self._whose.voice.name}: batch {unsaid} carries no metadata and may be shard "
                f"{shard.shard_id}. Nothing is sent again while it may be: compare the two at the "
                "service."
            )
        return None

    def first_id(self, seen: Observation) -> str | None:
        """The custom_id of the batch's first result; see the protocol."""
        file_id = seen.output_file_id or seen.error_file_id
        if seen.status not in TERMINAL or not file_id:
            return None
        try:
            return self._patience.call(lambda: first_id(self._whose, file_id))
        except (NotFound, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def observe(self, *, since: datetime, odd: Odd = ignored) -> Iterator[Observation]:
        """Every batch of the account created after *since*, newest first, page by page."""
        start = since.astimezone(UTC).replace(microsecond=0)  # OpenAI's times are whole seconds
        after: str | None = None
        while True:
            page = self._page(after)
            for raw in page.data:
                batch, exact = item(raw, answers.Batch)
                if batch is None:
                    odd(bytes(raw))
                    continue
                seen = answers.observation(batch)
                if exact and batch.created_at is not None and seen.created_at < start:
                    return
                yield seen
            if not page.goes_on(_PAGE):
                return
            last = page.cursor()
            if last in {None, after}:
                raise Unavailable(
                    f"{self._whose.voice.name}: the list of batches says it goes on after {after}, "
                    "but does not. The listing costs nothing: make it again."
                )
            after = last

    def _page(self, after: str | None) -> answers.Page:
        return self._patience.call(lambda: self._page_once("listing of batches", after))

    def _page_once(self, what: str, after: str | None = None) -> answers.Page:
        listed = self._sdk.batches.with_raw_response.list
        since = openai.omit if after is None else after
        return self._ask(what, lambda: listed(limit=_PAGE, after=since), answers.Page)

    def retrieve(self, batch_id: str) -> Observation:
        """One batch; NotFound when this account has none of that id."""
        return self._patience.call(lambda: self._retrieve_once(batch_id))

    def _retrieve_once(self, batch_id: str) -> Observation:
        batch = self._ask(
            f"look at batch {batch_id}",
            lambda: self._sdk.batches.with_raw_response.retrieve(batch_id),
            answers.Batch,
        )
        return answers.observation(batch)

    def cancel(self, batch_id: str) -> Observation:
        """Ask OpenAI to stop the batch; no error if it has ended, or is ending, already."""
        seen = self._patience.call(lambda: self._cancel_once(batch_id))
        self._event("batch cancel asked", batch_id=batch_id, remote_status=seen.raw_status)
        return seen

    def _cancel_once(self, batch_id: str) -> Observation:
        try:
            batch = self._ask(
                f"cancel of batch {batch_id}",
                lambda: self._sdk.batches.with_raw_response.cancel(batch_id),
                answers.Batch,
            )
        except (Refused, Unavailable):
            seen = self._retrieve_once(batch_id)
            if seen.status in TERMINAL or seen.status is RemoteStatus.ENDING:
                return seen
            raise
        return answers.observation(batch)

    def download(self, file_id: str, into: Path) -> int:
        """Stream a result file to *into*, whole or not at all, and return its bytes."""
        size = self._patience.call(lambda: self._download_once(file_id, into))
        self._event("file downloaded", file_id=file_id, bytes=size)
        return size

    def _download_once(self, file_id: str, into: Path) -> int:
        with landing(into) as out:
            cut = self._stream(file_id, out)
            if cut is not None:
                what = f"download of file {file_id}"
                raise self._whose.voice.error(errors.failure(cut), what, cut)
            return out.tell()

    def _stream(self, file_id: str, out: BinaryIO) -> Said | None:
        """Write the file's bytes to *out*; returns what went wrong, None if all came."""
        try:
            with self._sdk.files.with_streaming_response.content(file_id) as answer:
                out.writelines(answer.iter_bytes(_PIECE))
                received = answer.http_response.num_bytes_downloaded
                return cut_short(received, answer.headers)
        except errors.FAILURES as error:
            return errors.said(error, self._whose.scrub)

    def delete_file(self, file_id: str) -> None:
        """Delete a file at OpenAI; no error if it is gone already."""
        try:
            self._patience.call(
                lambda: self._ask(
                    f"delete of file {file_id}",
                    lambda: self._sdk.files.with_raw_response.delete(file_id),
                    answers.File,
                )
            )
        except NotFound:
            return
        self._event("file deleted", file_id=file_id)

    def delete_batch(self, batch_id: str) -> None:
        """Refused: there is no such call."""
        raise Refused(
            f"{self._whose.voice.name}: batch {batch_id} cannot be deleted, this API has no call "
            "for it. Its files can be deleted; the batch itself holds no answers."
        )

    def close(self) -> None:
        """Give back the connections."""
        self._sdk.close()

    def dashboard_url(self, batch_id: str) -> str | None:
        """The batch's page on OpenAI's platform; None when we talk to another host."""
        host = self._whose.host
        if host != "api.openai.com" and not host.endswith(".api.openai.com"):
            return None
        return f"https://platform.openai.com/batches/{quote(batch_id, safe='')}"

    def _ask(
        self,
        what: str,
        call: Callable[[], _Answer],
        kind: type[_Parsed],
        failure: _Failure = errors.failure,
    ) -> _Parsed:
        """The answer of *call*, parsed; *failure* says what anything else means."""
        try:
            return read(call().content, kind)[0]
        except errors.FAILURES as error:
            heard = errors.said(error, self._whose.scrub)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            heard = Said(
                f"an answer of another shape than OpenAI's ({self._whose.scrub(str(error))})",
                unreadable=True,
            )
        # raised out here so that the SDK's exception, which holds the key, is not its context
        raise self._whose.voice.error(failure(heard), what, heard)

    def _event(self, message: str, **fields: object) -> None:
        _log.info(
            message, extra={"provider": self._whose.voice.name, "account": self.account, **fields}
        )
