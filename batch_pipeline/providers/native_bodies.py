"""What every codec does with a native body: leave out what is not said, merge `extra` in last."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import JsonValue

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Tree
from batch_pipeline.spec import BatchJob, Target

_NO_STREAM = frozenset({"stream", "stream_options"})


def said(given: Mapping[str, Tree]) -> dict[str, Tree]:
    """The members that have a value: None is what nobody said, and is not sent."""
    return {name: value for name, value in given.items() if value is not None}


def merged(body: Mapping[str, Tree], extra: Mapping[str, JsonValue]) -> dict[str, Tree]:
    """*body* with *extra* over it: objects member by member, anything else replaced."""
    whole = dict(body)
    for name, value in extra.items():
        below = whole.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            whole[name] = merged(below, value)
        else:
            whole[name] = value
    return whole


def check_extra(job: BatchJob, target: Target, *, own: Collection[str]) -> None:
    """SpecError for what `extra` may not hold: streaming, and what the job itself says (*own*)."""
    for name in job.parameters(target).extra:
        if name in _NO_STREAM:
            raise SpecError(
                f"{job.name}: parameters.extra.{name} cannot be: batches do not stream, and the "
                "provider refuses the whole file. Take it out."
            )
        if name in own:
            raise SpecError(
                f"{job.name}: parameters.extra.{name} would replace what the job itself says. "
                "Use target.model and request instead."
            )
