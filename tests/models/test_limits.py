import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from models import limits
from models.errors import InvalidValueError

Db = psycopg.Connection[Any]


def test_a_whole_limit_may_go_at_once_and_no_more(db: Db) -> None:
    first = limits.reserve(db, "a", [(10, 60.0)], 7)
    assert (first.granted, first.wait_s) == (7, 0.0)
    second = limits.reserve(db, "a", [(10, 60.0)], 7)
    assert second.granted == 3
    third = limits.reserve(db, "a", [(10, 60.0)])
    assert third.granted == 0
    assert 55 < third.wait_s < 65


def test_what_is_taken_to_spare_is_a_small_part_of_what_is_left(db: Db) -> None:
    """Who has little left to share may hold back none of it: what a process does not spend is lost to all."""
    rates = [(100, 60.0)]
    assert limits.reserve(db, "a", rates, 2, 3).granted == 2 + 3
    assert limits.reserve(db, "a", rates, 1, 50).granted == 1 + (95 - 1) // limits.SPARE_SHARE
    assert limits.reserve(db, "a", rates, 80, 5).granted == 80
    last = limits.reserve(db, "a", rates, 5, 50)
    assert (last.granted, last.wait_s) == (5, 0)
    assert limits.reserve(db, "a", rates, 50, 50).granted == 100 - 5 - 5 - 80 - 5
    limits.pause(db, "a", 30)
    assert limits.reserve(db, "a", rates, 1, 50).granted == 0


def test_scopes_do_not_meet(db: Db) -> None:
    assert limits.reserve(db, "a", [(1, 60.0)]).granted == 1
    assert limits.reserve(db, "b", [(1, 60.0)]).granted == 1


def test_all_rates_hold_and_a_refusal_takes_nothing(db: Db) -> None:
    rates = [(100, 1.0), (5, 3600.0)]
    assert limits.reserve(db, "a", rates, 50).granted == 5
    for _ in range(200):
        assert limits.reserve(db, "a", rates).granted == 0
    assert limits.reserve(db, "a", [(100, 1.0)], 95).granted == 95  # the refusals used up nothing of the other


def test_of_two_rates_for_one_period_the_stricter_holds(db: Db) -> None:
    assert limits.reserve(db, "a", [(10, 60.0), (4, 60.0)], 20).granted == 4


def test_a_limit_may_be_lowered_at_any_time(db: Db) -> None:
    assert limits.reserve(db, "a", [(10, 60.0)], 6).granted == 6
    assert limits.reserve(db, "a", [(5, 60.0)]).granted == 0
    assert limits.reserve(db, "a", [(8, 60.0)], 5).granted == 2


def test_everybody_stands_behind_a_pause(db: Db) -> None:
    limits.pause(db, "a", 30.0)
    limits.pause(db, "a", 5.0)  # does not shorten it
    held = limits.reserve(db, "a", [(10, 1.0)])
    assert held.granted == 0
    assert 29 < held.wait_s <= 30
    assert limits.reserve(db, "b", [(10, 1.0)]).granted == 1


def test_a_clock_that_was_put_back_grants_no_second_limit(db: Db) -> None:
    assert limits.reserve(db, "a", [(10, 60.0)], 10).granted == 10
    db.execute("UPDATE rate_limit SET bucket = bucket + 5 WHERE scope_key = 'a' AND per_ms > 0")
    assert limits.reserve(db, "a", [(10, 60.0)]).granted == 0


@pytest.mark.parametrize("back", [1, 1000, 1_000_000])
def test_a_clock_that_was_put_back_holds_back_for_one_period_at_most(db: Db, back: int) -> None:
    """However far: else a limit would stand still until the old time is reached again."""
    assert limits.reserve(db, "a", [(10, 60.0)], 4).granted == 4
    db.execute("UPDATE rate_limit SET bucket = bucket + %s WHERE scope_key = 'a' AND per_ms > 0", (back,))
    assert limits.reserve(db, "a", [(10, 60.0)], 10).granted == 6, "what was counted before counts"
    refused = limits.reserve(db, "a", [(10, 60.0)])
    assert refused.granted == 0
    assert refused.wait_s < 66


@pytest.mark.parametrize("rate", [(0, 1.0), (1, 0.0), (1, float("nan")), (1, -1.0), (-1, 1.0)])
def test_a_rate_that_is_none_is_refused(db: Db, rate: tuple[int, float]) -> None:
    with pytest.raises(InvalidValueError, match="at least 1 request"):
        limits.reserve(db, "a", [rate])


@pytest.mark.parametrize("for_s", [-1.0, float("nan"), 1e12])
def test_a_pause_that_is_none_is_refused(db: Db, for_s: float) -> None:
    with pytest.raises(InvalidValueError, match="a pause is"):
        limits.pause(db, "a", for_s)


def test_a_limit_of_no_runs_is_refused(db: Db) -> None:
    with pytest.raises(InvalidValueError, match="1 or more"):
        limits.set_vendor_limits(db, {"v": 0})


def test_limits_of_runs_are_set_and_lifted(db: Db) -> None:
    limits.set_vendor_limits(db, {"v": 3, "w": None})
    limits.set_vendor_limits(db, {"v": None})
    found = db.execute("SELECT vendor, max_inflight FROM vendor_limit WHERE vendor IN ('v', 'w') ORDER BY 1").fetchall()
    assert found == [("v", None), ("w", None)]


def test_who_comes_second_waits_for_the_count_of_the_first(fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url) as first, psycopg.connect(fresh_database_url, autocommit=True) as second:
        limits.reserve(second, "a", [(1, 60.0)], 0)  # the rows are there
        assert limits.reserve(first, "a", [(1, 60.0)]).granted == 1
        second.execute("SET lock_timeout = '300ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            limits.reserve(second, "a", [(1, 60.0)])
        first.commit()
        assert limits.reserve(second, "a", [(1, 60.0)]).granted == 0


def test_who_was_held_up_by_others_is_told_for_how_long(fresh_database_url: str) -> None:
    """A token is good for a while from when it was granted, which for whoever waited is later than when it asked."""
    with psycopg.connect(fresh_database_url) as first, psycopg.connect(fresh_database_url, autocommit=True) as second:
        limits.reserve(second, "a", [(2, 60.0)], 0)  # the rows are there
        assert limits.reserve(first, "a", [(2, 60.0)]).granted == 1
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(limits.reserve, second, "a", [(2, 60.0)])
            with psycopg.connect(fresh_database_url, autocommit=True) as third:
                while not third.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():
                    time.sleep(0.01)
                time.sleep(0.1)
            first.commit()
            assert waiting.result(30).held_up_s >= 0.1


def test_many_takers_get_no_more_than_the_windows_allow_and_most_of_it(fresh_database_url: str) -> None:
    limit, per_s, takers, for_s = 60, 0.5, 6, 2.5

    def clock(db: Db) -> float:
        found = db.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        assert found is not None
        return float(found[0])

    def take(_number: int) -> tuple[int, float, float]:
        taken = 0
        with psycopg.connect(fresh_database_url, autocommit=True) as db:
            began = clock(db)
            while clock(db) - began < for_s:
                got = limits.reserve(db, "a", [(limit, per_s)], 3)
                taken += got.granted
                if got.granted == 0:
                    time.sleep(min(got.wait_s, 0.05))
            return taken, began, clock(db)

    with ThreadPoolExecutor(takers) as threads:
        results = list(threads.map(take, range(takers)))
    lasted_s = max(end for _, _, end in results) - min(began for _, began, _ in results)
    taken = sum(one for one, _, _ in results)
    assert taken <= limit * (int(lasted_s / per_s) + 1)
    assert taken >= 0.5 * limit * for_s / per_s


def test_every_window_of_every_run_of_buckets_is_within_the_limit(db: Db) -> None:
    """The clock is moved by ageing the row, bucket by bucket, so each window is looked at without waiting."""
    limit, grants = 10, []
    wants = [3, 0, 10, 1, 0, 0, 7, 2, 10, 10, 0, 0, 0, 5, 5, 1, 1, 1, 9, 0] * 6
    for want in wants:
        grants.append(limits.reserve(db, "a", [(limit, 3600.0)], want).granted if want else 0)
        db.execute("UPDATE rate_limit SET bucket = bucket - 1 WHERE scope_key = 'a' AND per_ms > 0")
    window = limits.BUCKETS + 1
    sums = [sum(grants[at : at + window]) for at in range(len(grants) - window)]
    assert max(sums) == limit
