"""OpenAI's batch wire format: limits, native request bodies, and what stands around them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Envelope, Limits, Tree
from batch_pipeline.providers.capabilities import Capabilities
from batch_pipeline.providers.native_bodies import check_extra, merged
from batch_pipeline.providers.openai import decode
from batch_pipeline.providers.openai.bodies import native_body
from batch_pipeline.providers.openai.facts import CAPABILITIES, line_url, of_service
from batch_pipeline.providers.services import Service
from batch_pipeline.request import Parameters
from batch_pipeline.spec import BatchJob, Target

_OURS = ("model", "messages", "input", "instructions")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_NO_STOP = re.compile(r"^(o3|o4-mini)(-\d[\d-]*)?$")
_MOST_STOPS = 4
_HIGHEST_TEMPERATURE = 2


class OpenAICodec:
    """The codec of OpenAI's endpoints, also for a service that speaks them; pure."""

    name = "openai"

    def __init__(self, service: Service | None = None) -> None:
        self._service = service
        self.capabilities: Capabilities = CAPABILITIES if service is None else of_service(service)

    def limits(self, endpoint: str) -> Limits:
        """What one shard may hold, with headroom."""
        return self.capabilities.limits[endpoint]

    def body(self, job: BatchJob, target: Target) -> dict[str, Tree]:
        """The native body, keys in a fixed order; `extra` is merged in last, objects by key.

        Raises SpecError for what a model does not take, by name.
        """
        request, asked = job.request, job.parameters(target)
        check_extra(job, target, own=[*_OURS, *(["tools"] if request.tools else [])])
        for wrong in _wrong(target, asked, own=self._service is None):
            raise SpecError(f"{job.name}: {target.model} on {target.endpoint}: {wrong}")
        return merged(native_body(job, target), asked.extra)

    def options(self, job: BatchJob, target: Target) -> dict[str, str]:  # noqa: ARG002 - see below
        """None: an OpenAI batch has one window and no flags."""
        return {}

    def envelope(self, endpoint: str) -> Envelope:
        """{"custom_id":…,"method":"POST","url":…,"body":…} and a newline."""
        url = line_url(endpoint, self._service)
        return Envelope(
            before_id='{"custom_id":',
            before_body=f',"method":"POST","url":"{url}","body":',
            after_body="}\n",
        )

    def decode_sql(self, endpoint: str) -> str:
        """The DuckDB query from result lines to outcome columns."""
        return decode.decode_sql(endpoint)


def _wrong(target: Target, asked: Parameters, *, own: bool) -> Iterator[str]:
    """What the model would answer 400 to, row by row; a service's models are known to itself."""
    model, effort = target.model, asked.reasoning_effort
    if model.startswith("gpt-6") and effort != "none":
        for name in ("temperature", "top_p"):
            if getattr(asked, name) is not None or name in asked.extra:
                yield (
                    f"refuses {name!r} while it reasons. Take it out, or set reasoning_effort: "
                    "none."
                )
    if _NO_STOP.match(model) and (asked.stop or "stop" in asked.extra):
        yield "refuses 'stop'. Take it out."
    if model == "text-embedding-ada-002" and asked.dimensions is not None:
        yield "has one length: 'dimensions' is for text-embedding-3 and later. Take it out."
    if not own:
        return
    if len(asked.stop) > _MOST_STOPS:
        yield f"takes at most {_MOST_STOPS} sequences of 'stop', not {len(asked.stop)}."
    if asked.temperature is not None and asked.temperature > _HIGHEST_TEMPERATURE:
        yield f"takes a temperature of at most {_HIGHEST_TEMPERATURE}, not {asked.temperature}."
    if effort is not None and effort not in _EFFORTS:
        yield f"reasoning_effort {effort!r} is not one of {', '.join(_EFFORTS)}."
