"""How long a row's request is, in characters: what rules of targets call prompt_chars."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from batch_pipeline.model import Cell, Form
from batch_pipeline.request import Request
from batch_pipeline.stages.requests import conversation
from batch_pipeline.stages.requests.cells import CellText, compile_cell
from batch_pipeline.stages.requests.sandbox import environment
from batch_pipeline.stages.requests.template import Compiled, compile_template


@dataclass(frozen=True, slots=True)
class PromptChars:
    """The turns of a request: templates and, it may be, a column of turns. Nothing attached."""

    turns: tuple[Compiled, ...] = ()
    conversation: CellText | None = None

    @property
    def templates(self) -> list[Compiled]:
        """Those whose text depends on the row."""
        return [turn for turn in self.turns if turn.fixed is None]

    @property
    def cells(self) -> list[CellText]:
        """The column of turns, if there is one."""
        return [] if self.conversation is None else [self.conversation]

    def sql(self, text_of: Callable[[Compiled], str]) -> str:
        """The sum of the turns' characters; never null."""
        fixed = sum(len(turn.fixed or "") for turn in self.turns)
        terms = [str(fixed), *(f"length({text_of(turn)})" for turn in self.templates)]
        if self.conversation is not None:
            terms.append(conversation.characters_sql(self.conversation.column))
        return f"({' + '.join(terms)})"


def prompt_chars(
    request: Request, columns: Mapping[str, str], absent: Collection[str] = ()
) -> PromptChars:
    """The size of *request* over *columns*; TemplateError for what they cannot fill."""
    env = environment()
    turns = tuple(
        compile_template(turn.content, columns, absent, env=env) for turn in request.turns
    )
    if request.conversation is None:
        return PromptChars(turns)
    return PromptChars(turns, compile_cell(Cell(request.conversation, Form.TURNS), columns))
