"""`/_sim`: the endpoints by which tests and demos steer the simulator and look behind it.

GET    /_sim/log?operation=create      the calls, oldest first
DELETE /_sim/log                       forget them
GET    /_sim/submissions               custom_id -> in how many accepted batches it was
GET    /_sim/batches/{id}/custom_ids   the custom_ids of one accepted batch
GET    /_sim/clock                     {"now", "speed"}
POST   /_sim/clock/advance             {"seconds": N}; returns when all that is due is done
PUT    /_sim/faults                    a fault script (YAML or JSON) replaces the current one
GET    /_sim/faults                    the current one
"""

import msgspec
import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.faults import FaultScriptError, read_script


def routes(engine: Engine) -> list[Route]:
    """The control endpoints, to be mounted under `/_sim`."""
    control = _Control(engine)
    return [
        Route("/log", control.read_log, methods=["GET"]),
        Route("/log", control.clear_log, methods=["DELETE"]),
        Route("/submissions", control.submissions, methods=["GET"]),
        Route("/batches/{id}/custom_ids", control.custom_ids, methods=["GET"]),
        Route("/clock", control.read_clock, methods=["GET"]),
        Route("/clock/advance", control.advance, methods=["POST"]),
        Route("/faults", control.read_faults, methods=["GET"]),
        Route("/faults", control.replace_faults, methods=["PUT"]),
    ]


class _Control:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state = engine.state

    async def read_log(self, request: Request) -> Response:
        return _json(self._state.log(request.query_params.get("operation")))

    async def clear_log(self, _: Request) -> Response:
        self._state.clear_log()
        return Response(status_code=204)

    async def submissions(self, _: Request) -> Response:
        return _json(await run_in_threadpool(self._state.submissions))

    async def custom_ids(self, request: Request) -> Response:
        batch = self._state.batch(str(request.path_params["id"]))
        if batch is None:
            return _json({"error": "no such batch"}, 404)
        return _json(self._state.custom_ids(batch))

    async def read_clock(self, _: Request) -> Response:
        clock = self._engine.clock
        return _json({"now": clock.now(), "speed": clock.speed})

    async def advance(self, request: Request) -> Response:
        try:
            seconds = float(orjson.loads(await request.body())["seconds"])
            now = await run_in_threadpool(self._engine.advance, seconds)
        except (ValueError, KeyError, TypeError) as error:
            return _json({"error": f'expected {{"seconds": N}} with N >= 0: {error}'}, 400)
        return _json({"now": now})

    async def read_faults(self, _: Request) -> Response:
        return _json(self._engine.script)

    async def replace_faults(self, request: Request) -> Response:
        try:
            self._engine.replace_script(read_script(await request.body()))
        except FaultScriptError as error:
            return _json({"error": str(error)}, 400)
        return _json(self._engine.script)


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
