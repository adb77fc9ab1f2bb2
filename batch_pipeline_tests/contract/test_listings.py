"""Lists of batches with odd ones in them, and calls that are sent elsewhere, at every provider."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from batch_pipeline.errors import Ambiguous, NotFound, Refused, Unavailable, Undecided, Unreadable
from batch_pipeline.providers.protocol import Client, Known
from batch_pipeline_tests.contract.client_runner import ClientRunner
from batch_pipeline_tests.contract.test_calls import told
from batch_pipeline_tests.providers.fixed_answers import answering
from batch_pipeline_tests.providers.recording import recording

NOTHING = Known()


def page_of(runner: ClientRunner, *items: object, more: bool = False) -> bytes:
    """A page of a list as the provider writes it, with these objects on it."""
    whole = {"object": "list", "data": list(items), "has_more": more, "total": len(items)}
    if not runner.case.says_list:
        del whole["object"]
    return json.dumps(whole).encode()


def batch_of(runner: ClientRunner, **changes: object) -> dict[str, Any]:
    """A batch in the provider's own words, with some of them changed."""
    runner.client.retrieve(runner.send().batch_id)
    said: dict[str, Any] = json.loads(told(runner))
    return said | changes


def listed(runner: ClientRunner, *pages: bytes) -> tuple[list[str], list[bytes]]:
    """The ids in a list of these pages, and what of it could not be read."""
    odd: list[bytes] = []
    with recording({f"GET {runner.case.listing}": pages}) as (url, _):
        client = runner.at(url)
        seen = [one.batch_id for one in client.observe(since=runner.since, odd=odd.append)]
        client.close()
    return seen, odd


def test_odd_batches_of_strangers_are_passed_over_with_a_count(runner: ClientRunner) -> None:
    made = runner.send()
    runner.faults({"do": "strangers", "operation": "list"})
    odd: list[bytes] = []
    seen = {one.batch_id for one in runner.client.observe(since=runner.since, odd=odd.append)}
    assert made.batch_id in seen
    assert len(odd) == 2
    if runner.case.names_batches:
        found = runner.client.find(runner.shard(), since=runner.since, known=NOTHING)
        assert found is not None
        assert found.batch_id == made.batch_id


ODD: list[object] = [
    None,
    7,
    "a text",
    [],
    {},
    {"id": None},
    {"id": ""},
    {"id": 7, "status": "completed", "processing_status": "ended"},
    {"id": "b", "status": None, "processing_status": None},
    {"id": "b", "status": ["completed"], "processing_status": {}},
]


@pytest.mark.parametrize("odd", ODD, ids=json.dumps)
def test_what_is_no_batch_spoils_neither_its_page_nor_the_next(
    runner: ClientRunner, odd: object
) -> None:
    batch = batch_of(runner)
    assert listed(runner, page_of(runner, odd, batch)) == (
        [batch["id"]],
        [json.dumps(odd).encode()],
    )
    seen, passed = listed(runner, page_of(runner, batch, odd))
    assert (seen, len(passed)) == ([batch["id"]], 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"created_at": 1_900_000_000.75},
        {"created_at": 12.5},
        {"created_at": None},
        {"created_at": "2031-01-01T00:00:00Z"},
        {"created_at": "25 Nov"},
        {"created_at": 1e300},
        {"created_at": {}},
        {"metadata": {"n": 7, "list": [1], "none": None}},
        {"metadata": "text"},
        {"request_counts": {"total": "5", "succeeded": "1"}, "total_requests": "5"},
        {"request_counts": "none", "total_requests": [], "succeeded_requests": 1.5},
        {"expires_at": "soon", "completed_at": "then", "ended_at": 1.5, "errors": "none"},
        {"usage": [], "output_file_id": 7, "error_file": 7, "input_files": "x"},
        {"brand_new": {"x": [1]}},
    ],
    ids=json.dumps,
)
def test_a_batch_of_odd_fields_is_read_as_far_as_it_can_be(
    runner: ClientRunner, changes: dict[str, object]
) -> None:
    ours = batch_of(runner, **changes)
    other = batch_of(runner)
    assert listed(runner, page_of(runner, ours, other)) == ([ours["id"], other["id"]], [])
    with answering(json.dumps(ours).encode()) as url:
        client = runner.at(url)
        seen = client.retrieve(ours["id"])
        client.close()
    whole = runner.client.retrieve(ours["id"])
    assert (seen.batch_id, seen.raw_status) == (ours["id"], whole.raw_status)


def test_a_list_goes_on_past_odd_batches_at_the_end_of_a_page(runner: ClientRunner) -> None:
    if runner.case.counts_pages:  # nothing is named to go on from
        pytest.skip("no cursor")
    first, second = batch_of(runner), batch_of(runner)
    pages = (page_of(runner, first, None, more=True), page_of(runner, second))
    seen, odd = listed(runner, *pages)
    assert (seen, odd) == ([first["id"], second["id"]], [b"null"])


def test_a_batch_of_ours_that_cannot_be_read_is_an_error_and_no_false_none(
    runner: ClientRunner,
) -> None:
    shard = runner.shard()
    batch = batch_of(runner, metadata={"intent": shard.intent}, id=None)
    with answering(page_of(runner, batch)) as url:
        client = runner.at(url)
        with pytest.raises(Undecided, match="cannot be read"):
            client.find(shard, since=runner.since, known=NOTHING)
        client.close()
    with answering(json.dumps({"job": {"id": "b"}}).encode()) as url:
        client = runner.at(url)
        with pytest.raises(Unreadable, match="an object of job"):
            client.retrieve("b")
        with pytest.raises(Ambiguous, match="an object of job"):
            client.create(shard, runner.lines(), file_id="00000000-0000-4000-8000-000000000000")
        client.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_that_says_where_to_and_is_never_followed(
    runner: ClientRunner, status: int
) -> None:
    some = "00000000-0000-4000-8000-000000000000"
    calls: list[Callable[[Client], object]] = [
        lambda client: client.retrieve(some),
        lambda client: client.cancel(some),
        lambda client: client.delete_file(some),
        lambda client: client.download(some, runner.folder / "out"),
        lambda client: list(client.observe(since=runner.since)),
        lambda client: client.upload(runner.lines(), name="s-1"),
        lambda client: client.create(runner.shard(), runner.lines(), file_id=some),
    ]
    if not runner.case.uploads:
        del calls[5]  # takes the lines with the create
    with recording({}) as (stranger, heard):
        moved = {"Location": f"{stranger.replace('://', '://user:secret@')}/there?key=1"}
        with answering(b"", status=status, headers=moved) as url:
            for number, call in enumerate(calls):
                client = runner.at(url)
                # 303 may follow a create that was made
                made = status == 303 and number == len(calls) - 1
                with pytest.raises(Ambiguous if made else Refused) as caught:
                    call(client)
                assert f"HTTP {status}: a redirect to {stranger}/there, and" in str(caught.value)
                assert not isinstance(caught.value, NotFound)
                client.close()
        assert heard == []
    assert not (runner.folder / "out").exists()


def test_a_web_page_is_no_result_file(runner: ClientRunner) -> None:
    done = runner.ended()
    assert done.output_file_id
    runner.faults({"do": "page", "operation": "content"})
    target = runner.folder / "out"
    with pytest.raises(Unavailable):
        runner.client.download(done.output_file_id, target)
    assert not target.exists()
    runner.faults()
    runner.client.download(done.output_file_id, target)
    assert target.read_bytes().count(b"custom_id") == 2
