"""The ledger's tables: rows per shard, batch, partition and account, never per request."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

from batch_pipeline.model import CanaryVerdict, HoldKind, Missed, RemoteStatus, ShardState

SCHEMA_VERSION = 5


class UtcTime(TypeDecorator[datetime]):
    """An aware time in and an aware UTC time out: UTC text in SQLite, timestamptz in Postgres."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Turn any aware time into UTC; ValueError for a naive one, whose zone nobody knows."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; the ledger keeps aware times only")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """SQLite returns the UTC fields without a zone, Postgres the session's zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _word(words: type[StrEnum]) -> Enum:
    """Text, not a native enum: a new word must not need a migration of the type."""
    return Enum(
        words,
        native_enum=False,
        create_constraint=False,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


_ID = String(255)
metadata = MetaData()

meta = Table("meta", metadata, Column("schema_version", Integer, primary_key=True))

locks = Table(
    "locks",
    metadata,
    Column("name", _ID, primary_key=True),
    Column("owner", _ID, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account", _ID, primary_key=True),
    Column("provider", String(64), nullable=False),
    Column("polled_at", UtcTime),
    Column("skew_seconds", Float),
)

shards = Table(
    "shards",
    metadata,
    Column("shard_id", _ID, primary_key=True),
    Column("job", _ID, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("provider", String(64), nullable=False),
    Column("model", _ID, nullable=False),
    Column("endpoint", _ID, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("options", JSON, nullable=False),
    Column("canary", String(64)),
    Column("simulated", Boolean, nullable=False, default=False),
    Column("state", _word(ShardState), nullable=False),
    Column("account", _ID),
    Column("intent", _ID),
    Column("batch_id", _ID),
    Column("run_id", _ID),
    Column("claimed_by", _ID),
    Column("claimed_at", UtcTime),
    Column("lease_until", UtcTime),
    Column("tries", Integer, nullable=False, default=0),
    Column("not_before", UtcTime),
    Column("message", Text),
    Column("missed", _word(Missed)),
    Column("missed_since", UtcTime),
    Column("looks", Integer, nullable=False, default=0),
    Column("look_at", UtcTime),
    Column("doubted_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("submitted_at", UtcTime),
    Column("updated_at", UtcTime, nullable=False),
    Index("shards_by_job", "job", "state"),
    Index("shards_by_account", "account", "state"),
    Index("shards_by_batch", "batch_id"),
)

shard_partitions = Table(
    "shard_partitions",
    metadata,
    Column("shard_id", _ID, ForeignKey("shards.shard_id"), primary_key=True),
    Column("partition", _ID, primary_key=True),
    Column("job", _ID, nullable=False),
    Column("requests", BigInteger, nullable=False),
    ForeignKeyConstraint(["job", "partition"], ["partitions.job", "partitions.partition"]),
    Index("shard_partitions_by_partition", "job", "partition"),
)

batches = Table(
    "batches",
    metadata,
    Column("account", _ID, ForeignKey("accounts.account"), primary_key=True),
    Column("batch_id", _ID, primary_key=True),
    Column("shard_id", _ID, ForeignKey("shards.shard_id"), nullable=False),
    Column("run_id", _ID),
    Column("status", _word(RemoteStatus), nullable=False),
    Column("raw_status", String(64), nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("expires_at", UtcTime),
    Column("results_until", UtcTime),
    Column("input_file_id", _ID),
    Column("output_file_id", _ID),
    Column("error_file_id", _ID),
    Column("one_file", Boolean, nullable=False, default=False),
    Column("made", Boolean, nullable=False, default=True),
    Column("problems", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("submitted_at", UtcTime, nullable=False),
    Column("observed_at", UtcTime, nullable=False),
    Column("collected_at", UtcTime),
    Column("rows_succeeded", BigInteger),
    Column("rows_failed", BigInteger),
    Column("failed_as", String(16)),
    Index("batches_by_shard", "shard_id"),
)

partitions = Table(
    "partitions",
    metadata,
    Column("job", _ID, primary_key=True),
    Column("partition", _ID, primary_key=True),
    Column("requests", BigInteger, nullable=False, default=0),
    Column("rejected", BigInteger, nullable=False, default=0),
    Column("digest", String(64), nullable=False, default=""),
    Column("succeeded", BigInteger, nullable=False, default=0),
    Column("failed", BigInteger, nullable=False, default=0),
    Column("retryable", BigInteger, nullable=False, default=0),
    Column("unanswered", BigInteger, nullable=False, default=0),
    Column("deferred", BigInteger, nullable=False, default=0),
    Column("collected", BigInteger, nullable=False, default=0),
    Column("landed", BigInteger, nullable=False, default=-1),
    Column("updated_at", UtcTime, nullable=False),
)

cuts = Table(
    "cuts",
    metadata,
    Column("shard_id", _ID, ForeignKey("shards.shard_id"), primary_key=True),
    Column("batch_id", _ID, primary_key=True),
    Column("since", UtcTime, nullable=False),
)

canaries = Table(
    "canaries",
    metadata,
    Column("job", _ID, primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("verdict", _word(CanaryVerdict), nullable=False),
    Column("reason", Text, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("mean_input_tokens", Float),
    Column("mean_output_tokens", Float),
    Column("decided_at", UtcTime, nullable=False),
)

holds = Table(
    "holds",
    metadata,
    Column("job", _ID, primary_key=True),
    Column("partition", _ID, primary_key=True),
    Column("kind", _word(HoldKind), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("until", UtcTime),
)

asked = Table(
    "asked",
    metadata,
    Column("job", _ID, primary_key=True),
    Column("partition", _ID, primary_key=True),
    Column("run_id", _ID, primary_key=True),
    Column("asked_at", UtcTime, nullable=False),
    Column("to_build", Boolean, nullable=False),
    Column("by_hand", Boolean, nullable=False),
    Column("options", JSON, nullable=False),
    Column("owner", _ID),
    Column("busy_until", UtcTime),
    Column("problem", Text),
)

UPGRADES = {
    1: (
        "ALTER TABLE shards ADD COLUMN options JSON NOT NULL DEFAULT '{{}}'",
        "ALTER TABLE shards ADD COLUMN canary VARCHAR(64)",
        "ALTER TABLE batches ADD COLUMN results_until {time}",
        "ALTER TABLE partitions ADD COLUMN deferred BIGINT NOT NULL DEFAULT 0",
    ),
    2: (
        "ALTER TABLE batches ADD COLUMN failed_as VARCHAR(16)",
        "ALTER TABLE accounts ADD COLUMN skew_seconds FLOAT",
        "ALTER TABLE shards ADD COLUMN missed VARCHAR(16)",
        "ALTER TABLE shards ADD COLUMN missed_since {time}",
        "ALTER TABLE shards ADD COLUMN looks INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE shards ADD COLUMN look_at {time}",
        "ALTER TABLE shards ADD COLUMN doubted_at {time}",
        # one look without an answer was final: these are looked at again, for free
        """
        UPDATE shards
        SET missed = 'batch', missed_since = updated_at, looks = 1, look_at = updated_at
        WHERE state = 'failed' AND batch_id IS NOT NULL
        """,
    ),
    3: (
        # what version 3 called so, for ledgers that come from before it
        """
        CREATE TABLE IF NOT EXISTS holds (
            job VARCHAR(255) NOT NULL, partition VARCHAR(255) NOT NULL, kind VARCHAR(16) NOT NULL,
            reason TEXT NOT NULL, since {time} NOT NULL, PRIMARY KEY (job, partition, kind)
        )
        """,
        "ALTER TABLE holds ADD COLUMN until {time}",
        # one text was a person's hold or a canary's, told apart by how it began
        """
        INSERT INTO holds (job, partition, kind, reason, since)
        SELECT job, partition, CASE WHEN held LIKE 'canary: %' THEN 'canary' ELSE 'person' END,
            held, updated_at
        FROM partitions WHERE held IS NOT NULL
        """,
        "ALTER TABLE partitions DROP COLUMN held",
        # what ids and empty names said has columns of its own
        "ALTER TABLE shards ADD COLUMN simulated BOOLEAN NOT NULL DEFAULT FALSE",
        """
        UPDATE shards SET simulated = TRUE
        WHERE batch_id LIKE '%simulated%' OR batch_id LIKE 'facade00-%'
        """,
        "ALTER TABLE batches ADD COLUMN one_file BOOLEAN NOT NULL DEFAULT FALSE",
        """
        UPDATE batches SET one_file = TRUE, error_file_id = NULL, input_file_id = NULL
        WHERE error_file_id = ''
        """,
        "ALTER TABLE batches ADD COLUMN made BOOLEAN NOT NULL DEFAULT TRUE",
        "UPDATE batches SET made = FALSE WHERE batch_id LIKE 'refused_upload_%'",
    ),
    4: (),
}
"""What brings a ledger of that version to the next one; new tables are made besides."""
