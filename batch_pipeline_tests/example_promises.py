"""What each example job promises in its first lines, as checks of what it came to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from batch_pipeline import jobfile
from batch_pipeline.model import Shard
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.world import World

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = {path.stem: path for path in sorted((EXAMPLES / "jobs").glob("*.yaml"))}
TICKETS = EXAMPLES / "data" / "tickets.parquet"


@dataclass(frozen=True)
class Ran:
    """A job that was run to its end: its results by ticket, and what was sent for each."""

    world: World
    shards: list[Shard]
    rows: Mapping[str, dict[str, Any]]
    bodies: list[dict[str, Any]]  # native, in the order of shards and lines
    batches: list[list[str]]  # the custom_ids of each batch
    report: dict[str, Any]

    def all(self, column: str) -> list[Any]:
        """The column's values, in the order of the tickets."""
        return [row[column] for row in self.rows.values()]


Promise = Callable[[Ran], None]


def example(name: str) -> BatchJob:
    (job,) = jobfile.load_jobs(FILES[name])
    return job


def tickets() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.ParquetFile(TICKETS).read().to_pylist()
    return rows


def from_the(*providers: str) -> Promise:
    """Answered in words, by these and nobody else; every cost is known."""

    def holds(ran: Ran) -> None:
        assert set(ran.all("provider")) == set(providers)
        assert all(ran.all("text"))
        assert all(cost > 0 for cost in ran.all("cost_usd"))

    return holds


def typed(provider: str, **fields: type) -> Promise:
    """`output` has these fields of these types in every row."""

    def holds(ran: Ran) -> None:
        from_the(provider)(ran)
        for output in ran.all("output"):
            assert {name: type(value) for name, value in output.items()} == fields

    return holds


def called(*names: str) -> Promise:
    """One call in each row, of one of these tools, with arguments that are JSON text."""

    def holds(ran: Ran) -> None:
        for calls in map(json.loads, ran.all("tool_calls")):
            (call,) = calls
            assert set(call) == {"id", "name", "arguments"}
            assert call["name"] in names
            assert json.loads(call["arguments"])
        assert ran.all("text") == [None] * len(ran.rows)

    return holds


def embedded(length: int) -> Promise:
    """A vector of the same length in every row, and the column's type says so."""

    def holds(ran: Ran) -> None:
        path = next(ran.world.store.root.glob("results/*/*/results.parquet"))
        assert pq.ParquetFile(path).schema_arrow.field("embedding").type.list_size == length
        assert all(len(vector) == length and any(vector) for vector in ran.all("embedding"))

    return holds


def sent(provider: str, **members: object) -> Promise:
    """Every native body has these members."""

    def holds(ran: Ran) -> None:
        from_the(provider)(ran)
        for body in ran.bodies:
            assert {name: body.get(name) for name in members} == members

    return holds


def attached(provider: str, *kinds: str) -> Promise:
    """The last turn of every body has parts of these kinds beside its text."""

    def holds(ran: Ran) -> None:
        from_the(provider)(ran)
        for body in ran.bodies:
            parts = (body.get("messages") or body["input"])[-1]["content"]
            found = [part["type"] for part in parts]
            assert sorted(found) == sorted([*kinds, next(k for k in found if "text" in k)])

    return holds


def thought(provider: str) -> Promise:
    """The model thought, and its thoughts are counted and not in the text."""

    def holds(ran: Ran) -> None:
        from_the(provider)(ran)
        assert sum(ran.all("reasoning_tokens")) > 0
        for row in ran.rows.values():
            assert row["output_tokens"] > row["reasoning_tokens"]
            assert "thoughts" not in row["text"]

    return holds


def judged(ran: Ran) -> None:
    """`text` is JSON with a verdict per category."""
    for verdict in map(json.loads, ran.all("text")):
        assert set(verdict["categories"]) == set(verdict["category_scores"])
        assert not any(verdict["categories"].values())


def read(ran: Ran) -> None:
    """`text` is Markdown of the pages."""
    assert all(text.startswith("# ") for text in ran.all("text"))
    assert ran.report["total"]["unknown_cost"] == 0  # it is paid by the page


def with_turns(ran: Ran) -> None:
    """System turns went to `system`, the others stayed, and the last one was answered."""
    from_the("anthropic")(ran)
    for ticket, body in zip(tickets(), ran.bodies, strict=True):
        system = [turn["content"] for turn in ticket["turns"] if turn["role"] == "system"]
        assert body.get("system") == (system[0] if system else None)
        assert body["messages"] == [turn for turn in ticket["turns"] if turn["role"] != "system"]
    assert sum("system" in body for body in ran.bodies) == 2


def with_json_turns(ran: Ran) -> None:
    """The request's own system text stands before the turns."""
    from_the("openai")(ran)
    for ticket, body in zip(tickets(), ran.bodies, strict=True):
        first, *rest = body["messages"]
        assert (first["role"], rest) == ("system", ticket["turns"])
        assert f"({ticket['lang']})" in first["content"]


def with_examples(ran: Ran) -> None:
    """Six turns, the last of which is the ticket."""
    from_the("mistral")(ran)
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    for ticket, body in zip(tickets(), ran.bodies, strict=True):
        assert [turn["role"] for turn in body["messages"]] == roles
        assert body["messages"][-1]["content"] == ticket["text"]


def cached(ran: Ran) -> None:
    """The handbook was written once and read by every other row, for less."""
    from_the("anthropic")(ran)
    assert ran.all("cache_write_1h_tokens") == ran.all("cache_write_tokens")
    read, written = ran.all("cached_input_tokens"), ran.all("cache_write_tokens")
    assert sum(map(bool, written)) == 1
    assert sum(map(bool, read)) == len(ran.rows) - 1
    assert max(read) == max(written) > 1_024
    writer = written.index(max(written))
    assert ran.all("cost_usd").index(max(ran.all("cost_usd"))) == writer


def long_output(ran: Ran) -> None:
    """The flag was sent: without it no model takes so large a cap."""
    sent("anthropic", max_tokens=200_000)(ran)


def with_logprobs(ran: Ran) -> None:
    """`extra` is in the body."""
    sent("openai", logprobs=True, top_logprobs=2, prompt_cache_key="halden-tickets")(ran)


def routed(ran: Ran) -> None:
    """Each row went to the first target whose rule is true for it, and one table has them all."""
    from_the("openai", "anthropic", "mistral")(ran)
    for ticket in tickets():
        row = ran.rows[ticket["id"]]
        if len(ticket["text"]) > 500:
            wanted = ("anthropic", "claude-sonnet-5")
        elif ticket["lang"] != "en":
            wanted = ("mistral", "mistral-small-latest")
        elif ticket["tier"] == "pro":
            wanted = ("openai", "gpt-4.1-mini")
        else:
            wanted = ("openai", "gpt-4o-mini")
        assert (row["provider"], row["model"]) == wanted
    assert len(ran.batches) == 4
    assert float(ran.report["routing"]["saved"]) > 0


def three_first(ran: Ran) -> None:
    """Three rows went ahead, and the others followed."""
    from_the("openai")(ran)
    assert [len(batch) for batch in ran.batches] == [3, 9]


def hours(ran: Ran) -> None:
    """The provider was told of the window."""
    from_the("mistral")(ran)
    (shard,) = ran.shards
    assert shard.remote is not None
    assert shard.remote.expires_at is not None
    assert (shard.remote.expires_at - shard.remote.created_at).total_seconds() == 48 * 3600


SORTED = {"category": str, "reply": str}
PROMISES: dict[str, Promise] = {
    "another_service": from_the("gateway"),
    "beta_flags": long_output,
    "canary": three_first,
    "conversation": with_turns,
    "conversation_json": with_json_turns,
    "documents": attached("anthropic", "document"),
    "embeddings": embedded(256),
    "embeddings_mistral": embedded(1024),
    "messages": with_examples,
    "mixed_targets": routed,
    "moderation": judged,
    "moderation_mistral": judged,
    "native_extra": with_logprobs,
    "ocr": read,
    "prompt_caching": cached,
    "reasoning": thought("openai"),
    "responses": typed("openai", covered=bool, because=str),
    "same_job_anthropic": typed("anthropic", **SORTED),
    "same_job_mistral": typed("mistral", **SORTED),
    "same_job_openai": typed("openai", **SORTED),
    "sampling": sent("mistral", temperature=0.7, stop=["\n"], random_seed=7),
    "structured_output": typed("openai", category=str, urgency=str, dangerous=bool, keywords=list),
    "temperature_on_anthropic": sent("anthropic", temperature=0.2),
    "thinking": thought("anthropic"),
    "timeout_hours": hours,
    "tool_choice": called("set_priority"),
    "tools": called("open_case", "send_answer"),
    "vision_base64": attached("mistral", "image_url", "image_url"),
    "vision_bytes": attached("anthropic", "image"),
    "vision_url": attached("openai", "image_url"),
}
