"""The wire of Anthropic's requests: the parameters of a message, from its blocks upwards.

Pydantic finds what is wrong with a field and says it. What follows from several fields, from the
model or from the batch is looked at afterwards, in the files beside this one.
"""

import re
from functools import cache
from typing import Annotated, Literal, Required, TypeAlias

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    with_config,
)
from typing_extensions import TypedDict

from batch_pipeline.simulator.anthropic.refusals import Params, RefusedRequestError, told
from batch_pipeline.simulator.tagged import tagged

NEW_VERSION = "2026-10-21"
_Object: TypeAlias = dict[str, object]
_strict = with_config(ConfigDict(strict=True, extra="forbid"))  # also holds for all that is within
_SERVER_TOOL = re.compile(  # web_search_20260318 and its like
    r"^([a-z_]+_\d{8}|tool_search_tool_(bm25|regex)|mcp_toolset)$"
)


class _Cache(TypedDict, total=False):
    type: str
    ttl: Literal["5m", "1h"]


_CacheControl: TypeAlias = Annotated[object, tagged("type", ephemeral=_Cache)]


class _Cacheable(TypedDict, total=False):
    cache_control: _CacheControl | None


class _Block(_Cacheable, total=False):
    type: str


class _Said(_Cacheable, total=False):
    text: Required[str]
    citations: list[object] | None


class _Text(_Said, total=False):
    type: str


class _SystemText(_Said, total=False):
    type: Required[Literal["text"]]  # the only kind there: complaints name no tag


class _Url(TypedDict):
    type: str
    url: str


class _File(TypedDict):
    type: str
    file_id: str


class _Picture(TypedDict):
    type: str
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class _Pdf(TypedDict):
    type: str
    media_type: Literal["application/pdf"]
    data: str


class _Plain(TypedDict):
    type: str
    media_type: Literal["text/plain"]
    data: str


class _Blocks(TypedDict):
    type: str
    content: str | list[object]


class _Image(_Block, total=False):
    source: Required[Annotated[object, tagged("type", base64=_Picture, file=_File, url=_Url)]]
    transformations: object


_PAPERS = tagged("type", base64=_Pdf, content=_Blocks, file=_File, text=_Plain, url=_Url)


class _Document(_Block, total=False):
    source: Required[Annotated[object, _PAPERS]]
    citations: object
    context: str | None
    title: str | None


class _ToolUse(_Block, total=False):
    id: Required[str]
    name: Required[str]
    input: Required[_Object]
    caller: object
    toolset_name: str | None


def _no_text(content: object) -> object:
    """A text may stand where a list of blocks is wanted; complaints speak of the list alone."""
    return [] if isinstance(content, str) else content


_ANSWERS = tagged(
    "type",
    text=_Text,
    image=_Image,
    document=_Document,
    search_result=_Object,
    tool_reference=_Object,
    browser_state=_Object,
)


class _ToolResult(_Block, total=False):
    tool_use_id: Required[str]
    content: Annotated[list[Annotated[object, _ANSWERS]], BeforeValidator(_no_text)]
    is_error: bool
    toolset_name: str | None


_BLOCKS = tagged(
    "type",
    bash_code_execution_tool_result=_Object,
    code_execution_tool_result=_Object,
    container_upload=_Object,
    document=_Document,
    image=_Image,
    redacted_thinking=_Object,
    search_result=_Object,
    server_tool_use=_Object,
    text=_Text,
    text_editor_code_execution_tool_result=_Object,
    thinking=_Object,
    tool_result=_ToolResult,
    tool_search_tool_result=_Object,
    tool_use=_ToolUse,
    web_fetch_tool_result=_Object,
    web_search_tool_result=_Object,
)


def _unsaid_role(role: object) -> object:
    """A later message may be the system's, though complaints do not say so."""
    return "user" if role == "system" else role


class _Message(TypedDict):
    role: Annotated[Literal["user", "assistant"], BeforeValidator(_unsaid_role)]
    content: Annotated[list[Annotated[object, _BLOCKS]], BeforeValidator(_no_text)]


@with_config(ConfigDict(strict=True, extra="allow"))
class _InputSchema(TypedDict):
    type: Literal["object"]


class _OwnTool(_Block, total=False):
    name: Required[Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,128}$")]]
    input_schema: Required[_InputSchema]
    allowed_callers: list[str]
    defer_loading: bool
    description: str
    eager_input_streaming: bool | None
    input_examples: list[_Object]
    strict: bool


def _own_unless_servers(tool: object, check: ValidatorFunctionWrapHandler) -> object:
    """Tools without a type are the caller's own; new kinds of the server's come every month."""
    if not isinstance(tool, dict):
        return check(tool)
    kind = tool.get("type") or "custom"
    return tool if _SERVER_TOOL.match(str(kind)) else check(tool | {"type": kind})


_Tool: TypeAlias = Annotated[
    object, tagged("type", custom=_OwnTool), WrapValidator(_own_unless_servers)
]


class _Choice(TypedDict, total=False):
    type: str
    disable_parallel_tool_use: bool


class _NoChoice(TypedDict):
    type: str


class _NamedChoice(_Choice, total=False):
    name: Required[str]


_CHOICES = tagged("type", any=_Choice, auto=_Choice, none=_NoChoice, tool=_NamedChoice)


class _Thinking(TypedDict, total=False):
    type: str
    display: Literal["summarized", "omitted", "updates"] | None  # the last by a beta,
    block_binding: object  # as is this


class _Budgeted(_Thinking, total=False):
    budget_tokens: Required[Annotated[int, Field(ge=1024)]]


_THINKING = tagged(
    "type", adaptive=_Thinking, between_tools=_Object, disabled=_Thinking, enabled=_Budgeted
)


class _Format(TypedDict):
    type: Literal["json_schema"]
    schema: _Object


class _Output(TypedDict, total=False):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None
    format: _Format | None
    task_budget: object


class _Metadata(TypedDict, total=False):
    user_id: str | None


@_strict
class _Params(TypedDict, total=False):
    model: Required[str]
    max_tokens: Required[Annotated[int, Field(ge=0)]]
    messages: Required[list[_Message]]
    cache_control: _CacheControl | None
    container: object
    diagnostics: object
    inference_geo: str | None
    metadata: _Metadata | None
    output_config: _Output | None
    service_tier: Literal["auto", "standard_only"]
    speed: Literal["standard", "fast"] | None
    stop_sequences: list[str] | None
    stream: bool | None
    system: Annotated[list[_SystemText], BeforeValidator(_no_text)]
    thinking: Annotated[object, _THINKING] | None
    tool_choice: Annotated[object, _CHOICES] | None
    tools: list[_Tool] | None


class _Sampling(TypedDict, total=False):
    temperature: float | None
    top_p: float | None
    top_k: Annotated[int, Field(ge=0)] | None


class _Betas(TypedDict, total=False):  # each needs a beta of its own; any is taken for it
    billing_policy: object
    compaction: object
    context_management: object
    fallback_credit_token: object
    fallbacks: object
    mcp_servers: object
    output_format: _Format | None
    thread: object
    user_profile_id: object


@_strict
class _OldParams(_Params, _Sampling):
    pass


@_strict
class _BetaParams(_Params, _Betas):
    pass


@_strict
class _OldBetaParams(_Params, _Sampling, _Betas):
    pass


_SHAPES: dict[tuple[bool, bool], type] = {
    (True, False): _Params,
    (True, True): _BetaParams,
    (False, False): _OldParams,
    (False, True): _OldBetaParams,
}


@cache
def _read(shape: type) -> TypeAdapter[object]:
    """Made for the first request that needs it: a start would wait for all of them."""
    return TypeAdapter(shape)


def check_fields(params: Params, version: str, betas: tuple[str, ...]) -> None:
    """Raise for what is wrong with any one field; sampling is the old version's."""
    try:
        _read(_SHAPES[version == NEW_VERSION, bool(betas)]).validate_python(params)
    except ValidationError as error:
        raise RefusedRequestError(told(error)) from None
