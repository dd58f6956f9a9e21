"""What a process remembers: for how long, how much of it, and never of one tenant for another."""

from tests.web.conftest import Door, House
from web.desk import MOST_KNOWN, NAMED_FOR_S, KnownNames


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_names_are_forgotten_after_their_time() -> None:
    clock = Clock()
    known = KnownNames(clock)
    known.known().update({"1": "Umbra"})
    clock.now_s += NAMED_FOR_S - 0.001
    assert known.known() == {"1": "Umbra"}
    known.known().update({"2": "Penumbra"})  # what is learnt later is forgotten with the rest
    clock.now_s += 0.001
    assert known.known() == {}
    known.known().update({"1": "Umbra"})
    clock.now_s += NAMED_FOR_S - 0.001
    assert known.known() == {"1": "Umbra"}


def test_only_so_many_names_are_known() -> None:
    known = KnownNames(Clock())
    known.known().update({str(number): "Umbra" for number in range(MOST_KNOWN - 1)})
    held = known.known()
    assert len(held) == MOST_KNOWN - 1
    held["one more"] = "Umbra"
    assert known.known() == {}
    assert len(held) == MOST_KNOWN  # a page that is being made still has the names that it began with


def name_in(house: House, path: str) -> set[str]:
    found = house.client.get(path).json()["items"]
    return {each["organization_name"] for each in found if each["organization_id"] == house.organization_id}


def test_an_organization_that_is_renamed_by_hand_is_shown_by_its_new_name_after_a_while(door: Door) -> None:
    house = House(door, "Before")
    house.connect()
    clock = Clock()
    door.desk.__dict__["known_names"] = KnownNames(clock)
    try:
        path = f"{house.path}/connections"
        assert name_in(house, path) == {"Before"}
        with door.database.transaction() as db:
            db.execute("UPDATE organization SET name = 'After' WHERE organization_id = %s", (house.organization_id,))
        assert name_in(house, path) == {"Before"}
        clock.now_s += NAMED_FOR_S
        assert name_in(house, path) == {"After"}
    finally:
        del door.desk.__dict__["known_names"]


def test_names_of_others_that_are_known_are_shown_to_nobody_else(door: Door) -> None:
    ours, theirs = House(door, "Ours alone"), House(door, "Theirs alone")
    ours.connect()
    theirs.connect()
    assert ours.client.get(f"{theirs.path}/connections").json()["count"] == 1  # the process knows both names now
    assert ours.client.get(f"{ours.path}/connections").json()["count"] == 1
    assert {ours.organization_id, theirs.organization_id} <= door.desk.known_names.known().keys()
    with door.client(door.key(organization_id=ours.organization_id)) as client:
        own = client.get("/v1/provisioning/connections")
        other = client.get(f"{theirs.path}/connections")
    assert {each["organization_name"] for each in own.json()["items"]} == {"Ours alone"}
    assert other.status_code == 404
    assert "Theirs alone" not in own.text + other.text
