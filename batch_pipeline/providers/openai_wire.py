"""OpenAI's batch wire format: limits, native request bodies, and what stands around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pydantic import JsonValue

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Envelope, Hole, Limits, Tree
from batch_pipeline.providers import openai_decode
from batch_pipeline.providers.openai_schema import strict_schema
from batch_pipeline.spec import BatchJob, Message, Parameters

_CHAT, _RESPONSES, _EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
_TAKEN: Mapping[str, frozenset[str]] = {
    _CHAT: frozenset(
        {"max_output_tokens", "temperature", "top_p", "stop", "seed", "reasoning_effort"}
    ),
    _RESPONSES: frozenset({"max_output_tokens", "temperature", "top_p", "reasoning_effort"}),
    _EMBEDDINGS: frozenset(),
}
_OURS = ("model", "messages", "input", "instructions")
_NO_STREAM = ("stream", "stream_options")


class OpenAIWire:
    """The codec for OpenAI's chat completions, responses and embeddings; pure."""

    name = "openai"

    def limits(self, endpoint: str) -> Limits:  # noqa: ARG002 - one limit for all endpoints
        """50,000 lines and 190 million bytes.

        "200 MB" may mean 200,000,000 or 209,715,200 bytes: we take the smaller, and stay 5 % below
        it because an upload that is found too large costs its whole transfer.
        """
        return Limits(requests=50_000, bytes=190_000_000)

    def body(self, job: BatchJob) -> dict[str, Tree]:
        """The native body, keys in a fixed order; `extra` is merged in last, objects by key.

        Raises SpecError for what the endpoint does not take, by name.
        """
        endpoint = job.target.endpoint
        _check_parameters(job)
        return _merged(_BODIES[endpoint](job, job.parameters), job.parameters.extra)

    def envelope(self, endpoint: str) -> Envelope:
        """{"custom_id":…,"method":"POST","url":…,"body":…} and a newline."""
        return Envelope(
            before_id='{"custom_id":',
            before_body=f',"method":"POST","url":"{endpoint}","body":',
            after_body="}\n",
        )

    def decode_sql(self, endpoint: str) -> str:
        """The DuckDB query from result lines to outcome columns."""
        return openai_decode.decode_sql(endpoint)


def _chat(job: BatchJob, said: Parameters) -> dict[str, Tree]:
    body: dict[str, Tree] = {"model": job.target.model, "messages": _messages(job.request.turns)}
    if job.request.json_schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": _shape(job)}
    given: dict[str, Tree] = {
        "max_completion_tokens": said.max_output_tokens,
        "temperature": said.temperature,
        "top_p": said.top_p,
        "stop": list(said.stop) or None,
        "seed": said.seed,
        "reasoning_effort": said.reasoning_effort,
    }
    return body | _said(given)


def _responses(job: BatchJob, said: Parameters) -> dict[str, Tree]:
    request = job.request
    body: dict[str, Tree] = {"model": job.target.model}
    turns = request.turns
    if request.system is not None:
        body["instructions"] = Hole(request.system)
        turns = turns[1:]
    body["input"] = _messages(turns)
    if request.json_schema is not None:
        body["text"] = {"format": {"type": "json_schema", **_shape(job)}}
    effort = said.reasoning_effort
    given: dict[str, Tree] = {
        "max_output_tokens": said.max_output_tokens,
        "temperature": said.temperature,
        "top_p": said.top_p,
        "reasoning": None if effort is None else {"effort": effort},
    }
    return body | _said(given)


def _embeddings(job: BatchJob, _said: Parameters) -> dict[str, Tree]:
    turns = job.request.turns
    if job.request.json_schema is not None:
        raise SpecError(
            f"{job.name}: request.output_schema does not go with {_EMBEDDINGS}, which answers "
            "with numbers. Take it out, or choose another endpoint."
        )
    if len(turns) != 1 or turns[0].role != "user":
        raise SpecError(
            f"{job.name}: {_EMBEDDINGS} takes one text and no conversation. Keep request.prompt "
            "and take out `system` and `messages`."
        )
    return {"model": job.target.model, "input": Hole(turns[0].content)}


_BODIES: Mapping[str, Callable[[BatchJob, Parameters], dict[str, Tree]]] = {
    _CHAT: _chat,
    _RESPONSES: _responses,
    _EMBEDDINGS: _embeddings,
}


def _messages(turns: Sequence[Message]) -> list[Tree]:
    return [{"role": turn.role, "content": Hole(turn.content)} for turn in turns]


def _shape(job: BatchJob) -> dict[str, Tree]:
    schema = strict_schema(job.request.json_schema or {})
    return {"name": job.name, "strict": True, "schema": schema}


def _said(given: Mapping[str, Tree]) -> dict[str, Tree]:
    return {name: value for name, value in given.items() if value is not None}


def _merged(body: Mapping[str, Tree], extra: Mapping[str, JsonValue]) -> dict[str, Tree]:
    merged = dict(body)
    for name, value in extra.items():
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(below, value)
        else:
            merged[name] = value
    return merged


def _check_parameters(job: BatchJob) -> None:
    said, endpoint = job.parameters, job.target.endpoint
    neutral = said.model_dump(exclude={"extra"})
    for name, value in neutral.items():
        if value not in (None, []) and name not in _TAKEN[endpoint]:
            raise SpecError(
                f"{job.name}: {endpoint} does not take the parameter {name!r}. Take it out of "
                "request.parameters and the target's, or choose another endpoint."
            )
    for name in said.extra:
        if name in _NO_STREAM:
            raise SpecError(
                f"{job.name}: parameters.extra.{name} cannot be: batches do not stream, and the "
                "provider refuses the whole file. Take it out."
            )
        if name in _OURS:
            raise SpecError(
                f"{job.name}: parameters.extra.{name} would replace what the job itself says. "
                "Use target.model and request instead."
            )
    _check_sampling(job, said)


def _check_sampling(job: BatchJob, said: Parameters) -> None:
    """GPT-6 answers 400 to temperature and top_p, row by row, unless it does not reason."""
    if not job.target.model.startswith("gpt-6") or said.reasoning_effort == "none":
        return
    for name in ("temperature", "top_p"):
        if getattr(said, name) is not None or name in said.extra:
            raise SpecError(
                f"{job.name}: {job.target.model} refuses {name!r} on {job.target.endpoint} while "
                "it reasons. Take it out, or set reasoning_effort: none."
            )
