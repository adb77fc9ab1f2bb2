"""Whether bytes are a result file, told from the bytes alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_pipeline.stages.results import wholeness

LINE = b'{"id":"x","custom_id":"a","response":{}}'
PRETTY = b'{\n  "error": {\n    "message": "Bad gateway"\n  }\n}\n'


@pytest.mark.parametrize(
    ("data", "promised", "why"),
    [
        (LINE + b"\n" + LINE + b"\n", 2, None),
        (LINE + b"\n" + LINE, 2, None),
        (b"\xef\xbb\xbf" + LINE, 1, None),
        (b"\n\r\n" + LINE + b"\n\n \t\n" + LINE + b"\r\n\n", 2, None),
        (b"\n\r\n" + LINE + b"\n\n \t\n" + LINE + b"\r\n\n", 3, "2 of 3 lines came"),
        (LINE + b"\n" + LINE + b"\n", 1, None),  # counts may be too low
        (LINE + b"\n" + LINE + b"\n", None, None),
        (LINE + b"\n", 2, "1 of 2 lines came"),
        (LINE + b"\n" + LINE[:30], 2, "the last line that came is cut"),
        (LINE + b"\n" + LINE[:30], None, "the last line that came is cut"),
        (LINE[:30] + b"\n" + LINE + b"\n", 2, None),  # that is the row's own affair
        (b"\xff\xfe\n" + LINE + b"\n", 2, None),
        (b"", 2, "nothing came of 2 lines"),
        (b"\n \n", 2, "nothing came of 2 lines"),
        (b"", 0, None),
        (b"", None, None),
        (b"<!DOCTYPE html>\n<html>\n<p>Please log in.\n</html>", 2, "a web page came that"),
        (b"\n  <html></html>", None, "a web page came that holds no result"),
        (PRETTY, 2, "a JSON object came that holds no result"),
        (b'{"error":{"message":"no"}}', 0, "a JSON object came that holds no result"),
        (b"[]", 1, "a JSON list came that holds no result"),
        (b"upstream connect error\n", None, "something else came that holds no result"),
    ],
)
def test_what_is_no_file_or_not_all_of_it_is_told(
    tmp_path: Path, data: bytes, promised: int | None, why: str | None
) -> None:
    path = tmp_path / "b.output.jsonl"
    path.write_bytes(data)
    found = wholeness.look(path).shortfall(promised)
    assert (found or "").startswith(why or "")
    assert (found is None) == (why is None)


def test_a_file_of_many_blocks_is_counted_to_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "b.output.jsonl"
    line = b'{"custom_id":"a","pad":"' + b"p" * 90_000 + b'"}\n'
    path.write_bytes(line * 100)
    assert wholeness.look(path) == wholeness.Arrived(100)
    path.write_bytes(line * 100 + b'{"custom_id":"b"')
    assert wholeness.look(path).shortfall(101) == "the last line that came is cut"
