"""What `import batch_pipeline` offers: pinned names, each with an example that runs, paid late."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import assert_type

import dagster as dg
import pytest

import batch_pipeline
from batch_pipeline import BatchJob, build_defs
from batch_pipeline.errors import BatchPipelineError, SpecError
from batch_pipeline.orchestration.local import LocalDagster
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline_tests.orchestration.location import Location, resource_of
from batch_pipeline_tests.world import DAYS, made

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)
NAMES = [
    *("BatchJob", "BatchPipelineError", "Pipeline", "Settings", "Simulator", "__version__"),
    *("build_defs", "load_job", "load_jobs", "read_failures", "read_results"),
]
EXTRA = {
    "bpe-openai": "bpe_openai",
    "httptools": "httptools",
    "python-multipart": "python_multipart",
    "starlette": "starlette",
    "typing-extensions": "typing_extensions",
    "uvicorn": "uvicorn",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def python(
    *words: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """This interpreter over our package, wherever it stands."""
    here = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.run(  # noqa: S603 - our own interpreter and our own words
        [sys.executable, *words], capture_output=True, text=True, check=False, cwd=cwd, env=here
    )


def test_these_names_and_no_others_are_offered() -> None:
    assert batch_pipeline.__all__ == NAMES
    assert len(NAMES) <= 12
    assert set(NAMES) <= set(dir(batch_pipeline))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "__version__"])
def test_a_name_is_there_says_what_it_is_and_has_an_example(name: str) -> None:
    assert getattr(batch_pipeline, name).__doc__
    assert any(re.search(rf"\b{name}\b", block) for block in BLOCKS)
    assert f"`{name}`" in PAGE


def test_the_version_is_the_installed_ones() -> None:
    assert batch_pipeline.__version__ == version("batch-pipeline") == PROJECT["version"]


def test_a_name_that_is_not_there_is_pythons_own_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'read_result'"):
        batch_pipeline.read_result  # type: ignore[attr-defined]  # noqa: B018 - the typo under test
    with pytest.raises(ImportError, match="Pipelines"):
        exec("from batch_pipeline import Pipelines", {})  # noqa: S102 - mypy would refuse it here


def test_the_import_alone_loads_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules) | {'typing'}; import batch_pipeline, typing\n"
        "dir(batch_pipeline)\n"
        "print(sorted({name for name in set(sys.modules) - before\n"
        "              if name.partition('.')[0] not in sys.stdlib_module_names}))\n"
        "from batch_pipeline import load_job, BatchPipelineError, __version__\n"
        "heavy = {'dagster', 'duckdb', 'polars', 'pandas', 'pyarrow', 'starlette', 'openai'}\n"
        "print(heavy & set(sys.modules))\n"
    )
    done = python("-c", code)
    assert done.stdout.splitlines() == ["['batch_pipeline']", "set()"], done.stderr


def types() -> None:  # never called: the type checker holds it
    """What a type checker knows; a name that is not there is an error to it, above."""
    assert_type(batch_pipeline.__version__, str)
    assert_type(batch_pipeline.load_job("triage.yaml"), BatchJob)
    assert_type(batch_pipeline.load_jobs(Path("triage.yaml")), list[BatchJob])
    assert_type(batch_pipeline.Settings().store, str)


def test_every_block_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        if "def test_" not in block:
            exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102 - our own page
    defs = names["defs"]
    assert isinstance(defs, dg.Definitions)
    dg.Definitions.validate_loadable(defs)
    assert str(names["pandas_rows"]["cost_usd"].sum()) == str(names["report"].total.cost)  # type: ignore[index,attr-defined]  # whatever a page's names are
    said = re.findall(r"(?m)^ +print\(\w+\)  # (.+)$", PAGE)
    assert said
    assert set(said) <= set(capsys.readouterr().out.splitlines())


def test_the_fixture_of_the_page_runs_in_somebody_elses_tests(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (block,) = (block for block in BLOCKS if "def test_" in block)
    (tmp_path / "test_theirs.py").write_text(block, encoding="utf-8")
    ((name, module),) = PROJECT["entry-points"]["pytest11"].items()
    installed = tmp_path / "theirs-1.dist-info"  # as an install of ours would say it
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    real = {
        "OPENAI_API_KEY": "sk-real",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "BATCH_PIPELINE_LEDGER_URL": f"sqlite:///{tmp_path}/real.db",
        "BATCH_PIPELINE_SERVICES": str(tmp_path / "real.yaml"),
    }
    done = python(*words, cwd=tmp_path, env={"PYTHONPATH": path, **real})
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "real.db").exists()


def test_the_plugin_costs_nothing_when_nobody_asks() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import batch_pipeline.pytest_plugin\n"
        "print(sorted(name for name in set(sys.modules) - before if 'typing' != name))"
    )
    told = python("-c", code).stdout
    assert told.strip() == "['batch_pipeline', 'batch_pipeline.pytest_plugin']"


def test_a_job_runs_in_somebody_elses_definitions(tmp_path: Path) -> None:
    @dg.asset
    def theirs() -> None:
        """An asset of their own."""

    with made(tmp_path, per_day=2, days=DAYS[:1]) as world, dg.DagsterInstance.ephemeral() as there:
        job = world.job()
        mine = build_defs(job, pipeline=resource_of(world))
        defs = dg.Definitions.merge(dg.Definitions(assets=[theirs]), mine)
        dagster = LocalDagster(defs, there, sleep=world.wait, tick_seconds=10)
        place = Location(world, job, defs, there, dagster)
        place.submit()
        place.finish()
        assert set(world.became().values()) == {"succeeded"}


def test_jobs_made_in_python_share_the_resource_and_a_wrong_one_is_refused_at_once(
    tmp_path: Path,
) -> None:
    with made(tmp_path, per_day=1) as world:
        one, other = world.job(), world.job(name="others")
    merged = dg.Definitions.merge(build_defs(one), build_defs(other))
    assert isinstance((merged.resources or {})["pipeline"], PipelineResource)
    target = one.targets[0].model_copy(update={"service": "nobodys"})
    wrong: BatchJob = one.model_copy(update={"targets": [target]})
    with pytest.raises(SpecError, match="nobodys"):
        build_defs(wrong)


@pytest.mark.parametrize("missing", EXTRA.values())
def test_who_lacks_a_package_of_the_simulators_is_told_what_to_install(
    tmp_path: Path, missing: str
) -> None:
    done = without(missing, tmp_path, "-c", "from batch_pipeline import Simulator")
    assert 'pip install "batch-pipeline[simulator]"' in done.stderr.splitlines()[-1]
    assert missing in done.stderr.splitlines()[-1]


def test_the_commands_that_lack_them_say_it_in_one_line(tmp_path: Path) -> None:
    command = without("starlette", tmp_path, "-m", "batch_pipeline.cli.main", "simulate")
    demo = without("uvicorn", tmp_path, "-m", "examples.demo")
    assert [command.returncode, demo.returncode] == [2, 1]
    for done in (command, demo):
        assert done.stderr.startswith("error: The simulator needs packages of its own")
        assert "Traceback" not in done.stderr
        assert 'pip install "batch-pipeline[simulator]"' in done.stderr


def without(name: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python in which importing *name* fails, as where it was never installed."""
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules[{name!r}] = None\n")
    return python(*words, cwd=ROOT, env={"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"})


def test_the_extra_is_what_only_the_simulator_imports() -> None:
    said = {re.split(r"[<>=]", one)[0] for one in PROJECT["optional-dependencies"]["simulator"]}
    needed = {re.split(r"[<>=\[]", one)[0] for one in PROJECT["dependencies"]}
    assert said == set(EXTRA)
    assert not said & needed
    simulators, others = set[str](), set[str]()
    for path in (ROOT / "batch_pipeline").rglob("*.py"):
        inside = "simulator" in path.relative_to(ROOT).parts
        (simulators if inside else others).update(tops(path))
    assert not others & set(EXTRA.values())
    assert simulators - others <= set(EXTRA.values())


def tops(path: Path) -> set[str]:
    """The packages of others that a file imports."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    ours = {"batch_pipeline", *sys.stdlib_module_names}
    return {name.partition(".")[0] for name in names} - ours


def test_every_error_has_one_root() -> None:
    assert batch_pipeline.BatchPipelineError is BatchPipelineError
    assert issubclass(SpecError, batch_pipeline.BatchPipelineError)
