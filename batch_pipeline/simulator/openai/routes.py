"""OpenAI over HTTP: its routes and files, its errors, its headers."""

import io
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.routing import Route

from batch_pipeline.simulator.calls import Door, Face, Handler, RefusedCallError, check_lag
from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.limits import RESULT_LIFE
from batch_pipeline.simulator.openai.batches import Batches, strangers_batch
from batch_pipeline.simulator.openai.lines import OpenAILines
from batch_pipeline.simulator.openai.objects import NAME, life, list_reply, page_of, seconds
from batch_pipeline.simulator.provider import Simulated
from batch_pipeline.simulator.records import StoredFile
from batch_pipeline.simulator.reply import Reply

_PURPOSES = frozenset(["assistants", "batch", "fine-tune", "vision", "user_data", "evals"])
_GENERAL_FILE_CAP = 512_000_000


class Files:
    """`/files`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state = engine.state

    async def upload(self, request: Request) -> Reply:
        """Keep a file; its lines are not looked at."""
        now = self._engine.clock.now()
        recent = [file for file in self._state.files(NAME) if file.created_at > now - 60]
        uploads = [file for file in recent if file.purpose != "batch_output"]
        if len(uploads) >= self._engine.limits.uploads_per_minute:
            raise RefusedCallError(
                429, "Rate limit reached for uploads.", code="rate_limit_exceeded", retry_after=10
            )
        # a part that names no file is read as a text, and may be as large as any file
        async with request.form(max_part_size=self._engine.limits.max_file_bytes + 1) as form:
            file = await self._keep(form, now)
        return Reply(_file_object(file), effect=file.id)

    async def _keep(self, form: FormData, now: float) -> StoredFile:
        part, purpose = _named(form.get("file")), form.get("purpose")
        if part is None:
            raise RefusedCallError(400, "'file' is a required property", param="file")
        if not isinstance(purpose, str) or purpose not in _PURPOSES:
            raise RefusedCallError(
                400, f"'{purpose}' is not one of {sorted(_PURPOSES)} - 'purpose'"
            )
        size = part.size or 0
        _check_upload(purpose, size, self._engine.limits.max_file_bytes)
        life = _form_expiry(form)
        if life is None and purpose == "batch":
            life = RESULT_LIFE
        file = StoredFile(
            id=f"file-{uuid.uuid4().hex[:22]}",
            dialect=NAME,
            filename=part.filename or "upload",
            purpose=purpose,
            bytes=size,
            created_at=now,
            expires_at=None if life is None else now + life,
        )
        await run_in_threadpool(_copy, part.file, self._state.blob(file.id))
        self._state.put_file(file)
        return file

    async def list(self, request: Request) -> Reply:
        """A page of the files that are there, newest first."""
        now, purpose = self._engine.clock.now(), request.query_params.get("purpose")
        files = [
            file
            for file in self._state.files(NAME)
            if not file.gone(now) and purpose in {None, file.purpose}
        ]
        if request.query_params.get("order", "desc") != "asc":
            files.reverse()
        page, more = page_of(files, request, usual=10_000, most=10_000)
        return list_reply([_file_object(file) for file in page], more=more)

    async def retrieve(self, request: Request) -> Reply:
        """One file."""
        return Reply(_file_object(self._file(request, "file")))

    async def delete(self, request: Request) -> Reply:
        """Delete a file."""
        file = self._file(request, "delete")
        self._state.put_file(replace(file, deleted=True))
        body = {"object": "file", "id": file.id, "deleted": True}
        return Reply(body, effect=file.id)

    async def content(self, request: Request) -> Reply:
        """The bytes of a file."""
        file = self._file(request, "content")
        filename = file.filename.encode("ascii", "replace").decode().replace('"', "'")
        headers = {
            "content-type": "application/octet-stream",
            "content-disposition": f'attachment; filename="{filename}"',
        }
        return Reply(download=self._state.blob(file.id), headers=headers)

    def _file(self, request: Request, operation: str) -> StoredFile:
        file_id = str(request.path_params["id"])
        unknown = RefusedCallError(404, f"No such File object: {file_id}", param="id")
        file = self._state.file(file_id)
        if file is None or file.gone(self._engine.clock.now()):
            raise unknown
        check_lag(self._engine, operation, file_id, file.created_at, unknown)
        return file


def _file_object(file: StoredFile) -> dict[str, object]:
    return {
        "object": "file",
        "id": file.id,
        "purpose": file.purpose,
        "filename": file.filename,
        "bytes": file.bytes,
        "created_at": seconds(file.created_at),
        "expires_at": seconds(file.expires_at),
        "status": "processed",
        "status_details": None,
    }


def _copy(source: BinaryIO, target: Path) -> None:
    source.seek(0)
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _named(part: UploadFile | str | None) -> UploadFile | None:
    """The part as a file, also when it came without a filename."""
    if not isinstance(part, str):
        return part
    content = part.encode()
    return UploadFile(io.BytesIO(content), size=len(content))


def _check_upload(purpose: str, size: int, most: int) -> None:
    if size == 0:
        raise RefusedCallError(400, "File is empty.", param="file")
    if size > (most if purpose == "batch" else _GENERAL_FILE_CAP):
        raise RefusedCallError(400, "File is too large.")


def _form_expiry(form: FormData) -> int | None:
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    number = int(seconds) if isinstance(seconds, str) and seconds.isdigit() else seconds
    return life({"anchor": anchor, "seconds": number}, "expires_after")


_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class OpenAIFace(Face):
    """OpenAI's errors and headers."""

    name = NAME

    def check_key(self, headers: Mapping[str, str]) -> None:
        """Any key is good unless it contains `invalid`."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            message = (
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            )
            raise RefusedCallError(401, message)
        if "invalid" in key:
            message = f"Incorrect API key provided: {key[:3]}***. You can find your API key online."
            raise RefusedCallError(401, message, code="invalid_api_key")

    def error_body(self, refused: RefusedCallError) -> object:
        """`{"error": {...}}` with all four fields."""
        kind = {429: "requests", 403: "insufficient_permissions"}.get(refused.status)
        if kind is None:
            kind = "server_error" if refused.status >= 500 else "invalid_request_error"  # noqa: PLR2004 - HTTP's split
        return {
            "error": {
                "message": refused.message,
                "type": kind,
                "param": refused.param,
                "code": refused.code,
            }
        }

    def stranger(self, now: float) -> dict[str, object]:
        """A batch of another project's."""
        return strangers_batch(now)

    def headers(self, request_id: str, milliseconds: int) -> dict[str, str]:
        """As recorded."""
        return {
            "x-request-id": request_id,
            "openai-version": "2020-10-01",
            "openai-organization": "org-simulated",
            "openai-processing-ms": str(milliseconds),
        }


def join(engine: Engine) -> None:
    """Let the engine run OpenAI's batches."""
    engine.dialects[NAME] = engine.validators[NAME] = OpenAILines(engine.limits)


def routes(engine: Engine) -> list[Route]:
    """OpenAI's endpoints, to be mounted under `/openai/v1`."""
    door = Door(engine, OpenAIFace())
    files, batches = Files(engine), Batches(engine)

    def route(path: str, method: str, operation: str, handler: Handler) -> Route:
        return Route(path, door.endpoint(operation, handler), methods=[method])

    return [
        route("/files", "POST", "upload", files.upload),
        route("/files", "GET", "files", files.list),
        route("/files/{id}", "GET", "file", files.retrieve),
        route("/files/{id}", "DELETE", "delete", files.delete),
        route("/files/{id}/content", "GET", "content", files.content),
        route("/batches", "POST", "create", batches.create),
        route("/batches", "GET", "list", batches.list),
        route("/batches/{id}", "GET", "retrieve", batches.retrieve),
        route("/batches/{id}/cancel", "POST", "cancel", batches.cancel),
        Route("/{rest:path}", door.endpoint("unknown", _no_such_url), methods=_METHODS),
    ]


async def _no_such_url(request: Request) -> Reply:
    message = f"Invalid URL ({request.method} {request.url.path.removeprefix('/openai')})"
    raise RefusedCallError(404, message)


SIMULATED = Simulated(NAME, "OpenAI", "/openai/v1", "base_url", join, routes)
