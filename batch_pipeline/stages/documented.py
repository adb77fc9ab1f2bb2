"""The columns of results as people read them: `make docs` writes the page, a test compares."""

from __future__ import annotations

import sys
from pathlib import Path

from batch_pipeline.stages.schemas import RESULTS


def page() -> str:
    """The page in Markdown: the key's columns first, as a results file has them."""
    rows = [("the key's columns", "as in the dataset", "dataset", "They name the row.")]
    rows += [(f"`{one.name}`", str(one.type), one.source, one.meaning) for one in RESULTS]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        "# Columns of the results\n"
        "Generated from `batch_pipeline/stages/schemas.py` by `make docs`. `output` and "
        "`embedding` stand\nwhere the job has them, `output` as its schema types it.\n\n"
        f"| column | Arrow type | from | meaning |\n|---|---|---|---|\n{table}\n"
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
