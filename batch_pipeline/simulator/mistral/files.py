"""Mistral's `/v1/files`: an upload for a batch is read line by line before it is kept."""

import shutil
import uuid
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Literal

import orjson
from msgspec.structs import replace
from pydantic import BaseModel, Field, TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from batch_pipeline.simulator.calls import RefusedCallError, check_lag
from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.mistral.checks import flaw_of
from batch_pipeline.simulator.mistral.lines import RESULT
from batch_pipeline.simulator.mistral.objects import (
    NAME,
    ToldError,
    checked,
    flag,
    page_of,
    seconds,
    signature,
    uuid_of,
)
from batch_pipeline.simulator.records import StoredFile
from batch_pipeline.simulator.reply import Reply

_SAMPLES = {
    "batch": "batch_request",
    RESULT: "batch_result",  # also of error files, as was seen
    "fine-tune": "instruct",
    "ocr": "pretrain",
    "agentic_safety": "pretrain",
}
_MALFORMED = "Chat too large or missing. Format your file using newline delimited JSON"
_SEE = "You can view supported formats here: https://docs.mistral.ai/capabilities/batch."


class _Form(BaseModel):
    """The fields of an upload."""

    file: str
    purpose: Literal["batch", "fine-tune", "ocr", "agentic_safety"] = "fine-tune"
    visibility: Literal["workspace", "user"] = "workspace"
    expiry: Annotated[int, Field(ge=1)] | None = None  # hours


_FORM = TypeAdapter(_Form)


class Files:
    """`/v1/files`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state = engine.state

    async def upload(self, request: Request) -> Reply:
        """Keep a file, unless one of its lines is wrong."""
        async with request.form() as form:
            file = await self._keep(form, self._engine.clock.now())
        return Reply(_file_object(file), effect=file.id)

    async def _keep(self, form: FormData, now: float) -> StoredFile:
        part = form.get("file")
        asked = _asked(form)
        assert isinstance(part, UploadFile)  # noqa: S101 - checked; this tells the type checker
        self._check_size(part.size or 0)
        lines = None
        if asked.purpose == "batch":
            lines = await run_in_threadpool(self._checked, part.file)
        hours = asked.expiry or self._engine.limits.mistral_files_days * 24
        file = StoredFile(
            id=str(uuid.uuid4()),
            dialect=NAME,
            filename=part.filename or "",
            purpose=asked.purpose,
            bytes=part.size or 0,
            created_at=now,
            expires_at=now + hours * 3600,
            num_lines=lines,
            visibility=asked.visibility,
            expiry_asked=asked.expiry is not None,
            signature=signature(),
        )
        await run_in_threadpool(self._copy, part.file, file.id)
        self._state.put_file(file)
        return file

    def _check_size(self, size: int) -> None:
        if size == 0:
            raise RefusedCallError(422, "File is empty.")
        if size > self._engine.limits.mistral_max_file_bytes:
            raise RefusedCallError(413, "File is too large.")

    def _checked(self, source: BinaryIO) -> int:
        """How many lines there are; raises when one of them is wrong."""
        source.seek(0)
        flaws: list[dict[str, object]] = []
        count, found, listed = 0, 0, self._engine.limits.mistral_errors_listed
        for count, line in enumerate(source, 1):
            flaw = _line_flaw(line)
            if flaw is not None:
                found += 1
                if found <= listed:
                    flaws.append({"message": flaw, "line_number": count})
        if found:
            raise invalid_file(found, flaws)
        return count

    def _copy(self, source: BinaryIO, file_id: str) -> None:
        source.seek(0)
        with self._state.blob(file_id).open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    async def list(self, request: Request) -> Reply:
        """A page of the files that are there, newest first."""
        now = self._engine.clock.now()
        files = [
            file
            for file in self._state.files(NAME)
            if not file.gone(now) and _is_wanted(file, request)
        ]
        files.reverse()
        total = len(files) if flag(request, "include_total", usual=True) else None
        data = [_file_object(file) for file in page_of(files, request)]
        return Reply({"data": data, "object": "list", "total": total})

    async def retrieve(self, request: Request) -> Reply:
        """One file."""
        return Reply(_file_object(self._file(request, "file")) | {"deleted": False})

    async def delete(self, request: Request) -> Reply:
        """Delete a file."""
        file = self._file(request, "delete")
        self._state.put_file(replace(file, deleted=True))
        return Reply({"id": file.id, "object": "file", "deleted": True}, effect=file.id)

    async def content(self, request: Request) -> Reply:
        """The bytes of a file; with any other content type the SDK takes it for an error."""
        file = self._file(request, "content")
        headers = {"content-type": "application/octet-stream"}
        return Reply(download=self._state.blob(file.id), headers=headers)

    def _file(self, request: Request, operation: str) -> StoredFile:
        file_id = uuid_of(request.path_params["id"], "path", "file_id")
        file = self._state.file(file_id)
        if file is None or file.dialect != NAME or file.gone(self._engine.clock.now()):
            raise no_file(file_id)
        check_lag(self._engine, operation, file_id, file.created_at, no_file(file_id))
        return file


def no_file(file_id: str) -> RefusedCallError:
    """The refusal of an id that names no file."""
    return RefusedCallError(404, f"File with id {file_id} not found.")


def invalid_file(found: int, flaws: list[dict[str, object]]) -> ToldError:
    """The refusal of a file, with its lines that are wrong."""
    errors = "1 error" if found == 1 else f"{found} errors"
    return ToldError(
        422,
        {
            "detail": "Invalid file format.",
            "description": f"Found {errors} in this file. {_SEE}",
            "errors": flaws,
        },
    )


def _line_flaw(line: bytes) -> str | None:
    try:
        request = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _MALFORMED
    return flaw_of(request) if isinstance(request, dict) else _MALFORMED


def _file_object(file: StoredFile) -> dict[str, object]:
    made = file.purpose == RESULT
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": seconds(file.created_at),
        "filename": file.filename,
        "purpose": "batch" if made else file.purpose,
        "sample_type": _SAMPLES[file.purpose],
        "source": "mistral" if made else "upload",
        "num_lines": file.num_lines,
        "mimetype": "application/jsonl",
        "signature": file.signature,
        "expires_at": seconds(file.expires_at) if file.expiry_asked else None,
        "visibility": file.visibility or "workspace",
    }


def _is_wanted(file: StoredFile, request: Request) -> bool:
    shown, query = _file_object(file), request.query_params
    for name, field in (
        ("sample_type", "sample_type"),
        ("source", "source"),
        ("purpose", "purpose"),
        ("mimetypes", "mimetype"),
    ):
        wanted = query.getlist(name)
        if wanted and shown[field] not in wanted:
            return False
    return query.get("search", "").lower() in file.filename.lower()


def _asked(form: FormData) -> _Form:
    """The form, its file by name; a field that is left blank counts as not given."""
    fields = {name: value for name, value in form.items() if isinstance(value, str) and value}
    fields.pop("file", None)
    part = form.get("file")
    if isinstance(part, UploadFile):
        fields["file"] = part.filename or ""
    return checked(_FORM, fields, "body")


def lines_of(source: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, each with a newline at its end."""
    for line in source:
        yield line if line.endswith(b"\n") else line + b"\n"
