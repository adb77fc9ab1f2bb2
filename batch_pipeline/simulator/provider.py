"""What a simulated provider is to the server: one record each, in its package's routes."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.routing import Route

from batch_pipeline.simulator.engine import Engine


@dataclass(frozen=True, slots=True)
class Simulated:
    """One provider: where it is mounted, what its SDK calls that address, and how it joins."""

    name: str
    title: str
    path: str
    address: str
    join: Callable[[Engine], None]
    routes: Callable[[Engine], list[Route]]
