"""What Anthropic refuses in the parameters of a request, found out row by row."""

import orjson

from batch_pipeline.simulator.anthropic.blocks import (
    NEW_VERSION,
    check_breakpoints,
    check_messages,
    check_text_blocks,
)
from batch_pipeline.simulator.anthropic.models import Model, find_model
from batch_pipeline.simulator.anthropic.prompts import blocks_of
from batch_pipeline.simulator.anthropic.refusals import (
    Params,
    RefusedRequestError,
    extra,
    items,
    mapping,
    missing,
    not_one_of,
    number,
    text,
    unknown_tag,
    whole,
)
from batch_pipeline.simulator.anthropic.schemas import constrained_flaw
from batch_pipeline.simulator.anthropic.tools import check_tools, forces_tool

SAMPLING = ("temperature", "top_p", "top_k")
_ALWAYS = (
    "cache_control container diagnostics inference_geo max_tokens messages metadata model "
    "output_config service_tier speed stop_sequences stream system thinking tool_choice tools"
)
_BY_BETAS = (  # each needs a beta of its own; any is taken for it
    "billing_policy compaction context_management fallback_credit_token fallbacks mcp_servers "
    "output_format thread user_profile_id"
)
_KNOWN, _KNOWN_BY_BETAS = frozenset(_ALWAYS.split()), frozenset(_BY_BETAS.split())
_LONG_OUTPUT = "output-300k-2026-03-24"
_LONG_OUTPUT_TOKENS = 300_000
_LEAST_BUDGET = 1_024
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_THINKING = ("adaptive", "between_tools", "disabled", "enabled")
_IN_BATCH = "is not supported in the Message Batches API"


def check_params(
    params: Params, *, version: str, betas: tuple[str, ...], extra_models: tuple[str, ...]
) -> Model:
    """The model of a request; raises for everything that is refused before it runs."""
    _check_names(params, version, betas)
    name = _required_text(params, "model")
    max_tokens = _max_tokens(params)
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


def _check_names(params: Params, version: str, betas: tuple[str, ...]) -> None:
    known = _KNOWN | (_KNOWN_BY_BETAS if betas else frozenset())
    for name in params:
        if name not in known and (version == NEW_VERSION or name not in SAMPLING):
            raise extra(name)


def _required_text(params: Params, name: str) -> str:
    if name not in params:
        raise missing(name)
    return text(params[name], name)


def _max_tokens(params: Params) -> int:
    if "max_tokens" not in params:
        raise missing("max_tokens")
    given = whole(params["max_tokens"], "max_tokens")
    if given == 0:
        raise RefusedRequestError(f"max_tokens: 0 {_IN_BATCH}")
    if given < 0:
        raise RefusedRequestError("max_tokens: Input should be greater than or equal to 0")
    return given


def _check_batch_rules(params: Params) -> None:
    if params.get("stream"):
        raise RefusedRequestError(f"stream: `stream=True` {_IN_BATCH}")
    if params.get("speed") == "fast":
        raise RefusedRequestError(f"speed: `fast` {_IN_BATCH}")


def _check_small(params: Params) -> None:
    """The parameters that say little."""
    if "system" in params:
        check_text_blocks(params["system"], "system")
    for place, sequence in enumerate(items(params.get("stop_sequences") or [], "stop_sequences")):
        if not text(sequence, f"stop_sequences.{place}").strip():
            raise RefusedRequestError(
                "stop_sequences: each stop sequence must contain non-whitespace"
            )
    for name in mapping(params.get("metadata") or {}, "metadata"):
        if name != "user_id":
            raise extra(f"metadata.{name}")
    if params.get("service_tier", "auto") not in {"auto", "standard_only"}:
        raise not_one_of("service_tier", ("auto", "standard_only"))


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
        if params.get(name) is not None and not 0 <= number(params[name], name) <= 1:
            raise RefusedRequestError(f"{name}: range: 0..1")
    if params.get("top_k") is not None and whole(params["top_k"], "top_k") < 0:
        raise RefusedRequestError("top_k: Input should be greater than or equal to 0")


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
    if params.get("thinking") is None:
        return
    thinking = mapping(params["thinking"], "thinking")
    kind = thinking.get("type")
    if kind not in _THINKING:
        raise unknown_tag("thinking", kind, _THINKING)
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
    where = "thinking.enabled.budget_tokens"
    if "budget_tokens" not in thinking:
        raise missing(where)
    budget = whole(thinking["budget_tokens"], where)
    if budget < _LEAST_BUDGET:
        raise RefusedRequestError(
            f"{where}: Input should be greater than or equal to {_LEAST_BUDGET}"
        )
    if budget >= max_tokens:
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
    output = mapping(params.get("output_config") or {}, "output_config")
    for name in output:
        if name not in {"effort", "format", "task_budget"}:
            raise extra(f"output_config.{name}")
    effort = output.get("effort")
    if effort is not None and effort not in _EFFORTS:
        raise not_one_of("output_config.effort", _EFFORTS)
    if effort is not None and not model.effort:
        raise RefusedRequestError("This model does not support the effort parameter.")
    if output.get("format") is not None:
        _check_format(mapping(output["format"], "output_config.format"), "output_config.format")
    if params.get("output_format") is not None:
        _check_format(mapping(params["output_format"], "output_format"), "output_format")


def _check_format(shape: Params, where: str) -> None:
    if shape.get("type") != "json_schema":
        raise unknown_tag(where, shape.get("type"), ("json_schema",))
    if "schema" not in shape:
        raise missing(f"{where}.schema")
    schema = mapping(shape["schema"], f"{where}.schema")
    flaw = constrained_flaw(orjson.dumps(schema))
    if flaw is not None:
        raise RefusedRequestError(f"{where}.schema: {flaw}")
