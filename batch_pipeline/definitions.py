"""The code location: every job under defs/, and the one resource they share."""

from pathlib import Path

import dagster as dg

from batch_pipeline.components.batch_job import PIPELINE


@dg.definitions
def defs() -> dg.Definitions:
    """Jobs found by their YAML files; steps run in the run's own process."""
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(
            resources={"pipeline": PIPELINE},
            executor=dg.in_process_executor,
        ),
    )
