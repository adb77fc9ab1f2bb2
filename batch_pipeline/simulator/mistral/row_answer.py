"""What running one request gives: an answer with its usage, or a refusal of that one row."""

from collections.abc import Mapping
from dataclasses import dataclass

from batch_pipeline.simulator.records import Usage

Body = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Made:
    """A 200 answer and what it used."""

    body: dict[str, object]
    usage: Usage


class RefusedRequestError(Exception):
    """One request is refused; the batch goes on."""

    def __init__(
        self, message: str, kind: str = "invalid_request_error", code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.kind, self.code = message, kind, code


def unfetchable(address: str) -> RefusedRequestError:
    """The refusal of a picture or document that cannot be fetched; word for word."""
    message = f"File could not be fetched from url '{address}'"
    return RefusedRequestError(message, "invalid_request_file", "3310")


def told_usage(usage: Usage) -> dict[str, object]:
    """The usage object of chat, with the nulls that it is seen with."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "num_cached_tokens": usage.cached,
        "prompt_audio_seconds": None,
        "request_count": 1,
        "service_tier": None,
    }


def whole(value: object) -> int | None:
    """The value if it is a whole number."""
    return value if isinstance(value, int) else None
