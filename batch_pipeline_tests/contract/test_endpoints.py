"""Every endpoint of every provider: rows to results and back, and whatever bytes come instead."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.model import FailureKind, Shard
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.simulator.server import Simulator
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.results.outcomes import OutcomesDecoded, decode_shard
from batch_pipeline_tests.contract.cases import EVERYWHERE, Case
from batch_pipeline_tests.contract.client_runner import CON
from batch_pipeline_tests.contract.pipeline_world import ALL, Place, placed
from batch_pipeline_tests.world import DAYS

ODD_BUT_FINE = [{"do": name} for name in ("foreign_results", "no_final_newline", "empty_error_id")]
GOOD = 5
BAD = {"error": "errored", "lost": "errored"}
IDS = [f"r/{number:03d}" for number in range(GOOD)] + [f"{name}/0" for name in BAD]
MANGLED = 300  # lines of one example
PIECES = [b"null", b"{}", b"[]", b'""', b"-1e999", b"\xff\xfe", b"\\u0000", b"\xe2\x80\xa8"]
KINDS = {None, *(kind.value for kind in FailureKind)}
SAID = (
    *("custom_id", "status", "failure", "error_code", "error_message", "text", "tool_calls"),
    *("embedding", "finish_reason", "input_tokens", "output_tokens"),
)
COUNTS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens")


class Ran:
    """The whole loop of an endpoint over good and bad rows; both tests look at the same one."""

    def __init__(self, case: Case, endpoint: str, place: Place, job: BatchJob) -> None:
        self.case, self.endpoint, self.place, self.job = case, endpoint, place, job
        with place.open(job) as shell:
            shell.build([ALL])
            shell.submit([ALL])
            place.wait(30)
            shell.watch()
            shell.collect([ALL])
            self.step = place.step(shell.steps())
        self.sent = self._lines("shards/*/*/lines.jsonl")
        self.came = self._lines("raw/**/*.jsonl")
        self.ids = [str(row["custom_id"]) for row in place.results()]
        self.said = [said(row) for row in place.outcomes()]

    def _lines(self, pattern: str) -> list[bytes]:
        files = sorted(self.place.store.root.glob(pattern))
        return [line for path in files for line in path.read_bytes().split(b"\n") if line]

    def decoded(
        self, ids: list[str], lines: list[bytes]
    ) -> tuple[OutcomesDecoded, list[dict[str, Any]], list[bytes]]:
        """What the shard of *ids* comes to, its rows, and the lines that are nobody's."""
        with TemporaryDirectory() as name:
            home = Path(name)
            (home / "raw").write_bytes(b"\n".join(lines))
            into = home / "shard.parquet"
            provider, count = self.case.provider, len(ids)
            done = decode_shard(
                CON,
                shard=Shard("s", "j", 1, provider, "m", self.endpoint, count, 1, "digest"),
                requests=_requests(home / "requests.parquet", ids),
                files=[(home / "raw", "output")],
                decode_sql=self.case.codec.decode_sql(self.endpoint),
                schema=None,
                observation=None,
                into=into,
            )
            strangers = home / "shard.unknown.jsonl"
            left = strangers.read_bytes().split(b"\n")[:-1] if strangers.exists() else []
            return done, pq.read_table(into).to_pylist(), left


def said(row: Mapping[str, Any]) -> dict[str, Any]:
    """What an outcome says by its line alone."""
    return {name: row[name] for name in SAID}


def _requests(path: Path, ids: list[str]) -> Path:
    count = len(ids)
    text = {name: pa.array(ids, pa.string()) for name in ("key", "custom_id", "content_hash")}
    numbers = {name: pa.array(range(1, count + 1), pa.int64()) for name in ("line", "bytes")}
    pq.write_table(pa.table({"partition": ["all"] * count, **text, **numbers}), path)
    return path


@pytest.fixture(scope="module", params=EVERYWHERE, ids=lambda pair: pair[0].provider + pair[1])
def ran(
    request: pytest.FixtureRequest, sim: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Ran:
    case, endpoint = request.param
    place = placed(case, sim, tmp_path_factory.mktemp("whole"))
    rows = [{"becomes": name, "custom_id": f"{name}-*"} for name in BAD]
    odd = {"becomes": "line_separators", "custom_id": "r-001*"}
    sim.faults({"batches": ODD_BUT_FINE, "rows": [*rows, odd]})
    documents = endpoint.endswith("/ocr")
    body = "https://docs.example/{}.pdf" if documents else "Row {} is good"
    place.write_rows({DAYS[0]: [{"id": name, "body": body.format(name)} for name in IDS]})
    said = {"documents": [{"url": "body"}]} if documents else {"prompt": "Well? {{ body }}"}
    target = case.target(endpoint)
    job = place.job(targets=[target], request=said, retry={"max_attempts": 1})
    return Ran(case, endpoint, place, job)


def test_rows_go_out_once_and_come_back_each_as_itself(ran: Ran) -> None:
    assert ran.step is Step.DONE
    rows = ran.place.results()
    assert [row["id"] for row in rows] == IDS
    assert [row["failure"] for row in rows] == [None] * GOOD + list(BAD.values())
    assert {(row["provider"], row["attempt"]) for row in rows} == {(ran.case.provider, 1)}
    for row in rows[:GOOD]:
        assert row["status"] == "succeeded"
        assert any(row["embedding"]) if ran.job.numeric else row["text"]
    for row in rows[GOOD:]:
        assert row["error_code"] or row["error_message"]
    assert {row["batch_id"] for row in rows} == set(ran.place.batches)
    assert (len(ran.place.batches), ran.place.sendings) == (1, {1})
    sent = [json.loads(line)["custom_id"] for line in ran.sent]
    assert sent == [row["custom_id"] for row in rows]
    assert len(set(sent)) == len(IDS)


def mangled(lines: list[bytes], junk: list[bytes], seed: int) -> list[bytes]:
    """Many lines, each a true one with something done to it, or no such thing at all."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, and no secret
    made = []
    for _ in range(MANGLED):
        line, piece = chance.choice(lines), chance.choice([*PIECES, *junk])
        here, there = sorted(chance.randrange(len(line) + 1) for _ in range(2))
        match chance.randrange(5):
            case 0:
                made.append(line[:here])
            case 1:
                made.append(line[:here] + piece + line[there:])
            case 2:
                values = line.split(b":")
                values[chance.randrange(len(values))] = piece
                made.append(b":".join(values))
            case 3:
                made.append(line[:here] + bytes([chance.randrange(256)]) + line[here + 1 :])
            case _:
                made.append(piece)
    return [one.replace(b"\n", b" ") for one in made]


@settings(max_examples=2)
@given(junk=st.lists(st.binary(max_size=200), max_size=20), seed=st.integers(0, 2**32))
def test_any_bytes_give_every_request_once_and_spoil_no_line_that_is_whole(
    ran: Ran, junk: list[bytes], seed: int
) -> None:
    unlucky = [f"{name[:-1]}z" for name in ran.ids]  # of these only mangled lines came
    theirs = ran.came
    for name, other in zip(ran.ids, unlucky, strict=True):
        theirs = [line.replace(name.encode(), other.encode()) for line in theirs]
    noise = mangled([*ran.came, *theirs], junk, seed)
    done, rows, strangers = ran.decoded([*ran.ids, *unlucky], [*ran.came, *noise, *junk])
    assert [row["custom_id"] for row in rows] == [*ran.ids, *unlucky]
    assert done.requests == done.succeeded + done.failed == len(rows)
    # the first line of an id counts: nothing after it changes a row
    assert [said(row) for row in rows[: len(ran.ids)]] == ran.said
    for row in rows:
        assert row["failure"] in KINDS
        assert (row["status"] == "succeeded") is (row["failure"] is None)
        assert all(row[name] is None or row[name] >= 0 for name in COUNTS)
    there = Counter([*noise, *(piece for one in junk for piece in one.split(b"\n"))])
    assert not Counter(strangers) - there
