"""The Mistral client: files and batch jobs of one account, through the mistralai SDK."""

from __future__ import annotations

import hashlib
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import httpx2
import msgspec
from mistralai.client import Mistral
from mistralai.client.errors import ResponseValidationError
from mistralai.client.models import APIEndpoint
from pydantic import BaseModel

from batch_pipeline.errors import (
    NotFound,
    ProviderError,
    Refused,
    Unauthorized,
    Unavailable,
    UsageError,
)
from batch_pipeline.model import TERMINAL, Observation, RemoteStatus, Shard
from batch_pipeline.providers.calling import Clock, certificates, landing, readable_error
from batch_pipeline.providers.failed_calls import Said, cut_short, scrubber
from batch_pipeline.providers.listing import check_unread, read
from batch_pipeline.providers.mistral import answers, errors
from batch_pipeline.providers.mistral.answers import PAGE, listed
from batch_pipeline.providers.mistral.facts import USUAL_HOURS
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Known, Odd, ignored

BASE_URL = "https://api.mistral.ai"
_FILE_LAG = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)  # 60 s: how long an upload may stay unseen
_CLOCK_MARGIN = timedelta(minutes=10)  # how far Mistral's clock and ours may be apart
_UPLOAD_SECONDS = 600.0  # Mistral reads every line before it answers
_CONNECT_SECONDS = 5.0
_PIECE = 1 << 20  # bytes of a download in memory at a time
_LONGEST_VALUE = 512  # characters of a metadata value

_log = logging.getLogger(__name__)
_Parsed = TypeVar("_Parsed", bound=msgspec.Struct)
_Failure: TypeAlias = Callable[[str, Said], ProviderError]


class _Quiet:
    """The SDK's own log, which MISTRAL_DEBUG would fill with prompts and answers: none."""

    def debug(self, msg: str, *args: object, **kwargs: object) -> None:
        """Say nothing."""


class MistralClient:
    """Mistral's batches for one key; keeps nothing else, so threads may share it.

    The SDK never retries: what may be made again goes through *patience*, a create never does.
    """

    names_batches = True

    def __init__(
        self, key: str, *, base_url: str = BASE_URL, patience: Patience | None = None
    ) -> None:
        self._patience = patience or Patience()
        self._scrub = scrubber(key)
        self._http = httpx2.Client(
            follow_redirects=False,
            verify=certificates(),
            event_hooks={"request": [_connect_soon], "response": [_read_refusal]},
        )
        self.clock = Clock()
        self.clock.listen(self._http)
        weakref.finalize(self, self._http.close)  # the SDK closes only what it made itself
        sdk = Mistral(
            api_key=key,
            server_url=base_url,
            client=self._http,
            # never used: without one the SDK makes its own, and an event loop to close it in
            async_client=httpx2.AsyncClient(transport=httpx2.AsyncBaseTransport(), trust_env=False),
            retry_config=None,
            timeout_ms=int(self._patience.answer * 1000),
            debug_logger=_Quiet(),
        )
        self._sdk, self._files, self._jobs = sdk, sdk.files, sdk.batch.jobs
        self._host = urlsplit(base_url).hostname or ""
        digest = hashlib.sha256(f"{key}\x1f{base_url.rstrip('/')}".encode())
        self.account = digest.hexdigest()[:16]

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, patience: Patience | None = None) -> MistralClient:
        """The client of MISTRAL_API_KEY, at MISTRAL_BASE_URL if set.

        Raises Unauthorized when there is no usable key, UsageError when the URL is none.
        """
        return cls(_key(env), base_url=_base_url(env), patience=patience)

    def __repr__(self) -> str:
        return f"MistralClient(account={self.account!r}, host={self._host!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a MistralClient holds a key and is never serialised: build it from the environment "
            "where it is used."
        )

    def upload(self, lines: Path, *, name: str) -> str:
        """Stream the file to Mistral, which reads every line, and return its file id.

        A lost answer leaves an orphan. Raises BadLines for lines that Mistral will not take.
        """
        filename = name if name.endswith(".jsonl") else f"{name}.jsonl"
        file_id = self._patience.call(lambda: self._upload_once(lines, filename)).id
        self._event("file uploaded", file_id=file_id, bytes=lines.stat().st_size)
        return file_id

    def _upload_once(self, lines: Path, filename: str) -> answers.File:
        what = f"upload of {filename}"
        bad: dict[int, str] = {}

        def failure(what: str, heard: Said) -> ProviderError:
            return errors.refused_lines(what, bad) if bad else errors.failure(what, heard)

        def send() -> BaseModel:
            try:
                return self._files.upload(
                    file={"file_name": filename, "content": handle},
                    purpose="batch",
                    timeout_ms=int(_UPLOAD_SECONDS * 1000),
                )
            except errors.FAILURES as error:
                bad.update(errors.bad_lines(error, self._scrub))
                raise

        with readable_error(lines), lines.open("rb") as handle:  # each try from its first byte
            return self._ask(what, send, answers.File, failure)

    def create(self, shard: Shard, lines: Path, *, file_id: str | None) -> Observation:  # noqa: ARG002 - the lines are at Mistral
        """Start the batch, once; see the protocol.

        A file that Mistral does not see yet is certain refusal and waited for, about a minute;
        NotFound when it never shows up.
        """
        if file_id is None:
            raise ValueError(f"shard {shard.shard_id} has no file at Mistral: upload it first.")
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
        metadata = _metadata(shard)
        job = self._ask(
            f"create of a batch for shard {shard.shard_id} from file {file_id}",
            lambda: self._jobs.create(
                input_files=[file_id],
                model=shard.model,
                endpoint=cast("APIEndpoint", shard.endpoint),
                metadata=metadata,
                timeout_hours=int(metadata[answers.HOURS]),
            ),
            answers.Job,
            errors.create_failure,
        )
        return answers.observation(job)

    def find(self, shard: Shard, *, since: datetime, known: Known) -> Observation | None:  # noqa: ARG002 - metadata is certain
        """The batch with the shard's intent, created after *since* (clocks may differ a little).

        None is said only after the whole listing until then was read; any error is raised.
        """
        intent = _metadata(shard)["intent"]
        unread: list[bytes] = []
        for seen in self.observe(since=since - _CLOCK_MARGIN, odd=unread.append):
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
        for job in listed(self._page):
            if isinstance(job, answers.Odd):
                if job.job is None:
                    odd(job.raw)
                else:
                    yield answers.observation(job.job)
                continue
            seen = answers.observation(job)
            if job.created_at is not None and seen.created_at < start:
                return
            yield seen

    def _page(self, number: int) -> answers.Page:
        return self._patience.call(
            lambda: self._ask(
                "listing of batches",
                lambda: self._jobs.list(page=number, page_size=PAGE, order_by="-created"),
                answers.UnreadPage,
            ).read()
        )

    def retrieve(self, batch_id: str) -> Observation:
        """One batch; NotFound when this account has none of that id, or does not see it yet."""
        return self._patience.call(lambda: self._retrieve_once(batch_id))

    def _retrieve_once(self, batch_id: str) -> Observation:
        what = f"look at batch {batch_id}"
        job = self._ask(what, lambda: self._jobs.get(job_id=batch_id), answers.Job)
        return answers.observation(job)

    def cancel(self, batch_id: str) -> Observation:
        """Ask Mistral to stop the batch; no error if it has ended, or is ending, already."""
        seen = self._patience.call(lambda: self._cancel_once(batch_id))
        self._event("batch cancel asked", batch_id=batch_id, remote_status=seen.raw_status)
        return seen

    def _cancel_once(self, batch_id: str) -> Observation:
        try:
            job = self._ask(
                f"cancel of batch {batch_id}",
                lambda: self._jobs.cancel(job_id=batch_id),
                answers.Job,
            )
        except (Refused, Unavailable):
            seen = self._retrieve_once(batch_id)
            if seen.status in TERMINAL or seen.status is RemoteStatus.ENDING:
                return seen
            raise
        return answers.observation(job)

    def download(self, file_id: str, into: Path) -> int:
        """Stream a result file to *into*, whole or not at all, and return its bytes."""
        size = self._patience.call(lambda: self._download_once(file_id, into))
        self._event("file downloaded", file_id=file_id, bytes=size)
        return size

    def _download_once(self, file_id: str, into: Path) -> int:
        with landing(into) as out:
            cut = self._stream(file_id, out)
            if cut is not None:
                raise errors.failure(f"download of file {file_id}", cut)
            return out.tell()

    def _stream(self, file_id: str, out: BinaryIO) -> Said | None:
        """Write the file's bytes to *out*; returns what went wrong, None if all came."""
        try:
            with closing(self._files.download(file_id=file_id)) as answer:
                out.writelines(answer.iter_bytes(_PIECE))
                return cut_short(answer.num_bytes_downloaded, answer.headers)
        except errors.FAILURES as error:
            return errors.said(error, self._scrub)

    def delete_file(self, file_id: str) -> None:
        """Delete a file at Mistral; no error if it is gone already."""
        what = f"delete of file {file_id}"
        if self._delete(what, lambda: self._files.delete(file_id=file_id)):
            self._event("file deleted", file_id=file_id)

    def delete_batch(self, batch_id: str) -> None:
        """Delete a batch that is over; no error if it is gone already. Its files stay."""
        what = f"delete of batch {batch_id}"
        if self._delete(what, lambda: self._jobs.delete(job_id=batch_id)):
            self._event("batch deleted", batch_id=batch_id)

    def _delete(self, what: str, call: Callable[[], BaseModel]) -> bool:
        try:
            self._patience.call(lambda: self._ask(what, call, answers.Deleted))
        except NotFound:
            return False
        return True

    def close(self) -> None:
        """Give back the connections."""
        self._http.close()

    def dashboard_url(self, batch_id: str) -> str | None:  # noqa: ARG002 - see below
        """None: Mistral documents no page of one batch."""
        return None

    def _ask(
        self,
        what: str,
        call: Callable[[], BaseModel],
        kind: type[_Parsed],
        failure: _Failure = errors.failure,
    ) -> _Parsed:
        """The answer of *call*, parsed; *failure* says what anything else means."""
        try:
            return read(_json(call), kind)[0]
        except errors.FAILURES as error:
            heard = errors.said(error, self._scrub)
        except (msgspec.MsgspecError, UnicodeError) as error:
            heard = Said(
                f"an answer that is not Mistral's ({self._scrub(str(error))})", unreadable=True
            )
        # raised out here so that the SDK's exception, which holds the key, is not its context
        raise failure(what, heard)

    def _event(self, message: str, **fields: object) -> None:
        _log.info(message, extra={"provider": "mistral", "account": self.account, **fields})


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
    limits["connect"] = min(limits["connect"], _CONNECT_SECONDS)


def _read_refusal(response: httpx2.Response) -> None:
    """Read an error's body at once: the SDK stumbles over one that is streamed and empty."""
    if not response.is_success:
        response.read()


def _metadata(shard: Shard) -> dict[str, str]:
    """What the batch carries, so that it can be found again by its intent."""
    if not shard.intent:
        raise ValueError(
            f"shard {shard.shard_id} has no intent: record one in the ledger before it is sent."
        )
    carried = {
        "intent": shard.intent,
        "job": shard.job,
        "shard": shard.shard_id,
        "attempt": str(shard.attempt),
        answers.HOURS: shard.options.get("timeout_hours", str(USUAL_HOURS)),
    }
    return {name: value[:_LONGEST_VALUE] for name, value in carried.items()}


def _key(env: Mapping[str, str]) -> str:
    key = env.get("MISTRAL_API_KEY", "").strip()  # keys mounted as files end in a newline
    if not key:
        raise Unauthorized(
            "mistral: MISTRAL_API_KEY is not set or empty, so nothing can be sent or looked up. "
            "Set it in the environment (a .env file of the project will do)."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Unauthorized(
            "mistral: MISTRAL_API_KEY holds characters that no key has (a blank, a line break, a "
            "quotation mark of a word processor?). Copy the key again."
        )
    return key


def _base_url(env: Mapping[str, str]) -> str:
    url = (env.get("MISTRAL_BASE_URL") or "").strip() or BASE_URL
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
        raise UsageError(
            "MISTRAL_BASE_URL is not an http(s) URL. Leave it unset for Mistral itself, or give "
            "one such as http://127.0.0.1:8000, without /v1."
        )
    return url
