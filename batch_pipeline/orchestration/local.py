"""A job's Dagster definitions driven to the end in this process: no daemon, the same history.

What the daemon does, done here in turn: launch the submit job, tick the watch sensor, record its
observations, execute the runs it asks for. Used by the demo and by tests.
"""

from collections.abc import Callable, Sequence

import dagster as dg

from batch_pipeline.errors import BatchPipelineError
from batch_pipeline.orchestration.history import NEED_TAG
from batch_pipeline.orchestration.partitions import range_tags

_QUIET = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}


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
        self._failures: list[str] = []

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
        done = self._defs.resolve_job_def(asset_job).execute_in_process(
            instance=self._instance,
            tags=tags,
            run_config={**_QUIET, **(run_config or {})},
            asset_selection=None if asset_selection is None else list(asset_selection),
            raise_on_error=False,
        )
        for event in done.get_step_failure_events():
            self._failures.append(f"{asset_job}: {_why(event)}")
        return done

    def tick(self, sensor: str, *, launch: bool = True) -> dg.SensorResult:
        """One tick as the daemon does it: events are recorded, the cursor kept, runs executed.

        Without *launch* it is what "Preview tick result" does: evaluated, and nothing kept.
        """
        context = dg.build_sensor_context(
            self._instance,
            cursor=self._cursors.get(sensor),
            repository_def=self._defs.get_repository_def(),
            sensor_name=sensor,
            resources=dict(self._defs.resources or {}),
        )
        data = self._defs.resolve_sensor_def(sensor).evaluate_tick(context)
        requests = list(data.run_requests or [])
        if launch:
            self._cursors[sensor] = data.cursor
            for event in data.asset_events:
                self._instance.report_runless_asset_event(event)
            for request in requests:
                self.launch(request)
        return dg.SensorResult(
            run_requests=requests, skip_reason=data.skip_message, asset_events=data.asset_events
        )

    def forget(self) -> None:
        """Lose the sensors' cursors, as a wiped Dagster storage would."""
        self._cursors.clear()

    def run_to_end(
        self,
        job: str,
        *,
        moving: Callable[[], bool],
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Tick the job's watch while anything is *moving*; BatchPipelineError for a failed run."""
        while True:
            done = self.tick(f"{job}_watch")
            for request in done.run_requests or []:
                told(f"{request.tags[NEED_TAG]}: {request.job_name}")
            self._none_failed()
            if not done.run_requests:
                told((done.skip_reason and done.skip_reason.skip_message) or "")
                if not moving():
                    return
                self._sleep(self._tick_seconds)

    def launch(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """The run that a tick asked for, executed here."""
        return self.execute(
            str(request.job_name),
            tags=dict(request.tags),
            run_config=dict(request.run_config),
            asset_selection=request.asset_selection,
        )

    def _none_failed(self) -> None:
        if self._failures:
            raise BatchPipelineError("\n".join(self._failures))


def _why(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    told = data.user_failure_data
    if told is not None and told.description:
        return told.description
    return "it failed" if data.error is None else data.error.message.strip()
