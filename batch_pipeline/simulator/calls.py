"""The door every API call goes through: key, faults, log, headers."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from email.utils import formatdate
from typing import TypeVar

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.faults import CallFault, Cut, Drop, Fail, Lag, Skew, Strangers
from batch_pipeline.simulator.records import Batch, LogEntry
from batch_pipeline.simulator.reply import Reply
from batch_pipeline.simulator.tampering import tampered, with_strangers

_CHUNK = 1 << 20
_APART = (Lag, Skew, Strangers)  # they go with any other fault of the same call


class RefusedCallError(Exception):
    """The call is refused; the dialect says in which shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after = retry_after
        self.fault: str | None = None  # the scripted fault behind it
        self.request_id = ""  # for bodies that repeat it


Handler = Callable[[Request], Awaitable[Reply]]
Endpoint = Callable[[Request], Awaitable[Response]]
_Apart = TypeVar("_Apart", Skew, Strangers)


class Face:
    """How one provider looks over HTTP: its errors, its headers, its idea of a key."""

    name: str

    async def check_first(self, request: Request) -> None:
        """Raise RefusedCallError for what is refused even before the key is looked at."""

    def check_key(self, headers: Mapping[str, str]) -> None:
        """Raise RefusedCallError unless the key is good."""
        raise NotImplementedError

    def error_body(self, refused: RefusedCallError) -> object:
        """The provider's error shape."""
        raise NotImplementedError

    def headers(self, request_id: str, milliseconds: int) -> dict[str, str]:
        """The headers that every answer carries."""
        raise NotImplementedError

    def stranger(self, now: float) -> Mapping[str, object]:
        """A batch of somebody else's, as a listing shows it."""
        raise NotImplementedError

    def notes(self, headers: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002 - for those who do
        """What the log remembers of the request's headers; never a key."""
        return {}


class Door:
    """Wraps the handlers of one provider."""

    def __init__(self, engine: Engine, face: Face) -> None:
        self._engine = engine
        self._face = face

    def endpoint(self, operation: str, handler: Handler) -> Endpoint:
        """The handler as an endpoint of *operation*."""

        async def endpoint(request: Request) -> Response:
            return await self._through(request, operation, handler)

        return endpoint

    async def _through(self, request: Request, operation: str, handler: Handler) -> Response:
        started = time.perf_counter()
        subject = str(request.path_params.get("id", ""))
        fault, fired = None, None
        request_id = f"req_{uuid.uuid4().hex}"
        try:
            await self._face.check_first(request)
            self._face.check_key(request.headers)
            fault = self._fault(operation, subject)
            fired = None if fault is None else str(type(fault).__struct_config__.tag)
            reply = await self._reply(request, operation, handler, fault, request_id)
        except HTTPException as malformed:  # a form that is none
            refused = RefusedCallError(malformed.status_code, malformed.detail)
            reply = self._refusal(refused, request_id)
        except RefusedCallError as refused:
            reply = self._refusal(refused, request_id)
            fired = fired or refused.fault
        milliseconds = int(1000 * (time.perf_counter() - started)) + 1
        headers = self._face.headers(request_id, milliseconds)
        headers["x-simulated-by"] = "batch-pipeline-simulator"  # nobody takes it for a real one
        headers["date"] = formatdate(self._told_time(operation, subject), usegmt=True)
        answer = _Answer(reply, headers, fault)
        self._log(request, operation, answer, fired)
        return answer

    async def _reply(
        self,
        request: Request,
        operation: str,
        handler: Handler,
        fault: CallFault | None,
        request_id: str,
    ) -> Reply:
        if isinstance(fault, Fail | Drop) and fault.when == "before":
            async for _ in request.stream():  # the caller finished sending; then it goes wrong
                pass
            reply = Reply()
        else:
            reply = await handler(request)
            reply = self._with_strangers(reply, operation, request)
            reply = await asyncio.to_thread(tampered, reply, fault, request)
        if isinstance(fault, Fail):
            error = RefusedCallError(
                fault.status,
                fault.message or "The server had an error while processing your request (fault).",
                code=fault.code,
                retry_after=fault.retry_after,
            )
            return replace(self._refusal(error, request_id), effect=reply.effect)
        return reply

    def _refusal(self, refused: RefusedCallError, request_id: str) -> Reply:
        headers = {}
        refused.request_id = request_id
        if refused.retry_after is not None:
            headers["retry-after"] = f"{refused.retry_after:g}"
        return Reply(self._face.error_body(refused), refused.status, headers=headers)

    def _fault(self, operation: str, subject: str) -> CallFault | None:
        for number, rule in enumerate(self._engine.script.calls):
            if isinstance(rule, _APART) or not rule.concerns(operation, subject):
                continue
            if rule.fires(self._engine.state.hit(f"calls/{number}")):
                return rule
        return None

    def _also(self, kind: type[_Apart], operation: str, subject: str) -> Iterator[_Apart]:
        """The rules of a kind that goes with others."""
        for number, rule in enumerate(self._engine.script.calls):
            if not isinstance(rule, kind) or not rule.concerns(operation, subject):
                continue
            if rule.fires(self._engine.state.hit(f"calls/{number}")):
                yield rule

    def _told_time(self, operation: str, subject: str) -> float:
        """The time of the Date header: the simulated clock's, unless the script skews it."""
        ahead = sum(rule.seconds for rule in self._also(Skew, operation, subject))
        return self._engine.clock.now() + ahead

    def _with_strangers(self, reply: Reply, operation: str, request: Request) -> Reply:
        for rule in self._also(Strangers, operation, ""):
            template = self._face.stranger(self._engine.clock.now())
            reply = with_strangers(reply, rule.odd, template, request)
        return reply

    def _log(self, request: Request, operation: str, answer: "_Answer", fired: str | None) -> None:
        self._engine.state.add_log(
            LogEntry(
                seq=0,
                at=self._engine.clock.now(),
                dialect=self._face.name,
                method=request.method,
                path=request.url.path,
                operation=operation,
                status=answer.status_code if answer.starts else 0,
                effect=answer.reply.effect,
                request_bytes=int(request.headers.get("content-length", 0)),
                response_bytes=answer.sends,
                fault=fired,
                notes=self._face.notes(request.headers),
            )
        )


def check_lag(
    engine: Engine, operation: str, subject: str, created_at: float, hidden: RefusedCallError
) -> None:
    """Raise *hidden* when the script hides an object that was created at *created_at*."""
    for number, rule in enumerate(engine.script.calls):
        if not isinstance(rule, Lag) or not rule.concerns(operation, subject):
            continue
        age = engine.clock.now() - created_at
        if age < rule.starts or (rule.seconds is not None and age >= rule.seconds):
            continue
        counted = rule.times is not None or rule.nth is not None
        if not counted or rule.fires(engine.state.hit(f"calls/{number}/{subject}")):
            hidden.fault = "lag"
            raise hidden


def is_hidden(engine: Engine, batch: Batch) -> bool:
    """True when the script keeps a batch out of a listing."""
    try:
        check_lag(engine, "list", batch.id, batch.created_at, RefusedCallError(404, ""))
    except RefusedCallError:
        return True
    return False


class _Answer(Response):
    """An answer that may stop early or never start."""

    def __init__(self, reply: Reply, headers: Mapping[str, str], fault: CallFault | None) -> None:
        self.reply = reply
        self._fault = fault
        content = reply.raw
        if content is None:
            content = b"" if reply.download is not None else orjson.dumps(reply.body)
        super().__init__(content, reply.status, {**headers, **reply.headers})
        if "content-type" not in self.headers:
            self.headers["content-type"] = "application/json"
        if reply.download is not None:
            size = reply.download.stat().st_size if reply.length is None else reply.length
            self.headers["content-length"] = str(size)
        self.sends = int(self.headers["content-length"])
        if isinstance(fault, Cut):
            self.sends = min(self.sends, fault.bytes)
        self.starts = not isinstance(fault, Drop)
        if not self.starts:
            self.sends = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hang_up = scope["app"].state.hang_up
        if not self.starts:
            await hang_up(scope, receive)
            return
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await self._send_body(send)
        if isinstance(self._fault, Cut):
            await hang_up(scope, receive)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_body(self, send: Send) -> None:
        if self.reply.download is None:
            body = bytes(self.body)[: self.sends]
            await send({"type": "http.response.body", "body": body, "more_body": True})
            return
        left = self.sends
        with self.reply.download.open("rb") as file:
            while left > 0:
                chunk = await asyncio.to_thread(file.read, min(left, _CHUNK))
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
