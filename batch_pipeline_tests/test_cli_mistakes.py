"""What people mistype on the command line: exit code 2 or 1, one clear message, no traceback."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batch_pipeline_tests.world import DAYS, World, made

with warnings.catch_warnings():  # typer asks click for names that click means to drop
    warnings.simplefilter("ignore", DeprecationWarning)
    from batch_pipeline.cli.main import main

DAY = DAYS[0]
Type = Callable[..., tuple[int, str]]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with made(tmp_path, days=[DAY]) as one:
        one.run()
        yield one


@pytest.fixture
def typed(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Type:
    """Type a command where the job file is; its exit code and what it said to the person."""
    for name, value in world.whole_env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(world.folder)
    world.job_file()

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        code = ended.value.code
        return code if isinstance(code, int) else 0, capsys.readouterr().err

    return run


JOB = "./job.yaml"
MISTAKES: list[tuple[list[str], str]] = [
    (["retry", JOB, "--custom-id", "nope"], "no request of these partitions is named 'nope'"),
    (["retry", JOB, "--run", "nope"], "no run 'nope' sent anything"),
    (["retry", JOB, "--kind", "nope"], "'nope' is not one of"),
    (["retry", JOB, "--partition", "2026-01-09"], "was never built"),
    (["run", JOB, "--partition", "2026-1-1"], "'2026-1-1' has no files"),
    (["run", JOB, "--partition", DAY, "--from", DAY], "use one"),
    (["run", JOB, "--from", "01.01.2026"], "does not fit the format"),
    (["run", JOB, "--from", DAYS[2], "--to", DAY], "no partition from"),
    (["run", "./jobb.yaml"], "cannot be read"),
    (["run", "nobody_s_job"], "there is no job"),
    (["status", JOB, "--partition", "soon"], "was never built"),
    (["report", JOB, "--to", "1999-01-01"], "no partition"),
    (["run", JOB, "--patrition", DAY], "No such option"),
    (["rum", JOB], "No such command"),
    (["run"], "Missing argument"),
    (["providers", "openia"], "openia"),
    (["check", "./jobb.yaml"], ""),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_a_mistake_is_one_clear_message_and_exit_code_2(
    typed: Type, words: list[str], said: str
) -> None:
    code, told = typed(*words)
    assert code == 2
    assert said in " ".join(told.replace("│", " ").split())
    assert "Traceback" not in told


def test_what_was_never_sent_is_not_said_to_go_again(
    world: World, typed: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    typed("status", JOB)
    world.write_rows({DAY: [{"id": "r/000", "body": "Row 0 is good"}, {"id": "n", "body": "new"}]})
    with world.open() as shell:
        shell.build([DAY])
        table = pq.read_table(world.store.requests_table("moods", DAY)).to_pylist()
    new = next(row["custom_id"] for row in table if row["id"] == "n")
    with pytest.raises(SystemExit):
        main(["retry", JOB, "--custom-id", new, "--no-wait"])
    assert "0 requests sent again. 1 more had not been sent before." in capsys.readouterr().out


def test_a_dotenv_file_is_read_and_what_is_set_stays(
    world: World, typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = world.folder / "elsewhere"
    monkeypatch.delenv("BATCH_PIPELINE_STORE")
    (world.folder / ".env").write_text(
        f"BATCH_PIPELINE_STORE={elsewhere}\nOPENAI_API_KEY=not-this-one\n"
    )
    typed("status", JOB)
    assert elsewhere.is_dir()
    assert os.environ["OPENAI_API_KEY"] == world.env["OPENAI_API_KEY"]
    monkeypatch.setenv("BATCH_PIPELINE_STORE", "put back")  # so that the fixture takes it away


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.csv.gz"])
def test_a_text_file_is_made_parquet_by_the_line_that_the_error_gives(
    world: World, typed: Type, name: str
) -> None:
    text = "id,body,zip\na,good,01067\n"
    if "jsonl" in name:
        text = '{"id": "a", "body": "good", "zip": "01067"}\n'
    packed = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    (world.folder / name).write_bytes(packed)
    world.job_file(dataset={"path": name, "key": "id"}, partitions={"kind": "none"})
    code, told = typed("run", JOB)
    assert code == 2
    line = " ".join(told.split()).partition("dataset.path: ")[2]
    subprocess.run(  # noqa: S602 - a shell, as people have
        line.replace("python -c", f"{sys.executable} -c"), shell=True, check=True
    )
    made_of_it = next(world.folder.glob("*.parquet"))
    assert pq.read_table(made_of_it).to_pylist() == [{"id": "a", "body": "good", "zip": "01067"}]


def test_nothing_but_words_comes_out_of_a_pipe(typed: Type) -> None:
    _, told = typed("run", JOB)
    assert not set("━╸╺\x1b\r") & set(told)
