"""The user's own prices: a small closed YAML file that wins over every published price.

gpt-5-nano:            # the model's name; a dated snapshot of it is meant too
  input: 0.025         # US dollars per million tokens of a batch
  cached_read: 0.0025  # default: like input
  cache_write: 0.025   # default: like input
  cache_write_1h: 0.05 # default: like cache_write
  output: 0.2          # default: 0 (a model without output tokens)
  per_thousand: {web_search: 10}   # optional: of what is billed beside tokens, by the report's name
  live: {input: 0.05, output: 0.4}   # optional: what the same costs outside a batch
  as_of: 2026-11-01
  source: our contract
"""

from __future__ import annotations

import difflib
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from batch_pipeline.errors import SpecError
from batch_pipeline.written import yamlfile
from batch_pipeline.written.wording import said


def _exact(value: object) -> object:
    """The number as it is written: 0.1 in YAML is a float, and its shortest text is meant."""
    return str(value) if isinstance(value, float) else value


Dollars: TypeAlias = Annotated[
    Decimal, BeforeValidator(_exact), Field(ge=0, le=1_000_000, decimal_places=9)
]


class Amounts(BaseModel):
    """US dollars per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Dollars
    cached_read: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None
    output: Dollars = Decimal(0)


class Override(Amounts):
    """What a batch token costs this user, since when, and how they know."""

    as_of: date
    source: str = Field(min_length=1)
    live: Amounts | None = None
    per_thousand: dict[str, Dollars] = Field(default_factory=dict)


_LIKE = (
    "An override is `model: {input, output, as_of, source}`, in US dollars per million tokens, "
    "such as {input: 0.025, output: 0.2, as_of: 2026-11-01, source: our contract}."
)
_FILE = TypeAdapter(dict[str, Override])


def read_overrides(path: Path | None) -> dict[str, Override]:
    """Model name -> override; SpecError with file, model and field when the file is wrong."""
    if path is None:
        return {}
    try:
        documents = yamlfile.read(path)
    except SpecError as error:
        raise SpecError(
            f"{error} It is named in `prices`: without that line, published prices count."
        ) from None
    if not documents:
        return {}
    first = documents[0]
    try:
        return _FILE.validate_python(first.value)
    except ValidationError as error:
        told = [f"{path}:{first.line(e['loc'])}: {_said(e)}." for e in error.errors()]
        raise SpecError("\n".join([*told[:-1], f"{told[-1]} {_LIKE}"])) from None


def _said(error: ErrorDetails) -> str:
    """Where and what, with the nearest key for one that is not known."""
    place = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] != "extra_forbidden":
        return f"{place}: {said(error)}"
    known = list(Override.model_fields)
    near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"{place}: unknown key, {hint}"
