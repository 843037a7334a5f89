"""Words that agree in number with what they count or name.

Tested in tests/report/test_grammar.py.
"""

from collections.abc import Sequence


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 pair`, `2 pairs`.

    Args:
        number: how many.
        noun: of one.
        plural: of several, where that is not the noun and an s.
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def agree(number: int, one: str, several: str) -> str:
    """The word for one thing, or that for several."""
    return one if number == 1 else several


def name_all(noun: str, names: Sequence[str], one: str, several: str) -> str:
    """`Split A moves`, `Splits A and B move`: what is named, and a verb that agrees."""
    named = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return f"{agree(len(names), noun, f'{noun}s')} {named} {agree(len(names), one, several)}"
