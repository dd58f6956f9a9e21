"""Every error survives the way to another process with its sentence."""

import pickle
from pathlib import Path

import pytest

from embedded import errors

EXAMPLES = [
    errors.ServerMissingError("Redis", ("not in a wheel",), "Install one"),
    errors.VersionMismatchError(Path("/data"), 15, (18, 16)),
    errors.DirectoryRefusedError(Path("/data"), "is full"),
    errors.DirectoryBusyError(Path("/data"), 17),
    errors.DirectoryBusyError(Path("/data"), None),
    errors.SocketPathTooLongError(Path("/data"), 120, 107),
    errors.ServerFailedError("PostgreSQL", "it ended", "FATAL: no"),
    errors.NotRunningError("Redis"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_pickled_and_back_it_says_the_same(error: errors.EmbeddedError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 -- what was written just now
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_no_class_is_left_out() -> None:
    assert {type(error) for error in EXAMPLES} == set(errors.EmbeddedError.__subclasses__())
