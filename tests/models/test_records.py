from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from models import records, runs
from models.database import Database
from models.errors import FencedError
from models.records import Landed, RecordRow
from models.runs import FinishedRun, RunKey


class Lander:
    """Lands pages of one data type, as `{id: payload}`, in the run that is on."""

    def __init__(self, world: Any, healthy: FinishedRun) -> None:
        self.world, self.healthy = world, healthy
        self.connection_id: UUID = world.connection().connection_id
        self.worker_id = world.worker()
        self.begin_run()

    def begin_run(self) -> None:
        run = self.world.running(self.connection_id, self.worker_id)
        self.key: RunKey = run.key
        self.passes = dict(run.passes)
        self.met: list[str] = []

    def land(
        self, page: Mapping[str, Any], *, cursor: Any = None, full_pass: bool = False, data_type: str = "alerts"
    ) -> Landed:
        rows = [RecordRow(id=one, payload={"v": value}) for one, value in page.items()]
        last_pass = self.passes.pop(data_type, None)  # of use to the first page alone
        read = records.Page.of(self.key, data_type, rows, cursor)
        landed = (read.met_unchanged(last_pass) if full_pass else None) or records.land(
            self.world.db, read, full_pass=full_pass
        )
        self.met = [data_type] if landed.met_unchanged else []
        return replace(landed, met_unchanged=False)

    def next_run(self, how: str) -> None:
        if how == "succeeded":
            assert runs.finish(self.world.db, self.key, replace(self.healthy, met_unchanged=self.met))
        else:
            assert runs.interrupt(self.world.db, self.key, reason="cut")
        self.begin_run()

    def living(self, data_type: str = "alerts") -> dict[str, Any]:
        return {
            one.record_id: one.payload["v"]
            for one in records.list_records(self.world.db, self.connection_id, data_type, limit=10_000)
        }

    def view(self, record_id: str) -> records.RecordView:
        (found,) = [
            one
            for one in records.list_records(self.world.db, self.connection_id, "alerts", with_gone=True)
            if one.record_id == record_id
        ]
        return found

    def later(self, **by: float) -> None:
        """Let time pass: everything that was recorded moves into the past."""
        gap = timedelta(**by)
        self.world.db.execute(
            "UPDATE record SET first_seen_at = first_seen_at - %(gap)s, changed_at = changed_at - %(gap)s, "
            "gone_at = gone_at - %(gap)s, last_seen_at = last_seen_at - %(gap)s WHERE connection_id = %(id)s",
            {"gap": gap, "id": self.connection_id},
        )
        self.world.db.execute(
            "UPDATE cursor SET last_pass_at = last_pass_at - %(gap)s WHERE connection_id = %(id)s",
            {"gap": gap, "id": self.connection_id},
        )


@pytest.fixture
def lander(world: Any, healthy: FinishedRun) -> Lander:
    return Lander(world, healthy)


def test_new_changed_and_unchanged_are_told_apart(lander: Lander) -> None:
    assert lander.land({"a": 1, "b": 1}) == Landed(new=2)
    assert lander.land({"a": 1, "b": 2, "c": 3}) == Landed(new=1, changed=1, unchanged=1)
    assert lander.living() == {"a": 1, "b": 2, "c": 3}
    assert lander.land({}) == Landed()


def test_the_order_of_keys_is_no_change(lander: Lander) -> None:
    for payload, expected in (({"a": 1, "b": {"c": 1, "d": 2}}, 1), ({"b": {"d": 2, "c": 1}, "a": 1}, 0)):
        landed = records.land_page(
            lander.world.db, lander.key, "x", [RecordRow(id="1", payload=payload)], cursor=None, full_pass=False
        )
        assert (landed.new, landed.changed) == (expected, 0)


def test_what_is_equal_is_not_written(lander: Lander) -> None:
    lander.land({"a": 1})
    before = lander.world.db.execute("SELECT ctid, xmin FROM record WHERE record_id = 'a'").fetchall()
    lander.land({"a": 1})
    assert lander.world.db.execute("SELECT ctid, xmin FROM record WHERE record_id = 'a'").fetchall() == before


def test_of_one_id_twice_in_a_page_the_last_counts(lander: Lander) -> None:
    rows = [RecordRow(id="a", payload={"v": number}) for number in (1, 2, 3)]
    landed = records.land_page(lander.world.db, lander.key, "alerts", rows, cursor=None, full_pass=False)
    assert landed == Landed(new=1, duplicates=2)
    assert lander.living() == {"a": 3}


def test_data_types_do_not_meet(lander: Lander) -> None:
    lander.land({"a": 1})
    assert lander.land({"a": 2}, data_type="users") == Landed(new=1)
    lander.next_run("succeeded")
    assert lander.land({}, data_type="users", full_pass=True) == Landed(gone=1)
    assert lander.living() == {"a": 1}


def test_the_cursor_moves_with_its_page(lander: Lander) -> None:
    db = lander.world.db
    assert records.load_cursor(db, lander.connection_id, "alerts") is None
    lander.land({"a": 1}, cursor={"since": "x\x00"})
    assert records.load_cursor(db, lander.connection_id, "alerts") == {"since": "x\ufffd"}
    lander.land({"b": 1}, cursor=None)
    assert records.load_cursor(db, lander.connection_id, "alerts") == {"since": "x\ufffd"}
    assert records.reset_cursor(db, lander.connection_id) == 1
    assert records.load_cursor(db, lander.connection_id, "alerts") is None


def test_a_page_that_fails_moves_no_cursor(lander: Lander) -> None:
    rows = [RecordRow(id="a", payload={"v": object()})]
    with pytest.raises(TypeError):
        records.land_page(lander.world.db, lander.key, "alerts", rows, cursor={"p": 1}, full_pass=False)
    assert records.load_cursor(lander.world.db, lander.connection_id, "alerts") is None


@pytest.mark.parametrize("full_pass", [False, True], ids=["a page", "the end of a pass"])
@pytest.mark.parametrize("how", ["reaped", "cancelled", "finished", "next run", "another worker"])
def test_a_run_that_is_no_longer_current_lands_nothing(lander: Lander, how: str, full_pass: bool) -> None:
    db, key = lander.world.db, lander.key
    lander.land({"a": 1})
    if how == "reaped":
        db.execute("UPDATE worker SET lease_until = now() WHERE worker_id = %s", (lander.worker_id,))
        runs.reap(db)
    elif how == "cancelled":
        runs.cancel(db, key.connection_id, key.run_seq)
    elif how == "finished":
        runs.finish(db, key, lander.healthy)
    elif how == "next run":
        lander.next_run("interrupted")
    else:
        key = RunKey(connection_id=key.connection_id, run_seq=key.run_seq, worker_id=UUID(int=3))
    rows = [RecordRow(id="a", payload={"v": 2}), RecordRow(id="b", payload={"v": 1})]
    with pytest.raises(FencedError):
        records.land_page(db, key, "alerts", rows, cursor={"p": 1}, full_pass=full_pass)
    assert lander.living() == {"a": 1}
    assert records.load_cursor(db, lander.connection_id, "alerts") is None


def test_a_run_cannot_be_reaped_while_a_page_lands(
    committed: Any, fresh_database_url: str, healthy: FinishedRun
) -> None:
    run = committed.running()
    committed.db.execute("UPDATE worker SET lease_until = now() - interval '1 s'")
    with psycopg.connect(fresh_database_url) as other:
        rows = [RecordRow(id="a", payload={})]
        records.land_page(other, run.key, "alerts", rows, cursor={"p": 1}, full_pass=False)
        assert runs.reap(committed.db) == []
        other.commit()
    assert len(runs.reap(committed.db)) == 1


# --- odd ids and payloads

ODD = {
    "long": "x" * 5000,
    "long in bytes": "é" * 300,
    "nul": "a\x00b",
    "half a character": "a\ud800b",
    "tab, newline, backslash": "a\tb\nc\\d\re",
    "empty": "",
    "looks hashed": "sha256:" + "0" * 64,
    "copy's end": "\\.",
    "quote": "a\"b'c{},",
    "emoji": "\U0001f600",
}


def test_odd_ids_are_kept_apart_and_met_again(lander: Lander) -> None:
    page = {value: name for name, value in ODD.items()} | {"a\ufffdb": "the replacement itself"}
    assert lander.land(page) == Landed(new=len(page))
    assert lander.land(page, full_pass=True) == Landed(unchanged=len(page))
    assert sorted(lander.living().values()) == sorted(page.values())
    assert all(len(one.encode()) <= records.LONGEST_ID_BYTES for one in lander.living())


MANY = pytest.mark.parametrize(
    "beside", [pytest.param(0, id="in a small page"), pytest.param(records.STRAIGHT, id="in a large page")]
)


@MANY
def test_odd_payloads_are_stored_and_equal_the_next_time(lander: Lander, beside: int) -> None:
    odd: list[Any] = [*ODD.values(), float("nan"), 2**300, 1e300, [[]], None]
    page = {str(number): value for number, value in enumerate(odd)} | {f"more-{n}": n for n in range(beside)}
    assert lander.land(page) == Landed(new=len(page))
    assert lander.land(page) == Landed(unchanged=len(page))
    living = lander.living()
    assert living["2"] == "a\ufffdb"
    assert living["4"] == ODD["tab, newline, backslash"]
    assert living[str(len(ODD) + 1)] == 2**300
    assert lander.land({one: [value] for one, value in page.items()}) == Landed(changed=len(page))
    assert lander.living()["4"] == [ODD["tab, newline, backslash"]]
    assert lander.living()["2"] == ["a\ufffdb"]


@MANY
def test_a_new_record_bears_its_run_and_the_time_of_its_transaction(lander: Lander, beside: int) -> None:
    page = dict.fromkeys(map(str, range(1 + beside)), "x")
    lander.land(page, data_type="odd \t\\ name")
    stored = records.list_records(lander.world.db, lander.connection_id, "odd \t\\ name", limit=1000)
    (now,) = lander.world.db.execute("SELECT now()").fetchone()
    assert len(stored) == len(page)
    assert {(one.first_seen_at, one.changed_at, one.changed_seq) for one in stored} == {(now, now, lander.key.run_seq)}


def test_a_large_page_may_hold_new_changed_and_equal_records(lander: Lander) -> None:
    first = dict.fromkeys(map(str, range(20)), "x")
    lander.land(first)
    page = first | {"3": "y", "7": "y"} | {f"more-{n}": n for n in range(records.STRAIGHT)}
    assert lander.land(page) == Landed(new=records.STRAIGHT, changed=2, unchanged=18)
    assert lander.living() == page


def test_a_session_of_a_worker_finds_records_by_their_index_though_it_planned_while_there_were_none(
    fresh_database_url: str,
) -> None:
    """A plan that is made while a vacuumed table has no pages reads it whole, and is reused when it is large."""
    explain = b"EXPLAIN (GENERIC_PLAN, COSTS OFF) " + records._COMPARE.sql
    reads_whole = {}
    for by_index in (False, True):
        database = Database(fresh_database_url, by_index=by_index)
        with database.connection() as db:
            db.execute("VACUUM ANALYZE record")
            plan = [line for (line,) in db.execute(explain, prepare=False).fetchall()]
        database.close()
        reads_whole[by_index] = any("Seq Scan on record" in line for line in plan)
    assert reads_whole == {False: True, True: False}


def test_several_pages_land_in_one_transaction(lander: Lander) -> None:
    for number in range(5):
        assert lander.land({f"{number}.{one}": one for one in range(50)}) == Landed(new=50)
    assert len(lander.living()) == 250


# --- what is gone


def test_what_a_full_pass_did_not_meet_is_gone_and_lives_again_when_met(lander: Lander) -> None:
    lander.land({"a": 1, "b": 1})
    lander.land({"c": 1}, full_pass=True)
    lander.next_run("succeeded")
    assert lander.land({"a": 1}, full_pass=True) == Landed(unchanged=1, gone=2)
    assert lander.living() == {"a": 1}
    lander.next_run("succeeded")
    assert lander.land({"a": 1, "b": 1}, full_pass=True) == Landed(changed=1, unchanged=1)
    assert lander.living() == {"a": 1, "b": 1}
    assert lander.view("c").gone_at is not None


def test_an_empty_full_pass_empties(lander: Lander) -> None:
    lander.land({"a": 1}, full_pass=True)
    assert lander.land({}, full_pass=True) == Landed(gone=1)


def test_when_a_record_was_first_and_last_seen(lander: Lander) -> None:
    lander.land({"a": 1, "b": 1}, full_pass=True)
    lander.next_run("succeeded")
    lander.later(hours=1)
    lander.land({"a": 1, "b": 1}, full_pass=True)  # nothing is written, yet both were seen
    lander.next_run("succeeded")
    lander.later(hours=1)
    lander.land({"a": 2}, full_pass=True)
    a, b = lander.view("a"), lander.view("b")
    now = lander.world.sched(lander.connection_id)["now"]
    hour = timedelta(hours=1)
    assert (a.first_seen_at, a.changed_at, a.last_seen_at, a.gone_at) == (now - 2 * hour, now, now, None)
    assert (b.first_seen_at, b.changed_at, b.last_seen_at, b.gone_at) == (
        now - 2 * hour,
        now - 2 * hour,
        now - hour,
        now,
    )


def test_a_pass_that_is_cut_and_resumed_from_its_cursor_is_one_pass(lander: Lander) -> None:
    lander.land({"a": 1, "b": 1, "c": 1, "old": 1}, full_pass=True)
    lander.next_run("succeeded")
    lander.land({"a": 1}, cursor={"page": 2})
    lander.land({"b": 1}, cursor={"page": 3})
    lander.next_run("interrupted")
    assert lander.land({"c": 1}, cursor={"page": 1}, full_pass=True) == Landed(unchanged=1, gone=1)
    assert lander.living() == {"a": 1, "b": 1, "c": 1}


def test_a_pass_that_is_cut_without_a_cursor_begins_anew(lander: Lander) -> None:
    lander.land({"a": 1, "b": 1}, full_pass=True)
    lander.next_run("succeeded")
    lander.land({"a": 1})
    lander.next_run("interrupted")
    # Had the sighting of the first try counted, "a" would live on though it is no longer there.
    assert lander.land({"b": 1}, full_pass=True) == Landed(unchanged=1, gone=1)


def test_pages_after_the_last_stored_cursor_are_read_again_and_not_counted_before(lander: Lander) -> None:
    lander.land({"a": 1, "b": 1, "c": 1}, full_pass=True)
    lander.next_run("succeeded")
    lander.land({"a": 1}, cursor={"page": 2})
    lander.land({"b": 1})
    lander.next_run("interrupted")
    assert lander.land({"c": 1}, full_pass=True) == Landed(unchanged=1, gone=1)
    assert lander.living() == {"a": 1, "c": 1}


def test_what_an_incremental_pass_met_does_not_count_for_the_next_full_one(lander: Lander) -> None:
    lander.land({"a": 1, "b": 1}, full_pass=True)
    lander.next_run("succeeded")
    lander.land({"a": 1}, cursor={"since": 1})
    lander.next_run("succeeded")
    assert lander.land({"b": 1}, cursor={"since": 2}, full_pass=True) == Landed(unchanged=1, gone=1)


def test_a_pass_that_ends_leaves_no_sightings(lander: Lander) -> None:
    lander.land({"a": 1})
    assert lander.world.all("sighting", lander.connection_id) != []
    lander.land({"b": 1}, full_pass=True)
    assert lander.world.all("sighting", lander.connection_id) == []


def test_records_are_counted_and_listed_in_parts(lander: Lander) -> None:
    lander.land({f"{number:03}": number for number in range(25)}, full_pass=True)
    lander.land({f"{number:03}": number for number in range(20)}, full_pass=True)
    (count,) = records.count_records(lander.world.db, lander.connection_id)
    assert (count.data_type, count.living, count.gone) == ("alerts", 20, 5)
    listed: list[str] = []
    while part := records.list_records(
        lander.world.db, lander.connection_id, "alerts", after=listed[-1] if listed else None, limit=7
    ):
        listed += [one.record_id for one in part]
    assert listed == [f"{number:03}" for number in range(20)]


# --- the commonest page: the only one of a full pass, and everything as it was


def writes(lander: Lander) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = lander.world.db.execute(
        "SELECT n.relname, pg_stat_get_xact_tuples_inserted(n.oid) + pg_stat_get_xact_tuples_updated(n.oid) "
        "+ pg_stat_get_xact_tuples_deleted(n.oid) FROM pg_class n WHERE n.relnamespace = 'public'::regnamespace "
        "AND n.relkind = 'r' ORDER BY 1"
    ).fetchall()
    return found


def test_a_calm_page_writes_nothing_and_is_noted_with_the_end_of_its_run(lander: Lander) -> None:
    lander.land({"a": 1, "b": 1}, cursor={"p": 1}, full_pass=True)
    lander.next_run("succeeded")
    lander.later(hours=1)
    before = writes(lander)
    assert lander.land({"a": 1, "b": 1}, cursor={"p": 1}, full_pass=True) == Landed(unchanged=2)
    assert lander.met == ["alerts"]
    assert writes(lander) == before
    hour, sched = timedelta(hours=1), lander.world.sched(lander.connection_id)
    assert lander.view("a").last_seen_at == sched["now"] - hour
    lander.next_run("succeeded")
    assert lander.view("a").last_seen_at == sched["now"]


@pytest.mark.parametrize(
    ("page", "cursor", "expected"),
    [
        pytest.param({"a": 1}, None, Landed(unchanged=1, gone=1), id="one is missing"),
        pytest.param({"a": 1, "b": 1, "c": 1}, None, Landed(new=1, unchanged=2), id="one is new"),
        pytest.param({"a": 1, "c": 1}, None, Landed(new=1, unchanged=1, gone=1), id="as many, but another"),
        pytest.param({"a": 1, "b": 2}, None, Landed(changed=1, unchanged=1), id="one is different"),
        pytest.param({"a": 1, "b": 1}, {"p": 2}, Landed(unchanged=2), id="the cursor moves"),
        pytest.param({}, None, Landed(gone=2), id="nothing is left"),
    ],
)
def test_a_page_that_changes_anything_is_not_calm(
    lander: Lander, page: dict[str, Any], cursor: Any, expected: Landed
) -> None:
    lander.land({"a": 1, "b": 1}, cursor={"p": 1}, full_pass=True)
    lander.next_run("succeeded")
    assert lander.land(page, cursor=cursor, full_pass=True) == expected
    assert lander.met == []
    assert lander.living() == page


def test_the_last_of_several_pages_ends_the_pass_even_if_it_held_everything(lander: Lander) -> None:
    lander.land({"a": 1, "b": 1}, full_pass=True)
    lander.next_run("succeeded")
    lander.land({"a": 1})
    assert lander.land({"a": 1, "b": 1}, full_pass=True) == Landed(unchanged=2)
    assert lander.world.all("sighting", lander.connection_id) == []


def test_a_record_that_is_gone_is_not_taken_for_one_that_is_there(lander: Lander) -> None:
    lander.land({"a": 1, "b": 1}, full_pass=True)
    lander.land({"a": 1}, full_pass=True)
    lander.next_run("succeeded")
    assert lander.land({"a": 1, "b": 1}, full_pass=True) == Landed(changed=1, unchanged=1)
    lander.next_run("succeeded")
    assert lander.land({"a": 1, "b": 1}, full_pass=True) == Landed(unchanged=2)
    assert lander.met == ["alerts"]


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(lambda lander: lander.land({"c": 1}), id="a page that came after the pass, in the same run"),
        pytest.param(lambda lander: lander.land({}), id="an empty one"),
        pytest.param(
            lambda lander: (lander.next_run("succeeded"), lander.land({"c": 1})), id="a run that did not end its pass"
        ),
        pytest.param(
            lambda lander: (lander.next_run("succeeded"), lander.next_run("interrupted")), id="a run that met nothing"
        ),
        pytest.param(
            lambda lander: (
                lander.next_run("succeeded"),
                lander.land({"a": 1}),
                lander.land({"b": 1}, full_pass=True),
                lander.land({"a": 1}),
            ),
            id="passes of several pages",
        ),
        pytest.param(
            lambda lander: records.reset_cursor(lander.world.db, lander.connection_id), id="a cursor that was reset"
        ),
    ],
)
def test_a_pass_is_known_until_anything_else_comes_between(lander: Lander, between: Any) -> None:
    lander.land({"a": 1, "b": 1}, cursor={"p": 1}, full_pass=True)
    between(lander)
    lander.next_run("succeeded")
    assert lander.passes == {}
    lander.land({"a": 1, "b": 1}, cursor={"p": 1}, full_pass=True)
    assert lander.met == []
    assert lander.living() == {"a": 1, "b": 1}
    lander.next_run("succeeded")
    assert lander.passes != {}


def test_a_run_of_the_code_before_makes_a_pass_useless_and_not_wrong(lander: Lander) -> None:
    """It ends its passes without a word on their digest."""
    lander.land({"a": 1}, full_pass=True)
    lander.next_run("succeeded")
    lander.land({"a": 2}, full_pass=True)
    lander.world.db.execute(
        "UPDATE cursor SET pass_digest = %s, pass_digest_seq = run_seq - 1 WHERE connection_id = %s",
        (bytes(32), lander.connection_id),
    )
    lander.next_run("succeeded")
    assert lander.passes == {}


def test_the_first_full_pass_is_never_calm(lander: Lander) -> None:
    lander.land({"a": 1})
    lander.next_run("succeeded")
    lander.land({"a": 1}, full_pass=True)
    assert lander.met == []
    assert records.count_records(lander.world.db, lander.connection_id)[0].last_pass_at is not None


# --- against a model


class Passes(RuleBasedStateMachine):
    """A vendor whose records come and go, read page by page by runs that are cut anywhere, with and without cursors."""

    world: Any
    healthy: FinishedRun

    @initialize()
    def begin(self) -> None:
        self.lander = Lander(self.world, self.healthy)
        self.vendor: dict[str, int] = {}
        self.stored: dict[str, int] = {}
        self.dead: set[str] = set()
        self.read: list[str] = []
        self.resume_at = 0
        self.covered: list[str] = []

    @rule(data=st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2), max_size=6))
    def the_vendor_changes_between_passes(self, data: dict[str, int]) -> None:
        if not self.read:
            self.vendor = data

    def _land(self, ids: list[str], *, cursor: bool, last: bool) -> None:
        page = {one: self.vendor[one] for one in ids}
        landed = self.lander.land(page, cursor={"at": len(self.read) + len(ids)} if cursor else None, full_pass=last)
        new = [one for one in page if one not in self.stored]
        changed = [one for one in page if one in self.stored and (self.stored[one] != page[one] or one in self.dead)]
        self.stored |= page
        self.dead -= set(page)
        self.read += ids
        if cursor:
            self.resume_at, self.covered = len(self.read), list(self.read)
        gone = {one for one in self.stored if one not in self.read} - self.dead if last else set()
        self.dead |= gone
        assert landed == Landed(
            new=len(new), changed=len(changed), unchanged=len(page) - len(new) - len(changed), gone=len(gone)
        )

    @rule(size=st.integers(0, 3), cursor=st.booleans())
    def a_page_lands(self, size: int, cursor: bool) -> None:
        left = sorted(self.vendor)[len(self.read) :]
        if len(left) > size:
            self._land(left[:size], cursor=cursor, last=False)

    @rule()
    def the_pass_ends(self) -> None:
        self._land(sorted(self.vendor)[len(self.read) :], cursor=False, last=True)
        self.lander.next_run("succeeded")
        self.read, self.covered, self.resume_at = [], [], 0

    @rule()
    def the_run_is_cut_and_the_next_resumes(self) -> None:
        self.lander.next_run("interrupted")
        self.read = list(self.covered)

    @rule()
    def what_lives_is_what_should(self) -> None:
        assert self.lander.living() == {one: value for one, value in self.stored.items() if one not in self.dead}


def test_every_claim_is_exact_however_runs_are_cut(world: Any, healthy: FinishedRun) -> None:
    machine = type("Machine", (Passes,), {"world": world, "healthy": healthy})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
