"""The exceptions of a failed run; a failed row is data (see FailureKind) and never one of these.

Every message says what failed, which one, why, and what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping

from batch_pipeline.escaping import plain


class BatchPipelineError(Exception):
    """Base of all our errors; the command line shows its message without a traceback.

    Messages quote data and providers, wherever they are printed: nothing in them acts.
    """

    def __str__(self) -> str:
        return plain(super().__str__())


class UsageError(BatchPipelineError):
    """What the person asked for cannot be: a job file, an argument, a template. Exit code 2."""

    placed = False
    """Whether the message already names the file and the line of what is wrong."""


class SpecError(UsageError):
    """A job definition is wrong; the message names file, path and the nearest valid key."""


class DatasetError(UsageError):
    """The dataset is not there, cannot be read, or breaks a rule (a repeated or null key)."""


class PartitionError(DatasetError):
    """The dataset has no files for a partition, or no partition can have that name."""


class TemplateError(UsageError):
    """A template does not compile, or names a column that the dataset does not have."""

    def __init__(self, message: str, *, template: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.template = template
        """The whole template, by which its file is known."""
        self.line = line


class StoreError(BatchPipelineError):
    """The store or the ledger cannot be read or written."""


class ProviderError(BatchPipelineError):
    """A provider refused or could not be reached; the subclass says whether waiting helps."""


class Unauthorized(ProviderError):  # noqa: N818 - named for what the provider said
    """The key is missing, wrong, or may not do this (401, 403): waiting does not help."""


class OutOfCredit(ProviderError):  # noqa: N818 - named for what the provider said
    """Billing stops new work (402, a spend limit): stop submitting, go on polling."""


class OtherApi(ProviderError):  # noqa: N818 - named for what was found
    """What answers at a service's address does not speak the API that it is named for."""


class Refused(ProviderError):  # noqa: N818 - named for what the provider said
    """The provider understood and said no (other 4xx): the same call will fail again."""


class AccountStop(Refused):
    """Rows were withheld for the account's sake: mend that, then run again."""


class TooLarge(Refused):
    """The provider finds the file too large or too long: cut the shard in two."""


class BadLines(Refused):
    """The provider read the file before it took it, and refuses these lines; nothing was billed."""

    def __init__(self, message: str, *, lines: Mapping[int, str]) -> None:
        super().__init__(message)
        self.lines = dict(lines)
        """What is wrong with each, by its number from 1."""


class NotFound(Refused):
    """The provider has no such file or batch for this account."""


class Throttled(ProviderError):  # noqa: N818 - named for what the provider said
    """Too many calls, or a queue is full (429): try again after *retry_after* seconds, if told."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(ProviderError):  # noqa: N818 - named for what the provider said
    """No answer, a cut answer or a 5xx to a call that costs nothing: it may be made again."""


class Unreadable(Unavailable):
    """An answer of another shape than the provider's: what it says of one batch cannot be read."""


class Ambiguous(ProviderError):  # noqa: N818 - named for what the provider said
    """No certain answer to a call that costs money: look for its effect before any other call."""


class Undecided(ProviderError):  # noqa: N818 - named for what the provider said
    """A batch at the provider may be a shard's own, and only its answers will tell: look later."""
