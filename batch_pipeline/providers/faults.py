"""Whose fault a problem is: one table of a provider's codes and words, in Python and as SQL.

The surest sign comes first: codes that mean one thing, then words (for codes lie), then the HTTP
status, then what is said of every refusal. Whole batches are sorted here in Python, rows of
results in the query that reads them, by the same table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from batch_pipeline.model import Fault

# Phrases, never single words: a provider may quote what was in the request. Gaps are not counted:
# a counted one is a hundred states, which every query would compile anew.
ACCOUNT_WORDS = (
    r"credit balance|exceeded your current quota|billing hard limit|billing details"
    r"|not active, please check|insufficient (credit|fund|balance|quota)|payment required"
    r"|(add|purchase|buy) (more )?credits|spend(ing)? (limit|cap)|usage limits?\b.*regain"
    r"|specified api usage limits|(incorrect|invalid|expired|revoked|missing) api[ _-]?key"
    r"|api key (is |has )?(invalid|expired|been|not)|unauthori[sz]ed|not authori[sz]ed to"
    r"|missing scopes|(account|organization|project|workspace)\b.*"
    r"(deactivated|suspended|terminated|disabled|on hold|must be verified|restricted)"
    r"|(do|does)(n't| not) have (access|permission)"
    r"|\bmodels?\b.*(not found|does not exist|doesn't exist|not available|not supported by"
    r" the batch|has been (retired|deprecated|decommissioned|removed))|^invalid model\b"
    r"|unknown model\b|no such model|\bdeployment\b.*(not found|does not exist)"
)
"""Credit, rights, keys and models, as providers and gateways put it."""
REQUEST_WORDS = (
    r"\b(file|image|document|container|skill|response|item|prompt|conversation|url)s?\b.*"
    r"\b(not found|does not exist|no such)|\bnot found: (file|image|document)"
    r"|flagged (by|as|for)|violat\w+ .*polic|content polic(y|ies)|content management policy"
)
"""What a request names and nobody has, or must not ask: also with a 403 or 404."""
PROVIDER_WORDS = (
    r"internal (server )?error|temporarily unavailable|service unavailable|overloaded|timed? ?out"
    r"|try again|had an error"
)
_ACCOUNT_STATUS = (401, 402, 403, 404)
_PASSING_STATUS = (0, 408, 409, 425, 429, 498, 499)
_CLIENT, _SERVER, _LAST = 400, 500, 599
_HEARD = 400  # characters: what a problem is stands at the beginning, quotations follow


@dataclass(frozen=True, slots=True)
class Faults:
    """A provider's codes and types of errors, in lower case; *usual* ones mean the request."""

    account: frozenset[str]
    provider: frozenset[str]
    request: frozenset[str]
    usual: frozenset[str] = frozenset()

    def of(self, code: str | None, words: str, *, status: int | None = None) -> Fault:
        """Whose fault a problem is, by what is known of it."""
        name, text = (code or "").lower(), words[:_HEARD].lower()
        if name in self.account or re.search(ACCOUNT_WORDS, text):
            return Fault.ACCOUNT
        if name in self.request or re.search(REQUEST_WORDS, text):
            return Fault.REQUEST
        if name in self.provider:
            return Fault.PROVIDER
        by_status = _of_status(status)
        if by_status is not Fault.UNKNOWN:
            return by_status
        if name in self.usual:
            return Fault.REQUEST
        return Fault.PROVIDER if re.search(PROVIDER_WORDS, text) else Fault.UNKNOWN

    def sql(self, *, code: str, kind: str, words: str, status: str) -> str:
        """The same as SQL over those columns; *kind* is a second name of the problem."""
        names = f"[lower({code}), lower({kind})]"
        text = f"lower(left(coalesce({words}, ''), {_HEARD}))"
        passing = ", ".join(map(str, _PASSING_STATUS))
        return f"""
            CASE WHEN list_has_any({names}, {_listed(self.account)})
                OR regexp_matches({text}, {_quoted(ACCOUNT_WORDS)}) THEN 'account'
            WHEN list_has_any({names}, {_listed(self.request)})
                OR regexp_matches({text}, {_quoted(REQUEST_WORDS)}) THEN 'request'
            WHEN list_has_any({names}, {_listed(self.provider)}) THEN 'provider'
            WHEN {status} IN ({", ".join(map(str, _ACCOUNT_STATUS))}) THEN 'account'
            WHEN {status} IN ({passing}) OR {status} BETWEEN {_SERVER} AND {_LAST} THEN 'provider'
            WHEN {status} BETWEEN {_CLIENT} AND {_SERVER - 1} THEN 'request'
            WHEN list_has_any({names}, {_listed(self.usual)}) THEN 'request'
            WHEN regexp_matches({text}, {_quoted(PROVIDER_WORDS)}) THEN 'provider'
            ELSE 'unknown' END"""


def _of_status(status: int | None) -> Fault:
    if status is None:
        return Fault.UNKNOWN
    if status in _ACCOUNT_STATUS:
        return Fault.ACCOUNT
    if status in _PASSING_STATUS or _SERVER <= status <= _LAST:
        return Fault.PROVIDER
    return Fault.REQUEST if _CLIENT <= status < _SERVER else Fault.UNKNOWN


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _listed(names: frozenset[str]) -> str:
    return f"[{', '.join(_quoted(name) for name in sorted(names))}]::VARCHAR[]"
