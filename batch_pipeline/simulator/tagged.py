"""Unions whose members a word in them tells apart, for the pydantic models of the wires."""

from pydantic import GetPydanticSchema
from pydantic_core import core_schema


def tagged(discriminator: str, **kinds: object) -> GetPydanticSchema:
    """An object of one of the *kinds*, named by its *discriminator*.

    Pydantic's own `Field(discriminator=…)` wants two kinds at least and a literal in each; its
    complaints are the same: the kind stands in their `loc`.
    """
    return GetPydanticSchema(
        lambda _, handler: core_schema.tagged_union_schema(
            {kind: handler(shape) for kind, shape in kinds.items()}, discriminator
        )
    )
