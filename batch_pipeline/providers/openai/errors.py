"""What a failed call of OpenAI's SDK means for us."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping

import httpx2
import openai

from batch_pipeline.errors import ProviderError
from batch_pipeline.providers.failed_calls import Said, Voice, answered, certain_no, unanswered
from batch_pipeline.providers.openai.facts import CREDIT, QUEUE_WORDS, QUEUES
from batch_pipeline.providers.openai.record import RECORD

FAILURES: tuple[type[Exception], ...] = (
    *(openai.OpenAIError, httpx2.HTTPError),
    *(httpx2.StreamError, ssl.SSLError),
)
"""What a call can raise: the SDK's errors, and the raw transport's while a body is streamed."""

OTHER_SHAPE = "an answer of another shape than OpenAI's"
VOICE = Voice(name=RECORD.name, title=RECORD.title, settings=RECORD.variables)


def said(error: Exception, scrub: Callable[[str], str]) -> Said:
    """Read one of FAILURES."""
    if not isinstance(error, openai.APIStatusError):
        return Said(message=unanswered(error))
    body = error.body if isinstance(error.body, Mapping) else {}
    return answered(
        error.status_code,
        error.response.headers,
        scrub,
        words=body.get("message") or (error.body if isinstance(error.body, str) else ""),
        code=body.get("code") or body.get("type"),
    )


def certain(heard: Said) -> type[ProviderError] | None:
    """What a certain answer means, the first that fits; None when it is not certain."""
    text = heard.message.lower()
    return certain_no(
        heard,
        credit=heard.code in CREDIT,
        throttled=heard.code in QUEUES or re.search(QUEUE_WORDS, text) is not None,
        too_large="too large" in text,
        # a 400 about a file that was just uploaded: OpenAI's stores are eventually consistent
        missing="cannot find file" in text,
    )
