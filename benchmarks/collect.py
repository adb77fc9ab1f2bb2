"""From result files to typed Parquet: ours beside DuckDB's plain read_json of the same lines.

python -m benchmarks.collect --rows 500000 --work /tmp/bench [--rounds 3] [--only NAME]
prints one JSON object per contestant: {name, seconds, rows, bytes, peak_mb}, the median round.
Ours decodes, checks against a schema of four fields, prices and lands; the baseline only copies.
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
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.build import Measured

if TYPE_CHECKING:
    import duckdb
    from pydantic import JsonValue

_SHARD = 50_000
_WARM = 1000
_ON = datetime(2026, 11, 21, tzinfo=UTC)
_SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["spam", "ham"]},
        "score": {"type": "number"},
        "reason": {"type": "string"},
        "count": {"type": "integer"},
    },
    "required": ["label", "score", "reason", "count"],
    "additionalProperties": False,
}
_IDS = "'row-' || i || '-' || substr(sha256(i::VARCHAR), 1, 16)"
_REQUESTS = f"""
    SELECT 'all' AS partition, i AS id, i::VARCHAR AS key, {_IDS} AS custom_id,
        sha256('body ' || i) AS content_hash, 0::BIGINT AS "offset", 900::BIGINT AS bytes,
        NULL::VARCHAR AS rejected
    FROM range({{rows}}) AS numbers(i) ORDER BY i
"""  # noqa: S608 - literals of this file
_SHARD_REQUESTS = f"""
    SELECT 'all' AS partition, i::VARCHAR AS key, {_IDS} AS custom_id,
        sha256('body ' || i) AS content_hash, '{{name}}' AS shard, i - {{start}} + 1 AS line,
        0::BIGINT AS "offset", 900::BIGINT AS bytes
    FROM range({{start}}, {{stop}}) AS numbers(i) ORDER BY i
"""  # noqa: S608 - literals of this file
# About 850 bytes a line, in an order of their own, as a provider returns them.
_LINES = f"""
    SELECT json_object(
        'id', 'batch_req_' || md5(i::VARCHAR), 'custom_id', {_IDS},
        'response', json_object(
            'status_code', 200, 'request_id', 'req_' || md5('r' || i),
            'body', json_object(
                'id', 'chatcmpl-' || md5('c' || i), 'object', 'chat.completion',
                'created', 1711652795, 'model', 'gpt-5-nano-2025-08-07',
                'choices', [json_object(
                    'index', 0, 'message', json_object(
                        'role', 'assistant',
                        'content', json_object(
                            'label', if(i % 3 = 0, 'spam', 'ham'), 'score', (i % 1000) / 1000,
                            'reason', 'because of ' || sha256('a' || i) || ' ' || sha256('b' || i),
                            'count', i % 100
                        )::VARCHAR,
                        'refusal', NULL
                    ), 'logprobs', NULL, 'finish_reason', 'stop'
                )],
                'usage', json_object(
                    'prompt_tokens', 200 + i % 200, 'completion_tokens', 40 + i % 40,
                    'total_tokens', 240 + i % 200 + i % 40,
                    'prompt_tokens_details', json_object('cached_tokens', i % 2 * 128),
                    'completion_tokens_details', json_object('reasoning_tokens', i % 8)
                )
            )
        ), 'error', NULL
    )::VARCHAR || chr(10) AS line
    FROM range({{start}}, {{stop}}) AS numbers(i) ORDER BY hash(i)
"""  # noqa: S608 - literals of this file


def generate(rows: int, folder: Path) -> None:
    """Result files of whole shards with their request tables; written once."""
    if (folder / "requests.parquet").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _duckdb(folder) as con:
        for start in range(0, rows, _SHARD):
            name, stop = f"shard{start // _SHARD:04}", min(start + _SHARD, rows)
            query = _SHARD_REQUESTS.format(name=name, start=start, stop=stop)
            con.execute(f"COPY ({query}) TO '{folder / name}.requests.parquet'")
            lines = con.sql(_LINES.format(start=start, stop=stop)).to_arrow_table()["line"]
            with (folder / f"{name}.output.jsonl").open("w", encoding="utf-8") as out:
                for chunk in lines.chunks:
                    out.writelines(chunk.to_pylist())
        query = _REQUESTS.format(rows=rows)
        part = folder / "requests.part"
        con.execute(f"COPY ({query}) TO '{part}' (FORMAT parquet, COMPRESSION zstd)")
    part.rename(folder / "requests.parquet")


def ours(source: Path, work: Path, rows: int) -> int:
    """Outcomes of every shard, checked, then results of the partition, typed and priced."""
    from batch_pipeline.model import Shard  # noqa: PLC0415 - a contestant loads what it needs
    from batch_pipeline.prices.find import Prices  # noqa: PLC0415
    from batch_pipeline.providers.openai_decode import decode_sql  # noqa: PLC0415
    from batch_pipeline.settings import Settings  # noqa: PLC0415
    from batch_pipeline.stages.outcomes import decode_shard  # noqa: PLC0415
    from batch_pipeline.stages.results import land  # noqa: PLC0415

    endpoint = "/v1/chat/completions"
    outcomes = []
    with _duckdb(work, memory=Settings().memory) as con:
        for lines in sorted(source.glob("*.output.jsonl")):
            name = lines.name.partition(".")[0]
            outcomes.append(work / "ours" / f"{name}.parquet")
            decode_shard(
                con,
                shard=Shard(name, "bench", 1, "openai", "gpt-5-nano", endpoint, _SHARD, 1, "d"),
                requests=source / f"{name}.requests.parquet",
                files=[(lines, "output")],
                decode_sql=decode_sql(endpoint),
                schema=_SCHEMA,
                observation=None,
                into=outcomes[-1],
            )
        into = work / "ours" / "results.parquet"
        landed = land(
            con,
            requests=source / "requests.parquet",
            outcomes=outcomes,
            key_columns=["id"],
            schema=_SCHEMA,
            priced=Prices(_ON),
            into=into,
            retried_kinds=[],
            max_attempts=3,
        )
    _check(landed.succeeded, rows)
    return into.stat().st_size


def read_json(source: Path, work: Path, rows: int) -> int:
    """The same lines to Parquet by DuckDB alone: no checks, no joins, no types of the answers."""
    (work / "plain").mkdir(exist_ok=True)
    into = work / "plain" / "plain.parquet"
    with _duckdb(work, memory="4GB") as con:
        query = f"SELECT * FROM read_json('{source}/*.output.jsonl')"  # noqa: S608 - our own paths
        con.execute(f"COPY ({query}) TO '{into}' (FORMAT parquet, COMPRESSION zstd)")
        written = con.execute(f"SELECT count(*) FROM '{into}'").fetchall()  # noqa: S608
    _check(int(written[0][0]), rows)
    return into.stat().st_size


CONTESTANTS: Mapping[str, Callable[[Path, Path, int], int]] = {
    "ours": ours,
    "read_json": read_json,
}


def measured(name: str, rows: int, work: Path, *, rounds: int) -> Measured:
    """The median of *rounds* by seconds, each in a fresh process; peak_mb is the largest."""
    found = sorted((_measure(name, rows, work) for _ in range(rounds)), key=lambda m: m.seconds)
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
    source = said.work / f"lines-{said.rows}"
    if said.worker:
        print(json.dumps(asdict(_worker(said.worker, source, said.work, said.rows))))
        return
    generate(_WARM, said.work / f"lines-{_WARM}")
    generate(said.rows, source)
    for name in said.only or CONTESTANTS:
        print(json.dumps(asdict(measured(name, said.rows, said.work, rounds=said.rounds))))


def _measure(name: str, rows: int, work: Path) -> Measured:
    for left in ("ours", "plain"):
        shutil.rmtree(work / left, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.collect", "--work", str(work), "--rows", str(rows)]
    done = subprocess.run(  # noqa: S603 - ourselves
        [*command, "--worker", name], check=True, capture_output=True, text=True
    )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _worker(name: str, source: Path, work: Path, rows: int) -> Measured:
    # A small round first: imports and first touches are not what is compared.
    CONTESTANTS[name](work / f"lines-{_WARM}", work, _WARM)
    started = time.perf_counter()
    size = CONTESTANTS[name](source, work, rows)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Measured(name, round(seconds, 3), rows, size, peak)


def _duckdb(work: Path, *, memory: str = "1GB") -> duckdb.DuckDBPyConnection:
    import duckdb  # noqa: PLC0415 - see ours

    con = duckdb.connect(
        config={
            "memory_limit": memory,
            "threads": 2,
            "temp_directory": str(work / "scratch"),
        }
    )
    con.execute("SET enable_progress_bar = false")  # it would print beside our JSON
    return con


def _check(written: int, rows: int) -> None:
    if written != rows:
        raise SystemExit(f"{written:,} rows came out of {rows:,}: no measurement.")


if __name__ == "__main__":
    main()
