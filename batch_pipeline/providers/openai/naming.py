"""How a batch is known again: by the metadata it carries, else by its first result."""

from __future__ import annotations

import msgspec

from batch_pipeline.model import Shard
from batch_pipeline.providers.openai import answers, errors
from batch_pipeline.providers.openai.account import Account

_LONGEST_VALUE = 512  # characters of a metadata value


def metadata_of(shard: Shard) -> dict[str, str]:
    """What the batch carries, so that it can be found again by its intent."""
    if not shard.intent:
        raise ValueError(
            f"shard {shard.shard_id} has no intent: record one in the ledger before it is sent."
        )
    carried = {
        "intent": shard.intent,
        "job": shard.job,
        "shard": shard.shard_id,
        "attempt": str(shard.attempt),
    }
    return {name: value[:_LONGEST_VALUE] for name, value in carried.items()}


def first_id(whose: Account, file_id: str) -> str:
    """The custom_id of the first line of a result file; MsgspecError when it has none."""
    return msgspec.json.decode(_first_line(whose, file_id), type=answers.Line).custom_id


def _first_line(whose: Account, file_id: str) -> bytes:
    line = bytearray()
    try:
        with whose.sdk.files.with_streaming_response.content(file_id) as answer:
            for piece in answer.iter_bytes():
                line += piece
                if b"\n" in piece:  # the rest is not ours to pay for: hang up
                    break
    except errors.FAILURES as error:
        cut = errors.said(error, whose.scrub)
    else:
        return bytes(line.split(b"\n", 1)[0])
    what = f"look at the first result in file {file_id}"
    raise whose.voice.error(errors.failure(cut), what, cut)
