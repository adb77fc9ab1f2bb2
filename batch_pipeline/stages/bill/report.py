"""The cost report of some partitions: Markdown for people, JSON for programs, rows for tables."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb

from batch_pipeline.escaping import markdown
from batch_pipeline.prices.find import PACKAGE, Prices
from batch_pipeline.stages.bill.attempts import BillLine, bill, total
from batch_pipeline.stages.bill.routing import Routed, Routes, routes
from batch_pipeline.stages.bill.superseded import Beside, lines, told
from batch_pipeline.stages.results.oddities import Oddities, added, found, oddities_of
from batch_pipeline.whole_files import written_aside

_SIMULATED = (
    "> **Simulated answers.** Nothing was sent to a provider and nothing was paid: tokens are the "
    "simulator's, amounts are what they would cost."
)
_SOURCES = {
    "override": "override: your own price file",
    "batch_price": "batch_price: published batch price",
    "assumed_half": "assumed_half: half of the live price, because no batch price is published; "
    "cached input may cost more",
    "own_table": "own_table: our own dated table, for a model that genai-prices lacks",
    "standard_price": "standard_price: the answer says that it was served as default or standard, "
    "so without the discount; OpenAI has been seen to say so of rows it billed at batch price: "
    "compare with its bill",
    "flex_price": "flex_price: served as flex",
    "priority_price": "priority_price: served as priority",
    "fast_price": "fast_price: served fast",
    "unknown": "unknown: no price is known for the model, so its cost is not in any sum",
}
_COLUMNS = (
    "partition | model | requests | succeeded | failed | input | cached | output | reasoning | "
    "cost | in results | live | saved | price"
)


@dataclass(frozen=True, slots=True)
class CostReport:
    """The cost of some partitions of a job. `lines` sort by partition, provider and model."""

    job: str
    lines: tuple[BillLine, ...]
    prices_on: date
    prices_from: str = PACKAGE
    simulated: bool = False
    routed: Routed | None = None  # where the job has several targets
    beside: tuple[Beside, ...] = ()  # batches of which no result came
    odd: Oddities = field(default_factory=Oddities)

    @property
    def total(self) -> BillLine:
        """All lines as one."""
        return total(self.lines)

    def rows(self) -> list[dict[str, Any]]:
        """The lines as records for a table; money stays Decimal."""
        return [_record(line) for line in self.lines]

    def to_json(self) -> str:
        """Everything, with money as strings of exact dollars."""
        report = {
            "job": self.job,
            "simulated": self.simulated,
            "prices_from": self.prices_from,
            "prices_on": self.prices_on.isoformat(),
            "total": _record(self.total),
            "routing": self.routed and {**asdict(self.routed), "saved": self.routed.saved},
            "batches_beside": [asdict(batch) for batch in self.beside],
            "lines": self.rows(),
            **({"oddities": asdict(self.odd)} if self.odd else {}),
        }
        return json.dumps(report, indent=2, default=str) + "\n"

    def to_markdown(self) -> str:
        """A page: the totals, then one row per partition and model."""
        parts = [f"# Cost of {markdown(self.job)}", _SIMULATED if self.simulated else ""]
        parts += [_summary(self.total), told(self.beside), routing(self.routed)]
        parts += [found(self.odd) if self.odd else ""]
        parts += [_table(self.lines), self._prices()]
        return "\n\n".join(part for part in parts if part) + "\n"

    def write(self, folder: Path) -> None:
        """Write report.md and report.json into *folder*, each replaced whole."""
        for name, text in (("report.md", self.to_markdown()), ("report.json", self.to_json())):
            with written_aside(folder / name) as part:
                part.write_text(text, encoding="utf-8")

    def _prices(self) -> str:
        used = {line.price_source for line in self.lines}
        used |= {source for line in self.lines for source in line.served_otherwise}
        notes = [f"- {note}" for source, note in _SOURCES.items() if source in used]
        return "\n".join([f"Prices: {self.prices_from}, as of {self.prices_on}.", *notes])


@dataclass(frozen=True, slots=True)
class Carried:
    """The outcomes of a shard, and the partitions that it carried requests of."""

    outcomes: Path
    partitions: Collection[str]
    simulated: bool = False


@dataclass(frozen=True)
class Bill:
    """What some partitions of a job cost: one look, for the reports of all and of each."""

    job: str
    on: date
    lines: Sequence[BillLine]
    routes: Routes
    beside: Sequence[Beside]
    carried: Sequence[Carried]
    odd: Mapping[Path, Oddities]

    @cached_property
    def _lines_of(self) -> Mapping[str, Sequence[BillLine]]:
        every = groupby(self.lines, key=lambda line: line.partition)
        return {name: list(some) for name, some in every}

    @cached_property
    def _shards_of(self) -> Mapping[str, Sequence[int]]:
        found: defaultdict[str, list[int]] = defaultdict(list)
        for number, one in enumerate(self.carried):
            for name in one.partitions:
                found[name].append(number)
        return found

    def report(self, partitions: Iterable[str]) -> CostReport:
        """The report over those of *partitions* that are in the bill.

        Every attempt is billed, also those whose answer is in no result. A banner stands over
        amounts that nobody pays.
        """
        wanted = dict.fromkeys(partitions)
        numbers = sorted({number for name in wanted for number in self._shards_of.get(name, ())})
        shards = [self.carried[number] for number in numbers]
        beside = [part for one in self.beside if (part := one.of(wanted)).rows]
        return CostReport(
            job=self.job,
            lines=tuple(line for name in sorted(wanted) for line in self._lines_of.get(name, ())),
            prices_on=self.on,
            simulated=any(one.simulated for one in shards),
            routed=self.routes.over(wanted),
            beside=tuple(beside),
            odd=added(self.odd[one.outcomes] for one in shards),
        )


def billed(
    con: duckdb.DuckDBPyConnection,
    *,
    job: str,
    results: Mapping[str, Path],
    carried: Sequence[Carried],
    priced: Prices,
    targets: Sequence[tuple[str, str]] = (),
    beside: Sequence[Beside] = (),
) -> Bill:
    """The bill of *results* (partition -> RESULTS file) and all outcomes they came from.

    *targets* (provider, model) are those rules chose among; *beside* are batches whose answers
    nobody has.
    """
    outcomes = [one.outcomes for one in carried]
    sent = [*bill(con, results=results, outcomes=outcomes, priced=priced), *lines(beside, results)]
    return Bill(
        job=job,
        on=priced.on.date(),
        lines=sorted(sent, key=lambda line: (line.partition, *_name(line))),
        routes=routes(con, targets=targets, partitions=results, outcomes=outcomes, priced=priced),
        beside=beside,
        carried=carried,
        odd={path: oddities_of([path]) for path in outcomes},
    )


def _name(line: BillLine) -> tuple[str, str]:
    return line.provider or "", line.model or ""


def routing(found: Routed | None, shown: Callable[[str], str] = markdown) -> str:
    """What the rules saved, in a sentence, names as *shown*; nothing for a job of one target."""
    if found is None:
        return ""
    said = (
        f"Rules sent {found.rows:,} rows for {money(found.cost)}. All of them at the "
        f"dearest target, {shown(found.dearest)}, would cost about {money(found.dearest_cost)} for "
        f"the same tokens: {money(found.saved)} saved."
    )
    if not found.unpriced:
        return said
    return f"{said} Not compared, for want of a price: {', '.join(map(shown, found.unpriced))}."


def money(amount: Decimal | None) -> str:
    """Dollars as people read them: cents, or as many digits as a small amount needs."""
    if amount is None:
        return "unknown"
    if amount == 0 or abs(amount) >= 1:
        return f"${amount:,.2f}"
    return f"${amount:.4f}" if abs(amount) >= Decimal("0.01") else f"${amount:.9f}".rstrip("0")


def _record(line: BillLine) -> dict[str, Any]:
    return {**asdict(line), "failed": line.failed}


def _summary(line: BillLine) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in line.by_kind.items())
    failed = f"{line.failed:,} failed ({kinds})" if line.failed else "none failed"
    facts = [
        f"- **{money(line.cost)}** for {line.attempts:,} rows sent",
        f"- {money(line.results_cost)} of it is for rows that are in results",
        f"- {money(line.live_cost)} is what the same tokens cost live: {money(line.saved)} saved",
        f"- {line.requests:,} requests: {line.succeeded:,} succeeded, {failed}",
        f"- {_count(line.input_tokens)} input tokens ({_count(line.cached_input_tokens)} cached)",
        f"- {_count(line.output_tokens)} output tokens ({_count(line.reasoning_tokens)} reasoning)",
    ]
    if line.unknown_cost:
        facts.append(
            f"- **{line.unknown_cost:,} rows have an unknown cost** and are in no sum "
            f"({line.unknown_usage:,} answered without a token count)"
        )
        facts.append(f"- Why: {reasons(line.unknown_because)}")
    if line.older_price:
        facts.append(
            f"- {line.older_price:,} rows are priced by a price that is older than they are, the "
            f"oldest of {line.price_as_of}: compare with the bill"
        )
    return "\n".join(facts)


def _table(lines: Sequence[BillLine]) -> str:
    head = [f"| {_COLUMNS} |", "|---|---|" + "--:|" * 11 + "---|"]
    return "\n".join([*head, *(_row(line) for line in lines)])


def _row(line: BillLine) -> str:
    unknown = f" + {line.unknown_cost:,} unknown" if line.unknown_cost and line.cost else ""
    cells = [
        markdown(line.partition),
        markdown(line.model) if line.model else "(not sent)",
        f"{line.requests:,}",
        f"{line.succeeded:,}",
        f"{line.failed:,}",
        *(
            _count(count)
            for count in (
                line.input_tokens,
                line.cached_input_tokens,
                line.output_tokens,
                line.reasoning_tokens,
            )
        ),
        money(line.cost) + unknown,
        money(line.results_cost),
        money(line.live_cost),
        money(line.saved),
        markdown(line.price_source or ""),
    ]
    return f"| {' | '.join(cells)} |"


def reasons(because: Mapping[str, int], shown: Callable[[str], str] = markdown) -> str:
    """Why costs are unknown, with the rows of each reason; a reason may name what a line says."""
    return "; ".join(f"{shown(why)} ({count:,})" for why, count in because.items()) or "none"


def _count(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"
