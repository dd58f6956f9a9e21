import pytest

from web.api.cursors import cut, place_of

OF = {"list": "numbers"}


@pytest.mark.parametrize(("there", "limit", "more"), [(0, 3, False), (2, 3, False), (3, 3, False), (4, 3, True)])
def test_a_page_is_cut_where_the_next_one_begins(there: int, limit: int, more: bool) -> None:
    shown, following = cut(range(there), limit, OF, lambda each: each)
    assert list(shown) == list(range(min(there, limit)))
    assert (None if following is None else place_of(following, OF)) == (limit - 1 if more else None)
