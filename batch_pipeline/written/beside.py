"""The files that a job file names: prompts, and output schemas in a file or a pydantic model."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel, JsonValue

from batch_pipeline.errors import SpecError
from batch_pipeline.written import yamlfile

_MODULE_REF = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


def text(path: Path) -> str:
    """The text of a prompt's file; SpecError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise SpecError(f"{path}: cannot be read ({why}). Paths start at the job file.") from None


def schema(value: dict[str, JsonValue] | str | None, base: Path) -> dict[str, JsonValue] | None:
    """The output schema that *value* is or names; SpecError when it names none."""
    if not isinstance(value, str):
        return value
    if _MODULE_REF.match(value):
        return _schema_of_model(value)
    loaded: object = None
    if value.endswith(".json"):
        loaded = _json(base / value)
    else:
        documents = yamlfile.read(base / value)
        loaded = documents[0].value if len(documents) == 1 else None
    if not isinstance(loaded, dict):
        raise SpecError(f"{base / value}: an output schema is an object, this is not.")
    return loaded


def _json(path: Path) -> object:
    try:
        return json.loads(text(path))
    except json.JSONDecodeError as error:
        raise SpecError(f"{path}:{error.lineno}: not JSON: {error.msg}.") from None


def _schema_of_model(reference: str) -> dict[str, JsonValue]:
    module, _, name = reference.partition(":")
    try:
        model = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"output_schema {reference!r}: {error}.") from None
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise SpecError(f"output_schema {reference!r} is not a pydantic model.")
    return model.model_json_schema()
