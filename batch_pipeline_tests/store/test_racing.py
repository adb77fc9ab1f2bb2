from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import integers, sampled_from

from batch_pipeline.model import IN_FLIGHT, ShardState
from batch_pipeline.store.ledger import Ledger
from batch_pipeline_tests.store.factories import (
    ACCOUNT,
    JOB,
    LEASE,
    NOON,
    later,
    make_observation,
    make_shard,
)

SHARDS = [f"s{number}" for number in range(12)]


def claim_all(url: str, owner: str) -> list[str]:
    """Claim what can be had, as a process of its own that opens the ledger itself."""
    with Ledger.open(url) as ledger:
        ledger.plan([make_shard(name) for name in SHARDS], now=NOON)
        claims = [
            ledger.claim(name, owner=owner, intent=owner, now=NOON, lease=LEASE) for name in SHARDS
        ]
    return [f"{claim.shard_id} {claim.intent}" for claim in claims if claim is not None]


def assert_each_was_won_once(url: str, won: list[str]) -> None:
    assert Counter(line.split()[0] for line in won) == Counter(SHARDS)
    with Ledger.open(url) as ledger:
        assert sorted(won) == sorted(f"{one.shard_id} {one.intent}" for one in ledger.shards(JOB))


def test_processes_that_open_and_claim_at_once_never_both_win(url: str) -> None:
    owners = ["ann", "bob", "cat"]
    with ProcessPoolExecutor(len(owners), mp_context=get_context("spawn")) as processes:
        won = [line for lines in processes.map(claim_all, [url] * 3, owners) for line in lines]
    assert_each_was_won_once(url, won)


def test_threads_that_open_and_claim_at_once_never_both_win(url: str) -> None:
    owners = [f"owner{number}" for number in range(6)]
    start = Barrier(len(owners))

    def run(owner: str) -> list[str]:
        start.wait()
        return claim_all(url, owner)

    with ThreadPoolExecutor(len(owners)) as threads:
        won = [line for lines in threads.map(run, owners) for line in lines]
    assert_each_was_won_once(url, won)


def test_threads_that_share_one_ledger_take_a_named_lease_once(ledger: Ledger) -> None:
    start = Barrier(6)

    def take(owner: int) -> bool:
        start.wait()
        return ledger.lock("poll:acc", owner=str(owner), now=NOON, lease=LEASE)

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(take, range(6))) == 1


def test_threads_that_take_overlapping_leases_get_all_of_theirs_or_none(ledger: Ledger) -> None:
    start, names = Barrier(6), [f"land:{number}" for number in range(8)]

    def take_ten_times(owner: str) -> None:
        own = [names[(int(owner) + far) % len(names)] for far in (3, 0, 5)]
        for _ in range(10):
            start.wait()
            won = ledger.lock(*own, owner=owner, now=NOON, lease=LEASE)
            start.wait()
            held = [name for name, whose in ledger.holders(*own).items() if whose == owner]
            assert sorted(held) == (sorted(own) if won else [])
            start.wait()
            ledger.unlock(*own, owner=owner)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(take_ten_times, "012345"))


@dataclass
class Known:
    """What the ledger should say of a shard, in the fewest words."""

    state: ShardState = ShardState.PLANNED
    owner: str | None = None
    intent: str | None = None
    free_at: datetime = NOON

    @property
    def claimable(self) -> bool:
        return self.state in {ShardState.PLANNED, ShardState.SUBMITTING, ShardState.IN_DOUBT}


names = sampled_from(["s1", "s2"])
owners = sampled_from(["ann", "bob", "cat"])
sides = integers(0, 1)


class TwoLedgersOnOneFile(RuleBasedStateMachine):
    """Every answer of either ledger is the one a single, sequential ledger would give."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(TemporaryDirectory()))
        url = f"sqlite:///{folder / 'ledger.db'}"
        self.ledgers = [self.stack.enter_context(Ledger.open(url)) for _ in range(2)]
        self.ledgers[0].plan([make_shard("s1"), make_shard("s2")], now=NOON)
        self.known = {"s1": Known(), "s2": Known()}
        self.seconds = 0
        self.intents: Iterator[str] = (f"i{number}" for number in range(10_000))

    def teardown(self) -> None:
        self.stack.close()

    @property
    def now(self) -> datetime:
        return later(self.seconds)

    @rule(seconds=integers(1, 90))
    def time_passes(self, seconds: int) -> None:
        self.seconds += seconds

    @rule(side=sides, name=names, owner=owners)
    def claim(self, side: int, name: str, owner: str) -> None:
        known, intent = self.known[name], next(self.intents)
        won = self.ledgers[side].claim(name, owner=owner, intent=intent, now=self.now, lease=LEASE)
        assert (won is not None) == (known.claimable and known.free_at <= self.now)
        if won is None:
            return
        begun_before = known.state is not ShardState.PLANNED
        assert won.intent == (known.intent if begun_before else intent)
        free_at = later(self.seconds + LEASE)
        self.known[name] = Known(ShardState.SUBMITTING, owner, won.intent, free_at)

    @rule(side=sides, name=names, owner=owners)
    def renew(self, side: int, name: str, owner: str) -> None:
        renewed = self.ledgers[side].renew(name, owner=owner, now=self.now, lease=LEASE)
        assert renewed == self.is_held(name, owner)
        if renewed:
            self.known[name].free_at = later(self.seconds + LEASE)

    @rule(side=sides, name=names, owner=owners, wait=integers(0, 60))
    def requeue(self, side: int, name: str, owner: str, wait: int) -> None:
        until = later(self.seconds + wait)
        moved = self.ledgers[side].requeue(
            name, message="m", not_before=until, now=self.now, count_try=True, owner=owner
        )
        self.expect(name, owner, Known(ShardState.PLANNED, free_at=until), moved=moved)

    @rule(side=sides, name=names, owner=owners, wait=integers(0, 60))
    def doubt(self, side: int, name: str, owner: str, wait: int) -> None:
        until, intent = later(self.seconds + wait), self.known[name].intent
        if self.known[name].state is ShardState.IN_DOUBT:
            return
        moved = self.ledgers[side].in_doubt(
            name, message="m", next_look=until, now=self.now, owner=owner
        )
        doubted = Known(ShardState.IN_DOUBT, owner, intent, until)
        self.expect(name, owner, doubted, moved=moved)

    @rule(side=sides, name=names)
    def submit(self, side: int, name: str) -> None:
        if self.known[name].state is not ShardState.SUBMITTING:
            return
        self.ledgers[side].submitted(
            name,
            observation=make_observation(f"b-{self.known[name].intent}"),
            account=ACCOUNT,
            run_id=None,
            now=self.now,
        )
        self.known[name] = Known(ShardState.SUBMITTED, intent=self.known[name].intent)

    @rule(side=sides, name=names)
    def give_back(self, side: int, name: str) -> None:
        """The provider's queue was full after all."""
        if self.known[name].state is not ShardState.SUBMITTED:
            return
        assert self.ledgers[side].requeue(
            name, message="m", not_before=None, now=self.now, count_try=True
        )
        self.known[name] = Known()

    def is_held(self, name: str, owner: str) -> bool:
        known = self.known[name]
        return (known.state, known.owner) == (ShardState.SUBMITTING, owner)

    def expect(self, name: str, owner: str, then: Known, *, moved: bool) -> None:
        doubted = (self.known[name].state, self.known[name].owner) == (ShardState.IN_DOUBT, owner)
        assert moved == (self.is_held(name, owner) or doubted)
        if moved:
            self.known[name] = then

    @invariant()
    def both_ledgers_agree(self) -> None:
        here, there = (ledger.shards(JOB) for ledger in self.ledgers)
        assert here == there
        for shard in here:
            known = self.known[shard.shard_id]
            assert (shard.state, shard.intent) == (known.state, known.intent)
            assert shard.state in IN_FLIGHT


TestTwoLedgersOnOneFile: Callable[[], object] = TwoLedgersOnOneFile.TestCase
TwoLedgersOnOneFile.TestCase.settings = settings(
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
