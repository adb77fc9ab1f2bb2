"""Anthropic's result lines: what becomes of each row of a batch, odd answers too."""

import hashlib
from collections.abc import Callable

import orjson

from batch_pipeline.simulator.anthropic.checks import check_params
from batch_pipeline.simulator.anthropic.messages import make_message
from batch_pipeline.simulator.anthropic.objects import NAME, RESULTS_LIFE
from batch_pipeline.simulator.anthropic.refusals import RefusedRequestError
from batch_pipeline.simulator.dialect import Answered, RowFaultOf
from batch_pipeline.simulator.faults import Row
from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.mangling import mangled
from batch_pipeline.simulator.merging import merged
from batch_pipeline.simulator.records import Batch, StoredFile

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_MESSAGES = {
    "authentication_error": "API key is invalid.",
    "permission_error": "Your API key does not have permission to use the specified resource.",
    "not_found_error": "model: claude-simulated",
    "billing_error": "There is an issue with your account's billing (simulated).",
    "api_error": "Internal server error",
    "overloaded_error": "Overloaded",
    "rate_limit_error": "Number of requests has exceeded your rate limit (simulated).",
    "timeout_error": "Request timed out",
}
_NO_CREDIT = (
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to "
    "upgrade or purchase credits."
)
_REFUSED = "The request was refused (simulated)."


def error_kind(status: int) -> str:
    """Anthropic's type of error for an HTTP status."""
    usual = "api_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - HTTP's split
    return _KINDS.get(status, usual)


class AnthropicLines:
    """The engine's view of Anthropic; requests were checked as far as a create checks them."""

    name = NAME

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def answer(self, batch: Batch, line: bytes, fault_of: RowFaultOf) -> Answered:
        """Run one row."""
        request = orjson.loads(line)
        row = _Row(batch, str(request["custom_id"]))
        fault = fault_of(row.custom_id)
        if fault is not None and fault.becomes in _INSTEAD:
            return _INSTEAD[fault.becomes](row, fault)
        noted = batch.metadata or {}
        betas = tuple(noted.get("betas", "").split(","))
        try:
            model = check_params(
                request["params"],
                version=noted["version"],
                betas=tuple(beta for beta in betas if beta),
                extra_models=self._limits.extra_models,
            )
            made = make_message(
                request["params"],
                model,
                name=row.name,
                fault=None if fault is None else fault.becomes,
                hits=request.get("cache_hits", 0),
                cache_least=self._limits.anthropic_cache_min_tokens,
            )
        except RefusedRequestError as refused:
            return row.errored(refused.kind, refused.message, running=refused.running)
        message = made.message if fault is None else odd_message(made.message, fault, row.name)
        output = row.line({"type": "succeeded", "message": message})
        if fault is not None:
            output = mangled(
                output,
                fault,
                error=lambda: _error_fault(row, fault).output,
                stranger=row.stranger,
            )
        return Answered(output=output, completed=1, usage=made.usage)

    def broken(self, batch: Batch, line: bytes) -> Answered:
        """A server error."""
        row = _Row(batch, str(orjson.loads(line)["custom_id"]))
        return row.errored("api_error", _MESSAGES["api_error"], running=True)

    def unfinished(self, batch: Batch, line: bytes, ending: str) -> Answered:
        """A row whose turn never came; how many there are follows from the batch."""
        return _Row(batch, str(orjson.loads(line)["custom_id"])).not_run(ending)

    def result_file(self, batch: Batch, kind: str, now: float) -> StoredFile:
        """The results are one file, of kind `output`; the other one stays empty."""
        return StoredFile(
            id=f"{batch.id}.{kind}",
            dialect=self.name,
            filename=f"{batch.id}_results.jsonl",
            purpose="results",
            bytes=0,
            created_at=now,
            expires_at=batch.created_at + RESULTS_LIFE,
        )


class _Row:
    """Writes the result lines of one row; `name` is 32 hex digits that name the row's objects."""

    def __init__(self, batch: Batch, custom_id: str) -> None:
        self.custom_id = custom_id
        text = f"{batch.id} {custom_id}"
        self.name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def line(self, result: dict[str, object]) -> bytes:
        line = {"custom_id": self.custom_id, "result": result}
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def stranger(self) -> bytes:
        """A line that nobody asked for."""
        line = {"custom_id": f"never-sent-{self.name[:8]}", "result": {"type": "canceled"}}
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def errored(self, kind: str, message: str, *, running: bool) -> Answered:
        details = {"error_visibility": "user_facing"}
        error = {
            "type": "error",
            "error": {"details": details, "type": kind, "message": message},
            "request_id": f"workerreq_{self.name[:24]}" if running else None,
        }
        return Answered(output=self.line({"type": "errored", "error": error}), failed=1)

    def not_run(self, ending: str) -> Answered:
        kind = "canceled" if ending == "cancelled" else "expired"
        return Answered(
            output=self.line({"type": kind}),
            expired=int(kind == "expired"),
            cancelled=int(kind == "canceled"),
        )


def _error_fault(row: _Row, fault: Row) -> Answered:
    kind = fault.type or error_kind(fault.status)
    running = fault.status >= 429  # noqa: PLR2004 - what is less says that the request is wrong
    return row.errored(kind, fault.message or _MESSAGES.get(kind, _REFUSED), running=running)


_INSTEAD: dict[str, Callable[[_Row, Row], Answered]] = {
    "expired": lambda row, _: row.not_run("expired"),
    "cancelled": lambda row, _: row.not_run("cancelled"),
    "request_timeout": lambda row, _: row.errored(
        "timeout_error", _MESSAGES["timeout_error"], running=True
    ),
    "missing": lambda _, __: Answered(completed=1),  # the counts always add up to all requests
    "lost": lambda row, _: row.errored("api_error", "", running=True),
    "error": _error_fault,
    "no_credit": lambda row, _: row.errored("invalid_request_error", _NO_CREDIT, running=False),
    "unknown_type": lambda row, _: Answered(
        output=row.line({"type": "postponed", "until": None}), completed=1
    ),
}


_Message = dict[str, object]
_SEARCHES = 2


def odd_message(message: _Message, fault: Row, name: str) -> object:
    """The message as *fault* has it; the same when the fault is none of a message's."""
    match fault.becomes:
        case "edited":
            return merged(message, fault.edit)
        case "standard_tier":
            return merged(message, {"usage": {"service_tier": "standard"}})
        case "web_search":
            return _searched(message, name)
        case "empty" | "reasoning_only" | "unknown_items" as becomes:
            return message | {"stop_reason": "end_turn", "content": _silent(becomes, name)}
        case _:
            return message


def _silent(becomes: str, name: str) -> list[_Message]:
    """Blocks without a word that a client reads."""
    if becomes == "reasoning_only":
        return [{"type": "thinking", "thinking": "", "signature": f"simulated{name}"}]
    unread: _Message = {"type": "container_upload", "file_id": f"file_{name[:24]}"}
    return [_search(name, 0), unread] if becomes == "unknown_items" else []


def _searched(message: _Message, name: str) -> object:
    spoken = message["content"]
    assert isinstance(spoken, list)  # noqa: S101 - this tells the type checker
    turns = [turn(name, number) for number in range(_SEARCHES) for turn in (_search, _found)]
    counts = {"web_search_requests": _SEARCHES, "web_fetch_requests": 0}
    billed = merged(message, {"usage": {"server_tool_use": counts}})
    assert isinstance(billed, dict)  # noqa: S101 - this tells the type checker
    return billed | {"content": [*turns, *spoken]}


def _search(name: str, number: int) -> _Message:
    return {
        "type": "server_tool_use",
        "id": f"srvtoolu_{name[:22]}{number}",
        "name": "web_search",
        "input": {"query": "simulated"},
        "caller": {"type": "direct"},
    }


def _found(name: str, number: int) -> _Message:
    page = {
        "type": "web_search_result",
        "title": "Simulated page",
        "url": "https://simulated.invalid/page",
        "encrypted_content": f"simulated{name}",
        "page_age": None,
    }
    return {
        "type": "web_search_tool_result",
        "tool_use_id": f"srvtoolu_{name[:22]}{number}",
        "content": [page],
        "caller": {"type": "direct"},
    }
