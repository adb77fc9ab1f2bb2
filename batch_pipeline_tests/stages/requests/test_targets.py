"""Several targets: every row goes to the first whose rule is true for it, all the way to shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.errors import DatasetError, SpecError, UsageError
from batch_pipeline.model import BuiltTarget, Cell, Envelope, Form, Hole, Limits, Shard, Tree
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages import arrow
from batch_pipeline.stages.requests import reading
from batch_pipeline.stages.requests.build import RequestsBuilt
from batch_pipeline.stages.requests.line_files import line_files, target_files
from batch_pipeline.stages.requests.targets import CompiledTarget, built_targets
from batch_pipeline.stages.shards.cut import Pending, choose, cut
from batch_pipeline_tests.stages.built_requests import (
    ENVELOPE,
    ROOMY,
    build,
    connected,
    make_job,
    make_target,
    write,
)
from batch_pipeline_tests.stages.result_lines import folder

MAIL = Path(__file__).parents[4] / "shared" / "data" / "mail"
OTHER = Envelope('{"id":', ',"asks":', ',"end":true}\n')
TEXTS = ["short", "a longer text", "kurz", "", "ein längerer Text"]
LANGS = ["en", "en", "de", None, "de"]


def three() -> list[CompiledTarget]:
    """Long texts, then German ones, then the rest."""
    return [
        make_target("long", when="length(text) > 10", model="big"),
        make_target("german", when="lang = 'de'", model="de", envelope=OTHER),
        make_target("rest", model="small", options={"timeout_hours": "48"}),
    ]


def built(
    root: Path,
    targets: Sequence[CompiledTarget],
    *,
    threads: int = 2,
    into: str = "out",
    **rows: Any,  # noqa: ANN401 - columns
) -> RequestsBuilt:
    rows = {"text": TEXTS, "lang": LANGS, **rows}
    data = {"id": [f"r{n}" for n in range(len(rows["text"]))], **rows}
    write(root / "in" / "x.parquet", data, row_group_size=7)
    with connected(threads) as con:
        return build(con, make_job(root / "in"), root / into, targets=targets)


def table_of(made: RequestsBuilt) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(made.table, partitioning=None).to_pylist()
    return rows


def lines_of(made: RequestsBuilt, target: int) -> bytes:
    return b"".join(path.read_bytes() for path in target_files(made.table.parent, target))


def chosen(*tables: Path) -> Pending:
    with connected() as con:
        return choose(con, tables=tables, held=[], outcomes=[], retried_kinds=[], max_attempts=1)


def cut_into(into: Path, pending: Pending, limits: Limits = ROOMY) -> list[Shard]:
    return cut(pending, limits=lambda _: limits, job="job", into=into)


def test_a_row_goes_to_the_first_target_whose_rule_is_true(tmp_path: Path) -> None:
    made = built(tmp_path, three())
    rows = table_of(made)
    assert list(rows[0])[3:7] == ["custom_id", "content_hash", "target", "offset"]
    assert [row["target"] for row in rows] == ["rest", "long", "german", "rest", "long"]
    assert made.by_target == {"long": 2, "german": 1, "rest": 2}
    assert built_targets(made.table) == [
        BuiltTarget("long", "openai", "big", "/v1/embeddings"),
        BuiltTarget("german", "openai", "de", "/v1/embeddings"),
        BuiltTarget("rest", "openai", "small", "/v1/embeddings", {"timeout_hours": "48"}),
    ]
    (german,) = lines_of(made, 1).splitlines()
    body = '{"model":"de","input":"kurz"}'
    assert german.decode() == f'{{"id":"{rows[2]["custom_id"]}","asks":{body},"end":true}}'
    assert rows[2]["content_hash"] == hashlib.sha256(body.encode()).hexdigest()
    assert made.lines.name == "lines.jsonl"
    assert made.bytes == sum(path.stat().st_size for path in line_files(tmp_path / "out"))


WORDS = st.sampled_from(["en", "de", "fr", None])
RULE = st.sampled_from(
    [
        "lang = 'en'",
        "lang <> 'de'",
        "length(text) > 4",
        "prompt_chars % 2 = 0",
        "length(text) > 60",
        "lang IS NULL OR text = ''",
        "false",
        "NULL::BOOLEAN",
    ]
)
ROWS = st.lists(st.tuples(st.text("ab ", max_size=90), WORDS), max_size=24)


@settings(max_examples=20, deadline=None)
@given(ROWS, st.lists(RULE, max_size=3), st.data())
def test_every_row_goes_to_one_target_or_is_rejected_and_threads_make_no_difference(
    rows: list[tuple[str, str | None]], rules: list[str], data: st.DataObject
) -> None:
    targets = [
        make_target(
            f"t{n}", when=rule, model=f"m{n}", limits=Limits(data.draw(st.integers(1, 9)), 140)
        )
        for n, rule in enumerate([*rules, None])
    ]
    texts, langs = ([row[0] for row in rows], [row[1] for row in rows])
    with folder() as root, pytest.MonkeyPatch.context() as patch:
        said = {"text": pa.array(texts, pa.string()), "lang": pa.array(langs, pa.string())}
        made = built(root, targets, threads=1, **said)
        patch.setattr(reading, "_BATCH_ROWS", 3)
        again = built(root, targets, threads=2, into="again", **said)
        table = table_of(made)
        contents = [lines_of(made, n) for n in range(len(targets))]
        assert contents == [lines_of(again, n) for n in range(len(targets))]
        assert made.table.read_bytes() == again.table.read_bytes()
        assert made.digest == again.digest
    assert [row["id"] for row in table] == [f"r{n}" for n in range(len(rows))]
    assert [row["target"] for row in table] == [_wanted(row, rules) for row in rows]
    places = {f"t{n}": n for n in range(len(targets))}
    sent = dict.fromkeys(places, 0)
    for (text, _), row in zip(rows, table, strict=True):
        if row["rejected"] is not None:
            assert row["offset"] is None
            assert row["bytes"] > 140
            continue
        number = places[row["target"]]
        line = json.loads(contents[number][row["offset"] : row["offset"] + row["bytes"]])
        assert line["custom_id"] == row["custom_id"]
        assert line["body"] == {"model": f"m{number}", "input": text}
        sent[row["target"]] += row["bytes"]
    assert [sent[name] for name in places] == [len(content) for content in contents]
    assert sum(made.by_target.values()) == made.requests - made.rejected


def _wanted(row: tuple[str, str | None], rules: list[str]) -> str:
    text, lang = row
    holds = {
        "lang = 'en'": lang == "en",
        "lang <> 'de'": lang not in {"de", None},
        "length(text) > 4": len(text) > 4,
        "prompt_chars % 2 = 0": len(text) % 2 == 0,
        "length(text) > 60": len(text) > 60,
        "lang IS NULL OR text = ''": lang is None or text == "",
    }
    return f"t{next((n for n, rule in enumerate(rules) if holds.get(rule)), len(rules))}"


def test_rows_that_no_target_takes_stop_the_build_by_their_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BATCH_ROWS", 2)
    targets = [
        make_target("german", when="lang = 'de'"),
        make_target("long", when="length(text) > 10"),
    ]
    with pytest.raises(
        DatasetError,
        match=r"2 rows match the `when` of no target; the first keys are 'r0', 'r3'\. Add a target",
    ):
        built(tmp_path, targets)
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(DatasetError, match=r"10 rows match .* 'r0', 'r1', 'r2', 'r3', 'r4'\. Add"):
        built(tmp_path, targets, text=["x"] * 10, lang=["fr"] * 10)


def test_one_target_with_a_rule_takes_only_its_rows(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"1 row matches the `when` of no target; its key is"):
        built(tmp_path, [make_target("known", when="lang IS NOT NULL")])
    assert built(tmp_path, [make_target("all", when="id <> ''")]).by_target == {"all": 5}


def test_a_rule_that_cannot_be_used_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"the `when` of 'lucky' cannot be used: random\(\)"):
        built(tmp_path, [make_target("lucky", when="random() < 0.5"), make_target("rest")])


def test_other_destinations_or_rules_are_another_digest(tmp_path: Path) -> None:
    body: dict[str, Tree] = {"the same input": Hole("{{ text }}")}

    def digest(name: str = "a", when: str = "lang = 'de'", **said: Any) -> str:  # noqa: ANN401 - make_target's
        targets = [
            make_target(name, when=when, body=body, **said),
            make_target("b", body=body),
        ]
        return built(tmp_path, targets).digest

    assert digest() == digest()
    assert digest(when="lang  =  'de' -- again") == digest()
    others = [digest("x"), digest(model="n"), digest(options={"o": "1"}), digest(when="false")]
    assert len({digest(), *others}) == 5


def test_prompt_chars_counts_the_characters_of_every_turn(tmp_path: Path) -> None:
    texts = ['ä🤦\n"', "", None, "xy"]
    chats = [
        [{"role": "user", "content": "üb"}, {"role": "assistant", "content": None}],
        None,
        [],
        [{"role": "system", "content": "12345"}],
    ]
    data = {"id": [0, 1, 2, 3], "text": texts, "chat": chats}
    write(tmp_path / "in" / "x.parquet", data)
    looped = "{% for x in [1] %}{{ text }}{% endfor %}"
    asked = [
        ({"system": "s {{ id }}", "prompt": "{{ text }}!"}, [8, 4, 4, 6]),
        ({"messages": [{"role": "user", "content": looped}], "system": "fixed"}, [9, 5, 5, 7]),
        ({"system": "1", "conversation": "chat"}, [3, 1, 1, 6]),
    ]
    for number, (request, wanted) in enumerate(asked):
        targets = [make_target(f"{n}", when=f"prompt_chars = {n}") for n in range(1, 10)]
        said = make_job(tmp_path / "in").model_dump(exclude={"request"})
        job = BatchJob.model_validate({**said, "request": request})
        with connected() as con:
            made = build(con, job, tmp_path / str(number), targets=targets)
        assert [int(row["target"]) for row in table_of(made)] == wanted


def test_cells_of_one_target_reject_only_the_rows_that_go_there(tmp_path: Path) -> None:
    picture: dict[str, Tree] = {"model": "big", "in": Cell("link", Form.LINK)}
    targets = [make_target("seen", when="lang = 'de'", body=picture), make_target("rest")]
    links = [None, "nowhere", "https://a", None, "nowhere"]
    made = built(tmp_path, targets, link=links)
    reasons = [row["rejected"] for row in table_of(made)]
    assert reasons == [None, None, None, None, "column 'link': this is no http(s) URL"]
    assert (made.by_target, made.rejected) == ({"seen": 1, "rest": 3}, 1)
    assert [json.loads(line)["body"]["in"] for line in lines_of(made, 0).splitlines()] == [
        "https://a"
    ]


def test_shards_go_where_their_lines_were_built_for(tmp_path: Path) -> None:
    made = built(tmp_path, three())
    pending = chosen(made.table)
    shards = cut_into(tmp_path / "shards", pending)
    said = [(shard.model, shard.requests, shard.options) for shard in shards]
    assert said == [("big", 2, {}), ("de", 1, {}), ("small", 2, {"timeout_hours": "48"})]
    for number, shard in enumerate(shards):
        assert (tmp_path / "shards" / shard.shard_id / "lines.jsonl").samefile(
            target_files(tmp_path / "out", number)[0]
        )


def test_limits_are_each_destinations_own(tmp_path: Path) -> None:
    made = built(tmp_path, three(), text=["x"] * 9, lang=["de"] * 4 + ["fr"] * 5)
    small, large = Limits(2, 10**6), Limits(9, 10**6)
    shards = cut(
        chosen(made.table),
        limits=lambda where: small if where.model == "de" else large,
        job="job",
        into=tmp_path / "shards",
    )
    assert [(shard.model, shard.requests) for shard in shards] == [
        ("de", 2),
        ("de", 2),
        ("small", 5),
    ]


def test_partitions_that_were_built_for_other_destinations_meet_by_what_they_are(
    tmp_path: Path,
) -> None:
    old = [make_target("rest", model="small"), make_target("german", when="lang = 'de'")][:1]
    new = [
        make_target("german", when="lang = 'de'", model="de"),
        make_target("rest", model="small"),
    ]
    newest = [make_target("rest", model="n")]
    tables = [
        built(tmp_path, targets, into=f"{n}").table for n, targets in enumerate((old, new, newest))
    ]
    pending = chosen(*tables)
    assert [(each.name, each.model) for each in pending.targets] == [
        ("rest", "small"),
        ("german", "de"),
        ("rest", "n"),
    ]
    shards = cut_into(tmp_path / "shards", pending)
    assert [(shard.model, shard.requests) for shard in shards] == [
        ("small", 8),
        ("de", 2),
        ("n", 5),
    ]
    ids = [row["custom_id"] for table in tables for row in pq.read_table(table).to_pylist()]
    sent = [
        row["custom_id"]
        for shard in shards
        for row in pq.read_table(tmp_path / "shards" / shard.shard_id / "requests.parquet")
        .select(["custom_id"])
        .to_pylist()
    ]
    assert sorted(sent) == sorted(ids)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5), st.lists(st.integers(0, 2), max_size=20))
def test_the_first_of_each_destination_and_the_rest_are_all(count: int, goes: list[int]) -> None:
    there = tuple(BuiltTarget(str(n), "openai", "m", "/v1/embeddings") for n in range(3))
    numbers = pa.array(range(len(goes)), pa.int64()).to_numpy()
    target = pa.array(goes, pa.int16()).to_numpy()
    pending = Pending((), there, numbers, target, numbers, numbers, numbers, numbers)
    first, rest = pending.first_of_each([count] * len(pending.targets))
    places = [[n for n, one in enumerate(goes) if one == target][:count] for target in range(3)]
    assert first.row.tolist() == sorted(n for each in places for n in each)
    assert sorted([*first.row.tolist(), *rest.row.tolist()]) == list(range(len(goes)))
    assert rest.row.tolist() == sorted(rest.row.tolist())
    assert first.targets == rest.targets == there


def test_a_table_of_an_older_version_is_to_be_built_again(tmp_path: Path) -> None:
    made = built(tmp_path, three())
    old = tmp_path / "old.parquet"
    table = pq.read_table(made.table).drop_columns(["target"])
    pq.write_table(table.replace_schema_metadata(None), old)
    with pytest.raises(UsageError, match=r"old\.parquet: .* older version .* Build it again"):
        chosen(made.table, old)


def test_many_rows_to_several_targets_fill_their_files_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "ROW_GROUP", 100)
    monkeypatch.setattr(reading, "_BATCH_ROWS", 37)
    count = 700
    targets = [
        make_target("odd", when="length(text) % 2 = 1", model="odd", limits=Limits(100, 10**6)),
        make_target("even", model="even", limits=Limits(10**6, 9_000), envelope=ENVELOPE),
    ]
    texts = ["x" * (n % 7) for n in range(count)]
    made = built(tmp_path, targets, text=texts, lang=["de"] * count)
    pending = chosen(made.table)
    shards = cut(
        pending,
        limits=lambda where: targets[where.name == "even"].limits,
        job="job",
        into=tmp_path / "shards",
    )
    assert sum(shard.requests for shard in shards) == count
    files = line_files(tmp_path / "out")
    linked = [tmp_path / "shards" / shard.shard_id / "lines.jsonl" for shard in shards]
    assert all(one.samefile(other) for one, other in zip(linked, files, strict=True))


@pytest.mark.skipif(not MAIL.exists(), reason="the shared mail sample is not here")
def test_a_day_of_real_mail_is_shared_out_by_length(tmp_path: Path) -> None:
    said = {"kind": "daily", "column": "date", "start": "2002-08-01"}
    prompt = "{{ subject|trim }}\n{{ body }}"
    job = make_job(MAIL, key="message_id", partitions=said, prompt=prompt)
    body: dict[str, Tree] = {"model": "m", "input": Hole(prompt)}
    targets = [
        make_target("long", when="prompt_chars > 1500", body=body),
        make_target("rest", body=body),
    ]
    with connected() as con:
        made = build(con, job, tmp_path / "out", partition="2002-08-28", targets=targets)
    source = pq.read_table(MAIL / "date=2002-08-28", partitioning=None).to_pylist()
    texts = [f"{(row['subject'] or '').strip()}\n{row['body'] or ''}" for row in source]
    table, contents = table_of(made), [lines_of(made, n) for n in (0, 1)]
    assert 0 < made.by_target["long"] < len(source)
    for text, row in zip(texts, table, strict=True):
        target = 0 if len(text) > 1500 else 1
        assert row["target"] == ("long", "rest")[target]
        line = contents[target][row["offset"] : row["offset"] + row["bytes"]]
        assert json.loads(line)["body"]["input"] == text
