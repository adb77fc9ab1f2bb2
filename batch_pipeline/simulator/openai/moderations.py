"""The answers of `/v1/moderations`."""

from collections.abc import Mapping

from batch_pipeline.simulator import tokens
from batch_pipeline.simulator.openai.checks import Body
from batch_pipeline.simulator.openai.prompts import Made
from batch_pipeline.simulator.prompt_reading import Hints
from batch_pipeline.simulator.records import Usage

_CATEGORIES = {
    "harassment": "idiot moron",
    "harassment/threatening": "threaten",
    "hate": "hate racist",
    "hate/threatening": "exterminate",
    "illicit": "steal shoplift",
    "illicit/violent": "bomb weapon",
    "self-harm": "suicide",
    "self-harm/instructions": "overdose",
    "self-harm/intent": "suicidal",
    "sexual": "porn nude",
    "sexual/minors": "underage",
    "violence": "kill murder attack",
    "violence/graphic": "gore",
}
_ALSO_PICTURES = ("self-harm", "sexual", "violence")  # and what is below them, minors aside
_FLAGGED = 0.5


def make_moderation(body: Body, name: str, _created: int, fault: str | None) -> Made:
    """Judge texts, each by itself, or the parts of one input together."""
    inputs = read_inputs(body)
    results = [] if fault == "invalid" else [_judged(text, kinds) for text, kinds in inputs]
    told = {"id": f"modr-{name}", "model": body["model"], "results": results}
    return Made(told, Usage(input=sum(tokens.count(text) for text, _ in inputs)))


def read_inputs(body: Body) -> list[tuple[str, list[str]]]:
    """The text of each input, and whether text or image or both are in it."""
    given = body.get("input")
    if not isinstance(given, list):
        return [(str(given), ["text"])]
    if not any(isinstance(part, Mapping) for part in given):
        return [(str(each), ["text"]) for each in given]
    texts = [str(part["text"]) for part in given if "text" in part]
    kinds = ["text"] * bool(texts) + ["image"] * (len(texts) < len(given))
    return [("\n".join(texts), kinds)]


def _judged(text: str, kinds: list[str]) -> dict[str, object]:
    hints, words = Hints(text), set(text.lower().split())
    scores = {
        category: (0.0 if words.isdisjoint(telling.split()) else 0.9)
        + hints.number(category) % 1000 / 10_000
        for category, telling in _CATEGORIES.items()
    }
    found = {category: score > _FLAGGED for category, score in scores.items()}
    applied = {
        category: [kind for kind in kinds if kind == "text" or _sees_pictures(category)]
        for category in _CATEGORIES
    }
    return {
        "flagged": any(found.values()),
        "categories": found,
        "category_scores": scores,
        "category_applied_input_types": applied,
    }


def _sees_pictures(category: str) -> bool:
    return category.startswith(_ALSO_PICTURES) and category != "sexual/minors"
