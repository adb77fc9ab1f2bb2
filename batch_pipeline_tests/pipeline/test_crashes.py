"""A killed process at every boundary of an effect: nothing is lost and nothing is sent twice."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.crashing import Crasher, Place, crasher
from batch_pipeline_tests.world import DAYS, live

DAY = DAYS[0]
FAULTS = {
    "rows": [
        {"becomes": "expired", "custom_id": "r-003*", "first_times": 1},
        {"becomes": "refused", "custom_id": "r-004*"},
    ]
}
CLIENT = "batch_pipeline.providers.openai.client:OpenAIClient"
CALLS = "batch_pipeline.providers.calling:Caller"
LEDGER = "batch_pipeline.store.ledger:Ledger"
SHELL = "batch_pipeline.pipeline"
PLACES: dict[str, Place] = {
    "half of the requests are replaced": (f"{SHELL}.building:_swap", "before", 1),
    "the requests are replaced, the ledger does not know": (f"{SHELL}.building:_swap", "after", 1),
    "the requests are built": (f"{SHELL}.planning:plan", "before", 1),
    "shards are cut": (f"{LEDGER}.plan", "before", 1),
    "shards are planned": (f"{LEDGER}.plan", "after", 1),
    "a shard is claimed": (f"{CLIENT}.upload", "before", 1),
    "a shard is uploaded": (f"{CLIENT}.upload", "after", 1),
    "a batch is created": (f"{CLIENT}.create", "after", 1),
    "a batch has ended": (f"{SHELL}.collecting:collect", "before", 1),
    "the answers are half downloaded": (
        "batch_pipeline.providers.calling:Caller._stream",
        "after",
        1,
    ),
    "one of two result files is there": (f"{CLIENT}.download", "after", 1),
    "the answers are downloaded": (f"{SHELL}.decoding:decode_shard", "before", 1),
    "the outcomes are written": (f"{LEDGER}.collected", "before", 1),
    "the outcomes are known to the ledger": (f"{LEDGER}.collected", "after", 1),
    "the results are written": (f"{LEDGER}.landed", "before", 1),
    "the retry is claimed": (f"{CLIENT}.upload", "before", 2),
    "the retry's batch is created": (f"{CLIENT}.create", "after", 2),
}


@pytest.fixture(scope="module")
def killer() -> Iterator[Crasher]:
    with crasher() as started:
        yield started


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_process_killed_when(place: Place, killer: Crasher, tmp_path: Path) -> None:
    with live(tmp_path, faults=FAULTS) as world:
        ended = killer.run(place, ["run", str(world.job_file()), "--json"], world.whole_env)
        assert ended == -signal.SIGKILL
        assert world.run()[DAY][0] is Step.DONE
        assert [row["id"] for row in world.results()] == [f"r/{n:03d}" for n in range(5)]
        assert list(world.became().values()) == [*["succeeded"] * 4, "refused"]
        sent = {name[:5]: times for name, times in world.sim.submissions().items()}
        assert sent == {"r-000": 1, "r-001": 1, "r-002": 1, "r-003": 2, "r-004": 1}
        assert len(world.batches) == 2
        assert sorted(row["attempt"] for row in world.outcomes()) == [1, 1, 1, 1, 1, 2]


TAKEN: dict[str, Place] = {
    "it sends": (f"{CLIENT}.create", "before", 1),
    "it collects": (f"{CLIENT}.download", "after", 1),
    "it lands": (f"{LEDGER}.landed", "before", 1),
}


@pytest.mark.parametrize("place", TAKEN.values(), ids=TAKEN.keys())
def test_the_watch_sees_at_once_that_a_process_of_this_host_was_killed_while(
    place: Place, killer: Crasher, tmp_path: Path
) -> None:
    """Claims and leases last for a quarter of an hour, and a wait of that would not end here."""

    def wait(seconds: float) -> None:
        assert seconds < 1, "waits for a lease"
        time.sleep(seconds)

    with live(tmp_path) as world:
        killer.run(place, ["run", str(world.job_file()), "--json"], world.whole_env)
        with world.open(sleep=wait) as shell:
            assert shell.steps()[DAY][0] is not Step.WAIT
            assert shell.follow([DAY])[DAY][0] is Step.DONE
        assert world.sendings == {1}


def test_a_claim_of_another_host_waits_for_its_end(killer: Crasher, tmp_path: Path) -> None:
    with live(tmp_path) as world:
        place = (f"{CLIENT}.create", "before", 1)
        killer.run(place, ["run", str(world.job_file()), "--json"], world.whole_env)
        with closing(sqlite3.connect(world.store.root / "ledger.db")) as ledger, ledger:
            ledger.execute("UPDATE shards SET claimed_by = 'elsewhere/0:' || claimed_by")
        with world.open() as shell:
            assert shell.steps()[DAY][0] is Step.WAIT


def test_processes_that_run_one_job_at_once_send_every_row_once(tmp_path: Path) -> None:
    never: Place = (f"{CLIENT}.create", "before", 99)
    with live(tmp_path) as world, ExitStack() as stack:
        racers = [stack.enter_context(crasher()) for _ in range(2)]
        order = (never, ["run", str(world.job_file()), "--json"], world.whole_env)
        with ThreadPoolExecutor(len(racers)) as threads:
            codes = list(threads.map(lambda racer: racer.run(*order), racers))
        assert codes == [0, 0]
        assert world.sendings == {1}
        assert set(world.became().values()) == {"succeeded"}
