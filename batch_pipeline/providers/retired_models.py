"""When models end, by provider: a name asked for after its day fails in every row.

Facts as data, with where they were read: OpenAI's from the list of its SDK's chat models and
https://developers.openai.com/api/docs/deprecations; Anthropic's from the list that its SDK warns
with and https://platform.claude.com/docs/en/about-claude/model-deprecations; Mistral's from its
models page, https://docs.mistral.ai/getting-started/models, which retires more than is listed
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

CHECKED = "2026-11-25"
"""The day somebody last looked."""

_ENDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "openai": {
        "2024-09-13": (
            *(
                "gpt-3.5-turbo-0301",
                "gpt-3.5-turbo-0613",
            ),
            *(
                "gpt-3.5-turbo-16k",
                "gpt-3.5-turbo-16k-0613",
            ),
        ),
        "2024-12-06": (*("gpt-4-vision-preview",),),
        "2025-06-06": (
            *(
                "gpt-4-32k",
                "gpt-4-32k-0314",
            ),
            *("gpt-4-32k-0613",),
        ),
        "2025-07-14": (
            *(
                "gpt-4.5-preview",
                "gpt-4.5-preview-2025-02-27",
            ),
        ),
        "2025-07-28": (
            *(
                "o1-preview",
                "o1-preview-2024-09-12",
            ),
        ),
        "2025-10-10": (*("gpt-4o-audio-preview-2024-10-01",),),
        "2025-10-27": (
            *(
                "o1-mini",
                "o1-mini-2024-09-12",
            ),
        ),
        "2026-02-12": (*("codex-mini-latest",),),
        "2026-02-17": (*("chatgpt-4o-latest",),),
        "2026-03-26": (
            *(
                "gpt-4-0125-preview",
                "gpt-4-0314",
            ),
            *("gpt-4-turbo-preview",),
        ),
        "2026-05-07": (
            *(
                "gpt-4o-audio-preview",
                "gpt-4o-audio-preview-2024-12-17",
            ),
            *(
                "gpt-4o-audio-preview-2025-06-03",
                "gpt-4o-mini-audio-preview",
            ),
            *("gpt-4o-mini-audio-preview-2024-12-17",),
        ),
        "2026-07-23": (
            *(
                "gpt-4o-mini-search-preview",
                "gpt-4o-mini-search-preview-2025-03-11",
            ),
            *(
                "gpt-4o-search-preview",
                "gpt-4o-search-preview-2025-03-11",
            ),
            *(
                "gpt-5-chat-latest",
                "gpt-5.1-chat-latest",
            ),
            *("gpt-5.1-codex",),
        ),
        "2026-08-10": (
            *(
                "gpt-5.2-chat-latest",
                "gpt-5.3-chat-latest",
            ),
        ),
        "2026-09-28": (*("gpt-3.5-turbo-1106",),),
        "2026-10-23": (
            *(
                "gpt-3.5-turbo",
                "gpt-3.5-turbo-0125",
            ),
            *(
                "gpt-4",
                "gpt-4-0613",
            ),
            *(
                "gpt-4-1106-preview",
                "gpt-4-turbo",
            ),
            *(
                "gpt-4-turbo-2024-04-09",
                "gpt-4.1-nano",
            ),
            *(
                "gpt-4.1-nano-2025-04-14",
                "gpt-4o-2024-05-13",
            ),
            *(
                "o1",
                "o1-2024-12-17",
            ),
            *(
                "o1-pro",
                "o1-pro-2025-03-19",
            ),
            *(
                "o3-mini",
                "o3-mini-2025-01-31",
            ),
            *(
                "o4-mini",
                "o4-mini-2025-04-16",
            ),
        ),
        "2026-12-11": (
            *(
                "gpt-5",
                "gpt-5-2025-08-07",
            ),
            *(
                "gpt-5-mini",
                "gpt-5-mini-2025-08-07",
            ),
            *(
                "gpt-5-nano",
                "gpt-5-nano-2025-08-07",
            ),
            *(
                "gpt-5-pro",
                "gpt-5-pro-2025-10-06",
            ),
            *(
                "o3",
                "o3-2025-04-16",
            ),
            *(
                "o3-pro",
                "o3-pro-2025-06-10",
            ),
        ),
        "2027-01-14": (
            *(
                "gpt-4.1",
                "gpt-4.1-2025-04-14",
            ),
            *(
                "gpt-4.1-mini",
                "gpt-4.1-mini-2025-04-14",
            ),
            *(
                "gpt-4o",
                "gpt-4o-2024-08-06",
            ),
            *(
                "gpt-4o-2024-11-20",
                "gpt-4o-mini",
            ),
            *("gpt-4o-mini-2024-07-18",),
        ),
        "2027-01-20": (
            *(
                "gpt-audio-mini",
                "gpt-audio-mini-2025-12-15",
            ),
        ),
        "2027-04-01": (
            *(
                "gpt-5.1",
                "gpt-5.1-2025-11-13",
            ),
            *(
                "gpt-5.4-nano",
                "gpt-5.4-nano-2026-03-17",
            ),
        ),
    },
    "anthropic": {
        "2024-11-06": (
            *(
                "claude-1.3",
                "claude-1.3-100k",
            ),
            *(
                "claude-instant-1.1",
                "claude-instant-1.1-100k",
            ),
            *("claude-instant-1.2",),
        ),
        "2025-07-21": (
            *(
                "claude-2.0",
                "claude-2.1",
            ),
            *("claude-3-sonnet-20240229",),
        ),
        "2025-10-28": (
            *(
                "claude-3-5-sonnet-20240620",
                "claude-3-5-sonnet-20241022",
            ),
            *("claude-3-5-sonnet-latest",),
        ),
        "2026-01-05": (
            *(
                "claude-3-opus-20240229",
                "claude-3-opus-latest",
            ),
        ),
        "2026-02-19": (
            *(
                "claude-3-5-haiku-20241022",
                "claude-3-5-haiku-latest",
            ),
            *(
                "claude-3-7-sonnet-20250219",
                "claude-3-7-sonnet-latest",
            ),
        ),
        "2026-06-15": (
            *(
                "claude-opus-4-0",
                "claude-opus-4-20250514",
            ),
            *(
                "claude-sonnet-4-0",
                "claude-sonnet-4-20250514",
            ),
        ),
        "2026-06-30": (*("claude-mythos-preview",),),
        "2026-11-30": (
            *(
                "claude-sonnet-4-5",
                "claude-sonnet-4-5-20250929",
            ),
        ),
    },
    "mistral": {
        "2025-03-30": (
            *(
                "open-mistral-7b",
                "open-mixtral-8x22b",
            ),
            *("open-mixtral-8x7b",),
        ),
        "2025-06-16": (
            *(
                "codestral-2405",
                "mistral-large-2402",
            ),
            *(
                "mistral-medium-2312",
                "mistral-small-2402",
            ),
        ),
        "2025-11-30": (*("codestral-2501",),),
        "2025-12-31": (*("pixtral-12b-2409",),),
    },
}

RETIRED: Mapping[str, Mapping[str, date]] = {
    provider: {name: date.fromisoformat(day) for day, names in days.items() for name in names}
    for provider, days in _ENDS.items()
}
"""Provider -> model -> the day it ends."""
