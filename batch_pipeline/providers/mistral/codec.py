"""Mistral's batch wire format: limits, bodies, and what stands around them."""

from __future__ import annotations

from batch_pipeline.model import Envelope, Limits, Tree
from batch_pipeline.providers.mistral import bodies, decode
from batch_pipeline.providers.mistral.facts import CAPABILITIES
from batch_pipeline.providers.native_bodies import check_extra, merged
from batch_pipeline.spec import BatchJob, Target

_OWN = ("model", "messages", "input", "document")


class MistralCodec:
    """The codec for Mistral's chat, embeddings, moderations and OCR; pure."""

    name = "mistral"
    capabilities = CAPABILITIES

    def limits(self, endpoint: str) -> Limits:
        """The stricter of the documented limits, 5 % below in bytes."""
        return self.capabilities.limits[endpoint]

    def body(self, job: BatchJob, target: Target) -> dict[str, Tree]:
        """The native body, keys in a fixed order; `extra` is merged in last, objects by key.

        `model` is in it for the content hash alone: Mistral takes the batch's.
        """
        parameters = job.parameters(target)
        check_extra(job, target, own=_OWN)
        native = bodies.native(job, target.endpoint, parameters)
        return merged({"model": target.model, **native}, parameters.extra)

    def options(self, job: BatchJob, target: Target) -> dict[str, str]:  # noqa: ARG002 - the target says it all
        """The batch's window in hours, where the target says one."""
        return {} if target.timeout_hours is None else {"timeout_hours": str(target.timeout_hours)}

    def envelope(self, endpoint: str) -> Envelope:  # noqa: ARG002 - the batch says it, not its lines
        """{"custom_id":…,"body":…} and a newline."""
        return Envelope(before_id='{"custom_id":', before_body=',"body":', after_body="}\n")

    def decode_sql(self, endpoint: str) -> str:
        """The DuckDB query from result lines to outcome columns."""
        return decode.decode_sql(endpoint)
