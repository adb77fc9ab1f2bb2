"""Answers that a provider soon forgets: how long is left is known and said."""

from __future__ import annotations

from datetime import timedelta

from batch_pipeline.cli.terminal import notes
from batch_pipeline.orchestration.sensors import standing
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.world import DAYS, World, every_provider

DAY = DAYS[0]
MISTRAL = {"provider": "mistral", "model": "mistral-small-latest"}


def test_the_watch_says_how_long_mistrals_answers_can_still_be_fetched(world: World) -> None:
    world.env |= every_provider(world.sim)
    job = world.job(targets=[MISTRAL])
    world.send(job)
    world.wait(60)
    with world.open(job) as shell:
        shell.watch()
        steps = shell.steps()
        step, summary = steps[DAY]
        assert step is Step.COLLECT
        assert summary.results_until is not None
        left = summary.results_until - world.now()
        assert timedelta(hours=23) < left <= timedelta(hours=24)
        hours = left.total_seconds() / 3600
        assert f"can be fetched for {hours:.1f} h more" in standing(steps, now=world.now())
        assert any("kept until" in line for line in notes(steps))
        assert shell.run([DAY])[DAY][0] is Step.DONE
        assert shell.steps()[DAY][1].results_until is None
