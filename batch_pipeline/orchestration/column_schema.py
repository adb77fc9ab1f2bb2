"""The columns of `results` for Dagster's Columns panel: types from the file."""

from collections.abc import Collection
from pathlib import Path

import dagster as dg

from batch_pipeline.escaping import line
from batch_pipeline.stages.schemas import RESULTS

_MEANINGS = {one.name: one.meaning for one in RESULTS}


def column_schema(path: Path, keys: Collection[str]) -> dg.TableSchemaMetadataValue:
    """The columns of a results file; *keys* name the row."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - a second of import that most runs never pay

    columns = [
        dg.TableColumn(
            line(field.name),
            line(str(field.type)),
            description="Names the row." if field.name in keys else _MEANINGS.get(field.name),
        )
        for field in pq.read_schema(path)
    ]
    return dg.MetadataValue.table_schema(dg.TableSchema(columns))
