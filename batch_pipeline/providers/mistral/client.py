"""The Mistral client: files and batch jobs of one account, through the mistralai SDK."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import httpx2
from mistralai.client import Mistral
from mistralai.client.errors import ResponseValidationError
from mistralai.client.models import APIEndpoint
from pydantic import BaseModel

from batch_pipeline.errors import ProviderError
from batch_pipeline.model import Observation, Shard
from batch_pipeline.providers.calling import (
    CLOCK_MARGIN,
    CONNECT_SECONDS,
    LONG_SILENCE,
    Caller,
    Keyed,
    base_url_in,
    carried_by,
    certificates,
    key_in,
    opened,
)
from batch_pipeline.providers.listing import Named, check_unread, observed
from batch_pipeline.providers.mistral import answers, errors
from batch_pipeline.providers.mistral.facts import USUAL_HOURS
from batch_pipeline.providers.mistral.record import RECORD
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Known, Odd, ignored

BASE_URL = "https://api.mistral.ai"


class _Quiet:
    """The SDK's own log, which MISTRAL_DEBUG would fill with prompts and answers: none."""

    def debug(self, msg: str, *args: object, **kwargs: object) -> None:
        """Say nothing."""


class MistralClient(Keyed):
    """Mistral's batches for one key; keeps nothing else, so threads may share it.

    The SDK never retries: what may be made again goes through *patience*, a create never does.
    """

    names_batches = True

    def __init__(
        self, key: str, *, base_url: str = BASE_URL, patience: Patience | None = None
    ) -> None:
        patience = patience or Patience()
        self._http = httpx2.Client(
            follow_redirects=False,
            verify=certificates(),
            event_hooks={"request": [_connect_soon], "response": [_read_refusal]},
        )
        weakref.finalize(self, self._http.close)  # the SDK closes only what it made itself
        sdk = Mistral(
            api_key=key,
            server_url=base_url,
            client=self._http,
            # never used: without one the SDK makes its own, and an event loop to close it in
            async_client=httpx2.AsyncClient(transport=httpx2.AsyncBaseTransport(), trust_env=False),
            retry_config=None,
            timeout_ms=int(patience.answer * 1000),
            debug_logger=_Quiet(),
        )
        self._sdk, self._files, self._jobs = sdk, sdk.files, sdk.batch.jobs
        self._calls = Caller(errors.VOICE, errors, patience, key, base_url.rstrip("/"))
        self.account, self.clock = self._calls.account, self._calls.clock
        self.clock.listen(self._http)

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, patience: Patience | None = None) -> MistralClient:
        """The client of MISTRAL_API_KEY, at MISTRAL_BASE_URL if set.

        Raises Unauthorized when there is no usable key, UsageError when the URL is none.
        """
        return cls(
            key_in(env, RECORD.key_variable, RECORD.name),
            base_url=base_url_in(env, "MISTRAL_BASE_URL", BASE_URL, title="Mistral"),
            patience=patience,
        )

    def upload(self, lines: Path, *, name: str) -> str:
        """Stream the file to Mistral, which reads every line, and return its file id.

        A lost answer leaves an orphan. Raises BadLines for lines that Mistral will not take.
        """
        filename = name if name.endswith(".jsonl") else f"{name}.jsonl"
        file = self._calls.patience.call(lambda: self._upload_once(lines, filename))
        self._calls.event("file uploaded", file_id=file.id, bytes=lines.stat().st_size)
        return file.id

    def _upload_once(self, lines: Path, filename: str) -> Named:
        what = f"upload of {filename}"
        bad: dict[int, str] = {}

        def send() -> bytes:
            try:
                return _json(
                    lambda: self._files.upload(
                        file={"file_name": filename, "content": handle},
                        purpose="batch",
                        timeout_ms=int(LONG_SILENCE * 1000),
                    )
                )
            except errors.FAILURES as error:
                bad.update(errors.bad_lines(error, self._calls.scrub))
                raise

        with opened(lines) as handle:  # each try from its first byte
            try:
                return self._calls.ask(what, send, Named)
            except ProviderError:
                if not bad:
                    raise
        raise errors.refused_lines(what, bad)

    def create(self, shard: Shard, lines: Path, *, file_id: str | None) -> Observation:  # noqa: ARG002 - the lines are at Mistral
        """Start the batch, once; see the protocol.

        A file that Mistral does not see yet is certain refusal and waited for, about a minute;
        NotFound when it never shows up.
        """
        if file_id is None:
            raise ValueError(f"shard {shard.shard_id} has no file at Mistral: upload it first.")
        made = self._calls.when_seen(lambda: self._create_once(shard, file_id))
        return self._calls.created(shard, made)

    def _create_once(self, shard: Shard, file_id: str) -> Observation:
        hours = shard.options.get("timeout_hours", str(USUAL_HOURS))
        metadata = {**carried_by(shard), answers.HOURS: hours}
        batch = self._calls.ask(
            f"create of a batch for shard {shard.shard_id} from file {file_id}",
            lambda: _json(
                lambda: self._jobs.create(
                    input_files=[file_id],
                    model=shard.model,
                    endpoint=cast("APIEndpoint", shard.endpoint),
                    metadata=metadata,
                    timeout_hours=int(hours),
                )
            ),
            answers.Batch,
            costs=True,
        )
        return answers.observation(batch)

    def find(self, shard: Shard, *, since: datetime, known: Known) -> Observation | None:  # noqa: ARG002 - metadata is certain
        """The batch with the shard's intent, created after *since* (clocks may differ a little).

        None is said only after the whole listing until then was read; any error is raised.
        """
        intent = carried_by(shard)["intent"]
        unread: list[bytes] = []
        for seen in self.observe(since=since - CLOCK_MARGIN, odd=unread.append):
            if seen.metadata.get("intent") == intent:
                return seen
        check_unread("mistral", shard, unread)
        return None

    def first_id(self, seen: Observation) -> str | None:  # noqa: ARG002 - see below
        """None: a job carries its shard's intent, and nobody need look into its answers."""
        return None

    def observe(self, *, since: datetime, odd: Odd = ignored) -> Iterator[Observation]:
        """Every batch of the account created after *since*, newest first, page by page.

        None of Mistral's filters is relied on: what they leave out would be sent twice.
        """
        start = since.astimezone(UTC).replace(microsecond=0)  # Mistral's times are whole seconds
        listed = answers.listed(self._page)
        return observed(listed, answers.Batch, answers.observation, start=start, odd=odd)

    def _page(self, number: int) -> answers.Page:
        return self._calls.again(
            "listing of batches",
            lambda: _json(
                lambda: self._jobs.list(page=number, page_size=answers.PAGE, order_by="-created")
            ),
            answers.Page,
        )

    def retrieve(self, batch_id: str) -> Observation:
        """One batch; NotFound when this account has none of that id, or does not see it yet."""
        return self._calls.patience.call(lambda: self._look(batch_id))

    def _look(self, batch_id: str) -> Observation:
        what = f"look at batch {batch_id}"
        return self._said(what, lambda: self._jobs.get(job_id=batch_id))

    def cancel(self, batch_id: str) -> Observation:
        """Ask Mistral to stop the batch; no error if it has ended, or is ending, already."""
        what = f"cancel of batch {batch_id}"
        return self._calls.cancel(
            batch_id,
            lambda: self._said(what, lambda: self._jobs.cancel(job_id=batch_id)),
            lambda: self._look(batch_id),
        )

    def _said(self, what: str, call: Callable[[], BaseModel]) -> Observation:
        return answers.observation(self._calls.ask(what, lambda: _json(call), answers.Batch))

    def download(self, file_id: str, into: Path) -> int:
        """Stream a result file to *into*, whole or not at all, and return its bytes."""
        what = f"download of file {file_id}"
        size = self._calls.download(
            what, into, lambda: closing(self._files.download(file_id=file_id))
        )
        self._calls.event("file downloaded", file_id=file_id, bytes=size)
        return size

    def delete_file(self, file_id: str) -> None:
        """Delete a file at Mistral; no error if it is gone already."""
        self._calls.delete(
            "file", file_id, lambda: _json(lambda: self._files.delete(file_id=file_id))
        )

    def delete_batch(self, batch_id: str) -> None:
        """Delete a batch that is over; no error if it is gone already. Its files stay."""
        self._calls.delete(
            "batch", batch_id, lambda: _json(lambda: self._jobs.delete(job_id=batch_id))
        )

    def close(self) -> None:
        """Give back the connections."""
        self._http.close()

    def dashboard_url(self, batch_id: str) -> str | None:  # noqa: ARG002 - see below
        """None: Mistral documents no page of one batch."""
        return None


def _json(call: Callable[[], BaseModel]) -> bytes:
    """The answer's JSON, also where the SDK refuses it for a field that we do not rely on.

    A batch that was paid for must not be lost to a field that is new or has changed.
    """
    try:
        # without warnings: a status that is new to the SDK would be one at every look
        return call().model_dump_json(by_alias=True, warnings=False).encode()
    except ResponseValidationError as error:
        return error.body.encode()


def _connect_soon(request: httpx2.Request) -> None:
    """The SDK has one timeout for all; a host that is not there need not be waited for so long."""
    limits = request.extensions["timeout"]
    limits["connect"] = min(limits["connect"], CONNECT_SECONDS)


def _read_refusal(response: httpx2.Response) -> None:
    """Read an error's body at once: the SDK stumbles over one that is streamed and empty."""
    if not response.is_success:
        response.read()
