"""What Anthropic refuses in the tools of a request, and which tool must be called."""

from collections.abc import Mapping

import orjson

from batch_pipeline.simulator.anthropic.refusals import Params, RefusedRequestError, parts
from batch_pipeline.simulator.anthropic.schemas import constrained_flaw, is_json_schema


def check_tools(params: Params) -> None:
    """Raise for what is wrong with `tools` and `tool_choice`, each field of which is right."""
    names: set[str] = set()
    for place, tool in enumerate(parts(params, "tools")):
        if "input_schema" in tool:
            _check_schema(tool, f"tools.{place}.custom")
        name = str(tool.get("name", tool.get("type")))
        if name in names:
            raise RefusedRequestError("tools: Tool names must be unique.")
        names.add(name)
    choice = params.get("tool_choice")
    if isinstance(choice, Mapping):
        _check_choice(choice, names)


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


def _check_schema(tool: Params, where: str) -> None:
    schema = tool["input_schema"]
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
    kind = choice["type"]
    if kind in {"any", "tool"} and not names:
        raise RefusedRequestError("tool_choice may only be specified while providing tools.")
    if kind == "tool" and choice["name"] not in names:
        raise RefusedRequestError(f"Tool '{choice['name']}' not found in provided tools")
