"""One provider's client at work: a simulator whose time we own, lines to send, waits noted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from batch_pipeline.model import Hole, Observation, Shard, Tree
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Client, Known
from batch_pipeline.providers.registry import Registry
from batch_pipeline.simulator.records import LogEntry
from batch_pipeline.simulator.server import Simulator
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.contract.cases import Case
from batch_pipeline_tests.world import KEY, every_provider

HOUR = 3600.0
CON = duckdb.connect(config={"memory_limit": "256MB", "threads": 1})


@dataclass
class ClientRunner:
    """One test's view of a shared simulator: an hour after the last one's."""

    case: Case
    sim: Simulator
    folder: Path
    waits: list[float] = field(default_factory=list)
    _made: list[Client] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sim.faults(None)
        self.sim.advance(HOUR)
        self.began = len(self.sim.log())
        self.since = datetime.fromtimestamp(self.sim.now, UTC)

    @cached_property
    def client(self) -> Client:
        """The client of the case, with noted waits."""
        return self.client_of()

    def client_of(
        self, env: Mapping[str, str] | None = None, *, tries: int = 6, answer: float = 60.0
    ) -> Client:
        """Another client; *env* goes over the simulator's."""
        note = self.waits.append
        patience = Patience(tries=tries, answer=answer, sleep=note, spread=lambda: 0.0)
        said = {**every_provider(self.sim), **(env or {})}
        client = Registry().client(self.case.provider, said, patience=patience)
        self._made.append(client)
        return client

    def at(self, url: str, *, tries: int = 1, answer: float = 60.0, key: str = KEY) -> Client:
        """A client that is not patient, at another address."""
        address = self.case.address(url.removesuffix("/v1"))
        env = {self.case.key_variable: key, self.case.url_variable: address}
        return self.client_of(env, tries=tries, answer=answer)

    def close(self) -> None:
        """Close every client there was."""
        for client in self._made:
            client.close()

    def faults(self, *calls: dict[str, object]) -> None:
        """Let these calls go wrong."""
        self.sim.faults({"calls": list(calls)})

    def calls(self, operation: str | None = None) -> list[LogEntry]:
        """The calls of this test."""
        entries = self.sim.log()[self.began :]
        return [one for one in entries if operation in {None, one.operation}]

    def ids(self, count: int) -> list[str]:
        """Custom_ids that no other test has."""
        return [f"row-{self.began}-{number}" for number in range(count)]

    def lines(self, count: int = 2) -> Path:
        """A file of so many plain requests."""
        envelope = self.case.codec.envelope(self.case.endpoint)
        body = json.dumps(_filled(self.case.codec.body(self._job, self._job.targets[0])))
        path = self.folder / "lines.jsonl"
        path.write_text(
            "".join(
                f"{envelope.before_id}{json.dumps(name)}{envelope.before_body}{body}"
                f"{envelope.after_body}"
                for name in self.ids(count)
            ),
            encoding="utf-8",
        )
        return path

    @property
    def _job(self) -> BatchJob:
        return BatchJob.model_validate(
            {
                "name": "contract",
                "dataset": {"path": "x", "key": "id"},
                "request": {"prompt": "Say hello."},
                "targets": [self.case.target()],
            }
        )

    def shard(self, count: int = 2, **changes: Any) -> Shard:  # noqa: ANN401 - of any field
        """The shard of `lines`, with an intent that no other test has."""
        shard = Shard(
            shard_id=f"shard-{self.began}",
            job="contract",
            attempt=1,
            provider=self.case.provider,
            model=self.case.models[self.case.endpoint],
            endpoint=self.case.endpoint,
            requests=count,
            bytes=100,
            digest="0" * 64,
            intent=f"intent-{self.began}",
        )
        return replace(shard, **changes)

    def send(self, count: int = 2, *, client: Client | None = None) -> Observation:
        """Upload and create."""
        with_ = client or self.client
        lines = self.lines(count)
        file_id = with_.upload(lines, name=f"contract-shard-{self.began}")
        return with_.create(self.shard(count), lines, file_id=file_id)

    def ended(self, count: int = 2) -> Observation:
        """A batch that is over."""
        made = self.send(count)
        self.sim.advance(60)
        return self.client.retrieve(made.batch_id)

    def found(self, count: int = 2) -> str | None:
        """The batch that a look for the shard finds."""
        known = Known(is_ours=set(self.ids(count)).__contains__)
        seen = self.client.find(self.shard(count), since=self.since, known=known)
        return None if seen is None else seen.batch_id

    def answers(self, seen: Observation) -> list[dict[str, Any]]:
        """Every line of the batch's result files, decoded, by custom_id."""
        lines: list[str] = []
        for file_id in (seen.output_file_id, seen.error_file_id):
            if file_id:
                self.client.download(file_id, self.folder / "out")
                text = (self.folder / "out").read_text(encoding="utf-8")
                lines += [line for line in text.split("\n") if line]
        query = (
            "WITH lines AS (SELECT unnest($lines::VARCHAR[]) AS line, 'output' AS source, "  # noqa: S608 - ours
            "0 AS position) "
            f"SELECT * FROM ({self.case.codec.decode_sql(self.case.endpoint)}) ORDER BY custom_id"
        )
        result = CON.execute(query, {"lines": lines})
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@contextmanager
def client_runner(case: Case, sim: Simulator, folder: Path) -> Iterator[ClientRunner]:
    """A runner, and its client closed after."""
    runner = ClientRunner(case, sim, folder)
    try:
        yield runner
    finally:
        runner.close()


def _filled(tree: Tree) -> Any:  # noqa: ANN401 - any JSON
    """The body of a request that depends on no row."""
    if isinstance(tree, Hole):
        return tree.template
    if isinstance(tree, dict):
        return {key: _filled(value) for key, value in tree.items()}
    return [_filled(one) for one in tree] if isinstance(tree, list) else tree
