"""OpenAI's batch lines: validation of the whole file, and the result line of each row."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from batch_pipeline.simulator.dialect import Answered, RowFaultOf, Verdict
from batch_pipeline.simulator.faults import Row
from batch_pipeline.simulator.limits import RESULT_LIFE, Limits
from batch_pipeline.simulator.mangling import mangled
from batch_pipeline.simulator.openai.bodies import count_inputs, count_prompt, make_body
from batch_pipeline.simulator.openai.checks import RefusedRequestError, known_model
from batch_pipeline.simulator.openai.odd import odd_body
from batch_pipeline.simulator.records import Batch, Flaw, StoredFile, Usage

_NOT_RUN = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "cancelled": (
        "batch_cancelled",
        "This request was not executed because the batch was cancelled.",
    ),
    "request_timeout": ("request_timeout", "This request timed out before it was executed."),
}
_HTTP_ERRORS = {
    401: ("Incorrect API key provided: sk-***.", "invalid_request_error", "invalid_api_key"),
    403: (
        "Project `proj_simulated` does not have access to the model.",
        "invalid_request_error",
        "model_not_found",
    ),
    404: (
        "The model does not exist or you do not have access to it.",
        "invalid_request_error",
        "model_not_found",
    ),
    408: ("Request timed out.", "invalid_request_error", "request_timeout"),
    409: ("The resource is in conflict.", "invalid_request_error", "conflict"),
    429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
    503: ("The engine is currently overloaded.", "server_error", "service_unavailable"),
}
_SERVER_ERROR = ("The server had an error while processing your request.", "server_error", None)
_NO_CREDIT = (
    "Billing hard limit has been reached.",
    "billing_limit_user_error",
    "billing_hard_limit_reached",
)
_BAD_REQUEST = ("The request was refused (simulated).", "invalid_request_error", None)


class OpenAILines:
    """The engine's view of OpenAI."""

    name = "openai"

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def validate(self, batch: Batch, lines: Path | None) -> Verdict:
        """Read every line; the first few flaws fail the batch."""
        if lines is None:
            message = (
                f"Cannot find file {batch.input_file_id}, or it does not have purpose 'batch'."
            )
            return Verdict(flaws=(Flaw(code="invalid_request", message=message, param="file_id"),))
        seen = _Seen(batch.endpoint, self._limits)
        flaws = []
        with lines.open("rb") as file:
            for number, line in enumerate(file, 1):
                flaw = seen.check(line, number)
                if flaw is not None:
                    flaws.append(flaw)
                if len(flaws) >= self._limits.errors_listed:
                    break
        flaws = flaws or seen.flaws_of_the_whole()
        return Verdict(flaws=tuple(flaws), model=seen.model, custom_ids=tuple(seen.custom_ids))

    def prompt_tokens(self, batch: Batch, lines: Path) -> int:
        """All prompt tokens of the file."""
        with lines.open("rb") as file:
            return sum(count_prompt(batch.endpoint, orjson.loads(line)["body"]) for line in file)

    def too_many_tokens(self, model: str, limit: int) -> Flaw:
        """The flaw of a batch that would enqueue too much; word for word."""
        return Flaw(
            code="token_limit_exceeded",
            message=f"Enqueued token limit reached for {model} in organization org-simulated. "
            f"Limit: {limit:,} enqueued tokens. Please try again once some in_progress batches "
            "have been completed.",
        )

    def answer(self, batch: Batch, line: bytes, fault_of: RowFaultOf) -> Answered:
        """Run one row."""
        request = orjson.loads(line)
        row = _Row(batch, str(request["custom_id"]))
        fault = fault_of(row.custom_id)
        if fault is not None and fault.becomes in _INSTEAD:
            return _INSTEAD[fault.becomes](row, fault)
        try:
            made = make_body(
                batch.endpoint,
                request["body"],
                name=row.name,
                created=int(batch.in_progress_at or batch.created_at),
                fault=None if fault is None else fault.becomes,
            )
        except RefusedRequestError as refused:
            return row.http_error(
                refused.status,
                (refused.message, "invalid_request_error", refused.code),
                refused.param,
            )
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
        row = _Row(batch, str(orjson.loads(line)["custom_id"]))
        return row.http_error(500, _SERVER_ERROR)

    def unfinished(self, batch: Batch, line: bytes, ending: str) -> Answered:
        """A row whose turn never came."""
        return _Row(batch, str(orjson.loads(line)["custom_id"])).not_run(ending)

    def result_file(self, batch: Batch, kind: str, now: float) -> StoredFile:
        """The result file of the batch; its id follows from the batch's."""
        digest = hashlib.blake2b(f"{batch.id} {kind}".encode(), digest_size=11).hexdigest()
        return StoredFile(
            id=f"file-{digest}",
            dialect=self.name,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            bytes=0,
            created_at=now,
            expires_at=now + (batch.results_live or RESULT_LIFE),
        )


class _Seen:
    """What the lines so far hold; the checks of a line look at it."""

    def __init__(self, endpoint: str, limits: Limits) -> None:
        self.model: str | None = None
        self.custom_ids: dict[str, None] = {}
        self._endpoint = endpoint
        self._limits = limits
        self._inputs = 0

    def check(self, line: bytes, number: int) -> Flaw | None:
        """The first flaw of a line."""
        try:
            request = orjson.loads(line)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            message = "This line is not parseable as valid JSON."
            return Flaw(code="invalid_json_line", message=message, line=number)
        for flaw in self._flaws(request, number):
            return flaw
        return None

    def flaws_of_the_whole(self) -> list[Flaw]:
        """What is wrong although every line is right."""
        count, most = len(self.custom_ids), self._limits.max_requests
        if count == 0:
            return [Flaw(code="empty_file", message="The input file is empty.")]
        if count > most:
            message = f"The batch has {count} requests. The maximum number of requests is {most}."
            return [Flaw(code="too_many_requests", message=message)]
        most = self._limits.max_embedding_inputs
        if self._inputs > most:
            message = f"The batch has {self._inputs} embedding inputs. The maximum is {most}."
            return [Flaw(code="too_many_requests", message=message)]
        return []

    def _flaws(self, request: dict[str, object], number: int) -> Iterator[Flaw]:
        yield from self._envelope_flaws(request, number)
        body = request["body"]
        if not isinstance(body, dict):
            message = "Invalid type for 'body': expected an object."
            yield Flaw(code="invalid_request", message=message, param="body", line=number)
            return
        yield from self._model_flaws(body.get("model"), number)
        if body.get("stream"):
            message = "Streaming is not supported in the Batch API."
            yield _flaw("streaming_unsupported", message, "body.stream", number)
        if self._endpoint == "/v1/embeddings":
            self._inputs += count_inputs(body)

    def _envelope_flaws(self, request: dict[str, object], number: int) -> Iterator[Flaw]:
        for name in ("custom_id", "method", "url", "body"):
            if request.get(name) in (None, ""):
                message = f"Missing required parameter: '{name}'."
                yield _flaw("missing_required_parameter", message, name, number)
        custom_id, url = request["custom_id"], request["url"]
        if not isinstance(custom_id, str):
            message = "Invalid type for 'custom_id': expected a string."
            yield _flaw("invalid_request", message, "custom_id", number)
            return
        if custom_id in self.custom_ids:
            message = f"The custom_id '{custom_id}' is not unique within the batch."
            yield _flaw("duplicate_custom_id", message, "custom_id", number)
        self.custom_ids[custom_id] = None
        if request["method"] != "POST":
            message = f"Invalid method '{request['method']}'. Only POST is supported."
            yield _flaw("invalid_method", message, "method", number)
        if url != self._endpoint:
            message = f"The URL '{url}' does not match the batch endpoint '{self._endpoint}'."
            yield _flaw("invalid_url", message, "url", number)

    def _model_flaws(self, model: object, number: int) -> Iterator[Flaw]:
        if not isinstance(model, str) or not model:
            message = "Missing required parameter: 'model'."
            yield _flaw("invalid_request", message, "body.model", number)
        elif self.model is None:
            self.model = model
            if not known_model(model, self._limits.extra_models):
                message = f"The provided model '{model}' is not supported by the Batch API."
                yield _flaw("model_not_found", message, "body.model", number)
        elif model != self.model:
            message = (
                f"The model '{model}' does not match the model '{self.model}' of the batch. A "
                "batch has one model."
            )
            yield _flaw("mismatched_model", message, "body.model", number)


def _flaw(code: str, message: str, param: str, line: int) -> Flaw:
    return Flaw(code=code, message=message, param=param, line=line)


class _Row:
    """Writes the result lines of one row; `name` is 32 hex digits that name the row's objects."""

    def __init__(self, batch: Batch, custom_id: str) -> None:
        self.batch = batch
        self.custom_id = custom_id
        text = f"{batch.id} {custom_id}"
        self.name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def line(self, response: object, error: object) -> bytes:
        line = {
            "id": f"batch_req_{self.name}",
            "custom_id": self.custom_id,
            "response": response,
            "error": error,
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def stranger(self) -> bytes:
        """A line that nobody asked for."""
        never = _Row(self.batch, f"never-sent-{self.name[:8]}")
        return never.not_run("request_timeout").error

    def response(self, status: int, body: object) -> bytes:
        response = {"status_code": status, "request_id": f"req_{self.name}", "body": body}
        return self.line(response, None)

    def http_error(
        self, status: int, error: tuple[str, str, str | None], param: str | None = None
    ) -> Answered:
        message, kind, code = error
        body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
        return Answered(error=self.response(status, body), failed=1)

    def not_run(self, why: str) -> Answered:
        code, message = _NOT_RUN[why]
        return Answered(error=self.line(None, {"code": code, "message": message}), failed=1)

    def lost(self) -> Answered:
        # request_counts.failed stayed 0 where this was seen
        return Answered(error=self.line({"status_code": 0, "request_id": "", "body": {}}, None))


def _http_fault(row: _Row, fault: Row) -> Answered:
    usual = _SERVER_ERROR if fault.status >= 500 else _BAD_REQUEST  # noqa: PLR2004 - HTTP's split
    message, kind, code = _HTTP_ERRORS.get(fault.status, usual)
    told = (fault.message or message, fault.type or kind, fault.code or code)
    return row.http_error(fault.status, told)


_INSTEAD: dict[str, Callable[[_Row, Row], Answered]] = {
    "expired": lambda row, _: row.not_run("expired"),
    "cancelled": lambda row, _: row.not_run("cancelled"),
    "request_timeout": lambda row, _: row.not_run("request_timeout"),
    "missing": lambda _, __: Answered(usage=Usage()),
    "lost": lambda row, _: row.lost(),
    "error": _http_fault,
    "no_credit": lambda row, _: row.http_error(400, _NO_CREDIT),
}
