"""Forms of Anthropic's batches: the object, its times, the pages of a list."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from starlette.datastructures import QueryParams

from batch_pipeline.simulator.anthropic.refusals import told
from batch_pipeline.simulator.calls import RefusedCallError
from batch_pipeline.simulator.limits import DAY
from batch_pipeline.simulator.records import Batch
from batch_pipeline.simulator.reply import Reply

NAME = "anthropic"
RESULTS_LIFE = 29 * DAY  # after the batch was created
_USUAL = 20
_LIMIT: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=1, le=1_000)])


def moment(seconds: float | None) -> str | None:
    """A moment as the API writes it: RFC 3339 with microseconds and an offset."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def processing_status(batch: Batch) -> str:
    """The API's word for where the batch is."""
    if not batch.live:
        return "ended"
    return "canceling" if batch.status == "cancelling" else "in_progress"


def batch_object(batch: Batch, *, now: float, results_url: str | None) -> dict[str, object]:
    """The batch as the API shows it."""
    archived_at = batch.created_at + RESULTS_LIFE
    ended_at = batch.cancelled_at if batch.status == "cancelled" else batch.ended_at
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": processing_status(batch),
        "request_counts": _counts(batch),
        "ended_at": None if batch.live else moment(ended_at),
        "created_at": moment(batch.created_at),
        "expires_at": moment(batch.created_at + DAY),
        "archived_at": moment(archived_at) if now >= archived_at else None,
        "cancel_initiated_at": moment(batch.cancelling_at),
        "results_url": results_url,
    }


def strangers_batch(now: float) -> dict[str, object]:
    """A regular batch that nobody here created."""
    batch = Batch(
        id=f"msgbatch_{uuid.uuid4().hex}",
        dialect=NAME,
        endpoint="/v1/messages",
        input_file_id="",
        created_at=now,
        expires_at=now + DAY,
        validated_at=now,
        run_seconds=0.0,
        finalize_seconds=0.0,
        status="in_progress",
        in_progress_at=now,
        total=10,
    )
    return batch_object(batch, now=now, results_url=None)


def _counts(batch: Batch) -> dict[str, int]:
    """All requests are `processing` until the whole batch has ended; then none is."""
    if batch.live:
        counts = dict.fromkeys(("succeeded", "errored", "canceled", "expired"), 0)
        return {"processing": batch.total, **counts}
    left = batch.total - batch.done
    return {
        "processing": 0,
        "succeeded": batch.completed,
        "errored": batch.failed,
        "canceled": batch.cancelled + (left if batch.status == "cancelled" else 0),
        "expired": batch.expired + (left if batch.status == "expired" else 0),
    }


def page_of(batches: Sequence[Batch], query: QueryParams) -> tuple[Sequence[Batch], bool]:
    """The page of *batches* (newest first) that the query asks for, and whether more lie beyond."""
    limit = _limit(query.get("limit", str(_USUAL)))
    before, after = query.get("before_id"), query.get("after_id")
    if before is not None and after is not None:
        raise RefusedCallError(400, "Only one of before_id and after_id may be given.")
    if before is not None:
        nearer = batches[: _place(batches, before, "before_id")]
        return nearer[-limit:], len(nearer) > limit
    if after is not None:
        batches = batches[_place(batches, after, "after_id") + 1 :]
    return batches[:limit], len(batches) > limit


def list_reply(data: Sequence[dict[str, object]], *, more: bool) -> Reply:
    """A page in its envelope."""
    return Reply(
        {
            "data": data,
            "has_more": more,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
    )


def _limit(text: str) -> int:
    try:
        return _LIMIT.validate_python(text)
    except ValidationError as error:
        raise RefusedCallError(400, told(error, "limit")) from None


def _place(batches: Sequence[Batch], batch_id: str, name: str) -> int:
    for place, batch in enumerate(batches):
        if batch.id == batch_id:
            return place
    raise RefusedCallError(400, f"{name}: Message Batch {batch_id} not found.")
