"""What a handler answers, before it becomes an answer over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers: a JSON body, a file to download, or bytes as they are."""

    body: object = None
    status: int = 200
    effect: str | None = None  # id of what was created or changed
    download: Path | None = None
    length: int | None = None  # bytes of the download that count; all when None
    raw: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
