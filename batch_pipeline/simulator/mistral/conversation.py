"""The wire of Mistral's conversations: messages and their parts.

Complaints about a union name the classes in it.
"""

from typing import Annotated, Required, TypeAlias

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from batch_pipeline.simulator.tagged import tagged

Whole: TypeAlias = Annotated[int, Field(ge=0)]


class _Part(TypedDict, total=False):
    type: str


class TextChunk(_Part, total=False):
    """A text."""

    text: Required[str]


class ImageURL(TypedDict, total=False):
    """Where a picture is."""

    url: Required[str]
    detail: str | None


class ImageURLChunk(_Part, total=False):
    """A picture."""

    image_url: Required[ImageURL | str]


class DocumentURLChunk(_Part, total=False):
    """A document."""

    document_url: Required[str]
    document_name: str | None


class FileChunk(_Part, total=False):
    """An uploaded file."""

    file_id: Required[str]


class ReferenceChunk(_Part, total=False):
    """What an answer is based on."""

    reference_ids: Required[object]


class AudioChunk(_Part, total=False):
    """A sound."""

    input_audio: Required[str | dict[str, object]]


class ThinkChunk(_Part, total=False):
    """What a model thought."""

    thinking: Required[object]
    signature: str | None
    closed: bool | None


_PARTS = tagged(
    "type",
    text=TextChunk,
    image_url=ImageURLChunk,
    document_url=DocumentURLChunk,
    file=FileChunk,
    reference=ReferenceChunk,
    input_audio=AudioChunk,
    thinking=ThinkChunk,
)
_Content: TypeAlias = str | list[Annotated[object, _PARTS]]


class _Called(TypedDict):
    name: str
    arguments: str | dict[str, object]


class _Call(TypedDict, total=False):
    id: str | None
    type: str | None
    index: Whole | None
    function: Required[_Called]


class _System(TypedDict):
    role: str
    content: _Content


class _User(TypedDict, total=False):
    role: str
    content: _Content | None


class _Assistant(_User, total=False):
    tool_calls: list[_Call] | None
    prefix: bool | None


class _Tool(_User, total=False):
    tool_call_id: str | None
    name: str | None


def _says_something(message: _Assistant) -> _Assistant:
    if message.get("content") is None and not message.get("tool_calls"):
        complaint = "Assistant message must have either content or tool_calls, but not none."
        raise PydanticCustomError("value_error", complaint)
    return message


_MESSAGES = tagged(
    "role",
    system=_System,
    user=_User,
    assistant=Annotated[_Assistant, AfterValidator(_says_something)],
    tool=_Tool,
)
Talk: TypeAlias = Annotated[list[Annotated[object, _MESSAGES]], Field(min_length=1)]
