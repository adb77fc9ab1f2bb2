"""A job as a Dagster component, over the plain pydantic BatchJob, so that YAML errors are exact."""

from pathlib import Path
from typing import Self

import dagster as dg
from dagster.components.component.component import ComponentTypeSpec
from pydantic import BaseModel

from batch_pipeline.errors import SpecError
from batch_pipeline.orchestration.build import build_defs
from batch_pipeline.spec import BatchJob

_NEW = """\
type: batch_pipeline.components.BatchJobComponent
attributes:
  name: {name}
  dataset:
    path: ../../../data/{name}    # folder, glob or file; starts at this file
    key: id                       # the column that names a row
  partitions:
    kind: none                    # or daily, hourly, weekly, monthly, static
  request:
    prompt: |
      Summarise in one sentence: {{{{ text }}}}
  targets:
    - provider: openai
      model: gpt-5-nano
"""


class BatchJobScaffolder(dg.Scaffolder[dg.ScaffoldRequest]):
    """Writes a job file that loads, to be filled in."""

    def scaffold(self, request: dg.ScaffoldRequest[dg.ScaffoldRequest]) -> None:
        """Write defs.yaml into the new folder."""
        request.target_path.mkdir(parents=True, exist_ok=True)
        text = _NEW.format(name=request.target_path.name)
        (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")


@dg.scaffold_with(BatchJobScaffolder)
class BatchJobComponent(dg.Component):
    """LLM batch job: dataset → requests → batches → results → cost_report, watched and retried."""

    def __init__(self, job: BatchJob) -> None:
        self.job = job

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        """What `dg list components` shows."""
        return ComponentTypeSpec(tags=["llm", "batch"], description=cls.__doc__)

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The schema of `attributes`: ours, plain, so that an error names the exact key."""
        return BatchJob

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Take the attributes as they are: Dagster's templating would eat `{{ column }}`."""
        if not isinstance(attributes, BatchJob):
            raise SpecError(f"{context.path}: a batch job needs `attributes`.")
        return cls(attributes.resolved(Path(context.path)))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Everything Dagster sees of the job."""
        return build_defs(self.job)
