"""What Anthropic refuses on the spot: keys, versions, envelopes, sizes, queues."""

from collections.abc import Iterator

import anthropic
import httpx2
import pytest
from anthropic import Anthropic

from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.anthropic_requests import (
    OLD_VERSION,
    client_of,
    make_params,
    make_request,
    make_requests,
    run,
    submit,
)

PATTERN = "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"
NO_JSON = "The request body is not valid JSON: "


@pytest.fixture
def raw(shared: Simulator) -> Iterator[httpx2.Client]:
    headers = {"x-api-key": "sk-test", "anthropic-version": OLD_VERSION}
    with httpx2.Client(base_url=shared.urls["anthropic"], headers=headers) as client:
        yield client


def limited(limits: Limits) -> Simulator:
    return Simulator(speed=0, limits=limits)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "requests: List should have at least 1 item after validation, not 0"),
        ({"a": 1}, "requests: Input should be a valid list"),
        ([1], "requests.0: Input should be a valid dictionary"),
        ([make_request(), make_request("a b")], f"requests.1.custom_id: {PATTERN}"),
        ([make_request("")], f"requests.0.custom_id: {PATTERN}"),
        ([make_request("row-1\n")], f"requests.0.custom_id: {PATTERN}"),
        ([make_request("grüße")], f"requests.0.custom_id: {PATTERN}"),
        (
            [make_request("x" * 65)],
            "requests.0.custom_id: String should have at most 64 characters",
        ),
        ([make_request(7)], "requests.0.custom_id: Input should be a valid string"),
        ([{"params": make_params()}], "requests.0.custom_id: Field required"),
        ([{"custom_id": "a"}], "requests.0.params: Field required"),
        (
            [{"custom_id": "a", "params": []}],
            "requests.0.params: Input should be a valid dictionary",
        ),
        ([make_request() | {"url": "/x"}], "requests.0.url: Extra inputs are not permitted"),
        (
            [make_request("dup"), make_request("dup")],
            "requests: custom_id's must be unique within a batch. Duplicate custom_id found: dup",
        ),
    ],
)
def test_a_wrong_envelope_is_refused_in_the_real_words(
    raw: httpx2.Client, requests: object, message: str
) -> None:
    answer = raw.post("/v1/messages/batches", json={"requests": requests})
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "error",
        "error": {"details": None, "type": "invalid_request_error", "message": message},
        "request_id": answer.headers["request-id"],
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", NO_JSON),
        (b'{"requests":[', NO_JSON),
        (b'{"requests":[{"custom_id":"a","params":{}}]', NO_JSON),
        (b'{"requests":[{"custom_id":"a","params":{"x":"\\ud800"}}]}', NO_JSON),
        (b'{"requests":[{"custom_id":"a","params":{"x":"\xff"}}]}', NO_JSON),
        (b"[]", "Input should be a valid dictionary"),
        (b"{}", "requests: Field required"),
        (b'{"requests":[{}],"metadata":{}}', "metadata: Extra inputs are not permitted"),
    ],
)
def test_a_body_that_is_no_list_of_requests_is_refused(
    raw: httpx2.Client, body: bytes, message: str
) -> None:
    answer = raw.post("/v1/messages/batches", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(message)


def test_a_refused_create_leaves_nothing_behind(sim: Simulator, claude: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError):
        submit(claude, [make_request("a b")])
    assert claude.messages.batches.list().data == []
    assert sim.submissions() == {}


def test_a_body_may_be_written_with_line_breaks(sim: Simulator, claude: Anthropic) -> None:
    pretty = (
        b'{\n "requests": [\n  {\n   "custom_id": "row-1",\n   "params": {\n "model": '
        b'"claude-haiku-4-5",\r\n "max_tokens": 50, "messages": [{"role": "user",\n "content": '
        b'"Hi"}]}}\n]\n}\n'
    )
    answer = httpx2.post(
        f"{sim.urls['anthropic']}/v1/messages/batches",
        content=pretty,
        headers={"x-api-key": "k", "anthropic-version": OLD_VERSION},
    )
    sim.advance(60)
    batch = claude.messages.batches.retrieve(answer.json()["id"])
    assert batch.request_counts.succeeded == 1


def test_a_body_that_is_too_large_is_refused_and_one_at_the_limit_is_not() -> None:
    with (
        Simulator(speed=0, limits=Limits(anthropic_max_body_bytes=2_000)) as sim,
        client_of(sim) as client,
    ):
        submit(client, make_requests(3))
        with pytest.raises(anthropic.APIStatusError) as refused:
            submit(client, make_requests(30))
        assert (refused.value.status_code, refused.value.type) == (413, "request_too_large")
        assert sim.log("create")[-1].request_bytes > 2_000
        assert len(client.messages.batches.list().data) == 1


def test_too_many_requests_are_refused() -> None:
    with (
        Simulator(speed=0, limits=Limits(anthropic_max_requests=3)) as sim,
        client_of(sim) as client,
    ):
        submit(client, make_requests(3))
        text = "requests: List should have at most 3 items after validation, not 4"
        with pytest.raises(anthropic.BadRequestError, match=text):
            submit(client, make_requests(4))


def test_a_full_queue_refuses_until_batches_have_ended() -> None:
    with (
        Simulator(speed=0, limits=Limits(anthropic_queue_requests=10)) as sim,
        client_of(sim) as client,
    ):
        submit(client, make_requests(6))
        with pytest.raises(anthropic.RateLimitError) as refused:
            submit(client, make_requests(5, model="claude-sonnet-5"))
        assert refused.value.type == "rate_limit_error"
        assert float(refused.value.response.headers["retry-after"]) > 0
        submit(client, make_requests(4))
        sim.advance(60)
        submit(client, make_requests(10))


def test_calls_per_minute_are_limited() -> None:
    with (
        Simulator(speed=0, limits=Limits(anthropic_requests_per_minute=2)) as sim,
        client_of(sim) as client,
    ):
        client.messages.batches.list()
        sim.advance(30)
        client.messages.batches.list()
        with pytest.raises(anthropic.RateLimitError) as refused:
            client.messages.batches.list()
        headers = refused.value.response.headers
        assert headers["retry-after"] == "30"
        assert headers["anthropic-ratelimit-requests-remaining"] == "0"
        sim.advance(31)
        client.messages.batches.list()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": "good"}, 200),
        ({"authorization": "Bearer good"}, 200),
        ({"x-api-key": "good", "authorization": "Bearer invalid"}, 200),
        ({"x-api-key": "invalid", "authorization": "Bearer good"}, 401),
        ({"authorization": "Bearer invalid"}, 401),
        ({"authorization": "Basic good"}, 401),
        ({}, 401),
    ],
)
def test_a_key_comes_in_either_header_and_x_api_key_goes_first(
    shared: Simulator, headers: dict[str, str], status: int
) -> None:
    url = f"{shared.urls['anthropic']}/v1/messages/batches"
    answer = httpx2.get(url, headers={**headers, "anthropic-version": OLD_VERSION})
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"]["type"] == "authentication_error"


def test_a_wrong_key_is_said_in_anthropics_shape(shared: Simulator) -> None:
    with client_of(shared, "sk-invalid") as client:
        with pytest.raises(anthropic.AuthenticationError) as refused:
            client.messages.batches.list()
        assert refused.value.type == "authentication_error"
        assert refused.value.request_id == refused.value.response.headers["request-id"]
        assert "API key is invalid." in refused.value.message


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (None, "anthropic-version: header is required"),
        ("2020-01-01", 'anthropic-version: "2020-01-01" is not a valid version'),
    ],
)
def test_a_call_names_a_version(shared: Simulator, version: str | None, message: str) -> None:
    headers = {"x-api-key": "k"} | ({"anthropic-version": version} if version else {})
    answer = httpx2.get(f"{shared.urls['anthropic']}/v1/messages/batches", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == message


def test_the_new_version_refuses_sampling_row_by_row_and_the_old_one_takes_it(
    sim: Simulator, claude: Anthropic
) -> None:
    requests = [*make_requests(1), make_request("warm", temperature=1.0)]
    error = run(sim, claude, requests).error("warm")
    assert error["error"]["message"] == "temperature: Extra inputs are not permitted"
    assert error["request_id"] is None
    with client_of(sim, version=OLD_VERSION) as old:
        assert run(sim, old, requests).counts == {"succeeded": 2}


def test_the_new_version_may_be_told_to_refuse_sampling_on_the_spot() -> None:
    with limited(Limits(anthropic_sampling_refused_on_create=True)) as sim:
        requests = [*make_requests(1), make_request("warm", top_p=1)]
        text = "requests.1.params.top_p: Extra inputs are not permitted"
        with client_of(sim) as new, pytest.raises(anthropic.BadRequestError, match=text):
            submit(new, requests)
        with client_of(sim, version=OLD_VERSION) as old:
            submit(old, requests)


def test_a_compressed_body_is_refused(raw: httpx2.Client) -> None:
    answer = raw.post("/v1/messages/batches", content=b"x", headers={"content-encoding": "br"})
    details = answer.json()["error"]["details"]
    assert details == {"error_code": "request_body_encoding_unsupported"}
