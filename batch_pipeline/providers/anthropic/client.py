"""The Anthropic client: message batches of one account, through the anthropic SDK."""

from __future__ import annotations

import hashlib
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeAlias, TypeVar, cast
from urllib.parse import quote

import anthropic
import httpx2
import msgspec

from batch_pipeline.errors import (
    NotFound,
    ProviderError,
    Refused,
    Unavailable,
    Undecided,
)
from batch_pipeline.model import TERMINAL, Observation, RemoteStatus, Shard
from batch_pipeline.providers.anthropic import answers, errors
from batch_pipeline.providers.anthropic.account import BASE_URL, base_url_in, key_in
from batch_pipeline.providers.anthropic.bodies import Framed
from batch_pipeline.providers.anthropic.facts import API_VERSION
from batch_pipeline.providers.calling import Clock, certificates, landing, readable_error
from batch_pipeline.providers.failed_calls import Said, cut_short, scrubber
from batch_pipeline.providers.listing import item, read
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Known, Odd, ignored

_BATCHES = "/v1/messages/batches"
_CLOCK_MARGIN = timedelta(minutes=10)  # how far Anthropic's clock and ours may be apart
_CREATE_SECONDS = 600.0  # after its last byte a large body is checked in silence
_CONNECT_SECONDS = 5.0
_NOT_FOUND = 404
_PAGE = 100  # batches a page; there may be 1000
_PIECE = 1 << 20  # bytes of a body or a download in memory at a time

_HERE: anthropic.RequestOptions = {"follow_redirects": False}

_log = logging.getLogger(__name__)
_Parsed = TypeVar("_Parsed", bound=msgspec.Struct)
_Call: TypeAlias = Callable[[], httpx2.Response]
_Failure: TypeAlias = Callable[[str, Said], ProviderError]


class AnthropicClient:
    """Anthropic's Message Batches for one key; keeps nothing else, so threads may share it.

    The SDK never retries: what may be made again goes through *patience*, a create never does.
    No redirect is followed and no `results_url` is read: the key goes to the base URL alone.
    """

    names_batches = False  # there is no metadata

    def __init__(
        self,
        key: str,
        *,
        base_url: str = BASE_URL,
        workspace: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._scrub = scrubber(key)
        headers = {"anthropic-version": API_VERSION}
        if workspace is not None:
            headers["anthropic-workspace-id"] = workspace
        http = anthropic.DefaultHttpxClient(verify=certificates(), follow_redirects=False)
        self.clock = Clock()
        self.clock.listen(http)
        self._sdk = anthropic.Anthropic(
            api_key=key,
            base_url=base_url,
            max_retries=0,
            timeout=_timeout(self._patience.answer),
            default_headers=headers,
            http_client=http,
        )
        weakref.finalize(self, self._sdk.close)  # the SDK closes only what it made itself
        self._host = self._sdk.base_url.host
        whose = (key, str(self._sdk.base_url), workspace)
        digest = hashlib.sha256("\x1f".join(part or "" for part in whose).encode())
        self.account = digest.hexdigest()[:16]

    @classmethod
    def from_env(
        cls, env: Mapping[str, str], *, patience: Patience | None = None
    ) -> AnthropicClient:
        """The client of ANTHROPIC_API_KEY, at ANTHROPIC_BASE_URL if set.

        Raises Unauthorized when there is no usable key, UsageError when the URL is none.
        """
        return cls(
            key_in(env),
            base_url=base_url_in(env),
            workspace=env.get("ANTHROPIC_WORKSPACE_ID") or None,
            patience=patience,
        )

    def __repr__(self) -> str:
        return f"AnthropicClient(account={self.account!r}, host={self._host!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an AnthropicClient holds a key and is never serialised: build it from the environment "
            "where it is used."
        )

    def upload(self, lines: Path, *, name: str) -> str | None:  # noqa: ARG002 - see the protocol
        """Nothing: Anthropic takes the lines with the create."""
        return None

    def create(self, shard: Shard, lines: Path, *, file_id: str | None) -> Observation:  # noqa: ARG002
        """Send the lines as one body, streamed, once; see the protocol."""
        with readable_error(lines), lines.open("rb") as handle:
            body = Framed(handle, piece=_PIECE)
            batch = self._ask(
                f"create of a batch for shard {shard.shard_id}",
                lambda: self._sdk.post(
                    _BATCHES,
                    cast_to=httpx2.Response,
                    content=body,
                    options={
                        **_HERE,
                        "headers": {"Content-Length": str(body.size), **_headers(shard.options)},
                        "timeout": _timeout(_CREATE_SECONDS),
                    },
                ),
                answers.Batch,
                errors.create_failure,
            )
        self._event(
            "batch created",
            shard=shard.shard_id,
            job=shard.job,
            attempt=shard.attempt,
            batch_id=batch.id,
            bytes=body.size,
        )
        return answers.observation(batch)

    def find(self, shard: Shard, *, since: datetime, known: Known) -> Observation | None:
        """The unknown batch since then, of as many requests, whose first result is the shard's.

        Raises Undecided while only a batch without readable results may be it.
        """
        open_still: list[str] = []
        unread: list[bytes] = []
        for seen in self.observe(since=since - _CLOCK_MARGIN, odd=unread.append):
            if seen.batch_id in known.batch_ids or seen.total != shard.requests:
                continue
            first = self.first_id(seen)
            if first is None:
                open_still.append(seen.batch_id)
            elif known.is_ours(first):
                return seen
        if unread:  # without a name that could be looked for, any of them may be it
            open_still.append(f"{len(unread)} batches of the list that cannot be read")
        if open_still:
            raise Undecided(
                f"anthropic: {', '.join(open_still[:3])} may be the batch of shard "
                f"{shard.shard_id} ({shard.requests} requests): batches carry no names here, and "
                "only its results will tell. Look again when it has ended."
            )
        return None

    def first_id(self, seen: Observation) -> str | None:
        """The custom_id of the batch's first result; see the protocol."""
        if seen.status not in TERMINAL:
            return None
        try:
            line = self._patience.call(lambda: self._first_line(seen.batch_id))
            return msgspec.json.decode(line, type=answers.Line).custom_id
        except (NotFound, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _first_line(self, batch_id: str) -> bytes:
        line = bytearray()
        cut = None
        try:
            with self._results(batch_id) as answer:
                for piece in answer.iter_bytes():
                    line += piece
                    if b"\n" in piece:  # the rest is not ours to pay for: hang up
                        break
        except errors.FAILURES as error:
            cut = errors.said(error, self._scrub)
        if cut is not None:
            raise errors.failure(f"look at the first result of batch {batch_id}", cut)
        return bytes(line.split(b"\n", 1)[0])

    def observe(self, *, since: datetime, odd: Odd = ignored) -> Iterator[Observation]:
        """Every batch of the account created after *since*, newest first, page by page."""
        start = since.astimezone(UTC)
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
                    f"anthropic: the list of batches says it goes on after {after}, but does not. "
                    "The listing costs nothing: make it again."
                )
            after = last

    def _page(self, after: str | None) -> answers.Page:
        params: dict[str, object] = {"limit": _PAGE}
        if after is not None:
            params["after_id"] = after
        return self._patience.call(
            lambda: self._ask(
                "listing of batches",
                lambda: self._get(_BATCHES, params=params),
                answers.Page,
            )
        )

    def retrieve(self, batch_id: str) -> Observation:
        """One batch; NotFound when this account has none of that id."""
        return answers.observation(self._patience.call(lambda: self._batch(batch_id)))

    def _batch(self, batch_id: str) -> answers.Batch:
        return self._ask(
            f"look at batch {batch_id}",
            lambda: self._get(_path(batch_id)),
            answers.Batch,
        )

    def cancel(self, batch_id: str) -> Observation:
        """Ask Anthropic to stop the batch; no error if it has ended, or is ending, already."""
        seen = self._patience.call(lambda: self._cancel_once(batch_id))
        self._event("batch cancel asked", batch_id=batch_id, remote_status=seen.raw_status)
        return seen

    def _cancel_once(self, batch_id: str) -> Observation:
        try:
            batch = self._ask(
                f"cancel of batch {batch_id}",
                lambda: self._sdk.post(
                    f"{_path(batch_id)}/cancel", cast_to=httpx2.Response, options=_HERE
                ),
                answers.Batch,
            )
        except (Refused, Unavailable):
            seen = answers.observation(self._batch(batch_id))
            if seen.status in TERMINAL or seen.status is RemoteStatus.ENDING:
                return seen
            raise
        return answers.observation(batch)

    def download(self, file_id: str, into: Path) -> int:
        """Stream the results of batch *file_id* to *into*, whole or not at all; returns the bytes.

        Unavailable while the batch runs, NotFound once its results are archived.
        """
        size = self._patience.call(lambda: self._download_once(file_id, into))
        self._event("results downloaded", batch_id=file_id, bytes=size)
        return size

    def _download_once(self, batch_id: str, into: Path) -> int:
        what = f"download of the results of batch {batch_id}"
        with landing(into) as out:
            cut = self._stream(batch_id, out)
            if cut is None:
                return out.tell()
            # "not found" is said of results to come, too: the batch itself tells the two apart
            if cut.status == _NOT_FOUND and self._batch(batch_id).archived_at is None:
                raise errors.VOICE.error(Unavailable, what, cut)
            raise errors.failure(what, cut)

    def _stream(self, batch_id: str, out: BinaryIO) -> Said | None:
        """Write the results to *out*; returns what went wrong, None if all came."""
        try:
            with self._results(batch_id) as answer:
                out.writelines(answer.iter_bytes(_PIECE))
                return cut_short(answer.num_bytes_downloaded, answer.headers)
        except errors.FAILURES as error:
            return errors.said(error, self._scrub)

    @contextmanager
    def _results(self, batch_id: str) -> Iterator[httpx2.Response]:
        """The answer that holds the results, unread, from our base URL whatever the batch names."""
        answer = cast(
            "httpx2.Response",
            self._sdk.get(
                f"{_path(batch_id)}/results",
                cast_to=httpx2.Response,
                options=_HERE,
                stream=True,
                stream_cls=anthropic.Stream[object],
            ),
        )
        with closing(answer):
            yield answer

    def delete_file(self, file_id: str) -> None:
        """Delete the results, which are the batch itself; no error if it is gone already."""
        self.delete_batch(file_id)

    def delete_batch(self, batch_id: str) -> None:
        """Delete a batch that has ended, with its results; no error if it is gone already."""
        try:
            self._patience.call(
                lambda: self._ask(
                    f"delete of batch {batch_id}",
                    lambda: self._sdk.delete(
                        _path(batch_id), cast_to=httpx2.Response, options=_HERE
                    ),
                    answers.Deleted,
                )
            )
        except NotFound:
            return
        self._event("batch deleted", batch_id=batch_id)

    def close(self) -> None:
        """Give back the connections."""
        self._sdk.close()

    def dashboard_url(self, batch_id: str) -> str | None:  # noqa: ARG002 - see the protocol
        """None: the console's pages go by workspace, and a key does not say which is its own."""
        return None

    def _get(self, path: str, *, params: Mapping[str, object] | None = None) -> httpx2.Response:
        return self._sdk.get(
            path, cast_to=httpx2.Response, options={**_HERE, "params": params or {}}
        )

    def _ask(
        self,
        what: str,
        call: _Call,
        kind: type[_Parsed],
        failure: _Failure = errors.failure,
    ) -> _Parsed:
        """The answer of *call*, parsed; *failure* says what anything else means."""
        try:
            return read(call().content, kind)[0]
        except errors.FAILURES as error:
            heard = errors.said(error, self._scrub)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            heard = Said(
                f"an answer that is not Anthropic's ({self._scrub(str(error))})", unreadable=True
            )
        # raised out here so that the SDK's exception, which holds the key, is not its context
        raise failure(what, heard)

    def _event(self, message: str, **fields: object) -> None:
        _log.info(message, extra={"provider": "anthropic", "account": self.account, **fields})


def _timeout(silence: float) -> anthropic.Timeout:
    return anthropic.Timeout(silence, connect=min(silence, _CONNECT_SECONDS))


def _path(batch_id: str) -> str:
    return f"{_BATCHES}/{quote(batch_id, safe='')}"


def _headers(options: Mapping[str, str]) -> dict[str, str]:
    """What the codec's options are on the wire."""
    given = {
        "anthropic-beta": options.get("betas", ""),
        "anthropic-version": options.get("api_version", ""),
    }
    return {name: value for name, value in given.items() if value}
