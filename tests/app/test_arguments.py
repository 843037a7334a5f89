import argparse

import pytest

from patchshift.app.arguments import read_count, read_share


def test_numbers_are_read() -> None:
    assert (read_count("12"), read_share("0.25"), read_share("1")) == (12, 0.25, 1.0)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "abc", ""])
def test_what_is_no_count_is_refused_in_plain_words(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{text} is not a whole number of at least 1$"):
        read_count(text)


@pytest.mark.parametrize("text", ["0", "1.1", "nan", "abc"])
def test_what_is_no_share_is_refused_in_plain_words(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{text} is not a number above 0 and at most 1$"):
        read_share(text)
