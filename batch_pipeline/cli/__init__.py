"""The command line: arguments in, one call, numbers out."""

from typing import TYPE_CHECKING

from batch_pipeline import loading

if TYPE_CHECKING:
    from batch_pipeline.cli import bills, offline, terminal, verbs

__all__ = ["bills", "offline", "terminal", "verbs"]

if not TYPE_CHECKING:
    _file = loading.late(__name__, __all__)

    def __getattr__(name: str) -> object:
        """A file of ours, and with it all that its commands need."""
        found = _file(name)
        loading.end()
        return found
