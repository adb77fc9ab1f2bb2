"""Anthropic's key and address, out of the environment."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from batch_pipeline.errors import Unauthorized, UsageError

BASE_URL = "https://api.anthropic.com"


def key_in(env: Mapping[str, str]) -> str:
    """ANTHROPIC_API_KEY; Unauthorized when it is missing or cannot be one."""
    key = env.get("ANTHROPIC_API_KEY", "").strip()  # keys mounted as files end in a newline
    if not key:
        raise Unauthorized(
            "anthropic: ANTHROPIC_API_KEY is not set or empty, so nothing can be sent or looked "
            "up. Set it in the environment (a .env file of the project will do)."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Unauthorized(
            "anthropic: ANTHROPIC_API_KEY holds characters that no key has (a blank, a line break, "
            "a quotation mark of a word processor?). Copy the key again."
        )
    return key


def base_url_in(env: Mapping[str, str]) -> str:
    """ANTHROPIC_BASE_URL, or Anthropic's own; UsageError when it is no URL."""
    url = (env.get("ANTHROPIC_BASE_URL") or "").strip() or BASE_URL
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
        raise UsageError(
            "ANTHROPIC_BASE_URL is not an http(s) URL. Leave it unset for Anthropic itself, or "
            "give one such as http://127.0.0.1:8000, without /v1."
        )
    return url
