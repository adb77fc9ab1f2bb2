"""What a file's column is read as: types that DuckDB knows, and values as templates print them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pyarrow as pa

from batch_pipeline.errors import DatasetError

_Remake = Callable[[pa.Array], pa.Array]


def readable(kind: pa.DataType) -> pa.DataType:  # noqa: PLR0911 - a case per type
    """What a column of *kind* is read as: dictionaries decoded, and what DuckDB lacks widened."""
    if pa.types.is_dictionary(kind):
        return readable(kind.value_type)
    if pa.types.is_float16(kind):
        return pa.float64()
    if pa.types.is_decimal256(kind):
        return pa.string()
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(readable(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(readable(kind.value_type)), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(readable(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(readable(field.type)) for field in kind])
    return kind


def read_as(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """*values* as their readable *kind*."""
    if values.type == kind:
        return values
    if pa.types.is_dictionary(values.type):
        return read_as(values.dictionary_decode(), kind)
    if pa.types.is_float16(values.type):
        return _shortest(values)
    if pa.types.is_nested(kind):
        return _remade(values, lambda inner: read_as(inner, readable(inner.type)))
    return values.cast(kind)


def printable(values: pa.Array) -> pa.Array:
    """*values* as templates see them: short floats by their shortest text, bytes as UTF-8 text.

    A value whose bytes are no UTF-8 is text with marks in their place: its row is rejected.
    """
    kind = values.type
    if pa.types.is_float32(kind):
        return _shortest(values)
    if is_bytes(kind):
        return _text(values)
    return _remade(values, printable) if pa.types.is_nested(kind) else values


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of *kind* holds bytes."""
    tests = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return any(test(kind) for test in tests)


@lru_cache(maxsize=1024)
def duckdb_type(kind: pa.DataType) -> str | None:
    """The DuckDB type of a readable *kind*; None when it has none."""
    import duckdb  # noqa: PLC0415 - `status` loads this file too

    try:
        with duckdb.connect() as con:
            return str(con.from_arrow(pa.table({"it": pa.array([], kind)})).types[0])
    except (duckdb.Error, pa.ArrowException):
        return None


def family(kind: pa.DataType) -> str:
    """Types of one family can stand for each other in a rule; *nested* ones with no other."""
    if pa.types.is_nested(kind):
        return "nested"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_temporal(kind):
        return "time"
    return {"VARCHAR": "text", "BLOB": "bytes"}.get(duckdb_type(kind) or "", str(kind))


def unusable(path: str, name: str, kind: pa.DataType) -> DatasetError:
    """The error for a column that is used and that nothing can read."""
    return DatasetError(
        f"{path}: column {name!r} is {kind}, which cannot be used. Convert it in the dataset, or "
        "leave it out of the job."
    )


def _shortest(values: pa.Array) -> pa.Array:
    """Floats of 16 and 32 bits as the doubles that print like them: 19.99 and not 19.98999977."""
    if pa.types.is_float16(values.type):
        texts = values.fill_null(np.float16(0)).to_numpy(zero_copy_only=False).astype("U")
        mask = values.is_null().to_numpy(zero_copy_only=False)
        return pa.array(texts.astype(np.float64), pa.float64(), mask=mask)
    return values.cast(pa.string()).cast(pa.float64())


def _text(values: pa.Array) -> pa.Array:
    whole = values.cast(pa.large_binary())
    try:
        return whole.cast(pa.large_string())
    except pa.ArrowInvalid:
        texts = [v if v is None else v.decode("utf-8", "replace") for v in whole.to_pylist()]
        return pa.array(texts, pa.large_string())


def _remade(values: pa.Array, remake: _Remake) -> pa.Array:
    """Lists and structs with their inner values made anew; maps and unions as they are."""
    kind = values.type
    if not (pa.types.is_struct(kind) or _is_list(kind)):
        return values
    whole = values.take(pa.array(np.arange(len(values))))  # at offset 0, as the makers want it
    gone = whole.is_null()
    if pa.types.is_struct(kind):
        inner = [remake(whole.field(place)) for place in range(kind.num_fields)]
        fields = [field.with_type(of.type) for field, of in zip(kind, inner, strict=True)]
        return pa.StructArray.from_arrays(inner, fields=fields, mask=gone)
    made = remake(whole.values)
    field = kind.value_field.with_type(made.type)
    if pa.types.is_fixed_size_list(kind):
        as_kind = pa.list_(field, kind.list_size)
        return pa.FixedSizeListArray.from_arrays(made, type=as_kind, mask=gone)
    if pa.types.is_large_list(kind):
        as_kind = pa.large_list(field)
        return pa.LargeListArray.from_arrays(whole.offsets, made, type=as_kind, mask=gone)
    return pa.ListArray.from_arrays(whole.offsets, made, type=pa.list_(field), mask=gone)


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)
