"""The only place that makes a codec or a client of a name; SDKs load when used."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from batch_pipeline import catalog
from batch_pipeline.catalog import ProviderRecord
from batch_pipeline.errors import SpecError, UsageError
from batch_pipeline.providers.capabilities import Capabilities, check_taken
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Client, Codec
from batch_pipeline.providers.services import NONE, Service, Services
from batch_pipeline.spec import BatchJob, Target


@dataclass(frozen=True, slots=True)
class Registry:
    """Providers, and the services that speak their APIs, by name."""

    services: Services = field(default_factory=lambda: NONE)

    def codec(self, name: str) -> Codec:
        """The wire format of provider or service *name*; UsageError when there is none."""
        record, service = self._of(name)
        made = cast("Callable[..., Codec]", record.load("codec"))
        return made() if service is None else made(service)

    def capabilities(self, name: str) -> Capabilities:
        """What provider or service *name* takes and allows; UsageError when there is none."""
        record, service = self._of(name)
        if service is None:
            return cast("Capabilities", record.load("capabilities"))
        return self.codec(name).capabilities

    def client(
        self, name: str, env: Mapping[str, str], *, patience: Patience | None = None
    ) -> Client:
        """The client of provider or service *name* for its key in *env*.

        Raises UsageError for an unknown name, Unauthorized when the key is missing.
        """
        record, service = self._of(name)
        if service is None:
            made = cast("Callable[..., Client]", record.load("client"))
            return made(env, patience=patience)
        made = cast("Callable[..., Client]", record.load("service_client"))
        return made(name, service, env, patience=patience)

    @property
    def names(self) -> list[str]:
        """Every provider and service there is."""
        return [*catalog.known().records, *self.services]

    @property
    def sellers(self) -> dict[str, str | None]:
        """The names prices are found under; None where a service says none."""
        theirs = {name: one.prices or name for name, one in catalog.known().records.items()}
        return {**theirs, **{name: one.prices for name, one in self.services.items()}}

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
        check_taken(job, target, self.capabilities(target.sends_to))

    def _of(self, name: str) -> tuple[ProviderRecord, Service | None]:
        service, providers = self.services.get(name), catalog.known()
        provider = name if service is None else service.provider
        if provider in providers.records:
            return providers.records[provider], service
        if provider in providers.refused:
            raise UsageError(providers.refused[provider])
        raise self._unknown(name)

    def _unknown(self, name: str) -> UsageError:
        near = difflib.get_close_matches(name, self.names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return UsageError(
            f"provider or service {name!r} is not known.{hint} Known: {', '.join(self.names)}. "
            "Services of your own are named in the file of BATCH_PIPELINE_SERVICES."
        )
