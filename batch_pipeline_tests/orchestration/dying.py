"""A submit run of Dagster in a process of its own that is killed at one exact place.

Arguments: a folder with `dagster.yaml`, and one JSON of the job, its partitions and the place.
"""

from __future__ import annotations

import json
import sys

import dagster as dg

from batch_pipeline.orchestration.build import build_defs
from batch_pipeline.orchestration.local import LocalDagster
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.crashing import arm

if __name__ == "__main__":
    said = json.loads(sys.argv[2])
    job = BatchJob.model_validate(said["job"])
    in_process = dg.Definitions(executor=dg.in_process_executor)
    defs = dg.Definitions.merge(build_defs(job), in_process)
    arm(*said["place"])
    with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
        LocalDagster(defs, instance, sleep=lambda _: None).submit(job.name, said["partitions"])
