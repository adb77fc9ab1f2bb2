"""The answers of `/v1/embeddings`."""

from batch_pipeline.simulator import model as simulated
from batch_pipeline.simulator.openai.checks import Body, check_context
from batch_pipeline.simulator.openai.prompts import Made, input_tokens, texts_of, whole
from batch_pipeline.simulator.records import Usage


def make_embeddings(body: Body, _name: str, _created: int, fault: str | None) -> Made:
    """Answer one embeddings request."""
    model = str(body["model"])
    inputs = texts_of(body)
    counts = [input_tokens(given) for given in inputs]
    check_context(model, max(counts), "input")
    usual = 3072 if model.endswith("large") else 1536
    dimensions = 1 if fault == "invalid" else whole(body.get("dimensions")) or usual
    vectors = [simulated.embedding(str(given), dimensions) for given in inputs]
    base64 = body.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": simulated.packed(vector) if base64 else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    total = sum(counts)
    usage = {"prompt_tokens": total, "total_tokens": total}
    return Made(
        {"object": "list", "data": data, "model": model, "usage": usage}, Usage(input=total)
    )
