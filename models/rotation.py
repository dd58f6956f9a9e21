"""A new key for all that the vault's keys seal: credentials, and what is kept for minutes or hours besides."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from models import authorizations, repeatables, vault
from models.database import Database
from models.vault import Keyring, RotationProgress


def rotate(database: Database, keyring: Keyring, *, batch: int = 200) -> Iterator[RotationProgress]:
    """Seal everything anew that an older key sealed, and tell after each batch how far it is: `vault.rotate`, for all.

    Besides credentials: consents that customers are on the way to give, and answers kept for requests that are sent
    again. Without them, whoever comes back after the older key is gone would be sent away.
    """
    besides = 0
    for shelf in (authorizations, repeatables):
        after: Any = None
        while True:
            with database.transaction() as db:
                done, after = shelf.reseal(db, keyring, after, batch)
                besides += done
            if after is None:
                break
    for progress in vault.rotate(database, keyring, batch=batch):
        with database.connection() as db:
            left = sum(shelf.of_older_keys(db, keyring) for shelf in (authorizations, repeatables))
        yield dataclasses.replace(progress, done=progress.done + besides, left=progress.left + left)
