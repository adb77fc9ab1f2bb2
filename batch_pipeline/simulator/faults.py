"""The fault script: what goes wrong, when, and for whom.

A script is a YAML mapping with three lists. In `calls` and `rows` the first rule that matches
wins, and a match that an earlier rule took does not count for a later one; of `batches` all that
match apply. A key the script does not know is an error that names the nearest one it does.

    calls:                      # HTTP calls
      - do: fail                # an error answer
        operation: create       # upload file files delete content create retrieve list cancel any
        status: 503             # any 4xx or 5xx (default 500)
        when: after             # before (default) or after the effect: the batch exists, yet 503
        retry_after: 2          # the header, in seconds
        code: server_error      # in the error body
        message: Try again.
        nth: 2                  # only the 2nd matching call (or a list: [2, 5]) ...
      - do: drop                # no answer: the connection is closed
        operation: [create, upload]
        when: after
        times: 1                # ... or only the first so many matching calls
      - do: cut                 # the answer stops after so many bytes of its promised length
        operation: content
        bytes: 100
        id: "file-*"            # only for this id in the path (a glob)
      - do: lag                 # read-after-write: "not found" although it is there
        operation: create       # create: about the input file; retrieve: about the batch
        seconds: 5              # while it is younger than that, in simulated seconds, or
        times: 2                # for the first calls about each object
    rows:                       # rows of the results
      - becomes: expired        # see ROW_FAULTS
        custom_id: "row-1*"     # a glob, or
        regex: "^row-[13]$"     # a regular expression (searched), or
        share: 0.1              # that part of all custom_ids, always the same ones
        first_times: 1          # only in the first so many batches that carry the custom_id
      - becomes: error
        status: 429             # of an `error` row (default 500)
    batches:                    # whole batches; decided when the batch is created
      - do: late_results        # ended, but the ids of its result files show up later
        seconds: 30             # simulated
        endings: [completed]    # completed (default) expired cancelled
        nth: 1                  # nth and times count the batches created under this script
      - do: stall               # stops after this part of its rows and waits for its expiry
        after: 0.5
      - do: lose_finished       # a cancelled batch: finished rows vanish, counters go back to 0
      - do: empty_error_id      # "" in place of null when there is no error file
      - do: no_final_newline    # the last line of each result file has no newline
      - do: foreign_results     # Anthropic: results_url names another host
        host: https://results.invalid
      - do: invalidate          # the batch fails in validation
        code: billing_hard_limit_reached
        message: Billing hard limit has been reached.
"""

import difflib
import hashlib
import re
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec
import yaml

Operation: TypeAlias = Literal[
    "any", "upload", "file", "files", "delete", "content", "create", "retrieve", "list", "cancel"
]
Ending: TypeAlias = Literal["completed", "expired", "cancelled"]
RowFault: TypeAlias = Literal[
    "expired",  # error row: the window closed first
    "cancelled",  # error row: not executed because of a cancel
    "request_timeout",  # error row: not executed in time
    "missing",  # in neither file
    "lost",  # status_code 0 and an empty body; not counted as failed
    "error",  # an HTTP error row of `status`
    "refused",  # a 200 whose message is a refusal
    "content_filter",  # a 200 stopped by the filter
    "truncated",  # a 200 cut by its token limit: half an answer
    "invalid",  # a 200 whose JSON breaks the schema
    "not_json",  # a 200 whose answer is prose
    "duplicate",  # the result line twice
    "unknown_id",  # an extra line with a custom_id that was never sent
    "unparseable",  # half of the result line
    "line_separators",  # U+2028 and U+0085 inside the answer
    "context_exceeded",  # Anthropic: half an answer, stopped by the end of the context window
    "unknown_type",  # Anthropic: a result of a type that no client knows
]
ROW_FAULTS: tuple[str, ...] = get_args(RowFault)
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class FaultScriptError(ValueError):
    """The script cannot be used; the message says where and what is nearest."""


class _Counted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    nth: Positive | list[Positive] | None = None
    times: Positive | None = None

    def fires(self, hits: int) -> bool:
        """True when the rule applies to its match number *hits*."""
        wanted = [self.nth] if isinstance(self.nth, int) else self.nth
        if wanted is not None and hits not in wanted:
            return False
        return self.times is None or hits <= self.times


class _Call(_Counted, frozen=True, kw_only=True, tag_field="do"):
    operation: Operation | list[Operation]
    id: str = "*"

    def concerns(self, operation: str, subject: str) -> bool:
        """True when the rule is about this operation on this id."""
        operations = [self.operation] if isinstance(self.operation, str) else self.operation
        return ("any" in operations or operation in operations) and fnmatchcase(subject, self.id)


class Fail(_Call, frozen=True, kw_only=True, tag="fail"):
    """An error answer."""

    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 500
    when: Literal["before", "after"] = "before"
    retry_after: float | None = None
    code: str | None = None
    message: str | None = None


class Drop(_Call, frozen=True, kw_only=True, tag="drop"):
    """A connection that is closed without an answer."""

    when: Literal["before", "after"] = "before"


class Cut(_Call, frozen=True, kw_only=True, tag="cut"):
    """An answer that stops early."""

    bytes: Annotated[int, msgspec.Meta(ge=0)] = 0


class Lag(_Call, frozen=True, kw_only=True, tag="lag"):
    """An object that cannot be found yet; `times` counts per object."""

    seconds: float | None = None


CallFault: TypeAlias = Fail | Drop | Cut | Lag


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row that ends otherwise than with its answer."""

    becomes: RowFault
    custom_id: str | None = None
    regex: str | None = None
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    first_times: Positive | None = None
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 500

    def picks(self, custom_id: str) -> bool:
        """True when every condition of the rule holds for the custom_id."""
        if self.custom_id is not None and not fnmatchcase(custom_id, self.custom_id):
            return False
        if self.regex is not None and _pattern(self.regex).search(custom_id) is None:
            return False
        return self.share is None or _position(self.becomes, custom_id) < self.share


class _Batch(_Counted, frozen=True, kw_only=True, tag_field="do"):
    pass


class LateResults(_Batch, frozen=True, kw_only=True, tag="late_results"):
    """Result files that are not named for a while."""

    seconds: float
    endings: tuple[Ending, ...] = ("completed",)


class Stall(_Batch, frozen=True, kw_only=True, tag="stall"):
    """A batch that stops part-way."""

    after: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5


class LoseFinished(_Batch, frozen=True, kw_only=True, tag="lose_finished"):
    """A cancel that loses finished rows."""


class EmptyErrorId(_Batch, frozen=True, kw_only=True, tag="empty_error_id"):
    """An empty string as the id of no error file."""


class NoFinalNewline(_Batch, frozen=True, kw_only=True, tag="no_final_newline"):
    """Result files that end without a newline."""


class ForeignResults(_Batch, frozen=True, kw_only=True, tag="foreign_results"):
    """A results_url (Anthropic) that names another host."""

    host: str = "https://results.invalid"


class Invalidate(_Batch, frozen=True, kw_only=True, tag="invalidate"):
    """A batch that fails in validation whatever it holds."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


BatchFault: TypeAlias = (
    LateResults | Stall | LoseFinished | EmptyErrorId | NoFinalNewline | ForeignResults | Invalidate
)


class FaultScript(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong; nothing by default."""

    calls: list[CallFault] = []
    rows: list[Row] = []
    batches: list[BatchFault] = []


def read_script(source: object) -> FaultScript:
    """The script in *source*: a path, YAML text, a mapping, a script, or None for no faults."""
    if isinstance(source, FaultScript):
        return source
    if isinstance(source, Path):
        source = source.read_text(encoding="utf-8")
    if isinstance(source, str | bytes):
        try:
            source = yaml.safe_load(source)
        except yaml.YAMLError as error:
            raise FaultScriptError(f"the fault script is not YAML: {error}") from error
    try:
        script = msgspec.convert({} if source is None else source, FaultScript)
    except msgspec.ValidationError as error:
        raise FaultScriptError(f"fault script: {error}{_nearest(str(error))}") from error
    for rule in script.rows:
        _pattern(rule.regex or "")
    return script


@lru_cache(maxsize=64)
def _pattern(regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except re.error as error:
        raise FaultScriptError(f"fault script: regex {regex!r}: {error}") from error


def _position(salt: str, custom_id: str) -> float:
    """A number in [0, 1) that is always the same for the same custom_id."""
    digest = hashlib.blake2b(f"{salt}:{custom_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _nearest(message: str) -> str:
    """A hint for the word that a validation message complains about."""
    complaint = re.search(r"(unknown field|value) [`']([^`']+)[`'](?:.*\.(\w+))?", message)
    if complaint is None:
        return ""
    closed = {"do": _tags(), "becomes": ROW_FAULTS, "operation": get_args(Operation)}
    known = _keys() if complaint[1] == "unknown field" else closed.get(complaint[3], ())
    close = difflib.get_close_matches(complaint[2], known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _structs() -> tuple[type[msgspec.Struct], ...]:
    return (FaultScript, Row, *get_args(CallFault), *get_args(BatchFault))


def _keys() -> list[str]:
    fields = {field for struct in _structs() for field in struct.__struct_fields__}
    return sorted(fields | {"do"})


def _tags() -> list[str]:
    return sorted(str(struct.__struct_config__.tag or "") for struct in _structs())
