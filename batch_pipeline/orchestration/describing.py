"""What an asset says of itself before anything ran: key, group, partitions, kinds, description."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypedDict

import dagster as dg

from batch_pipeline.escaping import fenced, markdown
from batch_pipeline.orchestration.partitions import partitions_def
from batch_pipeline.spec import BatchJob

_TAG_KEY = re.compile(r"^[A-Za-z0-9_.-]{1,63}$")
_TAG_VALUE = re.compile(r"^[A-Za-z0-9_.-]{0,63}$")
_LONGEST_TEMPLATE = 2000
_MOST_KINDS = 3


class Common(TypedDict):
    """Arguments that every asset of a job shares."""

    name: str
    key_prefix: str
    group_name: str
    description: str
    partitions_def: dg.PartitionsDefinition[str] | None
    backfill_policy: dg.BackfillPolicy
    deps: list[dg.AssetKey]
    kinds: set[str]
    tags: Mapping[str, str]


def common(job: BatchJob, step: str, *, after: str) -> Common:
    """Key, group, partitions, and how a backfill is cut into runs."""
    return Common(
        name=step,
        key_prefix=job.name,
        group_name=job.name,
        description=described(job, step),
        partitions_def=partitions_def(job.partitions),
        backfill_policy=_runs(job, step),
        deps=[dg.AssetKey([job.name, after])],
        kinds=_KINDS.get(step, {"parquet"}) | (_senders(job) if step == "batches" else set()),
        tags=asset_tags(job),
    )


def _runs(job: BatchJob, step: str) -> dg.BackfillPolicy:
    """One for all partitions, or as the job says of what it sends; results land as they come."""
    if job.backfill is None or step not in {"requests", "batches"}:
        return dg.BackfillPolicy.single_run()
    return dg.BackfillPolicy.multi_run(job.backfill.max_partitions_per_run)


def _senders(job: BatchJob) -> set[str]:
    """Dagster shows three kinds at most, and refuses an asset of more."""
    names = dict.fromkeys(target.sends_to for target in job.targets)
    return set(list(names)[:_MOST_KINDS])


def described(job: BatchJob, step: str) -> str:
    """The asset's page in Markdown."""
    return _PAGES[step](job)


def asset_tags(job: BatchJob) -> dict[str, str]:
    """The job's tags that Dagster takes on an asset; runs carry all of them."""
    return {
        key: value
        for key, value in job.tags.items()
        if _TAG_KEY.match(key) and _TAG_VALUE.match(value)
    }


_KINDS: Mapping[str, set[str]] = {"batches": set(), "cost_report": {"markdown", "json"}}


def _dataset(job: BatchJob) -> str:
    parts = [
        _paragraphs(job.description),
        f"Input rows, one request each: {markdown(job.dataset.path)}.",
        f"A row is named by {_listed(job.dataset.key)}.",
    ]
    if job.dataset.columns:
        parts.append(f"Templates may use {_listed(job.dataset.columns)}.")
    return "\n\n".join(part for part in parts if part)


def _requests(job: BatchJob) -> str:
    turns = [
        f"**{markdown(turn.role)}**\n\n{fenced(_cut(turn.content), 'jinja')}"
        for turn in job.request.turns
    ]
    about = (
        f"Rows rendered to request lines for {_targets(job)}, with their custom_ids and content "
        "hashes. Equal rows give equal bytes."
    )
    return "\n\n".join([about, *turns])


def _targets(job: BatchJob) -> str:
    said = [f"{markdown(target.model)} ({markdown(target.endpoint)})" for target in job.targets]
    rules = [f", when {markdown(target.when)}" if target.when else "" for target in job.targets]
    return "; else ".join(name + rule for name, rule in zip(said, rules, strict=True))


def _batches(job: BatchJob) -> str:
    services = " and ".join(dict.fromkeys(markdown(target.sends_to) for target in job.targets))
    return (
        f"Request files at {services}. Materializing sends only what is neither "
        "answered nor on its way: again for a finished, unchanged partition it sends nothing and "
        "costs nothing; after failures it is the retry.\n\n"
        f"A row is sent at most {job.retry.max_attempts} times, again only when it failed as "
        f"{', '.join(kind.value for kind in job.retry.kinds) or 'nothing'}. "
        f"`{job.name}_retry_failed` with config picks rows by hand.\n\n"
        f"Observations are progress, recorded by the sensor `{job.name}_watch`."
    )


def _results(job: BatchJob) -> str:
    return (
        "One row per request, whatever happened: typed, priced, with the failure's kind.\n\n"
        "Materializing too early is no error: the run is green, its log says what is still on "
        f"its way, and `{job.name}_watch` comes back when it is answered."
    )


def _cost_report(job: BatchJob) -> str:
    return (
        f"What {job.name} cost, with every attempt counted: dollars and tokens per partition and "
        "model, beside the price of the same tokens outside a batch. An unknown price is counted, "
        "never taken for zero."
    )


_PAGES: Mapping[str, Callable[[BatchJob], str]] = {
    "dataset": _dataset,
    "requests": _requests,
    "batches": _batches,
    "results": _results,
    "cost_report": _cost_report,
}


def _paragraphs(text: str) -> str:
    """A person's own words, as they read: paragraphs, and no other markup."""
    parts = (" ".join(part.split()) for part in text.split("\n\n"))
    return "\n\n".join(markdown(part) for part in parts if part)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(markdown(name) for name in names)


def _cut(text: str) -> str:
    return text.strip() if len(text) <= _LONGEST_TEMPLATE else text[:_LONGEST_TEMPLATE] + " …"
