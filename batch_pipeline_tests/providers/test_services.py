"""Services of OpenAI's dialect: named in a file, with their own key, address, limits and errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batch_pipeline.errors import (
    Ambiguous,
    NotFound,
    OtherApi,
    SpecError,
    Unauthorized,
    Undecided,
    UsageError,
)
from batch_pipeline.model import Limits, RemoteStatus
from batch_pipeline.providers.capabilities import TOPICS
from batch_pipeline.providers.openai.client import OpenAIClient
from batch_pipeline.providers.openai.codec import OpenAICodec
from batch_pipeline.providers.openai.record import EMBEDDINGS
from batch_pipeline.providers.protocol import Known
from batch_pipeline.providers.registry import Registry
from batch_pipeline.providers.services import NONE, Service, read_services
from batch_pipeline.simulator.server import Simulator
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.providers.factories import (
    LONG_AGO,
    NO_LINES,
    NOTHING,
    make_patience,
    make_shard,
    send,
    write_lines,
)
from batch_pipeline_tests.providers.recording import recording

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
EXAMPLE = Path(__file__).parents[2] / "examples" / "services.yaml"
GATEWAY = {
    "provider": "openai",
    "base_url": "http://127.0.0.1:1/v1",
    "key_variable": "GATEWAY_API_KEY",
    "max_requests": 1000,
    "max_bytes": 1_000_000,
}
KEY = {"GATEWAY_API_KEY": "gw-0123456789"}
BATCH = {"id": "batch_1", "status": "validating", "created_at": 1_711_471_533, "metadata": None}


def make_service(**changed: object) -> Service:
    return Service.model_validate({**GATEWAY, **changed})


def make_client(
    base_url: str, *, waits: list[float] | None = None, azure: str | None = None
) -> OpenAIClient:
    service = make_service(base_url=base_url, azure_api_version=azure)
    patience = make_patience(waits=waits, tries=1)
    return OpenAIClient.of_service("gateway", service, KEY, patience=patience)


def make_job(*, provider: str = "openai", service: str = "gateway", endpoint: str = "") -> BatchJob:
    target = {"provider": provider, "service": service, "model": "m", "endpoint": endpoint}
    return BatchJob.model_validate(
        {
            "name": "job",
            "dataset": {"path": "x", "key": "id"},
            "request": {"prompt": "{{ text }}", "parameters": {"reasoning_effort": "default"}},
            "targets": [target],
        }
    )


def written(folder: Path, text: str) -> str:
    path = folder / "services.yaml"
    path.write_text(text)
    return str(path)


# --- the file ----------------------------------------------------------------------------------


def test_the_example_names_a_gateway_and_an_azure_resource() -> None:
    services = read_services(str(EXAMPLE))
    assert [service.azure_api_version is None for service in services.values()] == [True, False]
    assert services["gateway"].base_url.startswith("http://127.0.0.1:8900/")


def test_without_a_file_there_are_no_services() -> None:
    assert read_services(None) is NONE


@pytest.mark.parametrize("name", ["max_requests", "max_bytes", "key_variable", "base_url"])
def test_what_cannot_be_guessed_is_asked_for_by_its_key(tmp_path: Path, name: str) -> None:
    said = {key: value for key, value in GATEWAY.items() if key != name}
    path = written(tmp_path, json.dumps({"gateway": said}))
    with pytest.raises(UsageError, match=rf"services\.yaml: gateway\.{name}: .*can be guessed"):
        read_services(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "is a mapping of names to services"),
        ("openai: {}", "'openai' is a provider itself"),
        ("a: {provider: anthropic}", r"a\.provider"),
        ("a: 5", "a: "),
        ("{", "cannot be read"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_services(written(tmp_path, text))


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("max_request", 5, "unknown key 'max_request'; did you mean 'max_requests'"),
        ("endpoints", ["/v1/videos"], "'/v1/videos' is not one of /v1/chat/completions"),
        ("base_url", "groq.com", "base_url"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, key: str, value: object, why: str) -> None:
    path = written(tmp_path, json.dumps({"gateway": {**GATEWAY, key: value}}))
    with pytest.raises(UsageError, match=why):
        read_services(path)


# --- codec and registry ------------------------------------------------------------------------


def test_a_services_limits_and_endpoints_are_its_own() -> None:
    codec = OpenAICodec(make_service(endpoints=[CHAT]))
    assert codec.limits(CHAT) == Limits(requests=1000, bytes=950_000)
    assert codec.capabilities.takes.keys() == codec.capabilities.limits.keys() == {CHAT}
    assert codec.capabilities.key_variable == "GATEWAY_API_KEY"


def test_nothing_of_openais_conditions_is_said_of_a_service() -> None:
    known = OpenAICodec(make_service()).capabilities
    assert known.facts.keys() == set(TOPICS)
    assert {fact.link for fact in (*known.facts.values(), *known.caveats)} == {GATEWAY["base_url"]}
    assert not known.disputed


def test_a_services_models_know_their_own_efforts() -> None:
    job, codec = make_job(), OpenAICodec(make_service())
    assert codec.body(job, job.targets[0])["reasoning_effort"] == "default"
    with pytest.raises(SpecError, match="'default' is not one of"):
        OpenAICodec().body(job, job.targets[0])


def test_a_target_is_checked_against_the_service_it_names() -> None:
    registry = Registry({"gateway": make_service(endpoints=[CHAT])})
    good = make_job()
    registry.check(good, good.targets[0])
    for wrong, why in [
        (make_job(endpoint=RESPONSES), f"'gateway' does not answer {RESPONSES}. It answers: "),
        (make_job(service="getaway"), "'getaway' is not known. Did you mean 'gateway'"),
        (make_job(provider="mistral"), "'gateway' speaks openai's API. Say provider: openai"),
    ]:
        with pytest.raises(SpecError, match=why):
            registry.check(wrong, wrong.targets[0])


def test_prices_are_those_a_service_names_and_never_openais_by_accident() -> None:
    registry = Registry({"gateway": make_service(), "priced": make_service(prices="groq")})
    names = ("openai", "gateway", "priced")
    assert [registry.sellers[name] for name in names] == ["openai", None, "groq"]


def test_azure_names_endpoints_its_own_way() -> None:
    azure = OpenAICodec(make_service(azure_api_version="2025-04-01-preview"))
    urls = [
        azure.envelope(endpoint).before_body.split('"url":"')[1].split('"')[0]
        for endpoint in (CHAT, RESPONSES, EMBEDDINGS)
    ]
    assert urls == ["/chat/completions", "/v1/responses", "/embeddings"]
    assert f'"{CHAT}"' in OpenAICodec(make_service()).envelope(CHAT).before_body


# --- the client --------------------------------------------------------------------------------


def test_a_shard_goes_through_a_service_and_comes_back(sim: Simulator, tmp_path: Path) -> None:
    registry = Registry({"gateway": make_service(base_url=sim.urls["openai"])})
    client = registry.client("gateway", KEY, patience=make_patience(tries=1))
    made = send(client, tmp_path, rows=3)
    sim.advance(60)
    (done,) = client.observe(since=LONG_AGO)
    assert (done.batch_id, done.status) == (made.batch_id, RemoteStatus.COMPLETED)
    assert client.find(make_shard(), since=LONG_AGO, known=NOTHING) == done
    assert done.output_file_id is not None
    target = tmp_path / "out.jsonl"
    client.download(done.output_file_id, target)
    assert target.read_bytes().count(b"\n") == 3


def test_errors_are_named_by_the_service_and_its_key_by_its_variable(sim: Simulator) -> None:
    with pytest.raises(Unauthorized, match=r"^gateway: GATEWAY_API_KEY is not set or empty"):
        OpenAIClient.of_service("gateway", make_service(), {"OPENAI_API_KEY": "sk-0123456789"})
    client = make_client(sim.urls["openai"])
    with pytest.raises(NotFound, match=r"^gateway: look at batch batch_9 failed"):
        client.retrieve("batch_9")
    wrong = {"GATEWAY_API_KEY": "gw-invalid-0123"}
    service = make_service(base_url=sim.urls["openai"])
    with pytest.raises(Unauthorized, match="Check GATEWAY_API_KEY, and base_url of 'gateway'"):
        OpenAIClient.of_service("gateway", service, wrong).retrieve("batch_9")


def test_nothing_of_openais_reaches_another_house(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = "openais-own-secret"  # noqa: S105 - it is none
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", secret)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:1/{secret}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: {secret}\nX-Other: {secret}")
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", secret)
    for azure, folder in ((None, "/v1"), ("2025-04-01-preview", "")):
        answers = {f"POST {'/openai' if azure else folder}/files": [b'{"id":"file-1"}']}
        with recording(answers) as (url, calls):
            client = make_client(f"{url}{folder}", azure=azure)
            assert client.upload(write_lines(tmp_path), name="s-1") == "file-1"
        assert secret not in repr(calls)
        sent = calls[0].headers["api-key" if azure else "authorization"]
        assert sent.removeprefix("Bearer ") == KEY["GATEWAY_API_KEY"]


def test_an_account_is_a_key_at_an_address() -> None:
    one = make_client("http://127.0.0.1:1/v1")
    assert one.account == make_client("http://127.0.0.1:1/v1").account
    assert one.account != make_client("http://127.0.0.1:2/v1").account
    assert "gw-0123" not in repr(one)
    assert one.dashboard_url("batch_1") is None


def test_azure_is_called_at_its_resource_and_waits_until_a_file_is_read(tmp_path: Path) -> None:
    batch = {**BATCH, "status": "Validating", "request_counts": {"total": None}}
    answers = {
        "POST /openai/files": [b'{"id":"file-1","status":"pending"}'],
        "GET /openai/files/file-1": [
            b'{"id":"file-1","status":"pending"}',
            b'{"id":"file-1","status":"processed"}',
        ],
        "POST /openai/batches": [json.dumps(batch).encode()],
    }
    waits: list[float] = []
    with recording(answers) as (url, calls):
        client = make_client(url, waits=waits, azure="2025-04-01-preview")
        file_id = client.upload(write_lines(tmp_path), name="s-1")
        made = client.create(make_shard(), NO_LINES, file_id=file_id)
    assert (made.status, made.total, waits) == (RemoteStatus.VALIDATING, 0, [1.0, 2.0])
    assert {call.what.partition("?")[2] for call in calls} == {"api-version=2025-04-01-preview"}
    assert json.loads(calls[-1].body)["endpoint"] == "/chat/completions"


def test_a_batch_without_metadata_at_a_service_may_be_ours_and_leaves_doubt() -> None:
    page = {"data": [BATCH], "has_more": False}
    with recording({"GET /v1/batches": [json.dumps(page).encode()]}) as (url, _):
        client = make_client(f"{url}/v1")
        with pytest.raises(Undecided, match="gateway: batch batch_1 carries no metadata"):
            client.find(make_shard(), since=LONG_AGO, known=NOTHING)
        known = Known(batch_ids=["batch_1"])
        assert client.find(make_shard(), since=LONG_AGO, known=known) is None


def test_a_batch_of_another_size_is_not_ours() -> None:
    page = {"data": [{**BATCH, "request_counts": {"total": 7}}], "has_more": False}
    with recording({"GET /v1/batches": [json.dumps(page).encode()]}) as (url, _):
        client = make_client(f"{url}/v1")
        assert client.find(make_shard(), since=LONG_AGO, known=NOTHING) is None


TOGETHER = {"id": "batch_1", "job": {"id": "batch_1", "status": "VALIDATING"}, "warning": ""}


@pytest.mark.parametrize(
    ("listing", "why"),
    [
        (json.dumps([TOGETHER]).encode(), "another shape than OpenAI's.*it is a list"),
        (json.dumps({"data": [{"job": {}}], "has_more": False}).encode(), "an object of job, with"),
        (json.dumps({"jobs": []}).encode(), "it is an object of jobs"),
        (b"<html>Welcome</html>", "another shape than OpenAI's"),
        (None, "HTTP 404"),  # live calls only
    ],
)
def test_a_service_of_another_dialect_is_refused_before_anything_is_created(
    tmp_path: Path, listing: bytes | None, why: str
) -> None:
    answers = {
        "POST /v1/files": [b'{"id":"file-1"}'],
        "POST /v1/batches": [json.dumps(TOGETHER).encode()],
    }
    if listing is not None:
        answers["GET /v1/batches"] = [listing]
    with recording(answers) as (url, calls):
        client = make_client(f"{url}/v1")
        with pytest.raises(OtherApi, match=rf"^gateway: .*{why}.*Nothing was sent or billed"):
            send(client, tmp_path, rows=1)
    assert "POST /v1/batches" not in {call.what for call in calls}


def test_a_service_whose_file_object_is_none_is_refused_at_once(tmp_path: Path) -> None:
    odd = {"POST /v1/files": [b'{"file":{"id":"file-1"}}']}
    with recording(odd) as (url, calls), pytest.raises(OtherApi, match="an object of file"):
        make_client(f"{url}/v1").upload(write_lines(tmp_path), name="s-1")
    assert len(calls) == 1


def test_a_service_that_writes_times_as_text_is_understood(tmp_path: Path) -> None:
    made = {**BATCH, "created_at": "2026-11-25T10:00:00.5Z"}
    page = {"object": "list", "data": [made]}
    answers = {
        "POST /v1/files": [b'{"id":"file-1"}'],
        "POST /v1/batches": [json.dumps(made).encode()],
        "GET /v1/batches": [json.dumps(page).encode()],
    }
    with recording(answers) as (url, calls):
        client = make_client(f"{url}/v1")
        seen = send(client, tmp_path, rows=1)
        assert send(client, tmp_path, rows=1) == seen
        assert list(client.observe(since=LONG_AGO)) == [seen]
    assert seen.created_at == datetime(2026, 11, 25, 10, tzinfo=UTC)
    assert [call.what.partition("?")[0] for call in calls].count("GET /v1/batches") == 2


def test_what_a_create_answered_is_named_and_looked_for_where_it_is_no_batch(
    tmp_path: Path,
) -> None:
    answers = {
        "POST /v1/files": [b'{"id":"file-1"}'],
        "POST /v1/batches": [b'{"job":{"id":"batch_1"},"warning":"low credit"}'],
        "GET /v1/batches": [b'{"data":[],"has_more":false}'],
    }
    told = pytest.raises(Ambiguous, match=r"an object of job, warning\)")
    with recording(answers) as (url, _), told:
        send(make_client(f"{url}/v1"), tmp_path, rows=1)
