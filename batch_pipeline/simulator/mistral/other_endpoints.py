"""The answers of embeddings, moderations and OCR."""

import re
from collections.abc import Mapping

import orjson

from batch_pipeline.simulator import model as simulated
from batch_pipeline.simulator import tokens
from batch_pipeline.simulator.mistral import models
from batch_pipeline.simulator.mistral.messages import (
    asked,
    count_messages,
    read_messages,
    unreachable,
)
from batch_pipeline.simulator.mistral.row_answer import (
    Body,
    Made,
    RefusedRequestError,
    told_usage,
    unfetchable,
    whole,
)
from batch_pipeline.simulator.model import Ask
from batch_pipeline.simulator.prompt_reading import Hints
from batch_pipeline.simulator.records import Usage

_CATEGORIES = {
    "sexual": "porn nude",
    "hate_and_discrimination": "hate racist",
    "violence_and_threats": "kill murder attack",
    "dangerous_and_criminal_content": "bomb weapon steal",
    "selfharm": "suicide",
    "health": "diagnosis medication",
    "financial": "invest stocks",
    "law": "lawsuit lawyer",
    "pii": "passport iban",
}
_FLAGGED = 0.5
_PAGES = 3
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def make_embeddings(body: Body, name: str, _created: int, fault: str | None) -> Made:
    """Answer one embeddings request."""
    model, given = str(body["model"]), body["input"]
    inputs = [str(each) for each in _list(given)]
    counts = [tokens.count(each) for each in inputs]
    _check_inputs(model, counts)
    size = 1 if fault == "invalid" else _dimensions(body, model)
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(body, each, size)}
        for index, each in enumerate(inputs)
    ]
    usage = Usage(input=sum(counts))
    told = told_usage(usage)
    told["prompt_token_details"] = told.pop("prompt_tokens_details")  # so it is spelt here
    shown: dict[str, object] = {
        "id": name,
        "object": "list",
        "data": data,
        "model": model,
        "usage": told,
    }
    return Made(shown, usage)


def _vector(body: Body, text: str, size: int) -> object:
    vector = [round(value, 6) for value in simulated.embedding(text, size)]
    return simulated.packed(vector) if body.get("encoding_format") == "base64" else vector


def _dimensions(body: Body, model: str) -> int:
    usual, most = models.dimensions(model)
    wanted = whole(body.get("output_dimension")) or usual
    if wanted > most:
        raise RefusedRequestError(f"output_dimension must be at most {most} for model {model}")
    if body.get("output_dtype") not in {None, "float"}:
        raise RefusedRequestError(f"output_dtype is not supported for model {model}")
    return wanted


def _check_inputs(model: str, counts: list[int]) -> None:
    most = models.context(model)
    for place, count in enumerate(counts):
        if count > most:
            message = f"Input id {place} has {count} tokens, exceeding max {most} tokens."
            raise RefusedRequestError(message, "invalid_request_prompt", "3210")


def make_moderation(body: Body, name: str, _created: int, fault: str | None) -> Made:
    """Judge texts."""
    given = body["input"]
    return _moderated(body, name, [str(each) for each in _list(given)], fault)


def make_chat_moderation(body: Body, name: str, _created: int, fault: str | None) -> Made:
    """Judge conversations, each as a whole."""
    given = _list(body["input"])
    many = given if isinstance(given[0], list) else [given]
    talks = [read_messages(each) for each in many]
    made = _moderated(body, name, [asked(talk) for talk in talks], fault)
    usage = Usage(input=sum(map(count_messages, talks)))
    return Made(made.body | {"usage": told_usage(usage)}, usage)


def _moderated(body: Body, name: str, texts: list[str], fault: str | None) -> Made:
    results = [] if fault == "invalid" else [_judged(text) for text in texts]
    usage = Usage(input=sum(map(tokens.count, texts)))
    told = {"id": name, "model": body["model"], "results": results, "usage": told_usage(usage)}
    return Made(told, usage)


def _judged(text: str) -> dict[str, object]:
    hints = Hints(text)
    words = set(text.lower().split())
    scores = {
        category: (0.9 if words & set(telling.split()) else 0.0)
        + hints.number(category) % 1000 / 10_000
        for category, telling in _CATEGORIES.items()
    }
    return {
        "categories": {category: score > _FLAGGED for category, score in scores.items()},
        "category_scores": {category: round(score, 4) for category, score in scores.items()},
    }


def make_ocr(body: Body, _name: str, _created: int, fault: str | None) -> Made:
    """Read a document, or rather its address: nothing is fetched."""
    given = body["document"]
    document = given if isinstance(given, Mapping) else {}
    address = _address(document)
    if "file_id" not in document and unreachable(address):
        raise unfetchable(address)
    hints = Hints(address[:1000])
    pages = [
        {
            "index": index,
            "markdown": f"# Simulated page {index}\n\nRead from {address[:80]}",
            "images": _images(body, address, index),
            "dimensions": {"dpi": 200, "height": 2200, "width": 1700},
        }
        for index in _wanted_pages(body.get("pages"), 1 + hints.number("pages") % _PAGES)
    ]
    size = len(address) * 3 // 4 if address.startswith("data:") else 10_000 * len(pages)
    told: dict[str, object] = {
        "pages": pages,
        "model": body["model"],
        "usage_info": {"pages_processed": len(pages), "doc_size_bytes": size},
        "document_annotation": _annotation(body, "document_annotation_format", address, fault),
    }
    return Made(told, Usage())


def _address(document: Mapping[str, object]) -> str:
    picture = document.get("image_url")
    if isinstance(picture, Mapping):
        picture = picture["url"]
    return str(document.get("document_url") or picture or document.get("file_id"))


def _wanted_pages(given: object, count: int) -> list[int]:
    """The numbers of the pages to read, as a list or as in `0,2-4`."""
    if given is None:
        return list(range(count))
    if isinstance(given, list):
        wanted = {page for page in given if isinstance(page, int)}
    else:
        spans = [_RANGE.fullmatch(part.strip()) for part in str(given).split(",")]
        if None in spans:
            raise RefusedRequestError(f"Invalid pages: {given}")
        wanted = {page for span in spans if span for page in _span(span)}
    return [page for page in range(count) if page in wanted]


def _span(span: re.Match[str]) -> range:
    return range(int(span[1]), int(span[2] or span[1]) + 1)


def _images(body: Body, address: str, page: int) -> list[dict[str, object]]:
    """The pictures of a page; there is one for who wants pictures annotated."""
    annotation = _annotation(body, "bbox_annotation_format", f"{address} picture {page}", None)
    if annotation is None:
        return []
    corners = {"top_left_x": 200, "top_left_y": 300, "bottom_right_x": 900, "bottom_right_y": 800}
    wanted = body.get("include_image_base64")
    image = "data:image/jpeg;base64,AAAA" if wanted else None
    name = f"img-{page}.jpeg"
    return [{"id": name, **corners, "image_base64": image, "image_annotation": annotation}]


def _annotation(body: Body, field: str, address: str, fault: str | None) -> str | None:
    """What the schema in that field makes of the address."""
    wanted = body.get(field)
    named = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
    if not isinstance(named, Mapping):
        return None
    ask = Ask(prompt=address[:1000], schema=orjson.dumps(named["schema"]))
    return simulated.answer(ask, fault).text


def _list(given: object) -> list[object]:
    return given if isinstance(given, list) else [given]
