"""Anthropic's batch wire format: limits, bodies, and what stands around them."""

from __future__ import annotations

import re

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Envelope, Limits, Tree
from batch_pipeline.providers.anthropic import bodies, decode
from batch_pipeline.providers.anthropic.facts import (
    API_VERSION,
    CAPABILITIES,
    SAMPLING_VERSION,
    check_model,
)
from batch_pipeline.providers.native_bodies import check_extra, merged
from batch_pipeline.spec import BatchJob, Target

_VERSIONS = (API_VERSION, SAMPLING_VERSION)
_BETA = re.compile(r"[A-Za-z0-9._-]+")
_OURS = ("model", "messages", "system")


class AnthropicCodec:
    """The codec for Anthropic's Message Batches; pure."""

    name = "anthropic"
    capabilities = CAPABILITIES

    def limits(self, endpoint: str) -> Limits:
        """100,000 lines and 243 million bytes."""
        return CAPABILITIES.limits[endpoint]

    def body(self, job: BatchJob, target: Target) -> dict[str, Tree]:
        """The native params, keys in a fixed order; `extra` is merged in last, objects by key.

        Raises SpecError for what the model or the API version does not take, by name.
        """
        check_extra(job, target, own=_OURS)
        check_model(job, target)
        _check_batch(job, target)
        asked = job.parameters(target)
        return merged(bodies.native(job, target.model, asked), asked.extra)

    def options(self, job: BatchJob, target: Target) -> dict[str, str]:
        """Beta flags and the API version: headers of the create."""
        _check_batch(job, target)
        given = {"betas": ",".join(target.betas), "api_version": target.api_version or ""}
        return {name: value for name, value in given.items() if value}

    def envelope(self, endpoint: str) -> Envelope:  # noqa: ARG002 - there is one
        """{"custom_id":…,"params":…} and a newline; the client frames them into one JSON body."""
        return Envelope(before_id='{"custom_id":', before_body=',"params":', after_body="}\n")

    def decode_sql(self, endpoint: str) -> str:
        """The DuckDB query from result lines to outcome columns."""
        return decode.decode_sql(endpoint)


def _check_batch(job: BatchJob, target: Target) -> None:
    """SpecError for an API version we do not write, or a beta flag that is no word."""
    if target.api_version is not None and target.api_version not in _VERSIONS:
        raise SpecError(
            f"{job.name}: target {target.name}: api_version {target.api_version!r} is not one of "
            f"{', '.join(_VERSIONS)}. Take it out for the newer one."
        )
    for beta in target.betas:
        if not _BETA.fullmatch(beta):
            raise SpecError(
                f"{job.name}: target {target.name}: {beta!r} is no beta flag. They are words "
                "such as output-300k-2026-03-24, one per entry."
            )
