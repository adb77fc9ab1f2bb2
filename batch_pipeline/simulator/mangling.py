"""What becomes of a good result line on its way into the file, the same for every provider."""

from collections.abc import Callable

import orjson

from batch_pipeline.simulator.faults import Row
from batch_pipeline.simulator.model import with_surrogate

Line = Callable[[], bytes]


def mangled(output: bytes, fault: Row, *, error: Line, stranger: Line) -> bytes:
    """The line as the fault leaves it; *error* is its own error line, *stranger* another row's."""
    match fault.becomes:
        case "unknown_id":
            return output + stranger()
        case "error_first":
            return error() + output
        case becomes:
            return _ALONE.get(becomes, _unchanged)(output)


def _unchanged(output: bytes) -> bytes:
    return output


def _halved(output: bytes) -> bytes:
    return output[: len(output) // 2].rstrip(b"\n") + b"\n"


def _nameless(output: bytes) -> bytes:
    line: dict[str, object] = orjson.loads(output)
    return orjson.dumps(line | {"custom_id": None}, option=orjson.OPT_APPEND_NEWLINE)


_ALONE: dict[str, Callable[[bytes], bytes]] = {
    "duplicate": lambda output: output * 2,
    "unparseable": _halved,
    "null_id": _nameless,
    "lone_surrogate": with_surrogate,
}
