"""Counting and cutting text by real tokens (o200k_base, offline)."""

import warnings
from functools import cache, lru_cache
from typing import Protocol, cast

_PIECE = 200_000  # the tokenizer refuses texts of a million characters and more


class _Encoding(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...

    def decode(self, tokens: list[int]) -> str: ...


@cache
def _encoding() -> _Encoding:
    with warnings.catch_warnings():
        # it reads its vocabulary, by a deprecated route, as soon as it is imported: a third of a
        # second, which the first row can wait and a start cannot
        warnings.simplefilter("ignore", DeprecationWarning)
        import bpe_openai  # noqa: PLC0415 - as said
    return cast("_Encoding", bpe_openai.get_encoding("o200k_base"))


def count(text: str) -> int:
    """The number of tokens in *text*; very long texts are counted piece by piece."""
    if len(text) <= _PIECE:
        return len(_encoding().encode_ordinary(text))
    pieces = (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
    return sum(len(_encoding().encode_ordinary(piece)) for piece in pieces)


@lru_cache(maxsize=256)
def count_repeated(text: str) -> int:
    """Like `count`, for texts that come again in every row: instructions and role names."""
    return count(text)


def cut(text: str, limit: int) -> str:
    """The longest start of *text* that has at most *limit* tokens."""
    tokens = _encoding().encode_ordinary(text[:_PIECE])
    if len(tokens) <= limit:
        return text
    # a cut inside a multi-byte character decodes to the replacement mark; models never emit it
    return _encoding().decode(tokens[: max(0, limit)]).rstrip("\ufffd")
