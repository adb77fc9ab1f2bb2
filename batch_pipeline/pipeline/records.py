"""One job and what is kept of it: its files in the store and its rows in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch_pipeline.spec import BatchJob
from batch_pipeline.store.files import Store
from batch_pipeline.store.ledger import Ledger

if TYPE_CHECKING:
    from batch_pipeline.prices.find import Prices


@dataclass(frozen=True)
class Records:
    """A step that is given these alone can neither reach a provider nor wait for one."""

    job: BatchJob
    store: Store
    ledger: Ledger
    sellers: Mapping[str, str | None] = field(default_factory=dict)
    """Under whose name prices are found."""
    writable: bool = True
    """False: the store can only be read, and so it is."""

    def prices(self, now: datetime) -> Prices:
        """The day's prices, the job's overrides first; asked for anew, for a run may be long."""
        from batch_pipeline.prices.find import Prices  # noqa: PLC0415 - `status` asks for no price
        from batch_pipeline.prices.overrides import read_overrides  # noqa: PLC0415 - as above

        path = self.job.prices
        overrides = read_overrides(None if path is None else Path(path))
        return Prices(now, overrides, self.sellers)
