"""Answers that are not what they should be: pages, cut files, redirects, strangers, clocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import pytest
from anthropic import Anthropic
from mistralai.client import Mistral
from openai import OpenAI

from batch_pipeline.simulator.faults import ODDITIES
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator import anthropic_requests as anthropics
from batch_pipeline_tests.simulator import lines as openais
from batch_pipeline_tests.simulator import mistral_requests as mistrals
from batch_pipeline_tests.simulator.conftest import client_of

_HEADERS = {"authorization": "Bearer sk-test", "anthropic-version": "2023-06-01"}
OPENAI, ANTHROPIC, MISTRAL = "openai", "anthropic", "mistral"
PROVIDERS = pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC, MISTRAL])


@dataclass(frozen=True)
class Place:
    """Where the objects of one ended batch of four rows are."""

    batch: str
    results: str
    listing: str


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(headers=_HEADERS) as http:
        yield http


def submitted(sim: Simulator, provider: str) -> Place:
    """A new batch of four rows; its results are there once time has passed."""
    if provider == OPENAI:
        root = sim.urls["openai"]
        with client_of(sim) as client:
            batch = openais.submit(client, openais.make_lines(4))
        return Place(f"{root}/batches/{batch.id}", f"{root}/files", f"{root}/batches")
    if provider == ANTHROPIC:
        listing = f"{sim.urls['anthropic']}/v1/messages/batches"
        with anthropics.client_of(sim) as claude:
            made = anthropics.submit(claude, anthropics.make_requests(4))
        return Place(f"{listing}/{made.id}", f"{listing}/{made.id}/results", listing)
    root = f"{sim.urls['mistral']}/v1"
    with mistrals.client_of(sim) as mistral:
        job = mistrals.submit(mistral, mistrals.lines_of(4))
    return Place(f"{root}/batch/jobs/{job.id}", f"{root}/files", f"{root}/batch/jobs")


def ended(sim: Simulator, http: httpx2.Client, provider: str) -> Place:
    """The same after its end."""
    place = submitted(sim, provider)
    sim.advance(60)
    batch = http.get(place.batch).json()
    if provider == ANTHROPIC:
        return place
    file_id = batch["output_file_id" if provider == OPENAI else "output_file"]
    return Place(place.batch, f"{place.results}/{file_id}/content", place.listing)


@PROVIDERS
def test_a_page_may_take_the_place_of_a_file(
    sim: Simulator, http: httpx2.Client, provider: str
) -> None:
    place = ended(sim, http, provider)
    sim.faults({"calls": [{"do": "page", "operation": "content", "times": 1}]})
    page, file = http.get(place.results), http.get(place.results)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.content.startswith(b"<!DOCTYPE html>")
    assert file.content.count(b'"custom_id"') == 4
    assert [entry.fault for entry in sim.log("content")] == ["page", None]


@PROVIDERS
@pytest.mark.parametrize("lines", [3, 0])
def test_a_file_may_be_its_first_lines_and_look_whole(
    sim: Simulator, http: httpx2.Client, provider: str, lines: int
) -> None:
    place = ended(sim, http, provider)
    sim.faults({"calls": [{"do": "shorten", "operation": "content", "lines": lines, "times": 1}]})
    short, whole = http.get(place.results), http.get(place.results)
    assert short.status_code == 200
    assert short.headers["content-type"] == whole.headers["content-type"]
    assert short.headers["content-length"] == str(len(short.content))
    assert short.content == b"".join(whole.content.splitlines(keepends=True)[:lines])


def test_an_answer_that_is_no_file_may_be_empty_as_well(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"calls": [{"do": "shorten", "operation": "list"}]})
    answer = client.batches.with_raw_response.list()
    assert (answer.status_code, answer.content) == (200, b"")


@PROVIDERS
def test_a_call_may_be_sent_elsewhere(sim: Simulator, http: httpx2.Client, provider: str) -> None:
    place = ended(sim, http, provider)
    rule = {"do": "redirect", "operation": "content", "to": "http://localhost:9/", "status": 307}
    sim.faults({"calls": [rule]})
    answer = http.get(f"{place.results}?a=b")
    path = place.results.removeprefix(sim.url)
    assert answer.status_code == 307
    assert answer.headers["location"] == f"http://localhost:9{path}?a=b"


@PROVIDERS
def test_a_result_file_may_be_missing_for_a_while(
    sim: Simulator, http: httpx2.Client, provider: str
) -> None:
    sim.faults({"calls": [{"do": "lag", "operation": "content", "seconds": 600}]})
    place = ended(sim, http, provider)
    assert http.get(place.results).status_code == 404
    sim.advance(600)
    assert http.get(place.results).status_code == 200


@PROVIDERS
def test_a_batch_may_vanish_late_from_the_listing_and_from_its_own_place(
    sim: Simulator, http: httpx2.Client, provider: str
) -> None:
    rule = {"do": "lag", "operation": ["list", "retrieve"], "starts": 600, "seconds": 900}
    sim.faults({"calls": [rule]})
    place = submitted(sim, provider)

    def seen() -> tuple[int, int]:
        return len(http.get(place.listing).json()["data"]), http.get(place.batch).status_code

    assert seen() == (1, 200)
    sim.advance(600)
    assert seen() == (0, 404)
    sim.advance(300)
    assert seen() == (1, 200)


@PROVIDERS
def test_a_listing_may_begin_with_strangers_of_odd_shapes(
    sim: Simulator, http: httpx2.Client, provider: str
) -> None:
    place = submitted(sim, provider)
    sim.faults({"calls": [{"do": "strangers", "operation": "list", "nth": 1}]})
    listed = http.get(place.listing).json()["data"]
    assert len(listed) == len(ODDITIES) + 1
    assert listed[-1]["id"] in place.batch
    by_kind = dict(zip(ODDITIES, listed[:-1], strict=True))
    assert by_kind["fractional_time"]["created_at"] % 1
    assert by_kind["null_time"]["created_at"] is None
    assert isinstance(by_kind["text_time"]["created_at"], str)
    assert by_kind["number_metadata"]["metadata"]["run"] == 7
    assert "simmering" in by_kind["unknown_status"].values()
    assert set(by_kind["missing_fields"]) == {"id"}
    assert by_kind["no_object"] is None
    assert len({each["id"] for each in listed if each}) == len(ODDITIES)
    assert len(http.get(place.listing).json()["data"]) == 1


def test_strangers_stand_on_the_first_page_alone(
    sim: Simulator, client: OpenAI, claude: Anthropic, mistral: Mistral
) -> None:
    rule = {"do": "strangers", "operation": "list", "odd": ["number_metadata"]}
    sim.faults({"calls": [rule]})
    for _ in range(3):
        openais.submit(client, openais.make_lines(1))
        anthropics.submit(claude, anthropics.make_requests(1))
        mistrals.submit(mistral, mistrals.lines_of(1))
    assert len(list(client.batches.list(limit=1))) == 4
    assert len(list(claude.messages.batches.list(limit=1))) == 4
    pages = [mistral.batch.jobs.list(page=page, page_size=2).total for page in (0, 1)]
    assert pages == [3, 3]


@PROVIDERS
def test_the_date_of_an_answer_is_the_simulated_clocks_unless_it_is_skewed(
    sim: Simulator, http: httpx2.Client, provider: str
) -> None:
    place = submitted(sim, provider)
    sim.advance(90_000)

    def ahead() -> float:
        told = parsedate_to_datetime(http.get(place.listing).headers["date"])
        return (told - datetime.fromtimestamp(int(sim.now), UTC)).total_seconds()

    assert ahead() == 0
    skew = {"do": "skew", "operation": "list", "seconds": -172_800}
    sim.faults({"calls": [skew, {"do": "fail", "operation": "list", "status": 503}]})
    assert ahead() == -172_800
    assert http.get(place.listing).status_code == 503
