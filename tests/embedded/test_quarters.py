"""Where a server's files may lie, and whom that depends on."""

import os
from pathlib import Path

import pytest

from embedded import quarters
from embedded.errors import DirectoryRefusedError
from embedded.quarters import Account

SOMEBODY = Account(uid=54321, gid=54322)


@pytest.mark.parametrize(
    ("mode", "owner", "group", "may"),
    [
        pytest.param(0o711, 0, 0, True, id="others may pass"),
        pytest.param(0o700, 0, 0, False, id="its owner alone"),
        pytest.param(0o744, 0, 0, False, id="to read a folder is not to pass it"),
        pytest.param(0o700, SOMEBODY.uid, 0, True, id="it is the account's own"),
        pytest.param(0o611, SOMEBODY.uid, 0, False, id="its owner less than others"),
        pytest.param(0o710, 0, SOMEBODY.gid, True, id="by its group"),
        pytest.param(0o701, 0, SOMEBODY.gid, False, id="its group less than others"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_an_account_may_enter_what_its_mode_lets_it(
    mode: int, owner: int, group: int, may: bool, new_folder: Path
) -> None:
    gate = new_folder
    (gate / "inner").mkdir(parents=True)
    os.chown(gate, owner, group)
    gate.chmod(mode)
    assert SOMEBODY.may_enter(gate / "inner") is may
    gate.chmod(0o700)


@pytest.fixture
def shared(new_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ours would be in a place in which everybody may write."""
    new_folder.mkdir()
    for place in ("_LASTING", "_SHORT"):
        monkeypatch.setattr(quarters, place, new_folder)
    return new_folder / f"connection-health-{os.geteuid()}"


def long_path(shared: Path) -> Path:
    return shared.with_name("d" * 110)


def test_a_folder_that_others_may_write_to_is_not_taken_for_ours(shared: Path) -> None:
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(DirectoryRefusedError, match="somebody else"):
        quarters.quarters(long_path(shared), socket_name="s")


def test_a_link_is_not_taken_for_our_folder(shared: Path) -> None:
    elsewhere = shared.with_name("elsewhere")
    elsewhere.mkdir()
    shared.symlink_to(elsewhere)
    with pytest.raises(DirectoryRefusedError, match="somebody else"):
        quarters.quarters(long_path(shared), socket_name="s")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_account_is_not_taken_for_ours(shared: Path) -> None:
    shared.mkdir()
    os.chown(shared, SOMEBODY.uid, SOMEBODY.gid)
    with pytest.raises(DirectoryRefusedError, match="somebody else"):
        quarters.quarters(long_path(shared), socket_name="s")


def test_ours_lets_others_pass_and_look_at_nothing(shared: Path) -> None:
    old = os.umask(0o077)
    try:
        place = quarters.quarters(long_path(shared), socket_name="s")
    finally:
        os.umask(old)
    assert shared.stat().st_mode & 0o777 == 0o711
    assert place.socket_dir.parent == shared
    assert place.socket_dir.stat().st_mode & 0o777 == 0o700


def test_asking_twice_gives_the_same(shared: Path) -> None:
    first = quarters.quarters(long_path(shared), socket_name="s")
    assert quarters.quarters(long_path(shared), socket_name="s") == first
