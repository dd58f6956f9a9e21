"""The header Idempotency-Key: the same request again gets the same answer, and nothing is done twice."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import Depends, Header, Request, Response

from models import repeatables
from models.repeatables import FirstRequest, FormerAnswer
from web.api.answers import answer, plain
from web.api.authority import AtDesk, Principal
from web.desk import Desk

REPLAYED: Final = "idempotency-replayed"

Keep = Callable[[Any, int, Mapping[str, object], UUID | None], None]
"""Keeps an answer in the transaction of what was made: (transaction, status, document, id of what was made)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A request that may be sent again. key None: it was sent without, and is carried out each time."""

    desk: Desk
    key: str | None
    request: bytes = field(repr=False)

    def once(self, principal: Principal, make: Callable[[Keep], Response]) -> Response:
        """Carry a request out, unless it was; then answer as before.

        make: carries it out, and calls what it is handed in the transaction of what it makes. Where it raises, nothing
        was made, and the same key may be sent again.
        """
        if self.key is None:
            return make(_forget)
        desk = self.desk
        with desk.database.transaction() as db:
            begun = repeatables.begin(
                db, desk.keyring, actor=principal.actor.name, idempotency_key=self.key, request=self.request
            )
        if isinstance(begun, FormerAnswer):
            return answer(begun.body, status=begun.status, headers={REPLAYED: "true"})
        try:
            return make(self._keeper(begun))
        except BaseException:
            with desk.database.transaction() as db:
                repeatables.abandon(db, begun)
            raise

    def _keeper(self, first: FirstRequest) -> Keep:
        def keep(db: Any, status: int, document: Mapping[str, object], subject_id: UUID | None) -> None:
            repeatables.finish(db, self.desk.keyring, first, status=status, body=plain(document), subject_id=subject_id)

        return keep


def _forget(_db: Any, _status: int, _document: Mapping[str, object], _subject_id: UUID | None) -> None:
    """Without a key nothing is kept."""


async def _repeat(
    request: Request,
    desk: AtDesk,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Of your own making (a UUID): the same request with the same key is carried out once.",
        ),
    ] = None,
) -> Repeat:
    if key is None:
        return Repeat(desk=desk, key=None, request=b"")
    document = await request.json() if await request.body() else None
    head = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return Repeat(desk=desk, key=key, request=head + orjson.dumps(document, option=orjson.OPT_SORT_KEYS))


Repeatable = Annotated[Repeat, Depends(_repeat)]
