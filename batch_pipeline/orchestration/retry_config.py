"""What a person fills in to send rows again: typed fields that say what they do and cost."""

from enum import Enum

import dagster as dg
from pydantic import Field

from batch_pipeline.stages.shards.cut import Only


class FailedAs(Enum):
    """The kinds of failures as Dagster's launchpad offers them: it goes by the members' names."""

    errored = "errored"
    rejected = "rejected"
    expired = "expired"
    cancelled = "cancelled"
    missing = "missing"
    refused = "refused"
    truncated = "truncated"
    invalid = "invalid"
    unreadable = "unreadable"
    withheld = "withheld"
    empty = "empty"


class BatchesConfig(dg.Config):
    """What a run sends again; empty means: whatever the job's own retry policy says."""

    failure_kinds: list[FailedAs] = Field(
        default_factory=list,
        description="Send every row whose latest failure is of these kinds: [truncated, refused]. "
        "Goes beyond retry.max_attempts. Each row is the same request again and is paid again, at "
        "about what it cost the last time; `errored` and `expired` rows were not billed before.",
    )
    custom_ids: list[str] = Field(
        default_factory=list,
        description="Send these failed rows and no others, by the custom_id that results and the "
        "table of failed rows show. Each is paid again; one that has been answered is not sent.",
    )
    failed_in_run: str | None = Field(
        default=None,
        description="The id of a Dagster run: send what failed of the rows it had sent, or had "
        "collected. What was answered, or sent again, since then is not sent. Each row is paid "
        "again.",
    )
    lost: bool = Field(
        default=False,
        description="Give up batches that are gone at the provider, or never end, and send their "
        "rows again. The provider may bill both sendings.",
    )
    lift_holds: bool = Field(
        default=True,
        description="Also send what a person had cancelled, or what was refused on sending: "
        "rows that were never answered, at their first price.",
    )

    release: bool = Field(
        default=False,
        description="Send the rows that a failed canary holds, or that may have been answered "
        "under other names: look at the results first, for it may be the rest of the job, and the "
        "latter are then paid twice.",
    )

    def only(self) -> Only | None:
        """The selection, or None when nothing was named."""
        if not (self.failure_kinds or self.custom_ids or self.failed_in_run):
            return None
        return Only(
            custom_ids=tuple(self.custom_ids) or None,
            kinds=tuple(kind.value for kind in self.failure_kinds) or None,
            run_id=self.failed_in_run,
        )


class RetryConfig(BatchesConfig):
    """The same for `<job>_retry_failed`, which may be about any partitions."""

    partitions: list[str] = Field(
        default_factory=list,
        description="The partitions to look at, one by one or as a range: [2026-01-01, "
        "2026-01-05...2026-01-09]. Empty: the run's own partition; without one, what failed_in_run "
        "or custom_ids name. The fields below choose among the failed rows of these.",
    )

    def given(self) -> dict[str, bool | str | list[str]]:
        """What was filled in, as a config gives it."""
        said: dict[str, bool | str | list[str]] = self.model_dump(
            mode="json", exclude_defaults=True
        )
        return said
