"""Moderations: the real shape, a verdict by the text, and what is refused."""

from typing import Any

from openai import OpenAI
from openai.types import ModerationCreateResponse

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.lines import make_line, run
from batch_pipeline_tests.simulator.test_openai_bodies import checked

MODERATIONS = "/v1/moderations"


def answers(sim: Simulator, client: OpenAI, *inputs: object) -> dict[str, Any]:
    lines = [
        make_line(
            f"row-{number}", url=MODERATIONS, body={"model": "omni-moderation-latest", "input": one}
        )
        for number, one in enumerate(inputs)
    ]
    results = run(sim, client, lines, MODERATIONS)
    return {**results.output, **results.errors}


def moderated(sim: Simulator, client: OpenAI, given: object) -> ModerationCreateResponse:
    body = answers(sim, client, given)["row-0"]["response"]["body"]
    return checked(ModerationCreateResponse, body)


def test_a_text_is_flagged_for_what_it_says(sim: Simulator, client: OpenAI) -> None:
    said = moderated(sim, client, ["What a lovely bell", "I will kill you"])
    assert [result.flagged for result in said.results] == [False, True]
    assert said.results[1].categories.violence
    assert said.results[1].category_scores.violence > 0.5


def test_a_text_and_a_picture_are_judged_together(sim: Simulator, client: OpenAI) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://photos.example/1.png"}}
    said = moderated(sim, client, [{"type": "text", "text": "Lovely"}, picture])
    (result,) = said.results
    assert result.category_applied_input_types.violence == ["text", "image"]
    assert result.category_applied_input_types.harassment == ["text"]


def test_what_is_no_input_is_refused(sim: Simulator, client: OpenAI) -> None:
    for answer in answers(sim, client, [], [{"type": "audio"}], 5).values():
        assert answer["response"]["status_code"] == 400
