"""How our errors reach people who look at Dagster: what to do, or a retry where time helps."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from batch_pipeline.errors import BatchPipelineError, ProviderError, Throttled, Unavailable
from batch_pipeline.pipeline.store_errors import said

_RETRIES = 3
_WAIT_SECONDS = 30.0


@contextmanager
def surfaced() -> Iterator[None]:
    """Turn an error of ours into `RetryRequested` when time mends it, else into `Failure`."""
    try:
        with said():
            yield
    except (Throttled, Unavailable) as error:
        wait = getattr(error, "retry_after", None) or _WAIT_SECONDS
        raise dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=wait) from error
    except BatchPipelineError as error:
        raise failure(error) from None


def failure(error: BatchPipelineError) -> dg.Failure:
    """A failure that says what to do, and that a retry of the step would not help."""
    return dg.Failure(
        description=str(error),
        metadata={"kind": type(error).__name__, "what to do": dg.MetadataValue.md(advice(error))},
        allow_retries=False,
    )


def advice(error: BatchPipelineError) -> str:
    """The next move for a person, by the kind of error."""
    if isinstance(error, ProviderError):
        return (
            "Nothing is lost: batches at the provider go on and are collected. "
            "Mend the cause, then materialize `batches` again for the same partitions; "
            "only what was not sent goes out."
        )
    return "Mend what the message names, then materialize the same partitions again."
