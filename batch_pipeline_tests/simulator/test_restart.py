"""State survives a restart and a kill; time goes on."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from batch_pipeline.simulator.clock import Clock
from batch_pipeline.simulator.server import Simulator
from batch_pipeline.simulator.state import FolderInUseError, State
from batch_pipeline_tests.simulator.conftest import client_of
from batch_pipeline_tests.simulator.lines import as_jsonl, collect, make_lines, run, submit

SERVE = """
import sys
from pathlib import Path
from batch_pipeline.simulator.server import serve
serve(port=0, state_dir=Path(sys.argv[1]), speed=0)
"""


def started(state_dir: Path) -> tuple[subprocess.Popen[str], str]:
    """The simulator in a process of its own, and its address."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own text
        [sys.executable, "-c", SERVE, str(state_dir)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    banner = process.stdout.readline() + process.stdout.readline()
    assert "SIMULATED" in banner
    address = re.search(r"http://127\.0\.0\.1:\d+", banner)
    assert address is not None
    return process, address[0]


def test_a_killed_simulator_goes_on_where_it_was(tmp_path: Path) -> None:
    process, url = started(tmp_path)
    with process, OpenAI(base_url=f"{url}/openai/v1", api_key="sk-test", max_retries=0) as client:
        batch = submit(client, make_lines(400))
        client.post("/../../_sim/clock/advance", cast_to=object, body={"seconds": 2})
        counts = client.batches.retrieve(batch.id).request_counts
        assert counts is not None
        assert 0 < counts.completed < 400
        os.kill(process.pid, signal.SIGKILL)
    with Simulator(speed=0, state_dir=tmp_path) as sim, client_of(sim) as client:
        resumed = client.batches.retrieve(batch.id)
        assert resumed.request_counts == counts
        sim.advance(60)
        results = collect(client, batch.id)
        assert results.batch.status == "completed"
        assert set(results.output) == {f"row-{number}" for number in range(1, 401)}
        content = client.files.content(results.batch.output_file_id or "").content
        assert content.count(b"\n") == 400
        assert sim.submissions() == dict.fromkeys(results.output, 1)
        assert [entry.operation for entry in sim.log()][:2] == ["upload", "create"]


def test_bytes_that_were_written_but_not_saved_are_written_again(tmp_path: Path) -> None:
    with Simulator(speed=0, state_dir=tmp_path) as sim, client_of(sim) as client:
        batch = submit(client, make_lines(10))
        sim.advance(2)
    (growing,) = [
        blob for blob in (tmp_path / "blobs").iterdir() if b"batch_req" in blob.read_bytes()
    ]
    with growing.open("ab") as file:
        file.write(b'{"id":"batch_req_half')
    with Simulator(speed=0, state_dir=tmp_path) as sim, client_of(sim) as client:
        sim.advance(60)
        assert len(collect(client, batch.id).output) == 10


def test_everything_is_still_there_after_a_restart(tmp_path: Path) -> None:
    with Simulator(speed=0, state_dir=tmp_path) as sim, client_of(sim) as client:
        before = run(sim, client, make_lines(2))
        waiting = submit(client, make_lines(1))
    with Simulator(speed=0, state_dir=tmp_path) as sim, client_of(sim) as client:
        after = collect(client, before.batch.id)
        assert after == before
        assert client.batches.retrieve(waiting.id) == waiting
        assert client.files.content(waiting.input_file_id).content == as_jsonl(make_lines(1))


def test_a_fault_that_was_used_up_stays_used_up(tmp_path: Path) -> None:
    script = {"calls": [{"do": "fail", "operation": "list", "times": 1}]}
    with (
        Simulator(speed=0, state_dir=tmp_path, faults=script) as sim,
        client_of(sim) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.batches.list()
    with Simulator(speed=0, state_dir=tmp_path, faults=script) as sim, client_of(sim) as client:
        client.batches.list()


def test_two_simulators_do_not_share_a_folder(tmp_path: Path) -> None:
    with Simulator(state_dir=tmp_path), pytest.raises(FolderInUseError, match="another simulator"):
        Simulator(state_dir=tmp_path).__enter__()


def test_the_clock_runs_at_its_speed_and_goes_on_while_nobody_looks(tmp_path: Path) -> None:
    wall = [1000.0]
    state = State(tmp_path)
    clock = Clock(state, speed=60, wall=lambda: wall[0])
    assert clock.now() == 1000.0
    wall[0] = 1001.0
    assert clock.now() == 1060.0
    assert clock.advance(40) == 1100.0
    wall[0] = 1002.0
    assert clock.now() == 1160.0
    wall[0] = 1003.0
    later = Clock(state, speed=1, wall=lambda: wall[0])
    assert later.now() == 1220.0
    wall[0] = 1004.0
    assert later.now() == 1221.0
    state.close()


def test_time_does_not_run_backwards(tmp_path: Path) -> None:
    state = State(tmp_path)
    clock = Clock(state, speed=0)
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="forward"):
        Clock(state, speed=-1)
    state.close()


def test_a_batch_runs_by_itself_when_time_does() -> None:
    with Simulator(speed=3600) as sim, client_of(sim) as client:
        batch = submit(client, make_lines(3))
        assert batch.status == "validating"
        sim.advance(5 * 3600)
        assert client.batches.retrieve(batch.id).status == "completed"


def test_a_state_folder_that_it_makes_is_its_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Simulator(state_dir=tmp_path / "state"):
            assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)
