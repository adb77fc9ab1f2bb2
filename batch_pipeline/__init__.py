"""Parquet datasets through LLM batch APIs: nothing paid is lost, every cent is known."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch_pipeline.errors import BatchPipelineError
    from batch_pipeline.jobfile import load_job, load_jobs
    from batch_pipeline.orchestration.build import build_defs
    from batch_pipeline.pipeline import Pipeline
    from batch_pipeline.reading import read_failures, read_results
    from batch_pipeline.settings import Settings
    from batch_pipeline.simulator.server import Simulator
    from batch_pipeline.spec import BatchJob

    __version__: str

__all__ = [
    "BatchJob",
    "BatchPipelineError",
    "Pipeline",
    "Settings",
    "Simulator",
    "__version__",
    "build_defs",
    "load_job",
    "load_jobs",
    "read_failures",
    "read_results",
]

_HOMES = {
    "BatchJob": "spec",
    "BatchPipelineError": "errors",
    "Pipeline": "pipeline",
    "Settings": "settings",
    "Simulator": "simulator.server",
    "build_defs": "orchestration.build",
    "load_job": "jobfile",
    "load_jobs": "jobfile",
    "read_failures": "reading",
    "read_results": "reading",
}

if not TYPE_CHECKING:  # to a type checker the imports above are all there is: a typo is an error

    def __getattr__(name: str) -> object:
        """What `__all__` names, imported when it is first asked for."""
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415 - only who asks pays

            found = version("batch-pipeline")
        elif name in _HOMES:
            from importlib import import_module  # noqa: PLC0415 - only who asks pays

            found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
