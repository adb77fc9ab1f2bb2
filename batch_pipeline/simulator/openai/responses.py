"""The answers of `/v1/responses`."""

from batch_pipeline.simulator import model as simulated
from batch_pipeline.simulator.model import Answer, Ask
from batch_pipeline.simulator.openai.checks import Body, check_context, effort_of
from batch_pipeline.simulator.openai.prompts import (
    Made,
    asked,
    count_messages,
    read_messages,
    schema,
    thinking,
    tool,
    whole,
)
from batch_pipeline.simulator.records import Usage


def make_response(body: Body, name: str, created: int, fault: str | None) -> Made:
    """Answer one request."""
    messages = read_messages("/v1/responses", body)
    prompt_tokens = count_messages(messages)
    check_context(str(body["model"]), prompt_tokens, "input")
    prompt = asked(messages)
    text = body.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    shape = wanted if isinstance(wanted, dict) else {"type": "text"}
    ask = Ask(
        prompt=prompt,
        schema=schema(shape) if shape.get("type") == "json_schema" else None,
        json_object=shape.get("type") == "json_object",
        tool=tool(body.get("tools"), body.get("tool_choice")),
        limit=whole(body.get("max_output_tokens")),
        reasoning_tokens=thinking(body, prompt),
    )
    said = simulated.answer(ask, fault)
    usage = Usage(input=prompt_tokens, output=said.output_tokens, reasoning=said.reasoning_tokens)
    return Made(
        _response(body, name, created, ask, said) | {"usage": _response_usage(usage)}, usage
    )


def _response(body: Body, name: str, created: int, ask: Ask, said: Answer) -> dict[str, object]:
    """The Response object, with the request's own settings repeated as the real one does."""
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(said.finish)
    text = body.get("text")
    asked = text if isinstance(text, dict) else {}
    fixed: dict[str, object] = {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": created,
        "completed_at": created + 1 if reason is None else None,
        "status": "completed" if reason is None else "incomplete",
        "background": False,
        "billing": {"payer": "developer"},
        "moderation": None,
        "error": None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": _output(said, ask, name),
        "service_tier": None,  # recorded rows said `default`, and were billed as batch
        "reasoning": {"effort": effort_of(body), "summary": None},
        "text": {"format": {"type": "text"}, "verbosity": "medium"} | asked,
        "metadata": _metadata(body) | {"simulated_by": "batch-pipeline-simulator"},
        "model": body["model"],
    }
    fixed["tool_usage"] = {"image_gen": _NO_IMAGES, "web_search": {"num_requests": 0}}
    return {key: body.get(key, default) for key, default in _REPEATED.items()} | fixed


_NO_IMAGES: dict[str, object] = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "total_tokens": 0,
}
_REPEATED: dict[str, object] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def _metadata(body: Body) -> dict[str, object]:
    given = body.get("metadata")
    return dict(given) if isinstance(given, dict) else {}


def _output(said: Answer, ask: Ask, name: str) -> list[dict[str, object]]:
    thought: list[dict[str, object]] = []
    if said.reasoning_tokens:
        thought = [{"id": f"rs_{name}", "type": "reasoning", "summary": []}]
    status = "incomplete" if said.finish in {"length", "content_filter"} else "completed"
    if ask.tool is not None and said.finish in {"tool", "length"}:
        call: dict[str, object] = {
            "id": f"fc_{name}",
            "type": "function_call",
            "status": status,
            "call_id": f"call_{name[:24]}",
            "name": ask.tool[0],
            "arguments": said.text,
        }
        return [*thought, call]
    if said.finish == "length" and not said.text:
        return thought  # all tokens went into thinking
    if said.finish == "refusal":
        part: dict[str, object] = {"type": "refusal", "refusal": said.text}
    else:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": said.text}
    message: dict[str, object] = {
        "id": f"msg_{name}",
        "type": "message",
        "status": status,
        "content": [part],
        "phase": "final_answer",
        "role": "assistant",
    }
    return [*thought, message]


def _response_usage(usage: Usage) -> dict[str, object]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
