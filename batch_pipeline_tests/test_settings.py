"""Where things live: read from the environment once, and refused when it makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_pipeline.errors import UsageError
from batch_pipeline.settings import Settings


def test_what_is_unset_or_empty_keeps_its_default() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"BATCH_PIPELINE_POLL_SECONDS": ""}) == Settings()


def test_what_is_set_is_taken() -> None:
    said = Settings.from_env({"BATCH_PIPELINE_STORE": "s", "BATCH_PIPELINE_POLL_SECONDS": "2.5"})
    assert (said.store, said.poll_seconds) == ("s", 2.5)


@pytest.mark.parametrize("text", ["often", "0", "-1", "nan"])
def test_a_pace_that_is_none_is_named_with_its_variable(text: str) -> None:
    with pytest.raises(UsageError, match="BATCH_PIPELINE_POLL_SECONDS"):
        Settings.from_env({"BATCH_PIPELINE_POLL_SECONDS": text})


def test_the_ledger_lies_in_the_store_unless_it_is_told_otherwise() -> None:
    assert Settings(store="s").ledger() == f"sqlite:///{Path('s').absolute() / 'ledger.db'}"
    assert Settings(ledger_url="postgresql://host/db").ledger() == "postgresql://host/db"


def test_an_address_of_dagsters_pages_is_one_that_a_link_can_begin_with() -> None:
    def read(text: str) -> str | None:
        return Settings.from_env({"BATCH_PIPELINE_DAGSTER_URL": text}).dagster_url

    assert read("") is None
    assert read("/prefix/") == "/prefix"
    assert read("https://dagster.example:3000/a/b") == "https://dagster.example:3000/a/b"
    for wrong in ("dagster.example", "javascript:alert(1)", "https://x/)](y", "//x y"):
        with pytest.raises(UsageError, match="no address of a web server"):
            read(wrong)
