"""The shell: the only place that joins the rooms; it imports no Dagster."""

from typing import TYPE_CHECKING

from batch_pipeline import loading

if TYPE_CHECKING:
    from batch_pipeline.pipeline import (
        asking,
        building,
        canary,
        cancelling,
        collecting,
        failed_rows,
        holds,
        planning,
        reporting,
        resuming,
        running,
        selecting,
        sending,
        status,
        watching,
    )
    from batch_pipeline.pipeline.shell import Pipeline

__all__ = [
    "Pipeline",
    "asking",
    "building",
    "canary",
    "cancelling",
    "collecting",
    "failed_rows",
    "holds",
    "planning",
    "reporting",
    "resuming",
    "running",
    "selecting",
    "sending",
    "status",
    "watching",
]

if not TYPE_CHECKING:
    _file = loading.late(__name__, {*__all__, "shell"})

    def __getattr__(name: str) -> object:
        """The shell, and the files of its verbs, when they are first asked for."""
        return _file("shell").Pipeline if name == "Pipeline" else _file(name)
