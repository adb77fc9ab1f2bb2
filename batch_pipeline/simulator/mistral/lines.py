"""Mistral's batch lines: each row run at its endpoint, and the result line of it."""

import hashlib
from collections.abc import Callable

import orjson

from batch_pipeline.simulator.dialect import Answered, RowFaultOf
from batch_pipeline.simulator.faults import Row
from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.mangling import mangled
from batch_pipeline.simulator.merging import merged
from batch_pipeline.simulator.mistral import models
from batch_pipeline.simulator.mistral.chat import make_chat, make_fim
from batch_pipeline.simulator.mistral.checks import body_flaw
from batch_pipeline.simulator.mistral.objects import NAME, uuid_from
from batch_pipeline.simulator.mistral.other_endpoints import (
    make_chat_moderation,
    make_embeddings,
    make_moderation,
    make_ocr,
)
from batch_pipeline.simulator.mistral.row_answer import Body, Made, RefusedRequestError
from batch_pipeline.simulator.records import Batch, StoredFile

RESULT = "batch_result"  # purpose of both result files; the service names both the same
_HTTP_ERRORS = {
    401: ("Unauthorized", "invalid_request_unauthorized", None),
    402: ("Payment required: check your billing (simulated).", "invalid_request_error", None),
    403: ("You do not have access to the model", "invalid_request_forbidden", None),
    404: ("The model was not found (simulated).", "invalid_model", "1500"),
    408: ("Request timed out", "request_timeout", "1200"),
    422: ("The request was refused (simulated).", "invalid_request_error", None),
    429: ("Requests rate limit exceeded", "rate_limited", "1300"),
    503: ("Service unavailable.", "unreachable_backend", "1100"),
    504: ("Request timed out", "unreachable_backend", "1101"),
}
_SERVER_ERROR = ("Internal server error", "internal_server_error", "1000")
_BAD_REQUEST = ("The request was refused (simulated).", "invalid_request_error", None)


class MistralLines:
    """The engine's view of Mistral."""

    name = NAME

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def answer(self, batch: Batch, line: bytes, fault_of: RowFaultOf) -> Answered:
        """Run one row; the job's model counts, the line's own only where the job has none."""
        request = orjson.loads(line)
        row = _Row(_name(batch, line), request.get("custom_id"))
        fault = fault_of(row.custom_id or "")
        if fault is not None and fault.becomes in _INSTEAD:
            return _INSTEAD[fault.becomes](row, fault)
        model = batch.model or request["body"].get("model")
        try:
            self._check_model(model)
            made = make_body(
                batch.endpoint,
                {**request["body"], "model": model},
                name=row.name,
                created=int(batch.in_progress_at or batch.created_at),
                fault=None if fault is None else fault.becomes,
            )
        except RefusedRequestError as refused:
            return row.http_error(400, (refused.message, refused.kind, refused.code))
        body = made.body if fault is None else odd_body(made.body, fault, row.name)
        output = row.response(200, body)
        if fault is not None:
            output = mangled(
                output,
                fault,
                error=lambda: _http_fault(row, fault).error,
                stranger=row.stranger,
            )
        return Answered(output=output, completed=1, usage=made.usage)

    def broken(self, batch: Batch, line: bytes) -> Answered:
        """A server error."""
        row = _Row(_name(batch, line), orjson.loads(line).get("custom_id"))
        return row.http_error(500, _SERVER_ERROR)

    def unfinished(self, batch: Batch, line: bytes, ending: str) -> Answered:  # noqa: ARG002 - no word of it
        """A row whose turn never came is in neither file."""
        return Answered()

    def result_file(self, batch: Batch, kind: str, now: float) -> StoredFile:
        """The result file of the job; its id follows from the job's."""
        hours = self._limits.mistral_results_hours
        return StoredFile(
            id=uuid_from(f"{batch.id} {kind}"),
            dialect=self.name,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose=RESULT,
            bytes=0,
            created_at=now,
            expires_at=None if hours is None else now + hours * 3600,
            num_lines=batch.completed if kind == "output" else batch.failed,
        )

    def _check_model(self, model: object) -> None:
        if not isinstance(model, str) or not models.known(model, self._limits.extra_models):
            raise RefusedRequestError(f"Invalid model: {model}", "invalid_model", "1500")


class _Row:
    """Writes the result lines of one row; `name` is 32 hex digits that name its answer."""

    def __init__(self, name: str, custom_id: str | None) -> None:
        self.name, self.custom_id = name, custom_id

    def line(self, response: object) -> bytes:
        line = {
            "id": f"batch-simulated-{self.name}",
            "custom_id": self.custom_id,
            "response": response,
            "error": None,
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def stranger(self) -> bytes:
        """A line that nobody asked for."""
        never = _Row(self.name[::-1], f"never-sent-{self.name[:8]}")
        return never.http_error(500, _SERVER_ERROR).error

    def response(self, status: int, body: object) -> bytes:
        return self.line({"status_code": status, "body": body})

    def http_error(self, status: int, error: tuple[str, str, str | None]) -> Answered:
        """An error row: its body is JSON in a string."""
        message, kind, code = error
        body = {"object": "error", "message": message, "type": kind, "param": None, "code": code}
        told = orjson.dumps(body | {"raw_status_code": status}).decode()
        complaint = f"HTTP Error, status code: {status}"
        return Answered(error=self.response(status, told), failed=1, complaint=complaint)

    def lost(self) -> Answered:
        return Answered(error=self.response(0, ""))


def _name(batch: Batch, line: bytes) -> str:
    """Of the line, not of its custom_id: that need be neither there nor unique."""
    return hashlib.blake2b(batch.id.encode() + line, digest_size=16).hexdigest()


def _http_fault(row: _Row, fault: Row) -> Answered:
    usual = _SERVER_ERROR if fault.status >= 500 else _BAD_REQUEST  # noqa: PLR2004 - HTTP's split
    message, kind, code = _HTTP_ERRORS.get(fault.status, usual)
    told = (fault.message or message, fault.type or kind, fault.code or code)
    return row.http_error(fault.status, told)


_INSTEAD: dict[str, Callable[[_Row, Row], Answered]] = {
    "expired": lambda _, __: Answered(),
    "cancelled": lambda _, __: Answered(),
    "request_timeout": lambda row, _: row.http_error(504, _HTTP_ERRORS[504]),
    "missing": lambda _, __: Answered(),
    "lost": lambda row, _: row.lost(),
    "error": _http_fault,
    "no_credit": lambda row, _: row.http_error(402, _HTTP_ERRORS[402]),
}


_Body = dict[str, object]


def odd_body(body: _Body, fault: Row, name: str) -> object:
    """The body of a 200 as *fault* has it; the same body when the fault is none of a body's."""
    match fault.becomes:
        case "edited":
            return merged(body, fault.edit)
        case "standard_tier" if "usage" in body:
            return merged(body, {"usage": {"service_tier": "standard"}})
        case "empty" if "choices" in body:
            return body | _said(body, None)
        case "reasoning_only" if "choices" in body:
            thought = [{"type": "text", "text": "Simulated thoughts about the request."}]
            thinking = {"type": "thinking", "thinking": thought, "closed": True}
            return body | _said(body, [thinking])
        case "unknown_items" if "choices" in body:
            unread = {"type": "tool_file", "tool": "code_interpreter", "file_id": name}
            return body | _said(body, [unread])
        case _:
            return body


def _said(body: _Body, content: object) -> _Body:
    choices = body["choices"]
    assert isinstance(choices, list)  # noqa: S101 - this tells the type checker
    silent = {"content": content, "tool_calls": None}
    said = [each["message"] | silent for each in choices]
    pairs = zip(choices, said, strict=True)
    return {"choices": [each | {"message": one, "finish_reason": "stop"} for each, one in pairs]}


_MAKERS: dict[str, Callable[[Body, str, int, str | None], Made]] = {
    "/v1/chat/completions": make_chat,
    "/v1/fim/completions": make_fim,
    "/v1/embeddings": make_embeddings,
    "/v1/moderations": make_moderation,
    "/v1/chat/moderations": make_chat_moderation,
    "/v1/ocr": make_ocr,
}


def make_body(
    endpoint: str, body: Body, *, name: str, created: int, fault: str | None = None
) -> Made:
    """Run one request; *name* is its id. Raises RefusedRequestError like the provider."""
    flaw = body_flaw(endpoint, body)
    if flaw is not None:
        raise RefusedRequestError(flaw)
    model = body.get("model")
    if not isinstance(model, str) or not models.serves(model, endpoint):
        raise RefusedRequestError(f"Invalid model: {model}", "invalid_model", "1500")
    return _MAKERS[endpoint](body, name, created, fault)
