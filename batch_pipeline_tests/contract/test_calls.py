"""What a call that goes wrong means, for every provider: which error, how often, what is left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from urllib.request import Request, urlopen

import pytest

from batch_pipeline.errors import (
    Ambiguous,
    BadLines,
    NotFound,
    OutOfCredit,
    ProviderError,
    Refused,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
    Undecided,
)
from batch_pipeline.model import TERMINAL, Observation, RemoteStatus
from batch_pipeline.providers.protocol import Client
from batch_pipeline_tests.contract.cases import CASES, named
from batch_pipeline_tests.contract.client_runner import ClientRunner
from batch_pipeline_tests.providers.fixed_answers import answering
from batch_pipeline_tests.world import KEY

DAY = 86_400
UNCERTAIN: list[dict[str, object]] = [
    {"do": "fail", "status": 500, "when": "before"},
    {"do": "fail", "status": 503, "when": "after", "retry_after": 1},
    {"do": "fail", "status": 504, "when": "before"},
    {"do": "fail", "status": 529, "when": "before"},
    {"do": "fail", "status": 408, "when": "after"},
    {"do": "fail", "status": 409, "when": "after"},
    {"do": "drop", "when": "before"},
    {"do": "drop", "when": "after"},
    {"do": "cut", "bytes": 20},
]
CERTAIN: list[tuple[int, type[ProviderError]]] = [
    (400, Refused),
    (401, Unauthorized),
    (402, OutOfCredit),
    (403, Unauthorized),
    (413, TooLarge),
    (422, Refused),
    (429, Throttled),
]
FREE: dict[str, Callable[[ClientRunner, Client, Observation], object]] = {
    "upload": lambda runner, client, _: client.upload(runner.lines(), name="again"),
    "retrieve": lambda _, client, seen: client.retrieve(seen.batch_id),
    "list": lambda runner, client, _: list(client.observe(since=runner.since)),
    "cancel": lambda _, client, seen: client.cancel(seen.batch_id),
    "content": lambda runner, client, seen: client.download(
        str(seen.output_file_id), runner.folder / "out"
    ),
    "delete": lambda _, client, seen: client.delete_file(str(seen.output_file_id)),
}
"""Calls that cost nothing, after a batch was made."""
FREE_CALLS = [(case, name) for case in CASES for name in FREE if case.uploads or name != "upload"]
every_free_call = pytest.mark.parametrize(
    ("case", "operation"), FREE_CALLS, indirect=["case"], ids=lambda v: named(v) or str(v)
)


def before(runner: ClientRunner, operation: str) -> Observation:
    """What there has to be for the call."""
    return runner.send() if operation == "cancel" else runner.ended()


# --- the create -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", UNCERTAIN, ids=lambda f: "-".join(map(str, f.values())))
def test_a_create_without_a_certain_answer_is_made_once_and_found_exactly_if_it_happened(
    runner: ClientRunner, fault: dict[str, object]
) -> None:
    runner.faults({"operation": "create", "times": 1, **fault})
    what = f"create of a batch for shard {runner.shard().shard_id}.* failed: "
    with pytest.raises(Ambiguous, match=f"{what}.*look for it before anything is sent again"):
        runner.send()
    [create] = runner.calls("create")
    assert runner.waits == []
    if create.effect and not runner.case.names_batches:
        with pytest.raises(Undecided):
            runner.found()
    runner.sim.advance(60)
    assert runner.found() == create.effect


@pytest.mark.parametrize(("status", "meant"), CERTAIN, ids=lambda v: str(v) if v is int else None)
def test_a_refused_create_is_certain_and_made_once(
    runner: ClientRunner, status: int, meant: type[ProviderError]
) -> None:
    fault = {"do": "fail", "status": status, "retry_after": 45, "message": "For a reason."}
    runner.faults({"operation": "create", **fault})
    what = f"create of a batch for shard {runner.shard().shard_id}.* failed: "
    with pytest.raises(ProviderError, match=rf"{what}HTTP {status}: For a reason\. ") as caught:
        runner.send()
    assert type(caught.value) is meant
    assert ("The same call would be refused again" in str(caught.value)) is (meant is Refused)
    assert getattr(caught.value, "retry_after", 45) == 45
    assert len(runner.calls("create")) == 1
    assert runner.waits == []
    assert runner.found() is None


def test_a_file_that_the_provider_does_not_see_yet_is_waited_for_but_not_for_ever(
    runner: ClientRunner,
) -> None:
    if not runner.case.uploads:
        runner.faults({"do": "fail", "operation": "create", "status": 404, "times": 2})
        with pytest.raises(NotFound):
            runner.send()
        return
    runner.faults({"do": "lag", "operation": "create", "times": 3})
    assert runner.send().batch_id
    assert runner.waits == [1, 2, 4]
    assert [entry.status == 200 for entry in runner.calls("create")] == [False, False, False, True]
    runner.faults({"do": "lag", "operation": "create"})
    runner.waits.clear()
    with pytest.raises(NotFound, match=r"(?i)(cannot|not) f(i|ou)nd"):
        runner.send()
    assert sum(runner.waits) == 60


def test_lines_that_are_at_fault_as_such_are_told_before_anything_runs(
    runner: ClientRunner,
) -> None:
    whole = runner.lines(3).read_bytes().split(b"\n")
    whole[1] = whole[1].replace(b'"role"', b'"role ')
    lines = runner.folder / "bad.jsonl"
    lines.write_bytes(b"\n".join(whole))
    try:
        file_id = runner.client.upload(lines, name="bad")
        made = runner.client.create(runner.shard(3), lines, file_id=file_id)
    except BadLines as error:  # at the upload
        assert list(error.lines) == [2]  # noqa: PT017 - each provider has its own moment
        return
    except Refused as error:  # at the create
        assert "not valid JSON" in str(error)  # noqa: PT017
        return
    runner.sim.advance(60)  # in validation
    seen = runner.client.retrieve(made.batch_id)
    assert (seen.status, [one.line for one in seen.problems]) == (RemoteStatus.FAILED, [2])
    assert runner.answers(seen) == []


# --- calls that cost nothing ----------------------------------------------------------------------


@every_free_call
@pytest.mark.parametrize(
    ("fault", "waits"),
    [
        ({"do": "drop", "when": "before"}, [0.5]),
        ({"do": "fail", "status": 500}, [0.5]),
        ({"do": "fail", "status": 408}, [0.5]),
        ({"do": "fail", "status": 409}, [0.5]),
        ({"do": "fail", "status": 429, "retry_after": 7}, [7]),
    ],
    ids=["drop", "500", "408", "409", "429"],
)
def test_a_call_that_costs_nothing_is_made_again(
    runner: ClientRunner, operation: str, fault: dict[str, object], waits: list[float]
) -> None:
    seen = before(runner, operation)
    made = len(runner.calls(operation))
    runner.faults({"operation": operation, "times": 1, **fault})
    FREE[operation](runner, runner.client, seen)
    assert len(runner.calls(operation)) == made + 2
    assert runner.waits == waits


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "fail", "status": 502, "when": "after"},
        {"do": "drop", "when": "after"},
        {"do": "cut", "bytes": 5},
    ],
    ids=["502-after", "drop-after", "cut"],
)
def test_an_upload_that_fails_for_a_moment_is_sent_again_from_its_first_byte(
    runner: ClientRunner, fault: dict[str, object]
) -> None:
    if not runner.case.uploads:
        pytest.skip("lines go with the create")
    runner.faults({**fault, "operation": "upload", "times": 2})
    made = runner.send(3)
    assert runner.waits == [0.5, 1]
    runner.sim.advance(60)
    assert runner.client.retrieve(made.batch_id).completed == 3


@every_free_call
def test_no_wait_is_longer_than_our_patience_and_no_right_is_asked_for_twice(
    runner: ClientRunner, operation: str
) -> None:
    seen = before(runner, operation)
    made = len(runner.calls(operation))
    for number, (status, meant) in enumerate(
        [(429, Throttled), (401, Unauthorized), (403, Unauthorized)], start=1
    ):
        runner.faults({"do": "fail", "operation": operation, "status": status, "retry_after": 900})
        with pytest.raises(meant):
            FREE[operation](runner, runner.client, seen)
        assert len(runner.calls(operation)) == made + number
    assert runner.waits == []


def test_a_provider_that_stays_down_is_unavailable_and_not_asked_for_ever(
    runner: ClientRunner,
) -> None:
    seen = runner.send()
    runner.faults({"do": "fail", "operation": "any", "status": 502})
    made = len(runner.calls())
    told = f"look at batch {seen.batch_id} failed: HTTP 502: .*may be made again"
    with pytest.raises(Unavailable, match=told):
        runner.client.retrieve(seen.batch_id)
    assert len(runner.calls()) == made + 6
    assert runner.waits == [0.5, 1, 2, 4, 8]
    if runner.case.uploads:
        with pytest.raises(Unavailable, match=r"upload of s-1\.jsonl failed: HTTP 502"):
            runner.client.upload(runner.lines(), name="s-1")
        assert len(runner.calls()) == made + 12


def test_a_batch_that_is_not_there_is_not_found_and_not_asked_for_again(
    runner: ClientRunner,
) -> None:
    seen = runner.send()
    runner.faults({"do": "fail", "operation": "retrieve", "status": 404})
    with pytest.raises(NotFound):
        runner.client.retrieve(seen.batch_id)
    assert len(runner.calls("retrieve")) == 1


# --- what a batch says ----------------------------------------------------------------------------


def test_a_status_that_nobody_knows_is_no_end(runner: ClientRunner) -> None:
    seen = runner.client.retrieve(runner.send().batch_id)
    raw = told(runner)
    strange = raw.replace(f'"{seen.raw_status}"'.encode(), b'"hibernating"')
    assert strange != raw
    with answering(strange) as url:
        client = runner.at(url)
        looked = client.retrieve(seen.batch_id)
        client.close()
    assert (looked.status, looked.raw_status) == (RemoteStatus.UNKNOWN, "hibernating")
    assert looked.status not in TERMINAL
    assert looked.expires_at == seen.expires_at


def test_a_field_that_nobody_knows_and_an_answer_that_is_none_are_told_apart(
    runner: ClientRunner,
) -> None:
    seen = runner.client.retrieve(runner.send().batch_id)
    with answering(told(runner).replace(b"{", b'{"brand_new":{"x":[1]},', 1)) as url:
        client = runner.at(url)
        assert client.retrieve(seen.batch_id) == seen
        client.close()
    with answering(b"<html>Welcome to the gateway</html>") as url:
        client = runner.at(url)
        with pytest.raises(Unavailable):
            client.retrieve(seen.batch_id)
        with pytest.raises(Ambiguous):
            client.create(runner.shard(), runner.lines(), file_id=seen.input_file_id)
        client.close()


def told(runner: ClientRunner) -> bytes:
    """The provider's own words in the last look at a batch."""
    entry = runner.calls("retrieve")[-1]
    headers = {"Authorization": f"Bearer {KEY}", "anthropic-version": "2023-06-01"}
    with urlopen(Request(runner.sim.url + entry.path, headers=headers)) as answer:  # noqa: S310 - ours
        body: bytes = answer.read()
    return body


def test_a_batch_of_failed_rows_alone_names_the_file_that_says_why(runner: ClientRunner) -> None:
    runner.sim.faults({"rows": [{"becomes": "error", "status": 400}]})
    seen = runner.ended(3)
    assert seen.status is RemoteStatus.COMPLETED
    rows = runner.answers(seen)
    assert [row["custom_id"] for row in rows] == runner.ids(3)
    assert {row["failure"] for row in rows} == {"rejected"}


def test_a_cancelled_batch_gives_what_was_finished_before(runner: ClientRunner) -> None:
    runner.sim.faults({"batches": [{"do": "stall", "after": 0.5}]})
    made = runner.send(4)
    runner.sim.advance(20)
    assert runner.client.cancel(made.batch_id).status in {
        RemoteStatus.ENDING,
        RemoteStatus.CANCELLED,
    }
    runner.sim.advance(700)
    seen = runner.client.retrieve(made.batch_id)
    assert seen.status is RemoteStatus.CANCELLED
    kinds = [row["failure"] for row in runner.answers(seen)]
    assert kinds.count(None) == seen.completed == 2
    assert set(kinds) <= {None, "cancelled"}
    assert runner.client.cancel(made.batch_id).status is RemoteStatus.CANCELLED  # twice is no error


def test_a_window_that_closes_leaves_what_was_finished_before(runner: ClientRunner) -> None:
    runner.sim.faults({"batches": [{"do": "stall", "after": 0.5}]})
    made = runner.send(4)
    assert runner.client.retrieve(made.batch_id).expires_at == made.created_at + timedelta(days=1)
    runner.sim.advance(DAY + 60)
    seen = runner.client.retrieve(made.batch_id)
    assert seen.status is RemoteStatus.EXPIRED
    kinds = [row["failure"] for row in runner.answers(seen)]
    assert kinds.count(None) == seen.completed == 2
    assert set(kinds) <= {None, "expired"}
