"""Echo's account: a folder in which each batch is a file of requests and a file of answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from batch_pipeline.errors import NotFound
from batch_pipeline.model import Observation, RemoteStatus, Shard
from batch_pipeline.providers.calling import Clock, key_in
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Known, Odd, ignored
from batch_pipeline.whole_files import written_aside
from echo_batches.record import RECORD


class EchoClient:
    """A batch is over when it is made."""

    account = "echo-folder"
    names_batches = True

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self._folder = folder

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, patience: Patience | None = None) -> EchoClient:
        key_in(env, RECORD.key_variable, RECORD.name)
        return cls(Path(env["ECHO_FOLDER"]))

    def upload(self, lines: Path, *, name: str) -> str:
        shutil.copyfile(lines, self._folder / f"{name}.jsonl")
        return f"{name}.jsonl"

    def create(self, shard: Shard, lines: Path, *, file_id: str | None) -> Observation:
        count = 0
        with (self._folder / f"{shard.intent}.out").open("w", encoding="utf-8") as out:
            for line in (self._folder / str(file_id)).read_bytes().split(b"\n")[:-1]:
                asked = json.loads(line)
                said, model = asked["body"]["say"], asked["body"]["model"]
                answer = {"custom_id": asked["custom_id"], "said": said, "model": model}
                out.write(json.dumps({**answer, "words": len(said.split())}) + "\n")
                count += 1
        seen = self._seen(str(shard.intent), count)
        (self._folder / f"{shard.intent}.batch").write_text(str(count), encoding="utf-8")
        return replace(seen, status=RemoteStatus.RUNNING, raw_status="running", ended_at=None)

    def find(self, shard: Shard, *, since: datetime, known: Known) -> Observation | None:
        return next(
            (seen for seen in self.observe(since=since) if seen.batch_id == shard.intent), None
        )

    def first_id(self, seen: Observation) -> str | None:
        return None

    def observe(self, *, since: datetime, odd: Odd = ignored) -> Iterator[Observation]:
        for path in sorted(self._folder.glob("*.batch")):
            yield self.retrieve(path.stem)

    def retrieve(self, batch_id: str) -> Observation:
        path = self._folder / f"{batch_id}.batch"
        if not path.is_file():
            raise NotFound(f"echo: there is no batch {batch_id}.")
        return self._seen(batch_id, int(path.read_text(encoding="utf-8")))

    def _seen(self, batch_id: str, count: int) -> Observation:
        return Observation(
            batch_id=batch_id,
            status=RemoteStatus.COMPLETED,
            raw_status="done",
            total=count,
            completed=count,
            failed=0,
            created_at=datetime.now(UTC),
            ended_at=datetime.now(UTC),
            output_file_id=f"{batch_id}.out",
            metadata={"intent": batch_id},
        )

    def download(self, file_id: str, into: Path) -> int:
        with written_aside(into) as aside:
            shutil.copyfile(self._folder / file_id, aside)
        return into.stat().st_size

    def cancel(self, batch_id: str) -> Observation:
        return self.retrieve(batch_id)

    def delete_file(self, file_id: str) -> None:
        (self._folder / file_id).unlink(missing_ok=True)

    def delete_batch(self, batch_id: str) -> None:
        (self._folder / f"{batch_id}.batch").unlink(missing_ok=True)

    def close(self) -> None:
        pass

    def dashboard_url(self, batch_id: str) -> str | None:
        return None
