"""The command line as a process of its own: Ctrl-C at any moment, and the simulator's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from batch_pipeline.interrupts import heeded
from batch_pipeline_tests.world import DAYS, World, live

with warnings.catch_warnings():  # typer asks click for names that click means to drop
    warnings.simplefilter("ignore", DeprecationWarning)

ROOT = Path(__file__).parents[1]
DAY, NEXT = DAYS[:2]
EXPIRED = {"rows": [{"becomes": "expired", "custom_id": "r-001*", "first_times": 1}]}
REFUSED = {"rows": [{"becomes": "refused", "custom_id": "r-002*"}]}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with live(tmp_path) as one:
        yield one


@contextmanager
def started(world: World, *args: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-u", "-m", "batch_pipeline.cli.main", *args],
        cwd=ROOT,
        env={**os.environ, **world.whole_env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_leaves_everything_ready_to_go_on(world: World) -> None:
    world.sim.faults({"batches": [{"do": "stall", "nth": 1}]})
    polled = threading.Event()

    def look() -> None:
        while not world.sim.log("list") and not polled.wait(0.05):
            pass
        polled.set()

    with started(world, "run", str(world.job_file())) as process:
        watcher = threading.Thread(target=look)
        watcher.start()
        assert polled.wait(60)
        watcher.join()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on from here" in " ".join(err.split())
    assert "Traceback" not in err
    world.sim.advance(90_000)
    with world.open() as shell:
        assert shell.run([DAY])[DAY][1].counts.succeeded == 5


def test_simulate_serves_until_it_is_stopped(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    state = str(world.folder / "state")
    with started(world, "simulate", "--port", str(port), "--state", state, "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        document = json.loads("".join(process.stdout.readline() for _ in range(6)))
        assert document["openai"] == f"http://127.0.0.1:{port}/openai/v1"
        assert document["mistral"] == f"http://127.0.0.1:{port}/mistral"
        assert "Simulated batch APIs" in process.stderr.readline()  # now it listens
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_sim/clock") as answer:
            assert json.load(answer)["speed"] == 1
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == 0


@pytest.mark.parametrize("module", ["typer", "pyarrow", "batch_pipeline.pipeline.checking"])
def test_ctrl_c_while_the_program_loads_ends_it_without_a_word(module: str) -> None:
    """The import of *module* interrupts its own process, where a person might have."""
    code = (
        "import builtins, os, runpy, signal, sys\n"
        "true = builtins.__import__\n"
        "def interrupted(name, *rest):\n"
        f"    if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return true(name, *rest)\n"
        "builtins.__import__ = interrupted\n"
        "import batch_pipeline\n"
        "path = os.path.join(os.path.dirname(batch_pipeline.__file__), 'cli/main.py')\n"
        "sys.argv = [path, 'providers']\n"
        "runpy.run_path(path, run_name='__main__')\n"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_that_python_drops_ends_the_next_wait() -> None:
    with heeded() as heed:
        with suppress(KeyboardInterrupt):  # as a finalizer would
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            heed.sleep(3600)


HEAVY = {
    *("dagster", "duckdb", "genai_prices", "jinja2", "numpy", "pandas", "polars", "pyarrow"),
    *("pydantic", "rich.progress", "sqlalchemy", "yaml"),
    *("anthropic", "httpx2", "mistralai", "openai"),
    *("batch_pipeline.pipeline", "batch_pipeline.providers", "batch_pipeline.spec"),
}
READS = {"jinja2", "numpy", "pyarrow", "pydantic", "sqlalchemy", "yaml"}
OURS = {"batch_pipeline.pipeline", "batch_pipeline.providers", "batch_pipeline.spec"}


def loaded(world: World, *args: str) -> set[str]:
    """The modules that a command has loaded when it ends."""
    code = (
        "import json, sys\n"
        "from batch_pipeline.cli.main import main\n"
        "try:\n"
        f"    main({list(args)!r})\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code, ended.code\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env={**os.environ, **world.whole_env},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("args", [("--help",), ("run", "--help"), ("--version",)])
def test_help_and_version_load_nothing_that_a_job_needs(
    world: World, args: tuple[str, ...]
) -> None:
    assert HEAVY & loaded(world, *args) == set()


def test_status_of_a_finished_job_loads_nothing_that_only_work_needs(world: World) -> None:
    world.run()
    there = loaded(world, "status", str(world.job_file()), "--json")
    assert HEAVY & there == READS | OURS
    assert {
        "rich",
        "batch_pipeline.pipeline.landing",
        "batch_pipeline.prices.find",
    } & there == set()


def test_garbage_is_looked_for_again_once_a_command_is_loaded(world: World) -> None:
    code = (
        "import gc, sys\n"
        "sys.argv[0] = '/bin/batch-pipeline'\n"
        "from batch_pipeline.cli.main import main\n"
        "before = gc.isenabled()\n"
        "try:\n"
        "    main(['check'])\n"
        "except SystemExit:\n"
        "    print(before, gc.isenabled())"
    )
    env = {**os.environ, **world.whole_env}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False True"


@pytest.mark.parametrize("command", ["check", "reparse", "report"])
def test_a_command_ends_without_a_word_of_the_libraries_it_loaded(
    world: World, command: str
) -> None:
    world.run()
    with started(world, command, str(world.job_file())) as process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
