"""A shard's way out and back at every provider: each change said once, files whole or not there."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from batch_pipeline.errors import NotFound, Refused, Unavailable
from batch_pipeline.model import TERMINAL, RemoteStatus
from batch_pipeline_tests.contract.client_runner import ClientRunner

DAY = 86_400


def test_a_shard_goes_out_runs_and_comes_back_whole(runner: ClientRunner) -> None:
    made, shard = runner.send(3), runner.shard(3)
    assert made.status not in TERMINAL
    carried = {"intent": shard.intent, "job": "contract", "shard": shard.shard_id, "attempt": "1"}
    told = made.metadata.items() >= carried.items()
    assert told if runner.case.names_batches else made.metadata == {}
    assert made.expires_at == made.created_at + timedelta(hours=24)
    runner.sim.advance(60)
    done = runner.client.retrieve(made.batch_id)
    counts = (done.status, done.total, done.completed, done.failed)
    assert counts == (RemoteStatus.COMPLETED, 3, 3, 0)
    assert done.ended_at is not None
    assert not done.error_file_id
    target = runner.folder / "raw" / "b.output.jsonl"
    assert runner.client.download(str(done.output_file_id), target) == target.stat().st_size
    assert target.read_bytes().count(b'"custom_id"') == 3
    assert list(target.parent.iterdir()) == [target]
    rows = runner.answers(done)
    assert [(row["custom_id"], row["failure"]) for row in rows] == [
        (name, None) for name in runner.ids(3)
    ]


def test_each_change_is_one_record_with_its_ids(
    runner: ClientRunner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="batch_pipeline")
    made = runner.send()
    runner.client.cancel(made.batch_id)
    list(runner.client.observe(since=runner.since))
    runner.sim.advance(700)
    changes = ["batch created", "batch cancel asked"]
    if runner.case.uploads:
        runner.client.delete_file(str(made.input_file_id))
        changes = ["file uploaded", *changes, "file deleted"]
    if runner.case.deletes_batches:
        runner.client.delete_batch(made.batch_id)
        changes = [*changes, "batch deleted"]
    ours = [one for one in caplog.records if one.name.startswith("batch_pipeline.providers")]
    assert [record.getMessage() for record in ours] == changes
    assert {(vars(one)["provider"], vars(one)["account"]) for one in ours} == {
        (runner.case.provider, runner.client.account)
    }
    created = vars(next(one for one in ours if one.getMessage() == "batch created"))
    told = [created[name] for name in ("batch_id", "shard", "job", "attempt")]
    assert told == [made.batch_id, runner.shard().shard_id, "contract", 1]
    assert "hello" not in repr([vars(record) for record in ours])


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0, 50])
def test_a_cut_download_is_made_again_and_the_file_is_whole_or_not_there(
    runner: ClientRunner, cut: int
) -> None:
    seen = runner.ended(3)
    out, file_id = runner.folder / "results", str(seen.output_file_id)
    runner.faults({"do": "cut", "operation": "content", "bytes": cut, "times": 2})
    assert runner.client.download(file_id, out) == out.stat().st_size
    assert out.read_bytes().count(b'"custom_id"') == 3
    out.unlink()
    there = sorted(runner.folder.iterdir())
    runner.faults({"do": "cut", "operation": "content", "bytes": cut})
    with pytest.raises(Unavailable):
        runner.client.download(file_id, out)
    assert sorted(runner.folder.iterdir()) == there


def test_results_that_the_provider_no_longer_has_are_not_found(runner: ClientRunner) -> None:
    seen = runner.ended()
    runner.sim.advance(31 * DAY)
    with pytest.raises(NotFound):
        runner.client.download(str(seen.output_file_id), runner.folder / "out")
    assert len(runner.calls("content")) == 1
    assert not (runner.folder / "out").exists()


def test_what_was_deleted_may_be_deleted_again(runner: ClientRunner) -> None:
    seen = runner.ended()
    for _ in range(2):
        runner.client.delete_file(str(seen.output_file_id))
    assert [entry.status for entry in runner.calls("delete")] == [200, 404]
    with pytest.raises(NotFound):
        runner.client.download(str(seen.output_file_id), runner.folder / "out")


def test_a_batch_is_deleted_once_it_is_over_and_may_be_deleted_again(
    runner: ClientRunner,
) -> None:
    if not runner.case.deletes_batches:
        pytest.skip("there is no such call")
    seen = runner.ended()
    runner.client.delete_batch(seen.batch_id)
    runner.client.delete_batch(seen.batch_id)
    with pytest.raises(NotFound):
        runner.client.retrieve(seen.batch_id)
    assert seen.batch_id not in [one.batch_id for one in runner.client.observe(since=runner.since)]


def test_an_upload_without_a_create_is_named_after_its_shard_and_can_be_deleted(
    runner: ClientRunner,
) -> None:
    runner.faults({"do": "fail", "operation": "create", "status": 400})
    with pytest.raises(Refused):
        runner.send()
    files = [entry.effect for entry in runner.calls("upload")]
    assert len(files) == runner.case.uploads
    for file_id in files:
        orphan = runner.sim._engine.state.file(str(file_id))
        assert orphan is not None
        assert orphan.filename == f"contract-{runner.shard().shard_id}.jsonl"
        runner.client.delete_file(str(file_id))
        gone = runner.sim._engine.state.file(str(file_id))
        assert gone is None or gone.deleted
