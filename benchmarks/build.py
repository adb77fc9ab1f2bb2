"""From Parquet to request files: ours beside DuckDB's COPY, pandas with a JSON loop, and cp."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measuring import Contest, Contestant, check, connected

_SYSTEM = "You label repositories. Answer with one word."
_TEXT = (
    "the quick brown fox jumps over a lazy dog while five wizards pack my box with liquor jugs "
    'data model batch "quoted" back\\slash new\nline naïve 日本 tokens rows columns 🤖 shard'
)
_SEEDED_TEXTS = 1000
_GROUP = 50_000


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
    duckdb_copy(path, path.parent, rows)  # the lines, for whoever only copies them
    (path.parent / "copy.jsonl").rename(path.with_suffix(".jsonl"))


def ours(source: Path, work: Path, rows: int) -> int:
    """Lines, hashes, request table and shards, with the default memory limit."""
    from batch_pipeline.model import BuiltTarget  # noqa: PLC0415 - see generate
    from batch_pipeline.providers.openai.codec import OpenAICodec  # noqa: PLC0415
    from batch_pipeline.settings import Settings  # noqa: PLC0415
    from batch_pipeline.spec import BatchJob  # noqa: PLC0415
    from batch_pipeline.stages.requests.build import Building, CompiledTarget, build_requests  # noqa: PLC0415
    from batch_pipeline.stages.requests.dataset import open_dataset  # noqa: PLC0415
    from batch_pipeline.stages.shards.cut import choose, cut  # noqa: PLC0415

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
    wire, (target,) = OpenAICodec(), job.targets
    aim = CompiledTarget(
        BuiltTarget(target.name, target.provider, target.model, endpoint),
        when=None,
        body=wire.body(job, target),
        envelope=wire.envelope(endpoint),
        limits=wire.limits(endpoint),
    )
    selection = open_dataset(job.dataset, job.partitions).select("all")
    with connected(work, memory=Settings().memory, threads=Settings().threads) as con:
        built = build_requests(
            con,
            job=job,
            targets=[aim],
            partitions={"all": Building(selection, work / "requests")},
        )["all"]
        pending = choose(
            con,
            tables=[built.table],
            held=[],
            outcomes=[],
            retried_kinds=["errored"],
            max_attempts=3,
        )
    shards = cut(pending, limits=lambda _: aim.limits, job=job.name, into=work / "shards")
    check(sum(shard.requests for shard in shards), rows)
    return sum(shard.bytes for shard in shards)


def duckdb_copy(source: Path, work: Path, rows: int) -> int:
    """The same JSON by DuckDB alone: no hashes, no request table, no shards, no limits."""
    with connected(work, memory="4GB") as con:
        query = f"""
            COPY (SELECT id AS custom_id, 'POST' AS method, '/v1/chat/completions' AS url, {{
                model: 'gpt-5-nano',
                messages: [{{role: 'system', content: '{_SYSTEM}'}},
                           {{role: 'user', content: concat(title, ' (', lang, ', ', stars,
                                                           ' stars)', chr(10), body)}}]
            }} AS body FROM read_parquet('{source}')) TO '{work / "copy.jsonl"}' (FORMAT json)"""  # noqa: S608 - our own paths
        written = con.execute(query).fetchall()
    check(int(written[0][0]), rows)
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
    check(len(frame), rows)
    return (work / "pandas.jsonl").stat().st_size


def cp(source: Path, work: Path, rows: int) -> int:
    """Copying finished lines, for scale: what the disk alone takes."""
    into = work / "cp.jsonl"
    shutil.copyfile(source.with_suffix(".jsonl"), into)
    check(rows, rows)
    return into.stat().st_size


CONTESTANTS: Mapping[str, Contestant] = {
    "ours": ours,
    "duckdb COPY": duckdb_copy,
    "pandas + json": pandas_json,
    "cp": cp,
}
CONTEST = Contest("build", "Building requests", CONTESTANTS, generate, "rows-{rows}.parquet")
