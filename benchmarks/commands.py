"""What people wait for before anything runs: commands, the code location, the simulator."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent

from benchmarks.measuring import Figures, Measured, Take, child, middle

_TIMES = 2  # in a round
_PROGRAM = str(Path(sys.executable).with_name("batch-pipeline"))
_JOBS = 21
_JOB = """\
type: batch_pipeline.components.BatchJobComponent
attributes:
  name: {name}
  dataset: {{path: {data}, key: id}}
  request:
    prompt: "How is it? {{{{ body }}}}"
    output_schema:
      type: object
      properties: {{mood: {{type: string, enum: [good, bad]}}}}
      required: [mood]
      additionalProperties: false
  targets:
    - {{provider: openai, model: gpt-5-nano}}
"""
_FINISHED = """\
    import os
    import pyarrow as pa
    import pyarrow.parquet as pq
    from batch_pipeline import Pipeline, Simulator, load_job
    from batch_pipeline.simulator.limits import Pace

    numbers = range(20)
    rows = {"id": [str(n) for n in numbers], "body": [f"text {n}" for n in numbers]}
    pq.write_table(pa.table(rows), "rows.parquet")
    with Simulator(pace=Pace(seconds_to_complete=0)) as simulator:
        os.environ |= simulator.env
        with Pipeline.open(load_job("./job.yaml")) as shell:
            shell.run(shell.partitions())
"""
_DEFINITIONS = """\
    from pathlib import Path

    import dagster as dg


    @dg.definitions
    def defs():
        return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
_OPEN = "from many.definitions import defs; defs().get_repository_def()"
_LISTEN = (
    "import time\nfrom batch_pipeline import Simulator\nwith Simulator(port={port}): time.sleep(60)"
)


def _command(*words: str) -> Take:
    return lambda work: _several([_PROGRAM, *words], work, {})


def _status(work: Path) -> Measured:
    """Of a job that is done, made by the same tree."""
    (work / "job.yaml").write_text(_JOB.format(name="quick", data="rows.parquet"))
    env = {"BATCH_PIPELINE_STORE": str(work / "store"), "BATCH_PIPELINE_POLL_SECONDS": "0.1"}
    child([sys.executable, "-P", "-c", dedent(_FINISHED)], work, env)
    return _several([_PROGRAM, "status", "./job.yaml", "--json"], work, env)


def _opened(work: Path) -> dict[str, Measured]:
    """A code location of one job, one of many, and what each further job costs."""
    one, many = _location(work, 1), _location(work, _JOBS)
    more = _JOBS - 1
    further = Measured(
        (many.seconds - one.seconds) / more, (many.cpu - one.cpu) / more, many.peak_mb
    )
    return {"1 job": one, f"{_JOBS} jobs": many, "a further job": further}


def _location(work: Path, jobs: int) -> Measured:
    """Making its definitions, as Dagster's server does."""
    many = work / str(jobs) / "many"
    for number in range(jobs):
        folder = many / "defs" / f"job_{number:03}"
        folder.mkdir(parents=True)
        job = _JOB.format(name=folder.name, data="../../rows.parquet")
        (folder / "defs.yaml").write_text(job)
    for package in (many, many / "defs"):
        (package / "__init__.py").write_text("")
    (many / "definitions.py").write_text(dedent(_DEFINITIONS))
    (many.parent / "pyproject.toml").write_text(
        '[project]\nname = "many"\nversion = "0"\n[tool.dg]\ndirectory_type = "project"\n'
        '[tool.dg.project]\nroot_module = "many"\n'
    )
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(many.parent)])
    return _several([sys.executable, "-P", "-c", _OPEN], many.parent, {"PYTHONPATH": path})


def _simulate(work: Path) -> Measured:
    return middle(
        _listening([_PROGRAM, "simulate", "--state", str(work / str(n)), "--port"], work)
        for n in range(_TIMES)
    )


def _simulator(work: Path) -> Measured:
    return middle(_listening([sys.executable, "-P", "-c"], work) for _ in range(_TIMES))


def _listening(words: Sequence[str], work: Path) -> Measured:
    """From its start until somebody can call it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    last = str(port) if words[-1] == "--port" else _LISTEN.format(port=port)

    def until(process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                time.sleep(0.005)
            else:
                return
        raise SystemExit(f"the simulator ended with {process.returncode}: no measurement.")

    return child([*words, last], work, {}, until=until)


def _several(words: Sequence[str], work: Path, env: Mapping[str, str]) -> Measured:
    return middle(child(words, work, env) for _ in range(_TIMES))


CONTEST = Figures(
    "commands",
    "Commands, the code location, the simulator",
    {
        "--help": _command("--help"),
        "--version": _command("--version"),
        "status --json of a finished job": _status,
        "code location": _opened,
        "simulate, until it listens": _simulate,
        "Simulator(), until it listens": _simulator,
    },
    before={"--version": _command("--help")},  # it had none: all that was asked of it took as long
)
