"""The Anthropic client: message batches of one account, through the anthropic SDK."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from urllib.parse import quote

import anthropic
import httpx2

from batch_pipeline.errors import ProviderError, Unavailable, Undecided
from batch_pipeline.model import TERMINAL, Observation, Shard
from batch_pipeline.providers.anthropic import answers, errors
from batch_pipeline.providers.anthropic.bodies import Framed
from batch_pipeline.providers.anthropic.facts import API_VERSION
from batch_pipeline.providers.anthropic.record import RECORD
from batch_pipeline.providers.calling import (
    CLOCK_MARGIN,
    LONG_SILENCE,
    PIECE,
    Caller,
    Keyed,
    base_url_in,
    certificates,
    key_in,
    opened,
    silence,
)
from batch_pipeline.providers.failed_calls import Said
from batch_pipeline.providers.listing import observed, paged
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Known, Odd, ignored

BASE_URL = "https://api.anthropic.com"
_BATCHES = "/v1/messages/batches"
_NOT_FOUND = 404
_PAGE = 100  # batches a page; there may be 1000

_HERE: anthropic.RequestOptions = {"follow_redirects": False}


class AnthropicClient(Keyed):
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
        patience = patience or Patience()
        headers = {"anthropic-version": API_VERSION}
        if workspace is not None:
            headers["anthropic-workspace-id"] = workspace
        http = anthropic.DefaultHttpxClient(verify=certificates(), follow_redirects=False)
        self._sdk = anthropic.Anthropic(
            api_key=key,
            base_url=base_url,
            max_retries=0,
            timeout=silence(patience.answer),
            default_headers=headers,
            http_client=http,
        )
        weakref.finalize(self, self._sdk.close)  # the SDK closes only what it made itself
        url = str(self._sdk.base_url)
        self._calls = Caller(errors.VOICE, errors, patience, key, url, workspace)
        self.account, self.clock = self._calls.account, self._calls.clock
        self.clock.listen(http)

    @classmethod
    def from_env(
        cls, env: Mapping[str, str], *, patience: Patience | None = None
    ) -> AnthropicClient:
        """The client of ANTHROPIC_API_KEY, at ANTHROPIC_BASE_URL if set.

        Raises Unauthorized when there is no usable key, UsageError when the URL is none.
        """
        return cls(
            key_in(env, RECORD.key_variable, RECORD.name),
            base_url=base_url_in(env, "ANTHROPIC_BASE_URL", BASE_URL, title="Anthropic"),
            workspace=env.get("ANTHROPIC_WORKSPACE_ID") or None,
            patience=patience,
        )

    def upload(self, lines: Path, *, name: str) -> str | None:  # noqa: ARG002 - see the protocol
        """Nothing: Anthropic takes the lines with the create."""
        return None

    def create(self, shard: Shard, lines: Path, *, file_id: str | None) -> Observation:  # noqa: ARG002
        """Send the lines as one body, streamed, once; see the protocol."""
        with opened(lines) as handle:
            body = Framed(handle, piece=PIECE)
            batch = self._calls.ask(
                f"create of a batch for shard {shard.shard_id}",
                lambda: (
                    self._sdk.post(
                        _BATCHES,
                        cast_to=httpx2.Response,
                        content=body,
                        options={
                            **_HERE,
                            "headers": {
                                "Content-Length": str(body.size),
                                **_headers(shard.options),
                            },
                            "timeout": silence(LONG_SILENCE),
                        },
                    ).content
                ),
                answers.Batch,
                costs=True,
            )
        return self._calls.created(shard, answers.observation(batch), bytes=body.size)

    def find(self, shard: Shard, *, since: datetime, known: Known) -> Observation | None:
        """The unknown batch since then, of as many requests, whose first result is the shard's.

        Raises Undecided while only a batch without readable results may be it.
        """
        open_still: list[str] = []
        unread: list[bytes] = []
        for seen in self.observe(since=since - CLOCK_MARGIN, odd=unread.append):
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
        what = f"look at the first result of batch {seen.batch_id}"
        return self._calls.first_id(what, lambda: self._results(seen.batch_id))

    def observe(self, *, since: datetime, odd: Odd = ignored) -> Iterator[Observation]:
        """Every batch of the account created after *since*, newest first, page by page."""
        listed = paged(self._page, limit=_PAGE, name="anthropic")
        start = since.astimezone(UTC)
        return observed(listed, answers.Batch, answers.observation, start=start, odd=odd)

    def _page(self, after: str | None) -> answers.Page:
        params: dict[str, object] = {"limit": _PAGE}
        if after is not None:
            params["after_id"] = after
        return self._calls.again(
            "listing of batches", lambda: self._get(_BATCHES, params=params), answers.Page
        )

    def retrieve(self, batch_id: str) -> Observation:
        """One batch; NotFound when this account has none of that id."""
        return answers.observation(self._calls.patience.call(lambda: self._look(batch_id)))

    def _look(self, batch_id: str) -> answers.Batch:
        what = f"look at batch {batch_id}"
        return self._calls.ask(what, lambda: self._get(_path(batch_id)), answers.Batch)

    def cancel(self, batch_id: str) -> Observation:
        """Ask Anthropic to stop the batch; no error if it has ended, or is ending, already."""
        return self._calls.cancel(
            batch_id,
            lambda: answers.observation(self._stop(batch_id)),
            lambda: answers.observation(self._look(batch_id)),
        )

    def _stop(self, batch_id: str) -> answers.Batch:
        return self._calls.ask(
            f"cancel of batch {batch_id}",
            lambda: (
                self._sdk.post(
                    f"{_path(batch_id)}/cancel", cast_to=httpx2.Response, options=_HERE
                ).content
            ),
            answers.Batch,
        )

    def download(self, file_id: str, into: Path) -> int:
        """Stream the results of batch *file_id* to *into*, whole or not at all; returns the bytes.

        Unavailable while the batch runs, NotFound once its results are archived.
        """

        def failure(cut: Said) -> type[ProviderError]:
            # "not found" is said of results to come, too: the batch itself tells the two apart
            to_come = cut.status == _NOT_FOUND and self._look(file_id).archived_at is None
            return Unavailable if to_come else self._calls.meaning(cut)

        what = f"download of the results of batch {file_id}"
        size = self._calls.download(what, into, lambda: self._results(file_id), failure=failure)
        self._calls.event("results downloaded", batch_id=file_id, bytes=size)
        return size

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
        self._calls.delete(
            "batch",
            batch_id,
            lambda: (
                self._sdk.delete(_path(batch_id), cast_to=httpx2.Response, options=_HERE).content
            ),
        )

    def close(self) -> None:
        """Give back the connections."""
        self._sdk.close()

    def dashboard_url(self, batch_id: str) -> str | None:  # noqa: ARG002 - see the protocol
        """None: the console's pages go by workspace, and a key does not say which is its own."""
        return None

    def _get(self, path: str, *, params: Mapping[str, object] | None = None) -> bytes:
        options: anthropic.RequestOptions = {**_HERE, "params": params or {}}
        return self._sdk.get(path, cast_to=httpx2.Response, options=options).content


def _path(batch_id: str) -> str:
    return f"{_BATCHES}/{quote(batch_id, safe='')}"


def _headers(options: Mapping[str, str]) -> dict[str, str]:
    """What the codec's options are on the wire."""
    given = {
        "anthropic-beta": options.get("betas", ""),
        "anthropic-version": options.get("api_version", ""),
    }
    return {name: value for name, value in given.items() if value}
