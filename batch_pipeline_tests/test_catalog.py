"""Providers of other packages: found by their entry points, a bad one is in nobody's way."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from batch_pipeline import catalog
from batch_pipeline.catalog import OURS, ProviderRecord
from batch_pipeline.errors import SpecError, UsageError
from batch_pipeline.jobfile import load_jobs
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.providers.documented import page
from batch_pipeline.providers.models import doubt
from batch_pipeline.providers.registry import Registry
from batch_pipeline.providers.services import read_services
from batch_pipeline.settings import Settings
from batch_pipeline.spec import BatchJob

ROOT = Path(__file__).parents[1]
OUTSIDE = Path(__file__).parent / "outside" / "echo_batches"
ECHO = {"echo": "echo_batches.record:RECORD"}
SAY = "/v2/say"
Install: TypeAlias = Callable[[str, Mapping[str, str]], None]


def write_package(site: Path, package: str, points: Mapping[str, str]) -> None:
    """What pip leaves of an installed distribution, beside its modules."""
    info = site / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    said = "".join(f"{name} = {where}\n" for name, where in points.items())
    (info / "entry_points.txt").write_text(f"[{catalog.GROUP}]\n{said}", encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages, with Echo's module."""
    folder = tmp_path / "site"
    shutil.copytree(OUTSIDE, folder / OUTSIDE.name)
    return folder


@pytest.fixture
def install(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution into this process."""
    monkeypatch.syspath_prepend(site)

    def installed(package: str, points: Mapping[str, str]) -> None:
        write_package(site, package, points)
        catalog.known.cache_clear()

    yield installed
    catalog.known.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == OUTSIDE.name]:
        del sys.modules[name]


def write_job(folder: Path, **target: str) -> Path:
    """A job of three rows for Echo, in YAML."""
    table = pa.table({"id": ["a", "b", "c"], "body": ["one", "two words", "and three more"]})
    pq.write_table(table, folder / "rows.parquet")
    said = {
        "name": "echoed",
        "dataset": {"path": "rows.parquet", "key": "id"},
        "request": {"prompt": "Say {{ body }}"},
        "targets": [{"provider": "echo", "model": "loud", **target}],
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    return folder / "job.yaml"


def read_texts(store: Path) -> list[str]:
    [path] = (store / "results").rglob("results.parquet")
    return sorted(pq.read_table(path)["text"].to_pylist())


def test_a_provider_of_another_package_runs_a_job_file_to_its_results(
    install: Install, tmp_path: Path
) -> None:
    install("echo-batches", ECHO)
    (tmp_path / "account").mkdir()
    [job] = load_jobs(write_job(tmp_path))
    assert [target.endpoint for target in job.targets] == [SAY]
    env = {"ECHO_API_KEY": "echo-key", "ECHO_FOLDER": str(tmp_path / "account")}
    settings = Settings(store=str(tmp_path / "store"))
    told = page(Registry().capabilities("echo"))
    assert "# Echo\nThe key is read from `ECHO_API_KEY`." in told
    with Pipeline.open(job, env=env, settings=settings, sleep=lambda _: None) as shell:
        [(_, seen)] = shell.run(shell.partitions()).values()
        assert seen.counts.succeeded == 3
    assert read_texts(tmp_path / "store") == ["Say and three more", "Say one", "Say two words"]


def test_the_command_line_lists_it_beside_a_package_that_is_broken(
    site: Path, tmp_path: Path
) -> None:
    write_package(site, "echo-batches", ECHO)
    write_package(site, "no-good", {"broken": "no_such_module.record:RECORD"})
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    listed = subprocess.run(
        [sys.executable, "-m", "batch_pipeline.cli.main", "providers", "--json"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(json.loads(listed.stdout)) == [*OURS, "echo"]
    assert list(json.loads(listed.stdout)["echo"]["endpoints"]) == [SAY]
    assert "no-good 1.0" in listed.stderr
    assert "No module named 'no_such_module'" in listed.stderr


@pytest.mark.parametrize(
    ("module", "where", "why"),
    [
        ("raise RuntimeError('no\\nlicence')", "bad:RECORD", "RuntimeError: no licence"),
        ("raise SystemExit(3)", "bad:RECORD", "SystemExit: 3"),
        ("x = (", "bad:RECORD", "SyntaxError"),
        ("", "bad:RECORD", "has no attribute 'RECORD'"),
        ("RECORD = {'name': 'bad'}", "bad:RECORD", "a dict and no ProviderRecord"),
        ("", "bad", "a module and no ProviderRecord"),
        ("", "echo_batches.record:RECORD", "gives the record of 'echo'"),
        ("", "not at all", "does not load"),
    ],
)
def test_an_entry_point_that_gives_no_record_is_named_and_the_others_work(
    install: Install,
    site: Path,
    caplog: pytest.LogCaptureFixture,
    module: str,
    where: str,
    why: str,
) -> None:
    (site / "bad.py").write_text(f"{module}\n", encoding="utf-8")
    sys.modules.pop("bad", None)
    install("echo-batches", ECHO)
    with caplog.at_level(logging.WARNING):
        install("bad-batches", {"bad": where})
        assert list(catalog.known().records) == [*OURS, "echo"]
    assert "'bad'" in caplog.text
    assert "bad-batches 1.0" in caplog.text
    assert why in caplog.text
    with pytest.raises(UsageError, match=r"bad-batches 1\.0"):
        Registry().codec("bad")
    assert Registry().codec("echo").name == "echo"
    sys.modules.pop("bad", None)


def test_a_job_that_asks_for_a_broken_provider_is_told_why(
    install: Install, tmp_path: Path
) -> None:
    install("bad-batches", {"bad": "no_such_module:RECORD"})
    job = write_job(tmp_path, provider="bad")
    with pytest.raises(SpecError, match=r"job\.yaml:\d+: targets\.0\.provider: .*bad-batches 1\.0"):
        load_jobs(job)


def test_a_name_that_two_packages_give_is_refused_and_both_are_named(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("echo-batches", ECHO)
    install("other-echo", ECHO)
    assert "echo" not in catalog.known().records
    assert "echo-batches 1.0 and other-echo 1.0" in caplog.text
    with pytest.raises(UsageError, match=r"'echo' is given by echo-batches 1\.0 and other-echo"):
        Registry().client("echo", {})
    assert Registry().codec("openai").name == "openai"


def test_a_name_of_ours_stays_ours_and_the_other_package_is_named(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("my-openai", {"openai": "echo_batches.record:RECORD"})
    assert catalog.known().records["openai"].title == "OpenAI"
    assert "'openai' is batch-pipeline's own and stays so; my-openai 1.0" in caplog.text
    assert not catalog.known().refused


def test_a_part_that_does_not_load_names_the_provider_and_the_part() -> None:
    record = ProviderRecord(
        name="half",
        title="Half",
        endpoints={SAY: "speaks"},
        key_variable="HALF_KEY",
        capabilities="half:CAPABILITIES",
        codec="half.codec:HalfCodec",
        client="half.client:HalfClient",
    )
    with pytest.raises(UsageError, match=r"'half': its client, half\.client:HalfClient, does not"):
        record.load("client")


def test_a_record_names_an_endpoint_at_least() -> None:
    with pytest.raises(ValueError, match="names no endpoint"):
        ProviderRecord(
            name="mute",
            title="",
            endpoints={},
            key_variable="",
            capabilities="",
            codec="",
            client="",
        )


def test_the_schema_of_a_job_file_offers_what_is_installed(install: Install) -> None:
    install("echo-batches", ECHO)
    target = BatchJob.model_json_schema()["$defs"]["Target"]["properties"]
    assert target["provider"]["enum"] == [*OURS, "echo"]
    assert SAY in target["endpoint"]["enum"]


def test_of_a_provider_whose_models_nobody_lists_none_is_in_doubt(install: Install) -> None:
    install("echo-batches", ECHO)
    today = date(2026, 11, 25)
    assert doubt("echo", "loud", on=today) is None
    assert doubt("openai", "loud", on=today) is not None


def test_services_speak_only_the_apis_that_allow_it(install: Install, tmp_path: Path) -> None:
    install("echo-batches", ECHO)
    path = tmp_path / "services.yaml"
    for name, provider, why in (("mine", "echo", "'openai'"), ("echo", "openai", "itself")):
        said = {"provider": provider, "base_url": "http://127.0.0.1:1", "key_variable": "K"}
        service = {**said, "max_requests": 1, "max_bytes": 1}
        path.write_text(json.dumps({name: service}), encoding="utf-8")
        with pytest.raises(UsageError, match=why):
            read_services(str(path))
