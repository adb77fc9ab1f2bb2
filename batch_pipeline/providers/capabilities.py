"""What a provider takes and allows, as data: checks, limits, the command line and docs read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Limits
from batch_pipeline.request import Parameters, Request
from batch_pipeline.spec import BatchJob, Target

TOPICS = (
    *("limits", "models", "window", "statuses", "validation", "cancel", "list", "delete"),
    *("retention", "discount", "rate_limits", "recovery"),
)
"""What every provider's table says something about."""
_NOT_THE_MODELS = frozenset({"extra"})
_WORDS = {
    "system": "request.system",
    "messages": "request.messages",
    "conversation": "request.conversation",
    "image_url": "request.images with a url column",
    "image_data": "request.images with a data column",
    "pdf_url": "request.documents with a url column",
    "pdf_data": "request.documents with a data column",
    "tools": "request.tools",
    "output_schema": "request.output_schema",
    "betas": "target.betas",
    "timeout_hours": "target.timeout_hours",
    "api_version": "target.api_version",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is so, where it is written, and when somebody last looked (ISO date)."""

    says: str
    link: str
    checked: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One provider. `takes` maps each endpoint to the words of FEATURES that may be used there."""

    provider: str
    title: str
    key_variable: str
    endpoints: Mapping[str, str]  # endpoint -> what it is for
    limits: Mapping[str, Limits]  # endpoint -> one shard's, with our headroom
    takes: Mapping[str, frozenset[str]]
    facts: Mapping[str, Fact]  # every one of TOPICS
    caveats: Sequence[Fact] = ()
    disputed: Mapping[str, Limits] = field(default_factory=lambda: MappingProxyType({}))
    """Limits that other sources give; a job whose `shard` asks for more than ours gets them."""
    notes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What to do instead of a feature that is not taken."""


def features(request: Request, target: Target) -> Iterator[str]:
    """The neutral features that a request to a target uses, by name."""
    for name in ("conversation", "output_schema"):
        if getattr(request, name) is not None:
            yield name
    if request.system is not None or any(turn.role == "system" for turn in request.messages):
        yield "system"
    yield from (name for name in ("messages", "tools") if getattr(request, name))
    for kind, given in (("image", request.images), ("pdf", request.documents)):
        yield from dict.fromkeys(f"{kind}_url" if one.url else f"{kind}_data" for one in given)
    said = target.parameters.over(request.parameters).model_dump(exclude=set(_NOT_THE_MODELS))
    yield from (name for name, value in said.items() if value not in (None, []))
    for name in ("betas", "timeout_hours", "api_version"):
        if getattr(target, name):
            yield name


FEATURES = (*_WORDS, *(name for name in Parameters.model_fields if name not in _NOT_THE_MODELS))
"""Every neutral feature there is, in the order of the documentation's table."""


def check_taken(job: BatchJob, target: Target, capabilities: Capabilities) -> None:
    """SpecError for the first feature of the job that the target's endpoint does not take."""
    taken = capabilities.takes[target.endpoint]
    for name in features(job.request, target):
        if name not in taken:
            where = _WORDS.get(name, f"the parameter {name!r}")
            instead = capabilities.notes.get(
                name, "Take it out of the request and the target, or choose another endpoint."
            )
            raise SpecError(
                f"{job.name}: {target.provider} {target.endpoint} does not take {where}. {instead}"
            )


def as_values(known: Capabilities) -> dict[str, object]:
    """The table as plain values, for JSON."""
    return {
        "provider": known.provider,
        "title": known.title,
        "key_variable": known.key_variable,
        "endpoints": {
            endpoint: {
                "for": purpose,
                **asdict(known.limits[endpoint]),
                "takes": [name for name in FEATURES if name in known.takes[endpoint]],
            }
            for endpoint, purpose in known.endpoints.items()
        },
        "facts": {topic: asdict(fact) for topic, fact in known.facts.items()},
        "caveats": [asdict(fact) for fact in known.caveats],
        "notes": dict(known.notes),
    }
