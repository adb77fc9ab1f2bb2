"""The answers of `/v1/chat/completions`."""

from batch_pipeline.simulator import model as simulated
from batch_pipeline.simulator.model import Answer, Ask
from batch_pipeline.simulator.openai.checks import Body, check_context
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

_FINISH = {"tool": "tool_calls", "refusal": "stop"}


def make_chat(body: Body, name: str, created: int, fault: str | None) -> Made:
    """Answer one chat request."""
    messages = read_messages("/v1/chat/completions", body)
    prompt_tokens = count_messages(messages)
    check_context(str(body["model"]), prompt_tokens, "messages")
    prompt = asked(messages)
    wanted = body.get("response_format")
    shape = wanted if isinstance(wanted, dict) else {}
    ask = Ask(
        prompt=prompt,
        schema=schema(shape.get("json_schema")),
        json_object=shape.get("type") == "json_object",
        tool=tool(body.get("tools"), body.get("tool_choice")),
        limit=whole(body.get("max_completion_tokens")) or whole(body.get("max_tokens")),
        reasoning_tokens=thinking(body, prompt),
    )
    said = simulated.answer(ask, fault)
    copies = whole(body.get("n")) or 1
    usage = Usage(
        input=prompt_tokens,
        output=said.output_tokens * copies,
        reasoning=said.reasoning_tokens * copies,
    )
    return Made(
        {
            "id": f"chatcmpl-{name}",
            "object": "chat.completion",
            "created": created,
            "model": body["model"],
            "choices": [_choice(said, ask, name, index) for index in range(copies)],
            "usage": _chat_usage(usage),
            "service_tier": None,  # recorded rows said `default`, and were billed as batch
            "system_fingerprint": "fp_simulated",
        },
        usage,
    )


def _choice(said: Answer, ask: Ask, name: str, index: int) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": said.text,
        "refusal": None,
        "annotations": [],
    }
    if said.finish == "refusal":
        message |= {"content": None, "refusal": said.text}
    elif ask.tool is not None and said.finish in {"tool", "length"}:
        call = {"name": ask.tool[0], "arguments": said.text}
        message["content"] = None
        message["tool_calls"] = [
            {"id": f"call_{name[:24]}{index}", "type": "function", "function": call}
        ]
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": _FINISH.get(said.finish, said.finish),
    }


def _chat_usage(usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "audio_tokens": 0,
            "cache_write_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
