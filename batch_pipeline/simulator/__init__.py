"""The providers' batch APIs on loopback; stands alone and imports nothing of ours."""

from importlib import import_module
from importlib.util import find_spec

_LATER = "bpe_openai"  # the tokenizer's vocabulary is read when the first token is counted

try:
    for _name in ("httptools", "python_multipart", "starlette", "typing_extensions", "uvicorn"):
        import_module(_name)
    if find_spec(_LATER) is None:
        raise ModuleNotFoundError(f"No module named {_LATER!r}", name=_LATER)
except ImportError as error:
    raise ModuleNotFoundError(
        f"The simulator needs packages of its own ({error}). "
        'Install them with: pip install "batch-pipeline[simulator]"',
        name=error.name,
    ) from error
