"""From result files to typed Parquet: ours beside DuckDB's plain read_json of the same lines.

Ours decodes, checks against a schema of four fields, prices and lands; the baseline only copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measuring import Contest, Contestant, check, connected

if TYPE_CHECKING:
    from pydantic import JsonValue

_SHARD = 50_000
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
    with connected(folder, memory="1GB") as con:
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
    from batch_pipeline.providers.openai.decode import decode_sql  # noqa: PLC0415
    from batch_pipeline.settings import Settings  # noqa: PLC0415
    from batch_pipeline.stages.results.land import Landing, land  # noqa: PLC0415
    from batch_pipeline.stages.results.outcomes import decode_shard  # noqa: PLC0415

    endpoint = "/v1/chat/completions"
    outcomes = []
    with connected(work, memory=Settings().memory) as con:
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
        [landed] = land(
            con,
            [Landing(source / "requests.parquet", outcomes, into)],
            outcomes=outcomes,
            key_columns=["id"],
            schema=_SCHEMA,
            priced=Prices(_ON),
            retried_kinds=[],
            max_attempts=3,
        )
    check(landed.succeeded, rows)
    return into.stat().st_size


def read_json(source: Path, work: Path, rows: int) -> int:
    """The same lines to Parquet by DuckDB alone: no checks, no joins, no types of the answers."""
    (work / "plain").mkdir(exist_ok=True)
    into = work / "plain" / "plain.parquet"
    with connected(work, memory="4GB") as con:
        query = f"SELECT * FROM read_json('{source}/*.output.jsonl')"  # noqa: S608 - our own paths
        con.execute(f"COPY ({query}) TO '{into}' (FORMAT parquet, COMPRESSION zstd)")
        written = con.execute(f"SELECT count(*) FROM '{into}'").fetchall()  # noqa: S608
    check(int(written[0][0]), rows)
    return into.stat().st_size


CONTESTANTS: Mapping[str, Contestant] = {"ours": ours, "duckdb read_json": read_json}
CONTEST = Contest("collect", "Collecting results", CONTESTANTS, generate, "lines-{rows}")
