"""Mistral's models: which names there are, and what each can do."""

import re

_KNOWN = re.compile(
    r"^(ft:)?(mistral-(tiny|small|medium|large|saba|nemo|ocr|embed|moderation)|mathstral"
    r"|ministral-\d+b|magistral-(small|medium)|codestral|devstral(-(small|medium))?|pixtral"
    r"|voxtral|open-(mistral|mixtral|codestral|pixtral)|open-mistral-nemo)([.:-][\w.:-]+)?$"
)
_EMBED = re.compile(r"^(mistral|codestral)-embed")
_DIMENSIONS = {"codestral-embed": (1536, 3072)}
_EMBED_CONTEXT = 8_192
_CONTEXT = 131_072


def known(model: str, extra: tuple[str, ...]) -> bool:
    """True when the provider would know the model's name."""
    return model in extra or _KNOWN.match(model) is not None


def serves(model: str, endpoint: str) -> bool:
    """True when the model answers at the endpoint."""
    special = {"/v1/ocr": "mistral-ocr", "/v1/fim/completions": "codestral"}
    embeds = _EMBED.match(model) is not None
    match endpoint:
        case "/v1/embeddings":
            return embeds
        case "/v1/moderations" | "/v1/chat/moderations":
            return model.startswith("mistral-moderation")
        case "/v1/ocr" | "/v1/fim/completions":
            return model.startswith(special[endpoint]) and not embeds
        case _:
            return not embeds and not model.startswith(("mistral-ocr", "mistral-moderation"))


def reasons(model: str) -> bool:
    """True for models that think unasked."""
    return model.startswith("magistral")


def context(model: str) -> int:
    """The tokens that the model can read."""
    return _EMBED_CONTEXT if _EMBED.match(model) else _CONTEXT


def dimensions(model: str) -> tuple[int, int]:
    """The usual and the largest size of the model's vectors."""
    usual = next((both for name, both in _DIMENSIONS.items() if model.startswith(name)), None)
    return usual or (1024, 1024)
