"""Which partitions a run of an op job is about: those its config lists, else its own."""

import difflib
from collections.abc import Mapping, Sequence

from batch_pipeline.errors import UsageError
from batch_pipeline.model import UNPARTITIONED
from batch_pipeline.orchestration.partitions import partitions_def, range_of
from batch_pipeline.spec import BatchJob

UP_TO = "..."
"""Between the ends of a range of partitions, as `dg launch --partition-range` has it."""


def asked_for(job: BatchJob, listed: Sequence[str], tags: Mapping[str, str]) -> list[str]:
    """The *listed* partitions, else those of the run's *tags*; none where neither says any.

    UsageError for a partition that the job does not have names the nearest.
    """
    definition = partitions_def(job.partitions)
    if definition is None:
        return [UNPARTITIONED]
    known = list(definition.get_partition_keys())
    if listed:
        names = [name for span in spans(listed) for name in _stretch(job, *span, known)]
        return list(dict.fromkeys(names))
    span = range_of(tags)
    return [] if span is None else _stretch(job, *span, known)


def listed_in(run_config: Mapping[str, object]) -> list[str]:
    """The partitions, and ranges, that the config of an op job's run lists."""
    ops = run_config.get("ops")
    given = [op.get("config") for op in ops.values()] if isinstance(ops, Mapping) else []
    lists = [config.get("partitions") for config in given if isinstance(config, Mapping)]
    return [str(name) for one in lists if isinstance(one, list) for name in one]


def spans(listed: Sequence[str]) -> list[tuple[str, str]]:
    """First and last of each entry; no name of a partition has the dots in it: Dagster forbids."""
    ends = [one.partition(UP_TO) for one in listed]
    return [(first, last or first) for first, _, last in ends]


def as_listed(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The *names* as a config lists them shortly: neighbours in the *known* order as a range."""
    place = {name: at for at, name in enumerate(known)}
    found: list[list[str]] = []
    for name in sorted(names, key=lambda one: place.get(one, -1)):
        if found and place.get(name, -1) == place.get(found[-1][-1], -2) + 1:
            found[-1].append(name)
        else:
            found.append([name])
    return [_range(span) for span in found]


def _range(span: Sequence[str]) -> str:
    return span[0] if len(span) == 1 else f"{span[0]}{UP_TO}{span[-1]}"


def _stretch(job: BatchJob, first: str, last: str, known: Sequence[str]) -> list[str]:
    for name in (first, last):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"They begin with {known[:1]}."
            raise UsageError(f"{job.name} has no partition {name!r}. {hint}")
    return list(known[known.index(first) : known.index(last) + 1])
