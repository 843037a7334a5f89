from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from patchshift.runtime.pools import map_in_order


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4), st.integers(1, 9))
def test_results_come_in_order_and_items_are_taken_only_so_far_ahead(
    items: list[int], threads: int, ahead: int
) -> None:
    taken = 0

    def take() -> Iterator[int]:
        nonlocal taken
        for item in items:
            taken += 1
            yield item

    with ThreadPoolExecutor(threads) as pool:
        found = []
        for result in map_in_order(pool, lambda item: 2 * item, take(), ahead=ahead):
            found.append(result)
            assert taken <= len(found) + ahead
    assert found == [2 * item for item in items]
