"""What became of requests that no result file names: read from the batch itself, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from batch_pipeline.model import BatchProblem, FailureKind, Observation, RemoteStatus

BATCH_FAILED = "batch_failed"
FILE_CUT = "file_cut"
LINE_TOO_LONG = "line_too_long"
OURS_TO_READ = (FILE_CUT, LINE_TOO_LONG)
"""Codes of rows whose answer is there and not read yet: they never go again by themselves."""
"""Code of a missing row whose batch counted it as answered, in a file that came only in part."""

_WHOLE_BATCH = frozenset(
    {"model_not_found", "invalid_url", "url_mismatch", "invalid_method", "empty_file"}
    | {"streaming_unsupported"}
)
"""Codes that name a line but mean every line: the job decides these things once for all rows."""

_WHOLE_PARAMS = frozenset({"body.model", "file_id", "body.stream"})

_PASSES = frozenset(
    {"token_limit_exceeded", "billing_hard_limit_reached", "insufficient_quota"}
    | {"rate_limit_exceeded", "server_error", "internal_error", "internal_server_error"}
)
"""Codes that say nothing against the requests: a queue or a budget is full, or they had a fault."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a request has no result line."""

    failure: FailureKind
    error_code: str | None
    error_message: str


_MISSING = Verdict(
    FailureKind.MISSING, None, "No result file names this request; it may have been run and billed."
)


def cut_off(short: str) -> Verdict:
    """The verdict on a request that is not in what came of a result file."""
    message = f"It was answered and billed, perhaps, but only a part of its file came: {short}."
    return Verdict(FailureKind.MISSING, FILE_CUT, message)


@dataclass(frozen=True, slots=True)
class Absence:
    """The verdict on every absent request, and on those whose 1-based line was named."""

    every: Verdict
    lines: dict[int, Verdict]


def absence(observation: Observation | None) -> Absence:
    """How to read a request that is in neither file of the observed batch."""
    status = None if observation is None else observation.status
    if observation is not None and observation.error_file_id == "":  # it names every row
        return Absence(_MISSING, {})
    match status:
        case RemoteStatus.EXPIRED:
            return Absence(_unnamed(FailureKind.EXPIRED, "expired"), {})
        case RemoteStatus.CANCELLED:
            return Absence(_unnamed(FailureKind.CANCELLED, "was cancelled"), {})
        case RemoteStatus.FAILED if observation is not None:
            return _refused(observation)
    lines = {} if observation is None else _first_of_each_line(observation.problems)
    return Absence(_MISSING, lines)


def _unnamed(kind: FailureKind, what: str) -> Verdict:
    return Verdict(kind, f"batch_{kind.value}", f"The batch {what} and no result file names it.")


def _refused(observation: Observation) -> Absence:
    """A batch refused as a whole: who is to blame, by line or altogether."""
    about_all = next((p for p in observation.problems if is_about_all(p)), None)
    if about_all is not None:
        blamed = _blamed(about_all)
        if observation.output_file_id or observation.error_file_id:
            # Rows of this batch did run, so it is not the requests: the others may go again.
            blamed = replace(blamed, failure=FailureKind.CANCELLED)
        return Absence(blamed, {})
    lines = _first_of_each_line(observation.problems)
    named = [str(line) for line in sorted(lines)]
    why = f"because of line {', '.join(named[:3])}" if lines else "without a reason"
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""  # noqa: PLR2004 - see above
    message = f"The provider refused the whole batch {why}{more}; this row was not run."
    return Absence(Verdict(FailureKind.CANCELLED, BATCH_FAILED, message), lines)


def is_about_all(problem: BatchProblem) -> bool:
    """True when the problem, although it may name a line, is one of every request of the batch."""
    if problem.line is None or problem.code in _WHOLE_BATCH | _PASSES:
        return True
    return problem.code == "invalid_request" and problem.param in _WHOLE_PARAMS


def _blamed(problem: BatchProblem) -> Verdict:
    kind = FailureKind.CANCELLED if problem.code in _PASSES else FailureKind.REJECTED
    return Verdict(kind, problem.code, problem.message)


def _first_of_each_line(problems: Iterable[BatchProblem]) -> dict[int, Verdict]:
    lines: dict[int, Verdict] = {}
    for problem in problems:
        if problem.line is not None:
            lines.setdefault(problem.line, _blamed(problem))
    return lines
