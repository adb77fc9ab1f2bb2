"""`make dev`: the simulator and the Dagster UI with its daemon, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Start both in their own process groups, so that Ctrl-C ends all of it."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--port", type=int, default=3000)
    said.add_argument("--simulator-port", type=int, default=8900)
    said.add_argument("--faults", type=Path, default=Path(__file__).parent / "demo_faults.yaml")
    options = said.parse_args()
    root = f"http://127.0.0.1:{options.simulator_port}"
    env = {
        **os.environ,
        "OPENAI_BASE_URL": f"{root}/openai/v1",
        "ANTHROPIC_BASE_URL": f"{root}/anthropic",
        "MISTRAL_BASE_URL": f"{root}/mistral",
        **{f"{name}_API_KEY": "sk-simulated" for name in ("OPENAI", "ANTHROPIC", "MISTRAL")},
        "BATCH_PIPELINE_POLL_SECONDS": os.environ.get("BATCH_PIPELINE_POLL_SECONDS", "5"),
    }
    simulator = ["-m", "batch_pipeline.cli.main", "simulate", "--port", str(options.simulator_port)]
    simulator += ["--faults", str(options.faults), "--state", str(_store() / "simulator")]
    dagster = ["-W", "ignore", "-m", "dagster", "dev", "-w", "workspace.yaml"]
    dagster += ["--log-level", "warning"]
    dagster += ["-h", "127.0.0.1", "-p", str(options.port)]
    print(f"Dagster UI: http://127.0.0.1:{options.port}  (about 20 s to start; Ctrl-C ends it)")
    started = [_start(arguments, env) for arguments in (simulator, dagster)]
    try:
        started[-1].wait()
    except KeyboardInterrupt:
        print("stopping")
    finally:
        for again in (signal.SIGINT, signal.SIGTERM):  # make passes its own on: stop once, wholly
            signal.signal(again, signal.SIG_IGN)
        for process in reversed(started):
            _stop(process)


def _store() -> Path:
    return Path(os.environ.get("BATCH_PIPELINE_STORE", "data/store"))


def _start(arguments: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, env=env, start_new_session=True)  # noqa: S603 - our own words


def _stop(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, how)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` would ignore it
    main()
