"""From Parquet to request files: ours beside DuckDB's COPY, pandas with a JSON loop, and cp.

python -m benchmarks.build --rows 500000 --work /tmp/bench [--rounds 3] [--only NAME]
prints one JSON object per contestant: {name, seconds, rows, bytes, peak_mb}, the median round.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_SYSTEM = "You label repositories. Answer with one word."
_TEXT = (
    "the quick brown fox jumps over a lazy dog while five wizards pack my box with liquor jugs "
    'data model batch "quoted" back\\slash new\nline naïve 日本 tokens rows columns 🤖 shard'
)
_SEEDED_TEXTS = 1000
_GROUP = 50_000
_WARM = 1000


@dataclass(frozen=True, slots=True)
class Measured:
    """One contestant's round; *peak_mb* is its process's largest resident size."""

    name: str
    seconds: float
    rows: int
    bytes: int
    peak_mb: int


def generate(rows: int, path: Path) -> None:
    """A deterministic dataset of about 800 bytes a line; written once."""
    import numpy as np  # noqa: PLC0415 - a contestant's process loads what it needs, no more
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    if path.exists():
        return
    random = np.random.default_rng(20261121)
    words = np.array(_TEXT.split(" "))
    texts = [" ".join(words[random.integers(0, len(words), 85)]) for _ in range(_SEEDED_TEXTS)]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    writer = None
    for start in range(0, rows, _GROUP):
        numbers = range(start, min(start + _GROUP, rows))
        picks = random.integers(0, _SEEDED_TEXTS, len(numbers)).tolist()
        table = pa.table(
            {
                "id": [f"repo/{n}" for n in numbers],
                "title": [f"Repository {n} by someone" for n in numbers],
                "body": [f"{texts[pick]} {n}" for n, pick in zip(numbers, picks, strict=True)],
                "lang": [("en", "de", "日本語")[n % 3] for n in numbers],
                "stars": pa.array(random.integers(0, 100_000, len(numbers)), pa.int32()),
            }
        )
        writer = writer or pq.ParquetWriter(part, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()
    part.rename(path)


def ours(source: Path, work: Path, rows: int) -> int:
    """Lines, hashes, request table and shards, with the default memory limit."""
    from batch_pipeline.providers.openai_wire import OpenAIWire  # noqa: PLC0415 - see generate
    from batch_pipeline.settings import Settings  # noqa: PLC0415
    from batch_pipeline.spec import BatchJob  # noqa: PLC0415
    from batch_pipeline.stages.dataset import open_dataset  # noqa: PLC0415
    from batch_pipeline.stages.requests import build_requests  # noqa: PLC0415
    from batch_pipeline.stages.shards import choose, cut  # noqa: PLC0415

    prompt = "{{ title }} ({{ lang }}, {{ stars }} stars)\n{{ body }}"
    endpoint = "/v1/chat/completions"
    job = BatchJob.model_validate(
        {
            "name": "bench",
            "dataset": {"path": str(source), "key": "id"},
            "request": {"system": _SYSTEM, "prompt": prompt},
            "targets": [{"provider": "openai", "model": "gpt-5-nano", "endpoint": endpoint}],
        }
    )
    wire = OpenAIWire()
    with _duckdb(work, memory=Settings().memory, threads=Settings().threads) as con:
        built = build_requests(
            con,
            job=job,
            body=wire.body(job),
            envelope=wire.envelope(endpoint),
            limits=wire.limits(endpoint),
            selection=open_dataset(con, job.dataset, job.partitions).select("all"),
            partition="all",
            into=work / "requests",
        )
        pending = choose(
            con,
            tables=[built.table],
            held=[],
            outcomes=[],
            retried_kinds=["errored"],
            max_attempts=3,
        )
    shards = cut(
        pending,
        limits=wire.limits(endpoint),
        job=job.name,
        provider="openai",
        model="gpt-5-nano",
        endpoint=endpoint,
        into=work / "shards",
    )
    _check(sum(shard.requests for shard in shards), rows)
    return sum(shard.bytes for shard in shards)


def duckdb_copy(source: Path, work: Path, rows: int) -> int:
    """The same JSON by DuckDB alone: no hashes, no request table, no shards, no limits."""
    with _duckdb(work, memory="4GB", threads=2) as con:
        query = f"""
            COPY (SELECT id AS custom_id, 'POST' AS method, '/v1/chat/completions' AS url, {{
                model: 'gpt-5-nano',
                messages: [{{role: 'system', content: '{_SYSTEM}'}},
                           {{role: 'user', content: concat(title, ' (', lang, ', ', stars,
                                                           ' stars)', chr(10), body)}}]
            }} AS body FROM read_parquet('{source}')) TO '{work / "copy.jsonl"}' (FORMAT json)"""  # noqa: S608 - our own paths
        written = con.execute(query).fetchall()
    _check(int(written[0][0]), rows)
    return (work / "copy.jsonl").stat().st_size


def pandas_json(source: Path, work: Path, rows: int) -> int:
    """The ordinary script: read the frame, loop over its rows, json.dumps."""
    import pandas as pd  # type: ignore[import-untyped]  # noqa: PLC0415 - see generate

    frame = pd.read_parquet(source)
    with (work / "pandas.jsonl").open("w", encoding="utf-8") as out:
        for _, row in frame.iterrows():
            prompt = f"{row['title']} ({row['lang']}, {row['stars']} stars)\n{row['body']}"
            body = {
                "model": "gpt-5-nano",
                "messages": [
                    {"role": "system", "content": _SYSTEM},
                    {"role": "user", "content": prompt},
                ],
            }
            line = {"custom_id": row["id"], "method": "POST", "url": "/v1/chat/completions"}
            out.write(json.dumps({**line, "body": body}, ensure_ascii=False) + "\n")
    _check(len(frame), rows)
    return (work / "pandas.jsonl").stat().st_size


def cp(_source: Path, work: Path, rows: int) -> int:
    """What it takes to copy the finished lines, for scale; *ours* has to have run."""
    subprocess.run(  # noqa: S603 - our own paths
        ["/bin/cp", str(work / "requests" / "lines.jsonl"), str(work / "cp.jsonl")], check=True
    )
    _check(rows, rows)
    return (work / "cp.jsonl").stat().st_size


CONTESTANTS: Mapping[str, Callable[[Path, Path, int], int]] = {
    "ours": ours,
    "duckdb_copy": duckdb_copy,
    "pandas_json": pandas_json,
    "cp": cp,
}


def measure(name: str, rows: int, work: Path) -> Measured:
    """One round in a fresh process, on an empty place to write."""
    for left in (work / "shards", *work.glob("*.jsonl"), *_stale(name, work)):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.build", "--work", str(work), "--rows", str(rows)]
    done = subprocess.run(  # noqa: S603 - ourselves
        [*command, "--worker", name], check=True, capture_output=True, text=True
    )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def measured(name: str, rows: int, work: Path, *, rounds: int) -> Measured:
    """The median of *rounds* by seconds; peak_mb is the largest of them."""
    found = sorted((measure(name, rows, work) for _ in range(rounds)), key=lambda m: m.seconds)
    middle = median(each.seconds for each in found)
    peak = max(each.peak_mb for each in found)
    return Measured(name, round(middle, 3), rows, found[0].bytes, peak)


def main() -> None:
    """Run one worker, or every contestant in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=CONTESTANTS, action="append")
    parser.add_argument("--worker", choices=CONTESTANTS, help=argparse.SUPPRESS)
    said = parser.parse_args()
    source = said.work / f"rows-{said.rows}.parquet"
    if said.worker:
        print(json.dumps(asdict(_worker(said.worker, source, said.work, said.rows))))
        return
    generate(said.rows, source)
    for name in said.only or CONTESTANTS:
        print(json.dumps(asdict(measured(name, said.rows, said.work, rounds=said.rounds))))


def _worker(name: str, source: Path, work: Path, rows: int) -> Measured:
    # A small round first: imports and first touches are not what is compared.
    small = work / "warm" / "rows.parquet"
    generate(_WARM, small)
    if name != "cp":
        CONTESTANTS[name](small, work / "warm", _WARM)
    started = time.perf_counter()
    size = CONTESTANTS[name](source, work, rows)
    seconds = time.perf_counter() - started
    who = resource.RUSAGE_CHILDREN if name == "cp" else resource.RUSAGE_SELF
    peak = resource.getrusage(who).ru_maxrss // 1024
    return Measured(name, round(seconds, 3), rows, size, peak)


def _stale(name: str, work: Path) -> list[Path]:
    return [work / "requests"] if name == "ours" and (work / "requests").exists() else []


def _duckdb(work: Path, *, memory: str, threads: int) -> duckdb.DuckDBPyConnection:
    import duckdb  # noqa: PLC0415 - see generate

    return duckdb.connect(
        config={
            "memory_limit": memory,
            "threads": threads,
            "temp_directory": str(work / "scratch"),
        }
    )


def _check(written: int, rows: int) -> None:
    if written != rows:
        raise SystemExit(f"{written:,} rows were written of {rows:,}: no measurement.")


if __name__ == "__main__":
    main()
