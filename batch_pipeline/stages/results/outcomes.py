"""Raw result files to outcomes: exactly one row per request of a shard, in the shard's own order.

Of several lines of an id a success counts, else an answer that was paid for, else the first that
can be read; the others are counted as duplicates, with what they had cost. Lines of ids that
are not the shard's, or that nobody can read, are kept with their exact bytes in
`<shard>.unknown.jsonl` beside the outcomes. Needs no network and may be run again: equal files
give equal bytes.
"""
# ruff: noqa: S608 - queries are built from literals of this package and quoted paths

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from batch_pipeline.model import FailureKind, Observation, Shard, Usage
from batch_pipeline.prices.sql import UNKNOWN_USAGE
from batch_pipeline.stages.results import lines, validate
from batch_pipeline.stages.results.bounded_tables import regrouped, rows_within, write_groups
from batch_pipeline.stages.results.decode import decode, salvage
from batch_pipeline.stages.results.lines import Files
from batch_pipeline.stages.results.oddities import Oddities
from batch_pipeline.stages.results.unanswered import LINE_TOO_LONG, absence, cut_off
from batch_pipeline.stages.schemas import JUDGED, OUTCOME_COLUMNS, OUTCOMES, REPEATING, Source
from batch_pipeline.stages.sql import literal
from batch_pipeline.whole_files import written_aside

_GROUP_ROWS = 8192  # small groups: results pick single rows out of them
_BLAMED = pa.schema(
    [("line", pa.int64())]
    + [(name, pa.string()) for name in ("failure", "error_code", "error_message")]
)
_ANSWERED = "(failure IS NULL OR failure IN ('truncated', 'refused', 'invalid', 'empty'))"


# The line of an id decides; without one the batch's own list of problems, then its status.


def _decided(name: str, *first: str) -> str:
    """SQL of what the line says of a failure, else the batch's list, else the batch."""
    return f"""CASE {" ".join(first)} WHEN d.position IS NOT NULL THEN d.{name}
        WHEN b.line IS NOT NULL THEN b.{name} ELSE f.{name} END"""


_KNOWN_HERE = {
    "model": "coalesce(d.model, f.model)",
    "status": "CASE WHEN d.status = 'succeeded' THEN d.status ELSE 'failed' END",
    "failure": _decided("failure"),
    "error_code": _decided(
        "error_code", f"WHEN s.too_long IS NOT NULL THEN {literal(LINE_TOO_LONG)}"
    ),
    "error_message": _decided(
        "error_message",
        "WHEN s.too_long IS NOT NULL THEN s.too_long",
        "WHEN s.unreadable THEN 'The result line cannot be read; see raw.'",
    ),
    "raw": "s.raw",
}
_TABLES = {Source.REQUEST: "r", Source.BATCH: "f", Source.ANSWER: "d"}
_COLUMNS = ", ".join(
    f"{_KNOWN_HERE.get(one.name, f'{_TABLES[one.source]}.{one.name}')} AS {one.name}"
    for one in OUTCOME_COLUMNS
)


@dataclass(frozen=True, slots=True)
class OutcomesDecoded:
    """What a shard's result files held."""

    requests: int
    succeeded: int
    failed: int
    by_failure: dict[str, int] = field(default_factory=dict)
    odd: Oddities = field(default_factory=Oddities)
    passed_over: Usage = field(default_factory=Usage)  # what duplicate lines say was counted
    absent: dict[str, int] = field(default_factory=dict)  # requests without a line, by partition
    withheld: tuple[str | None, str | None] | None = None  # code and words of most withheld rows


def decode_shard(  # noqa: PLR0913 - what a shard is decoded from, each named by its caller
    con: duckdb.DuckDBPyConnection,
    *,
    shard: Shard,
    requests: Path,
    files: Files,
    decode_sql: str,
    schema: dict[str, JsonValue] | None,
    observation: Observation | None,
    into: Path,
    short: str | None = None,
) -> OutcomesDecoded:
    """Write *into* (OUTCOMES) from the raw *files* and the shard's request table.

    *decode_sql* comes from the provider's codec, *schema* is the job's output schema,
    *observation* the last look at the batch: it explains requests that no file names, unless
    the files are *short* of what it promises.
    """
    judge = None if schema is None else validate.Judge(schema)
    try:
        decode(con, decode_sql, files)
        unreadable = salvage(con, files)
        duplicates = _pick(con, requests)
        size = sum(path.stat().st_size for path, _ in files)
        group = rows_within(size, rows=shard.requests, at_most=_GROUP_ROWS)
        facts, blamed = _facts(shard, observation, short), _blamed(observation)
        rows = _rows(con, requests, facts, blamed, group)
        unknown = _quarantine(con, files, into.with_name(f"{into.stem}.unknown.jsonl"))
        odd = Oddities(duplicates, unknown, unreadable, _without_usage(con))
        footer = odd.footer() | ({} if judge is None else JUDGED)
        with written_aside(into) as part:
            outcomes = OUTCOMES.with_metadata(footer) if footer else OUTCOMES
            write_groups(part, outcomes, _checked(rows, judge), repeating=REPEATING)
        by_failure = _by_failure(con, into)
        requested, failed = pq.read_metadata(into).num_rows, sum(by_failure.values())
        return OutcomesDecoded(
            requests=requested,
            succeeded=requested - failed,
            failed=failed,
            by_failure=by_failure,
            odd=odd,
            passed_over=_passed_over(con) if duplicates else Usage(),
            absent=_absent(con, requests),
            withheld=_withheld(con, into),
        )
    finally:
        for name in ("decoded", "salvaged", "named", "picked"):
            con.execute(f"DROP TABLE IF EXISTS temp.{name}")


def _pick(con: duckdb.DuckDBPyConnection, requests: Path) -> int:
    """Choose the line that speaks for each request; return how many others spoke for it too."""
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE named AS
        WITH ids AS (
            SELECT position, custom_id,
                CASE WHEN failure IS NULL THEN 0 WHEN {_ANSWERED} THEN 1 ELSE 2 END AS rank
            FROM decoded WHERE failure IS DISTINCT FROM 'unreadable'
            UNION ALL SELECT position, id, 3 FROM salvaged WHERE unreadable
        )
        SELECT position, rank, r.line
        FROM ids LEFT JOIN {_parquet(requests)} AS r USING (custom_id)
        """
    )
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE picked AS
        SELECT line, min({'rank': rank, 'position': position}).position AS position
        FROM named WHERE line IS NOT NULL GROUP BY line
        """
    )
    return _count(con, "FROM named WHERE line IS NOT NULL") - _count(con, "FROM picked")


def _rows(
    con: duckdb.DuckDBPyConnection,
    requests: Path,
    facts: pa.Table,
    blamed: pa.Table,
    group: int,
) -> Iterator[pa.Table]:
    """The OUTCOMES rows in the shard's order, in tables of *group* rows."""
    con.register("facts", facts)
    con.register("blamed", blamed)
    try:
        rows = con.sql(
            f"""
            SELECT {_COLUMNS} FROM {_parquet(requests)} AS r CROSS JOIN facts AS f
            LEFT JOIN picked AS p ON p.line = r.line
            LEFT JOIN decoded AS d ON d.position = p.position
            LEFT JOIN salvaged AS s ON s.position = p.position
            LEFT JOIN blamed AS b ON b.line = r.line
            ORDER BY r.line
            """
        )
        yield from regrouped(rows.to_arrow_reader(group), OUTCOMES, group)
    finally:
        con.unregister("facts")
        con.unregister("blamed")


def _facts(shard: Shard, observation: Observation | None, short: str | None) -> pa.Table:
    """What all rows of the shard share, and the verdict on absent ones, as one row."""
    every = absence(observation).every if short is None else cut_off(short)
    row = {
        "shard": shard.shard_id,
        "attempt": shard.attempt,
        "provider": shard.provider,
        "model": shard.model,
        "batch_id": shard.batch_id,
        "run_id": shard.run_id,
        "failure": every.failure.value,
        "error_code": every.error_code,
        "error_message": every.error_message,
        "ended_at": None if observation is None else observation.ended_at,
    }
    return pa.Table.from_pylist([row], schema=pa.schema([OUTCOMES.field(name) for name in row]))


def _blamed(observation: Observation | None) -> pa.Table:
    """The lines that the provider named when it refused the batch."""
    rows = [
        {
            "line": line,
            "failure": verdict.failure.value,
            "error_code": verdict.error_code,
            "error_message": verdict.error_message,
        }
        for line, verdict in absence(observation).lines.items()
    ]
    return pa.Table.from_pylist(rows, schema=_BLAMED)


def _checked(rows: Iterator[pa.Table], judge: validate.Judge | None) -> Iterator[pa.Table]:
    return rows if judge is None else (validate.validated(table, judge) for table in rows)


def _quarantine(con: duckdb.DuckDBPyConnection, files: Files, into: Path) -> int:
    """Keep the lines of nobody, byte for byte; without any, an earlier run's file goes."""
    positions = [
        position
        for (position,) in con.execute(
            "SELECT position FROM named WHERE line IS NULL ORDER BY position"
        ).fetchall()
    ]
    if not positions:
        into.unlink(missing_ok=True)
        return 0
    with written_aside(into) as part, part.open("wb") as handle:
        lines.copied(files, positions, handle)
    return len(positions)


def _without_usage(con: duckdb.DuckDBPyConnection) -> int:
    return _count(con, f"FROM decoded SEMI JOIN picked USING (position) WHERE {UNKNOWN_USAGE}")


def _by_failure(con: duckdb.DuckDBPyConnection, outcomes: Path) -> dict[str, int]:
    return dict(
        con.execute(
            f"""
            SELECT failure, count(*) FROM {_parquet(outcomes)}
            WHERE failure IS NOT NULL GROUP BY failure ORDER BY failure
            """
        ).fetchall()
    )


def _absent(con: duckdb.DuckDBPyConnection, requests: Path) -> dict[str, int]:
    return dict(
        con.execute(
            f"""
            SELECT partition, count(*) FROM {_parquet(requests)} ANTI JOIN picked USING (line)
            GROUP BY partition ORDER BY partition
            """
        ).fetchall()
    )


def _withheld(
    con: duckdb.DuckDBPyConnection, outcomes: Path
) -> tuple[str | None, str | None] | None:
    found = con.execute(
        f"""
        SELECT error_code, min(error_message) FROM {_parquet(outcomes)}
        WHERE failure = {literal(FailureKind.WITHHELD.value)}
        GROUP BY error_code ORDER BY count(*) DESC, error_code LIMIT 1
        """
    ).fetchone()
    return None if found is None else (found[0], found[1])


def _passed_over(con: duckdb.DuckDBPyConnection) -> Usage:
    """What lines that do not speak for their request say was counted for them."""
    return Usage(
        *con.execute(
            """
            SELECT sum(input_tokens)::BIGINT, sum(cached_input_tokens)::BIGINT,
                sum(cache_write_tokens)::BIGINT, sum(output_tokens)::BIGINT,
                sum(reasoning_tokens)::BIGINT
            FROM decoded SEMI JOIN (
                SELECT position FROM named WHERE line IS NOT NULL
                EXCEPT SELECT position FROM picked
            ) USING (position)
            """
        ).fetchall()[0]
    )


def with_missing_rows(con: duckdb.DuckDBPyConnection, outcomes: Sequence[Path]) -> set[Path]:
    """Those of the files with a row that no result file named."""
    if not outcomes:
        return set()
    paths = ", ".join(literal(str(path)) for path in outcomes)
    found = con.execute(
        f"""
        SELECT DISTINCT filename FROM read_parquet([{paths}], filename = true,
            hive_partitioning = false) WHERE failure = 'missing'
        """
    ).fetchall()
    return {Path(name) for (name,) in found}


def _count(con: duckdb.DuckDBPyConnection, source: str) -> int:
    return int(con.execute(f"SELECT count(*) {source}").fetchall()[0][0])


def _parquet(path: Path) -> str:
    """The file's own columns: a folder named a=b must not add or replace one."""
    return f"read_parquet({literal(str(path))}, hive_partitioning = false)"
