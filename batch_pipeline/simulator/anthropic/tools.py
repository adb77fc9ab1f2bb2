"""What Anthropic refuses in the tools of a request, and which tool must be called."""

import re

import orjson

from batch_pipeline.simulator.anthropic.refusals import (
    Params,
    RefusedRequestError,
    items,
    mapping,
    missing,
    text,
    unknown_tag,
)
from batch_pipeline.simulator.anthropic.schemas import constrained_flaw, is_json_schema

_NAME = "^[a-zA-Z0-9_-]{1,128}$"
_CHOICES = ("any", "auto", "none", "tool")
_SERVER_TOOL = re.compile(r"^[a-z_]+_\d{8}$")  # web_search_20260318 and its like


def check_tools(params: Params) -> None:
    """Raise for what is wrong with `tools` and `tool_choice`."""
    names: set[str] = set()
    for place, tool in enumerate(items(params.get("tools") or [], "tools")):
        given = mapping(tool, f"tools.{place}")
        _check_tool(given, f"tools.{place}")
        name = str(given.get("name", given.get("type")))
        if name in names:
            raise RefusedRequestError("tools: Tool names must be unique.")
        names.add(name)
    if params.get("tool_choice") is not None:
        _check_choice(mapping(params["tool_choice"], "tool_choice"), names)


def forced_tool(params: Params) -> tuple[str, bytes] | None:
    """Name and input schema of the tool that must be called; None when none must."""
    choice = params.get("tool_choice")
    tools = params.get("tools")
    if not isinstance(choice, dict) or not isinstance(tools, list):
        return None
    own = [tool for tool in tools if "input_schema" in tool]
    if choice["type"] == "tool":
        own = [tool for tool in own if tool["name"] == choice["name"]]
    elif choice["type"] != "any":
        return None
    return (str(own[0]["name"]), orjson.dumps(own[0]["input_schema"])) if own else None


def forces_tool(params: Params) -> bool:
    """True when `tool_choice` leaves the model no way but a tool."""
    choice = params.get("tool_choice")
    return isinstance(choice, dict) and choice.get("type") in {"any", "tool"}


def _check_tool(tool: Params, where: str) -> None:
    kind = tool.get("type") or "custom"
    if kind != "custom":
        if _SERVER_TOOL.match(str(kind)) is None:
            raise unknown_tag(where, kind, ("custom",))
        return
    where = f"{where}.custom"
    for name in ("name", "input_schema"):
        if name not in tool:
            raise missing(f"{where}.{name}")
    if re.fullmatch(_NAME, text(tool["name"], f"{where}.name")) is None:
        raise RefusedRequestError(f"{where}.name: String should match pattern '{_NAME}'")
    schema = mapping(tool["input_schema"], f"{where}.input_schema")
    if "type" not in schema:
        raise missing(f"{where}.input_schema.type")
    if schema["type"] != "object":
        raise RefusedRequestError(f"{where}.input_schema.type: Input should be 'object'")
    if not is_json_schema(schema):
        raise RefusedRequestError(
            f"{where}.input_schema: JSON schema is invalid. It must match JSON Schema draft "
            "2020-12 (https://json-schema.org/draft/2020-12). Learn more about tool use at "
            "https://docs.claude.com/en/docs/tool-use."
        )
    flaw = constrained_flaw(orjson.dumps(schema)) if tool.get("strict") is True else None
    if flaw is not None:
        raise RefusedRequestError(f"{where}: {flaw}")


def _check_choice(choice: Params, names: set[str]) -> None:
    kind = choice.get("type")
    if kind not in _CHOICES:
        raise unknown_tag("tool_choice", kind, _CHOICES)
    if kind in {"any", "tool"} and not names:
        raise RefusedRequestError("tool_choice may only be specified while providing tools.")
    if kind == "tool":
        if "name" not in choice:
            raise missing("tool_choice.tool.name")
        if choice["name"] not in names:
            raise RefusedRequestError(f"Tool '{choice['name']}' not found in provided tools")
