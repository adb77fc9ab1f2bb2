"""Forms that OpenAI's files and batches share: pages, times, lives."""

from typing import TypeVar

from starlette.requests import Request

from batch_pipeline.simulator.calls import RefusedCallError
from batch_pipeline.simulator.limits import RESULT_LIFE
from batch_pipeline.simulator.records import Batch, StoredFile
from batch_pipeline.simulator.reply import Reply

NAME = "openai"
Item = TypeVar("Item", StoredFile, Batch)


def seconds(moment: float | None) -> int | None:
    """A moment as the API writes it."""
    return None if moment is None else int(moment)


def life(given: object, name: str = "output_expires_after") -> int | None:
    """The seconds of an `expires_after`, one hour to thirty days after creation."""
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("anchor") != "created_at":
        message = f"Invalid value for '{name}.anchor': expected 'created_at'."
        raise RefusedCallError(400, message, param=f"{name}.anchor", code="invalid_value")
    seconds = given.get("seconds")
    if not isinstance(seconds, int) or not 3600 <= seconds <= RESULT_LIFE:  # noqa: PLR2004 - 1 h
        message = f"Invalid '{name}.seconds': expected an integer from 3600 to {RESULT_LIFE}."
        raise RefusedCallError(400, message, param=f"{name}.seconds", code="invalid_value")
    return seconds


def page_of(
    items: list[Item], request: Request, *, usual: int, most: int
) -> tuple[list[Item], bool]:
    """The items after the cursor, and whether there are more."""
    text = request.query_params.get("limit", str(usual))
    limit = int(text) if text.lstrip("-").isdigit() else 0
    if not 1 <= limit <= most:
        side = "above maximum" if limit > most else "below minimum"
        bound = f"<= {most}" if limit > most else ">= 1"
        message = f"Invalid 'limit': integer {side} value. Expected a value {bound}, got {text}."
        code = f"integer_{side.replace(' ', '_').removesuffix('imum')}_value"
        raise RefusedCallError(400, message, param="limit", code=code)
    after = request.query_params.get("after")
    if after is not None:
        places = [place for place, item in enumerate(items) if item.id == after]
        if not places:
            raise RefusedCallError(400, f"Invalid 'after': no object '{after}'.", param="after")
        items = items[places[0] + 1 :]
    return items[:limit], len(items) > limit


def list_reply(data: list[dict[str, object]], *, more: bool) -> Reply:
    """A page in its envelope."""
    return Reply(
        {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": more,
        }
    )
