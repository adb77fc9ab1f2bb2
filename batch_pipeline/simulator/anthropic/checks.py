"""What Anthropic refuses in the parameters of a request, found out row by row."""

from collections.abc import Mapping

import orjson

from batch_pipeline.simulator.anthropic.blocks import (
    check_breakpoints,
    check_messages,
    check_system,
)
from batch_pipeline.simulator.anthropic.models import Model, find_model
from batch_pipeline.simulator.anthropic.prompts import blocks_of
from batch_pipeline.simulator.anthropic.refusals import Params, RefusedRequestError
from batch_pipeline.simulator.anthropic.schemas import constrained_flaw
from batch_pipeline.simulator.anthropic.tools import check_tools, forces_tool
from batch_pipeline.simulator.anthropic.wire import check_fields

SAMPLING = ("temperature", "top_p", "top_k")
_LONG_OUTPUT = "output-300k-2026-03-24"
_LONG_OUTPUT_TOKENS = 300_000
_IN_BATCH = "is not supported in the Message Batches API"


def check_params(
    params: Params, *, version: str, betas: tuple[str, ...], extra_models: tuple[str, ...]
) -> Model:
    """The model of a request; raises for everything that is refused before it runs."""
    check_fields(params, version, betas)
    name, max_tokens = str(params["model"]), int(_number(params, "max_tokens"))
    if max_tokens == 0:
        raise RefusedRequestError(f"max_tokens: 0 {_IN_BATCH}")
    _check_sampling_ranges(params)
    _check_batch_rules(params)
    check_tools(params)
    _check_small(params)
    model = find_model(name, extra_models)
    if model is None:
        raise RefusedRequestError(f"model: {name}", "not_found_error")
    check_messages(params, version, prefill=model.prefill)
    check_breakpoints(blocks_of(params))
    _check_ceiling(max_tokens, model, betas, name)
    _check_sampling(params, model)
    _check_thinking(params, model, max_tokens)
    _check_output(params, model)
    return model


def _number(within: Params, field: str) -> float:
    given = within[field]
    assert isinstance(given, int | float)  # noqa: S101 - checked; this tells the type checker
    return given


def _check_batch_rules(params: Params) -> None:
    if params.get("stream"):
        raise RefusedRequestError(f"stream: `stream=True` {_IN_BATCH}")
    if params.get("speed") == "fast":
        raise RefusedRequestError(f"speed: `fast` {_IN_BATCH}")


def _check_small(params: Params) -> None:
    """The parameters that say little."""
    check_system(params)
    sequences = params.get("stop_sequences")
    if isinstance(sequences, list) and not all(map(str.strip, sequences)):
        raise RefusedRequestError("stop_sequences: each stop sequence must contain non-whitespace")


def _check_ceiling(max_tokens: int, model: Model, betas: tuple[str, ...], name: str) -> None:
    ceiling = model.max_output
    if _LONG_OUTPUT in betas and not model.prefill:
        ceiling = _LONG_OUTPUT_TOKENS
    if max_tokens > ceiling:
        raise RefusedRequestError(
            f"max_tokens: {max_tokens} > {ceiling}, which is the maximum allowed number of output "
            f"tokens for {model.name or name}"
        )


def _check_sampling_ranges(params: Params) -> None:
    for name in ("temperature", "top_p"):
        if params.get(name) is not None and not 0 <= _number(params, name) <= 1:
            raise RefusedRequestError(f"{name}: range: 0..1")


def _check_sampling(params: Params, model: Model) -> None:
    given = [name for name in SAMPLING if params.get(name) is not None]
    if not model.sampling:
        for name in given:
            if name == "top_k" or params[name] != 1:
                raise RefusedRequestError(f"`{name}` is deprecated for this model.")
    elif {"temperature", "top_p"} <= set(given):
        raise RefusedRequestError(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only "
            "one."
        )


def _check_thinking(params: Params, model: Model, max_tokens: int) -> None:
    thinking = params.get("thinking")
    if not isinstance(thinking, Mapping):
        return
    kind = thinking["type"]
    if kind == "enabled":
        _check_budget(thinking, model, max_tokens)
    elif kind == "adaptive" and not model.adaptive_thinking:
        raise RefusedRequestError("adaptive thinking is not supported on this model")
    elif kind == "disabled" and not _may_stop_thinking(params, model):
        raise RefusedRequestError('"thinking.type.disabled" is not supported for this model.')
    if kind in {"enabled", "adaptive"} and forces_tool(params):
        raise RefusedRequestError("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "enabled" and params.get("temperature", 1) != 1:
        raise RefusedRequestError("`temperature` may only be set to 1 when thinking is enabled.")


def _check_budget(thinking: Params, model: Model, max_tokens: int) -> None:
    if not model.manual_thinking:
        raise RefusedRequestError(
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" '
            'and "output_config.effort" to control thinking behavior.'
        )
    if _number(thinking, "budget_tokens") >= max_tokens:
        raise RefusedRequestError(
            "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our "
            "documentation at https://docs.claude.com/en/docs/build-with-claude/"
            "extended-thinking#max-tokens-and-context-window-size"
        )


def _may_stop_thinking(params: Params, model: Model) -> bool:
    output = params.get("output_config")
    effort = output.get("effort") if isinstance(output, dict) else None
    return model.may_stop_thinking and not (
        model.name == "claude-opus-5" and effort in {"xhigh", "max"}
    )


def _check_output(params: Params, model: Model) -> None:
    output = params.get("output_config")
    if isinstance(output, Mapping):
        if output.get("effort") is not None and not model.effort:
            raise RefusedRequestError("This model does not support the effort parameter.")
        _check_format(output.get("format"), "output_config.format")
    _check_format(params.get("output_format"), "output_format")


def _check_format(shape: object, where: str) -> None:
    flaw = constrained_flaw(orjson.dumps(shape["schema"])) if isinstance(shape, Mapping) else None
    if flaw is not None:
        raise RefusedRequestError(f"{where}.schema: {flaw}")
