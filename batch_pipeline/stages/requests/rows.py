"""Partitions' rows as DuckDB sees them: Arrow batches, with Jinja2's texts as further columns."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from batch_pipeline.errors import BatchPipelineError, DatasetError, StoreError
from batch_pipeline.stages.requests.many_partitions import Numbered, rows_of
from batch_pipeline.stages.requests.reading import Selection, batch_rows
from batch_pipeline.stages.requests.sandbox import render
from batch_pipeline.stages.requests.template import Compiled
from batch_pipeline.stages.sql import identifier

VIEW = "rows of the partition"
NUMBER, PARTITION = "batch_pipeline: number", "batch_pipeline: partition"
"""Where rows of several partitions are read: which one of them each is of, and its name."""
_AHEAD = "16MB"


@dataclass
class Rows:
    """The rows of *selections* with the columns that keys and templates need, and *also* some.

    A selection comes with the number of its partition; where there are several partitions, *names*
    are theirs, and each row has NUMBER and PARTITION too. All have equal columns.

    Reading goes through pyarrow in batches of a few megabytes: DuckDB's own Parquet reader works
    on 2048 rows at once, which for long texts is far over any memory limit one would want.
    """

    selections: Sequence[tuple[int, Selection]]
    keys: Sequence[str]
    templates: Sequence[Compiled]
    also: Sequence[str] = ()
    names: Sequence[str] = ()
    _failed: BatchPipelineError | None = field(default=None, init=False)

    def text_of(self, template: Compiled) -> str:
        """The DuckDB expression of the text of one of the templates."""
        return template.sql or identifier(_rendered(self.templates.index(template)))

    def query(
        self, con: duckdb.DuckDBPyConnection, sql: str, *, where: str
    ) -> Generator[pa.RecordBatch]:
        """The batches that *sql* over VIEW yields, in dataset order; the first one may be empty."""
        files = [file for _, selection in self.selections for file in selection.files]
        size = batch_rows(list(dict.fromkeys(files)), self._read)
        with (
            closing(self._batches(size, where)) as source,
            _named_errors(self, where),
            closing(con.cursor()) as cursor,  # a connection has one open result at most
        ):
            # While a batch is written, the next ones are made: not with the default of 1 MB.
            cursor.execute(f"SET streaming_buffer_size = '{_AHEAD}'")
            cursor.register(VIEW, pa.RecordBatchReader.from_batches(self._schema, source))
            with cursor.sql(sql).to_arrow_reader(size) as reader:
                yield pa.RecordBatch.from_pylist([], reader.schema)
                yield from reader

    @property
    def _read(self) -> list[str]:
        by_template = (name for each in self.templates for name in each.columns)
        return list(dict.fromkeys([*self.keys, *by_template, *self.also]))

    @property
    def _passed(self) -> list[str]:
        """What DuckDB needs: the columns that only Jinja2 looks at stay here."""
        by_sql = (name for each in self.templates if each.sql for name in each.columns)
        return list(dict.fromkeys([*self.keys, *by_sql, *self.also]))

    @property
    def _schema(self) -> pa.Schema:
        rendered = [_rendered(n) for n, each in enumerate(self.templates) if each.jinja]
        fields = list(self.selections[0][1].schema(self._passed))
        fields += [pa.field(name, pa.string()) for name in rendered]
        if self.names:
            fields += [pa.field(NUMBER, pa.int32()), pa.field(PARTITION, pa.string())]
        return pa.schema(fields)

    def _batches(self, size: int, where: str) -> Generator[pa.RecordBatch]:
        try:
            for one in rows_of(self.selections, self._read, rows=size):
                yield self._with_rendered(one, where)
        except BatchPipelineError as error:
            self._failed = error  # DuckDB passes on no more than its text
            raise

    def _with_rendered(self, of: Numbered, where: str) -> pa.RecordBatch:
        batch, where = of.rows, f"{of.file.path} ({where})"
        columns = [batch.column(name) for name in self._passed]
        for each in self.templates:
            if each.jinja is not None:
                names = list(dict.fromkeys([*self.keys, *each.columns]))
                some = batch.select(names)
                columns.append(
                    render(each.jinja, some, self.keys, each.columns, each.absent, where=where)
                )
        if self.names:
            count = batch.num_rows
            columns += [pa.repeat(pa.scalar(of.number, pa.int32()), count)]
            columns += [pa.repeat(self.names[of.number], count)]
        return pa.record_batch(columns, schema=self._schema)


@contextmanager
def _named_errors(rows: Rows, where: str) -> Iterator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise StoreError(
            f"{where}: DuckDB needs more memory than its limit ({_first_line(error)}). "
            "Raise BATCH_PIPELINE_MEMORY; very long texts need it."
        ) from error
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if rows._failed is not None:  # noqa: SLF001 - one thing in two pieces
            raise rows._failed from None  # noqa: SLF001 - the same
        raise DatasetError(
            f"{where}: the rows cannot be made into requests ({_first_line(error)}). "
            "If it names a column, look at its values there."
        ) from error


def _rendered(number: int) -> str:
    return f"rendered template {number}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
