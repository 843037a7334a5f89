import numpy as np

from patchshift.data.streams import draw_stream


def test_a_stream_depends_on_its_names_alone() -> None:
    first = draw_stream("abc", "rotation", 0).random(4)
    draw_stream("abc", "crop", 0).random(100)
    np.testing.assert_array_equal(draw_stream("abc", "rotation", 0).random(4), first)


def test_other_names_give_another_stream() -> None:
    names = [("a", "rotation", 0), ("b", "rotation", 0), ("a", "crop", 0), ("a", "rotation", 1)]
    assert len({draw_stream(*each).random() for each in names}) == len(names)
