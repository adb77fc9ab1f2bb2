"""The body of a job's creation, checked field by field."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from batch_pipeline.simulator.calls import RefusedCallError
from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.mistral.bodies import ENDPOINTS
from batch_pipeline.simulator.mistral.checks import flaw_of
from batch_pipeline.simulator.mistral.files import invalid_file
from batch_pipeline.simulator.mistral.objects import field_error, uuid_of

_KEYS = frozenset(
    ["input_files", "requests", "endpoint", "model", "agent_id", "metadata", "timeout_hours"]
)
_MAX_HOURS = 168
_MAX_KEY = 32
_MAX_VALUE = 512


@dataclass(frozen=True, slots=True)
class Wish:
    """What a job shall be."""

    endpoint: str
    input_files: tuple[str, ...]
    requests: tuple[Mapping[str, object], ...]
    model: str | None
    agent_id: str | None
    metadata: dict[str, str] | None
    timeout_hours: int


def read_wish(content: bytes, limits: Limits) -> Wish:
    """The wish in a request body; raises for the first field that is wrong."""
    body = _object(content)
    for name in body:
        if name not in _KEYS:
            message = "Extra inputs are not permitted"
            raise field_error(("body", name), "extra_forbidden", message, body[name])
    wish = Wish(
        endpoint=_endpoint(body),
        input_files=input_files(body),
        requests=_requests(body, limits),
        model=_text(body, "model"),
        agent_id=_text(body, "agent_id"),
        metadata=_metadata(body.get("metadata")),
        timeout_hours=_hours(body),
    )
    if bool(wish.input_files) == bool(wish.requests):
        raise RefusedCallError(422, "Exactly one of input_files and requests must be given.")
    return wish


def input_files(body: Mapping[str, object]) -> tuple[str, ...]:
    """The ids of the input files; an id that is no UUID is refused."""
    given = body.get("input_files")
    if given is None:
        return ()
    if not isinstance(given, list):
        where = ("body", "input_files")
        raise field_error(where, "list_type", "Input should be a valid list", given)
    return tuple(
        uuid_of(each, "body", "input_files", str(place)) for place, each in enumerate(given)
    )


def _object(content: bytes) -> dict[str, object]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise field_error(("body", "0"), "json_invalid", "JSON decode error", {}) from error
    if not isinstance(body, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise field_error(("body",), "model_attributes_type", message, body)
    return body


def _endpoint(body: Mapping[str, object]) -> str:
    given, where = body.get("endpoint"), ("body", "endpoint")
    if given is None:
        raise field_error(where, "missing", "Field required", dict(body))
    if not isinstance(given, str) or given not in ENDPOINTS:
        known = ", ".join(f"'{endpoint}'" for endpoint in ENDPOINTS)
        raise field_error(where, "enum", f"Input should be {known}", given)
    return given


def _requests(body: Mapping[str, object], limits: Limits) -> tuple[Mapping[str, object], ...]:
    given, where = body.get("requests"), ("body", "requests")
    if given is None:
        return ()
    if not isinstance(given, list):
        raise field_error(where, "list_type", "Input should be a valid list", given)
    most = limits.mistral_max_inline_requests
    if len(given) > most:
        message = f"List should have at most {most} items after validation, not {len(given)}"
        raise field_error(where, "too_long", message, len(given))
    flaws = [(number, flaw_of(each)) for number, each in enumerate(given, 1)]
    errors: list[dict[str, object]] = [
        {"message": flaw, "line_number": number} for number, flaw in flaws if flaw is not None
    ]
    if errors:
        raise invalid_file(len(errors), errors[: limits.mistral_errors_listed])
    return tuple(given)


def _text(body: Mapping[str, object], name: str) -> str | None:
    given = body.get(name)
    if given is not None and not isinstance(given, str):
        raise field_error(("body", name), "string_type", "Input should be a valid string", given)
    return given


def _hours(body: Mapping[str, object]) -> int:
    given, where = body.get("timeout_hours", 24), ("body", "timeout_hours")
    if isinstance(given, bool) or not isinstance(given, int):
        raise field_error(where, "int_type", "Input should be a valid integer", given)
    if given < 1:
        message = "Input should be greater than or equal to 1"
        raise field_error(where, "greater_than_equal", message, given)
    if given >= _MAX_HOURS:
        message = f"Input should be less than {_MAX_HOURS}"
        raise field_error(where, "less_than", message, given)
    return given


def _metadata(given: object) -> dict[str, str] | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        where = ("body", "metadata")
        raise field_error(where, "dict_type", "Input should be a valid dictionary", given)
    for key, value in given.items():
        field = ("body", "metadata", str(key))
        if not isinstance(value, str):
            raise field_error(field, "string_type", "Input should be a valid string", value)
        for what, most in ((key, _MAX_KEY), (value, _MAX_VALUE)):
            if not 1 <= len(what) <= most:
                message = f"String should have 1 to {most} characters"
                raise field_error(field, "string_length", message, what)
    return given
