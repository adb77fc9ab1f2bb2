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
        starts: 600             # not before it is that old
      - do: page                # 200, and an HTML page in place of the answer
        operation: content
      - do: shorten             # 200, but only the first lines of the answer (0: nothing)
        operation: content
        lines: 3
      - do: redirect            # to the same path elsewhere
        operation: content
        to: http://localhost:9
        status: 302             # 301 302 303 307 308
      - do: strangers           # a listing begins with other people's batches, oddly shaped
        operation: list
        odd: [null_time]        # see ODDITIES (default: all of them)
      - do: skew                # the clock of the Date header is ahead (or behind)
        operation: any
        seconds: 172800
    rows:                       # rows of the results
      - becomes: expired        # see ROW_FAULTS
        custom_id: "row-1*"     # a glob, or
        regex: "^row-[13]$"     # a regular expression (searched), or
        share: 0.1              # that part of all custom_ids, always the same ones
        first_times: 1          # only in the first so many batches that carry the custom_id
      - becomes: error
        status: 429             # of an `error` row (default 500)
        code: insufficient_quota  # code, type and message where the usual ones will not do
        type: insufficient_quota
        message: You exceeded your current quota.
      - becomes: edited         # a 200 whose body differs, by a JSON merge patch
        edit: {usage: {service_tier: standard}}
    batches:                    # whole batches; decided when the batch is created
      - do: late_results        # ended, but the ids of its result files show up later
        seconds: 30             # simulated
        endings: [completed]    # completed (default) expired cancelled
        nth: 1                  # nth and times count the batches created under this script
      - do: stall               # stops after this part of its rows and waits for its expiry
        after: 0.5
      - do: stick               # stays in this status, whatever the window says
        at: finalizing          # validating in_progress finalizing cancelling
        seconds: 172800         # so much longer than it should (default: for ever)
      - do: ignore_cancels      # a cancel is answered with 200, and nothing comes of it
      - do: drop_metadata       # a service of OpenAI's dialect that does not keep it
      - do: byte_order_mark     # result files begin with one
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
Stage: TypeAlias = Literal["validating", "in_progress", "finalizing", "cancelling"]
Oddity: TypeAlias = Literal[
    "fractional_time",  # created_at is a number with a fraction
    "null_time",  # created_at is null
    "text_time",  # created_at is a text of another kind
    "number_metadata",  # metadata holds numbers, lists and nulls
    "unknown_status",  # a status that nobody knows
    "missing_fields",  # nothing but an id
    "no_object",  # null in place of an object
]
ODDITIES: tuple[Oddity, ...] = get_args(Oddity)
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
    "no_credit",  # an error row of the account, in the provider's words: no money
    "null_id",  # the answer under custom_id null
    "error_first",  # an error line of the same id before the result line
    "lone_surrogate",  # half of a surrogate pair, escaped, inside the answer
    "empty",  # a 200 that ends as it should and holds nothing
    "reasoning_only",  # the same with thoughts, and no answer
    "unknown_items",  # a 200 of parts that no client reads
    "commentary",  # OpenAI's responses: remarks in phase `commentary` before the answer
    "web_search",  # a 200 with two searches of the web, billed beside the tokens
    "standard_tier",  # a 200 that says it was served, and billed, outside the batch tier
    "edited",  # a 200 whose body differs by `edit`
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
    starts: float = 0.0


class Page(_Call, frozen=True, kw_only=True, tag="page"):
    """A proxy's page in place of the answer, with status 200."""


class Shorten(_Call, frozen=True, kw_only=True, tag="shorten"):
    """An answer that is whole by its headers and lacks its later lines."""

    lines: Annotated[int, msgspec.Meta(ge=0)] = 0


class Redirect(_Call, frozen=True, kw_only=True, tag="redirect"):
    """The same path, elsewhere."""

    to: str
    status: Literal[301, 302, 303, 307, 308] = 302


class Strangers(_Call, frozen=True, kw_only=True, tag="strangers"):
    """Other people's batches at the head of a listing; goes with any other fault."""

    odd: tuple[Oddity, ...] = ODDITIES


class Skew(_Call, frozen=True, kw_only=True, tag="skew"):
    """A Date header that is off by so many seconds; goes with any other fault."""

    seconds: float


CallFault: TypeAlias = Fail | Drop | Cut | Lag | Page | Shorten | Redirect | Strangers | Skew


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row that ends otherwise than with its answer."""

    becomes: RowFault
    custom_id: str | None = None
    regex: str | None = None
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    first_times: Positive | None = None
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 500
    code: str | None = None
    type: str | None = None
    message: str | None = None
    edit: dict[str, object] = {}

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


class Stick(_Batch, frozen=True, kw_only=True, tag="stick"):
    """A batch that does not leave a status."""

    at: Stage
    seconds: float | None = None


class IgnoreCancels(_Batch, frozen=True, kw_only=True, tag="ignore_cancels"):
    """A batch that goes on whoever cancels it."""


class DropMetadata(_Batch, frozen=True, kw_only=True, tag="drop_metadata"):
    """A batch whose metadata is not kept (OpenAI's dialect)."""


class ByteOrderMark(_Batch, frozen=True, kw_only=True, tag="byte_order_mark"):
    """Result files that begin with a byte order mark."""


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
    LateResults
    | Stall
    | Stick
    | IgnoreCancels
    | DropMetadata
    | ByteOrderMark
    | LoseFinished
    | EmptyErrorId
    | NoFinalNewline
    | ForeignResults
    | Invalidate
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
