"""A job as a Dagster component, over the plain pydantic BatchJob, so that YAML errors are exact."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import dagster as dg
from dagster.components.component.component import ComponentTypeSpec
from dagster.components.scaffold.scaffold import NoParams
from pydantic import BaseModel, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails

from batch_pipeline import jobfile
from batch_pipeline.errors import SpecError
from batch_pipeline.orchestration.build import build_defs
from batch_pipeline.pipeline.checking import doubts
from batch_pipeline.spec import BatchJob
from batch_pipeline.written.origin import Origin
from batch_pipeline.written.wording import said

_log = logging.getLogger("batch_pipeline")

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


class Attributes(BatchJob):
    """The job's own model, with errors of kinds that Dagster can place in the file."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_kinds_that_dagster_knows(
        cls, data: object, handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            found = [_placed(detail) for detail in error.errors()]
        raise ValidationError.from_exception_data(BatchJob.__name__, found)


def _placed(detail: ErrorDetails) -> InitErrorDetails:
    """An error of our own kind as a plain one, at the key that it is about."""
    context = detail.get("ctx", {})
    if said(detail) != detail["msg"].removeprefix("Value error, "):  # ours says what to write
        told = {"error": ValueError(said(detail))}
        return InitErrorDetails(
            type="value_error", loc=detail["loc"], input=detail["input"], ctx=told
        )
    if detail["type"] != "unknown_key":
        return InitErrorDetails(
            type=detail["type"], loc=detail["loc"], input=detail["input"], ctx=context
        )
    where = (*detail["loc"], str(context["key"]))
    told = {"error": ValueError(detail["msg"])}
    return InitErrorDetails(type="value_error", loc=where, input=detail["input"], ctx=told)


class BatchJobScaffolder(dg.Scaffolder[NoParams]):
    """Writes a job file that loads, to be filled in."""

    def scaffold(self, request: dg.ScaffoldRequest[NoParams]) -> None:
        """Write defs.yaml into the new folder."""
        request.target_path.mkdir(parents=True, exist_ok=True)
        text = _NEW.format(name=request.target_path.name)
        (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")


def _origin(context: dg.ComponentLoadContext, name: str) -> Origin:
    """Where the job is written; SpecError when another file of the code location has its name."""
    folder = Path(context.path)
    for file in (folder / "defs.yaml", folder / "component.yaml"):
        if file.is_file():
            others = Path(context.component_tree.defs_module_path).rglob("*.yaml")
            for sentence in jobfile.twice([*others, file], only=name):
                raise SpecError(sentence)
            return jobfile.origin(file, name)
    return Origin()


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
        return Attributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Take the attributes as they are: Dagster's templating would eat `{{ column }}`."""
        if not isinstance(attributes, BatchJob):
            raise SpecError(f"{context.path}: a batch job needs `attributes`.")
        known = attributes.written(_origin(context, attributes.name))
        job = known.resolved(Path(context.path))
        for doubt in doubts(job, on=datetime.now(UTC).date()):
            _log.warning("%s", doubt)
        return cls(job)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Everything Dagster sees of the job, and the one resource that all jobs share."""
        return build_defs(self.job)
