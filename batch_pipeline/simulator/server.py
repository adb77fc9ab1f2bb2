"""The server: puts the dialects behind one port, for tests (`Simulator`) and people (`serve`)."""

import asyncio
import os
import socket
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from batch_pipeline.simulator import control
from batch_pipeline.simulator.anthropic.routes import SIMULATED as ANTHROPIC
from batch_pipeline.simulator.clock import Clock
from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.faults import FaultScript, read_script
from batch_pipeline.simulator.limits import Limits, Pace
from batch_pipeline.simulator.mistral.routes import SIMULATED as MISTRAL
from batch_pipeline.simulator.openai.routes import SIMULATED as OPENAI
from batch_pipeline.simulator.records import LogEntry
from batch_pipeline.simulator.state import State

PROVIDERS = (OPENAI, ANTHROPIC, MISTRAL)
_LOOPBACK = "127.0.0.1"
_BANNER = """\
Simulated batch APIs on {url}
  Answers are SIMULATED: no model runs, nothing is sent anywhere, nothing is billed.
{providers}
  state      {state_dir}
  clock      {speed:g} simulated seconds per second; a batch takes about {seconds:g} s
  steer it   {url}/_sim  (log, submissions, clock/advance, faults)
"""


class Simulator:
    """The providers' batch APIs on a free loopback port, as a context manager.

    `limits` and `pace` are described in limits.py; `faults` (a path, YAML text, a mapping or a
    FaultScript) in faults.py. Without `state_dir` the state lives in a temporary folder. With
    `speed=0` time stands still and only `advance` moves it.
    """

    def __init__(
        self,
        *,
        state_dir: Path | None = None,
        speed: float = 1.0,
        faults: object = None,
        limits: Limits | None = None,
        pace: Pace | None = None,
        host: str = _LOOPBACK,
        port: int = 0,
    ) -> None:
        self._state_dir = state_dir
        self._speed = speed
        self._script = read_script(faults)
        self._limits = limits or Limits()
        self._pace = pace or Pace()
        self._address = (host, port)
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = self._state_dir
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simulator-")))
            self._engine = stack.enter_context(self._open(folder))
            listening = stack.enter_context(_listening(self._address))
            self._url = "http://{}:{}".format(*listening.getsockname())
            stack.enter_context(_Http(build_app(self._engine), listening))
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    def _open(self, folder: Path) -> Engine:
        engine = open_engine(folder, speed=self._speed, limits=self._limits, pace=self._pace)
        engine.use(self._script)
        return engine

    @property
    def url(self) -> str:
        """The root of the server."""
        return self._url

    @property
    def urls(self) -> dict[str, str]:
        """The address that each provider's SDK is given, by the provider's name."""
        return {one.name: f"{self.url}{one.path}" for one in PROVIDERS}

    @property
    def env(self) -> dict[str, str]:
        """The environment in which it stands in for every provider."""
        said: dict[str, str] = {}
        for name, url in self.urls.items():
            said |= {f"{name.upper()}_BASE_URL": url, f"{name.upper()}_API_KEY": "sk-simulated"}
        return said

    @property
    def now(self) -> float:
        """The simulated time, in seconds since the epoch."""
        return self._engine.clock.now()

    def advance(self, seconds: float) -> float:
        """Push the clock; when this returns, all that fell due has happened."""
        return self._engine.advance(seconds)

    def faults(self, script: object) -> FaultScript:
        """Replace the fault script; its rules count from zero."""
        return self._engine.replace_script(read_script(script))

    def log(self, operation: str | None = None) -> list[LogEntry]:
        """The API calls so far, oldest first."""
        return self._engine.state.log(operation)

    def submissions(self) -> dict[str, int]:
        """In how many accepted batches each custom_id was."""
        return self._engine.state.submissions()

    def custom_ids(self, batch_id: str) -> list[str]:
        """The custom_ids of one accepted batch; none for one that failed validation."""
        batch = self._engine.state.batch(batch_id)
        return [] if batch is None else self._engine.state.custom_ids(batch)


def serve(
    *,
    port: int,
    state_dir: Path,
    host: str = _LOOPBACK,
    speed: float = 1.0,
    faults: Path | None = None,
    seconds_to_complete: float = 4.0,
    limits: Limits | None = None,
) -> None:
    """Run the simulator in the foreground until Ctrl-C."""
    pace = Pace(seconds_to_complete=seconds_to_complete)
    script = read_script(faults)
    os.umask(0o077)  # a process of its own, and its files hold prompts
    with (
        open_engine(state_dir, speed=speed, limits=limits or Limits(), pace=pace) as engine,
        _listening((host, port)) as listening,
    ):
        engine.use(script)
        url = "http://{}:{}".format(*listening.getsockname())
        addresses = (f"  {one.title:<11}{one.address}={url}{one.path}" for one in PROVIDERS)
        banner = _BANNER.format(
            url=url,
            providers="\n".join(addresses),
            state_dir=state_dir,
            speed=speed,
            seconds=seconds_to_complete,
        )
        sys.stdout.write(banner)
        sys.stdout.flush()
        app = build_app(engine)
        server = uvicorn.Server(_config(app))
        _allow_hanging_up(app, server)
        with suppress(KeyboardInterrupt):
            server.run([listening])


def open_engine(folder: Path, *, speed: float, limits: Limits, pace: Pace) -> Engine:
    """The engine over a state folder, which may hold an earlier run's state."""
    with ExitStack() as stack:
        state = State(folder)
        stack.callback(state.close)
        engine = Engine(state, Clock(state, speed=speed), limits=limits, pace=pace)
        for provider in PROVIDERS:
            provider.join(engine)
        stack.pop_all()
    return engine


def build_app(engine: Engine) -> Starlette:
    """The whole HTTP face."""
    return Starlette(
        routes=[
            Mount("/_sim", routes=control.routes(engine)),
            *(Mount(one.path, routes=one.routes(engine)) for one in PROVIDERS),
        ]
    )


class _Marked:
    """Marks every answer as simulated."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-simulated"] = "batch-pipeline-simulator"
            await send(message)

        await self._app(scope, receive, marked)


def _listening(address: tuple[str, int]) -> socket.socket:
    listening = socket.create_server(address)
    # asyncio sets this only on sockets of named protocol; without it every answer waits 40 ms
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _config(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        _Marked(app),
        loop="asyncio",
        http=HttpToolsProtocol,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,  # the date is the simulated clock's
        timeout_graceful_shutdown=2,
    )


def _allow_hanging_up(app: Starlette, server: uvicorn.Server) -> None:
    """Let the app close a connection once what was sent is out, as a dying peer would."""

    async def hang_up(scope: Scope, receive: Receive) -> None:
        for connection in list(server.server_state.connections):
            if isinstance(connection, HttpToolsProtocol) and connection.client == scope["client"]:
                connection.transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass

    app.state.hang_up = hang_up


class _PromptServer(uvicorn.Server):
    """Stops as soon as it is told; uvicorn's own looks ten times a second, and tests add up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()
        self._running: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._running = asyncio.get_running_loop()
        if not self.should_exit:
            await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything; uvicorn's own always waits a tenth of a second, and tests add up."""
        for closing in (*self.servers, *(sockets or ())):
            closing.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - uvicorn has no event
                    await asyncio.sleep(0.001)
        for task in self.server_state.tasks:
            task.cancel()

    def stop(self) -> None:
        """End `run`, from any thread."""
        self.should_exit = True
        if self._running is not None:
            self._running.call_soon_threadsafe(self._told.set)


class _Http:
    """A server in a thread of its own; the socket already listens, so nobody has to wait."""

    def __init__(self, app: Starlette, listening: socket.socket) -> None:
        self._server = _PromptServer(_config(app))
        _allow_hanging_up(app, self._server)
        self._thread = threading.Thread(
            target=self._server.run, args=([listening],), name="simulator-http", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._thread.join()
