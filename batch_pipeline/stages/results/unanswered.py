"""What became of requests that no result file names: read from the batch itself, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from batch_pipeline.model import FailureKind, Fault, Observation, Problem, RemoteStatus

BATCH_FAILED = "batch_failed"
FILE_CUT = "file_cut"
"""Code of a missing row whose batch counted it as answered, in a file that came only in part."""
LINE_TOO_LONG = "line_too_long"
OURS_TO_READ = (FILE_CUT, LINE_TOO_LONG)
"""Codes of rows whose answer is there and not read yet: they never go again by themselves."""

_KINDS = {
    Fault.REQUEST: FailureKind.REJECTED,
    Fault.ACCOUNT: FailureKind.WITHHELD,
    Fault.PROVIDER: FailureKind.CANCELLED,
    Fault.UNKNOWN: FailureKind.WITHHELD,
}
"""What a row becomes that did not run, by whose fault that was; unknown ones wait for a person."""


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
    if observation is not None and observation.one_file:  # it names every row
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
    about_all = about_every_line(observation)
    if about_all is not None:
        blamed = _blamed(about_all)
        some_ran = observation.output_file_id or observation.error_file_id
        if some_ran and blamed.failure is FailureKind.REJECTED:
            # Rows of this batch did run, so it is not the requests: the others may go again.
            blamed = replace(blamed, failure=FailureKind.CANCELLED)
        return Absence(blamed, {})
    lines = _first_of_each_line(observation.problems)
    if not lines:
        message = "The provider refused the whole batch without a reason; this row was not run."
        return Absence(Verdict(FailureKind.WITHHELD, BATCH_FAILED, message), {})
    named = [str(line) for line in sorted(lines)]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""  # noqa: PLR2004 - see above
    why = f"because of line {', '.join(named[:3])}{more}"
    message = f"The provider refused the whole batch {why}; this row was not run."
    return Absence(Verdict(FailureKind.CANCELLED, BATCH_FAILED, message), lines)


def about_every_line(observation: Observation) -> Problem | None:
    """The problem that every request of the batch has; one that blames them only if all do."""
    every = [problem for problem in observation.problems if problem.is_about_all]
    of_others = (problem for problem in every if problem.fault is not Fault.REQUEST)
    return next(of_others, every[0] if every else None)


def _blamed(problem: Problem) -> Verdict:
    return Verdict(_KINDS[problem.fault], problem.code, problem.message)


def _first_of_each_line(problems: Iterable[Problem]) -> dict[int, Verdict]:
    lines: dict[int, Verdict] = {}
    for problem in problems:
        if problem.line is not None:
            lines.setdefault(problem.line, _blamed(problem))
    return lines
