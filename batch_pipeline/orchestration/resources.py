"""The one resource the assets fetch: where the pipeline's store and ledger are."""

from __future__ import annotations

import os
from dataclasses import replace

import dagster as dg

from batch_pipeline.pipeline import Pipeline
from batch_pipeline.settings import Settings
from batch_pipeline.spec import BatchJob


class PipelineResource(dg.ConfigurableResource[None]):
    """Settings for every job of a code location; what is left out comes from the environment.

    API keys are read from the environment by the provider's client alone, never from here.
    """

    store: str | None = None
    ledger_url: str | None = None
    poll_seconds: float | None = None

    def open(self, job: BatchJob, *, hurried: bool = False) -> Pipeline:
        """The job's shell; a context manager. A sensor's tick is *hurried*: it never waits long."""
        return Pipeline.open(job, settings=self.settings(), hurried=hurried)

    def settings(self) -> Settings:
        """The environment's settings with this resource's own over them."""
        known = Settings.from_env(os.environ)
        return replace(
            known,
            store=self.store or known.store,
            ledger_url=self.ledger_url or known.ledger_url,
            poll_seconds=self.poll_seconds or known.poll_seconds,
        )


PIPELINE = PipelineResource()
"""One object for every job: Dagster takes a resource that is there already, if it is the same."""
