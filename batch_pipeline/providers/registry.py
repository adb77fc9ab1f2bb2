"""The only place that maps a name to its codec and client; SDKs load when used."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from batch_pipeline.errors import SpecError, UsageError
from batch_pipeline.model import PROVIDERS
from batch_pipeline.providers.capabilities import check_taken
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Client, Codec
from batch_pipeline.providers.services import NONE, Services
from batch_pipeline.spec import BatchJob, Target


@dataclass(frozen=True, slots=True)
class Registry:
    """Providers, and the services that speak their APIs, by name."""

    services: Services = field(default_factory=lambda: NONE)

    def codec(self, name: str) -> Codec:
        """The wire format of provider or service *name*; UsageError when there is none."""
        service = self.services.get(name)
        match name if service is None else service.provider:
            case "openai":
                from batch_pipeline.providers.openai.codec import OpenAICodec  # noqa: PLC0415 - loads when used

                return OpenAICodec(service)
            case "anthropic":
                from batch_pipeline.providers.anthropic.codec import AnthropicCodec  # noqa: PLC0415

                return AnthropicCodec()
            case "mistral":
                from batch_pipeline.providers.mistral.codec import MistralCodec  # noqa: PLC0415

                return MistralCodec()
        raise self._unknown(name)

    def client(
        self, name: str, env: Mapping[str, str], *, patience: Patience | None = None
    ) -> Client:
        """The client of provider or service *name* for its key in *env*.

        Raises UsageError for an unknown name, Unauthorized when the key is missing.
        """
        service = self.services.get(name)
        match name if service is None else service.provider:
            case "openai":
                from batch_pipeline.providers.openai.client import OpenAIClient  # noqa: PLC0415 - the SDK is heavy

                if service is not None:
                    return OpenAIClient.of_service(name, service, env, patience=patience)
                return OpenAIClient.from_env(env, patience=patience)
            case "anthropic":
                from batch_pipeline.providers.anthropic.client import AnthropicClient  # noqa: PLC0415

                return AnthropicClient.from_env(env, patience=patience)
            case "mistral":
                from batch_pipeline.providers.mistral.client import MistralClient  # noqa: PLC0415

                return MistralClient.from_env(env, patience=patience)
        raise self._unknown(name)

    def check(self, job: BatchJob, target: Target) -> None:
        """SpecError for a service or feature that the target cannot have."""
        if target.service is not None:
            service = self.services.get(target.service)
            if service is None:
                raise SpecError(
                    f"{job.name}: target {target.name}: {self._unknown(target.service)}"
                )
            if service.provider != target.provider:
                raise SpecError(
                    f"{job.name}: target {target.name}: service {target.service!r} speaks "
                    f"{service.provider}'s API. Say provider: {service.provider}."
                )
            if service.endpoints and target.endpoint not in service.endpoints:
                raise SpecError(
                    f"{job.name}: service {target.service!r} does not answer {target.endpoint}. It "
                    f"answers: {', '.join(service.endpoints)}."
                )
        check_taken(job, target, self.codec(target.sends_to).capabilities)

    def _unknown(self, name: str) -> UsageError:
        known = [*PROVIDERS, *self.services]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return UsageError(
            f"provider or service {name!r} is not known.{hint} Known: {', '.join(known)}. "
            "Services of your own are named in the file of BATCH_PIPELINE_SERVICES."
        )
