"""Reading a prompt just well enough that made-up answers look like answers to it."""

import re
import zlib
from collections.abc import Sequence
from functools import cached_property

_WORD = re.compile(r"[a-z][a-z'-]+")
_LABEL = re.compile(r"^\W*[A-Za-z][\w ]{0,24}:\s*")
_READ = 20_000  # characters of a prompt that are looked at
_GIST = 1_500
_TELLING = 4  # letters from which a word tells something


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_GOOD = _set(
    """
    amazing awesome best better brilliant comfortable durable easy excellent fantastic fast
    flawless fun good great happy helpful impressed impressive love loved lovely nice perfect
    perfectly pleased quick recommend satisfied sturdy super superb thanks wonderful works
    """
)
_BAD = _set(
    """
    angry awful bad broke broken cheap complaint crash crashed damaged dead defective disappointed
    disappointing dirty error fail failed failing fails faulty flimsy hate horrible late leak
    leaks missing never noisy poor problem refund return returned ripped rude slow stopped
    terrible ugly unusable useless waste worse worst wrong
    """
)
_URGENT = _set(
    """
    asap broken burn burned burning crash danger dangerous dead emergency fire hurt immediately
    injured leak leaks lawyer now refund safety smoke stopped today unsafe urgent
    """
)
_STOP = _set(
    """
    about after again also been before could does from have into it's just like more most much
    only other over product really review some than that their them then there these they this
    very were what when which while will with would your
    """
)


class Hints:
    """What can be told from one prompt; computed only when an answer asks for it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.seed = zlib.crc32(text.encode())

    @cached_property
    def gist(self) -> str:
        """The passage that is probably the data: the longest line, without its label."""
        longest = max(self.text[:_READ].split("\n"), key=len, default="")
        return _LABEL.sub("", longest)

    @cached_property
    def words(self) -> Sequence[str]:
        """The words of the gist, in small letters."""
        return _WORD.findall(self.gist[:_GIST].lower())

    @cached_property
    def found(self) -> frozenset[str]:
        """The same words, each once."""
        return frozenset(self.words)

    @cached_property
    def keywords(self) -> list[str]:
        """The gist's more telling words, each once, in order."""
        distinct = dict.fromkeys(self.words)
        return [word for word in distinct if len(word) >= _TELLING and word not in _STOP]

    def summary(self, most_words: int = 12) -> str:
        """One line drawn from the start of the gist."""
        words = self.gist.split(None, most_words)
        line = " ".join(words[:most_words]).strip(" ,;:-")
        return line + ("…" if len(words) > most_words else "")

    def number(self, salt: str) -> int:
        """A number in [0, 2**32) that depends on the prompt and *salt* alone."""
        return zlib.crc32(salt.encode(), self.seed)

    def choose(self, name: str, options: Sequence[str]) -> str:
        """The option that fits the prompt best; by chance (of the prompt) when none does."""
        lowered = [option.lower() for option in options]
        for wish in self._wished(name.lower(), " ".join(lowered)):
            for option, low in zip(options, lowered, strict=True):
                if wish in low:
                    return option
        for option, low in zip(options, lowered, strict=True):
            if not self.found.isdisjoint(_WORD.findall(low)):
                return option
        return options[self.number(name) % len(options)]

    def _wished(self, name: str, options: str) -> Sequence[str]:
        """Parts of words to look for among the options, best first."""
        if "positive" in options or "sentiment" in name or "mood" in name:
            return self._mood()
        if "urgent" in options or any(part in name for part in ("urgen", "priorit", "severit")):
            return self._haste()
        return ()

    def _mood(self) -> Sequence[str]:
        good, bad = len(self.found & _GOOD), len(self.found & _BAD)
        if good and good == bad:
            return ("mixed", "neutral")
        if good == bad:
            return ("neutral", "mixed")
        return ("positive", "good") if good > bad else ("negative", "bad")

    def _haste(self) -> Sequence[str]:
        urgent = len(self.found & _URGENT)
        if urgent > 1:
            return ("critical", "urgent", "high")
        if urgent:
            return ("high", "urgent")
        return ("medium", "normal") if self.found & _BAD else ("low", "none")


class TurnedHints(Hints):
    """The same prompt, looked at for another element of a list."""

    def __init__(self, hints: Hints, turn: int) -> None:
        super().__init__(hints.text)
        self.seed = hints.number(f"turn {turn}")
        at = turn % max(1, len(hints.keywords))
        keywords = hints.keywords[at:] + hints.keywords[:at]
        self.__dict__.update(gist=hints.gist, words=keywords, found=hints.found, keywords=keywords)
