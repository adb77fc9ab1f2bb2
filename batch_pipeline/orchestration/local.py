"""A job's Dagster definitions driven to the end in this process: no daemon, the same history.

What the daemon does, done here in turn: launch the submit job, tick the watch sensor, record its
observations, execute the runs it asks for. Used by the demo and by tests.
"""

from collections.abc import Callable, Sequence

import dagster as dg
from dagster._core.definitions.run_request import RunRequest

from batch_pipeline.orchestration.partitions import range_tags
from batch_pipeline.policy.lifecycle import Step

_SETTLED = {Step.DONE.value, Step.BLOCKED.value, Step.UNSENT.value}


class LocalDagster:
    """One code location over one instance; *sleep* waits between ticks."""

    def __init__(
        self,
        defs: dg.Definitions,
        instance: dg.DagsterInstance,
        *,
        sleep: Callable[[float], None],
        tick_seconds: float = 1.0,
    ) -> None:
        self._defs = defs
        self._instance = instance
        self._sleep = sleep
        self._tick_seconds = tick_seconds
        self._cursors: dict[str, str | None] = {}

    def submit(self, job: str, partitions: Sequence[str] = ()) -> dg.ExecuteInProcessResult:
        """Run `<job>_submit` for a stretch of partitions, as one backfill run does."""
        tags = range_tags(partitions[0], partitions[-1]) if partitions else {}
        return self.execute(f"{job}_submit", tags=tags)

    def execute(
        self,
        asset_job: str,
        *,
        tags: dict[str, str],
        run_config: dict[str, object] | None = None,
        asset_selection: Sequence[dg.AssetKey] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Execute an asset job here, with its tags in the run history."""
        return self._defs.resolve_job_def(asset_job).execute_in_process(
            instance=self._instance,
            tags=tags,
            run_config=run_config,
            asset_selection=None if asset_selection is None else list(asset_selection),
            raise_on_error=False,
        )

    def tick(self, sensor: str) -> dg.SensorResult:
        """One tick as the daemon does it: events are recorded, the cursor kept, runs executed."""
        context = dg.build_sensor_context(
            self._instance,
            cursor=self._cursors.get(sensor),
            repository_def=self._defs.get_repository_def(),
            sensor_name=sensor,
            resources=dict(self._defs.resources or {}),
        )
        data = self._defs.resolve_sensor_def(sensor).evaluate_tick(context)
        self._cursors[sensor] = data.cursor
        for event in data.asset_events:
            self._instance.report_runless_asset_event(event)  # type: ignore[arg-type]  # a union
        requests = list(data.run_requests or [])
        for request in requests:
            self._execute(request)
        return dg.SensorResult(run_requests=requests, skip_reason=data.skip_message)

    def run_to_end(self, job: str, *, told: Callable[[str], None] = lambda _: None) -> None:
        """Tick the job's watch until nothing of it moves any more."""
        while True:
            done = self.tick(f"{job}_watch")
            asked = list(done.run_requests or [])
            for request in asked:
                told(f"{request.job_name}: {request.run_key}")
            if not asked:
                standing = str(getattr(done.skip_reason, "skip_message", done.skip_reason) or "")
                told(standing)
                if not _moving(standing):
                    return
                self._sleep(self._tick_seconds)

    def _execute(self, request: RunRequest) -> None:
        if request.job_name is None:
            return
        self.execute(
            request.job_name,
            tags={**request.tags, "batch_pipeline/run_key": request.run_key or ""},
            run_config=dict(request.run_config),
            asset_selection=request.asset_selection,
        )


def _moving(standing: str) -> bool:
    """True while the tick's own line names a step that will go on by itself."""
    steps = {part.strip().partition(" ")[2] for part in standing.split(",")}
    return bool(steps - _SETTLED - {""}) and not standing.startswith("Nothing")
