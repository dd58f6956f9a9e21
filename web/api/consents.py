"""A customer's way to the vendor's consent page and back. Whoever comes here is a browser without any key of ours."""

import html
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Cookie, Path, Query, Request, Response

from models import audit
from models.connections import ConnectionView
from web.api.authority import AtDesk, actor_of
from web.api.outside import asks_outside
from worker import authorization
from worker.authorization import CALLBACK_PATH, LINK_PATH
from worker.errors import AuthorizationError

# Without the check for unknown parameters: vendors send some of their own along (`scope`, `session_state`),
# which a client ignores (RFC 6749, section 4.1.2), and mails put theirs onto links.
router = APIRouter(tags=["consent"])

BROWSER: Final = "connection_health_browser"
_COOKIE_AGE_S: Final = 3600
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title>
<h1>{title}</h1><p>{words}</p></html>
"""
_SEES: Final[dict[int | str, dict[str, Any]]] = {
    303: {"description": "Where the browser goes next."},
    400: {"description": "What went wrong, as a page for the customer."},
}


@router.get(LINK_PATH + "/{ticket}", summary="Go to the consent page", status_code=303, responses=_SEES)
@asks_outside
def depart(
    ticket: Annotated[str, Path(max_length=500, description="As in `oauth2_authorize_url`.")],
    desk: AtDesk,
    browser: Annotated[str | None, Cookie(alias=BROWSER, max_length=200)] = None,
) -> Response:
    """Send a customer's browser to the vendor's consent page."""
    secret = browser or authorization.new_browser_secret()
    try:
        connection_id = authorization.open_link(desk.station, ticket)
        departure = authorization.authorize_url(desk.station, connection_id, browser=secret)
    except AuthorizationError as error:
        return _told(error)
    answered = _sent_to(departure.url)
    answered.set_cookie(
        BROWSER,
        secret,
        max_age=_COOKIE_AGE_S,
        path="/v1/oauth2",
        httponly=True,
        samesite="lax",  # it comes back by a link on the vendor's page
        secure=(desk.settings.public_url or "").startswith("https://"),
    )
    return answered


@router.get(CALLBACK_PATH, summary="Come back from the consent page", responses=_SEES, response_class=Response)
@asks_outside
def arrive(  # noqa: PLR0917 - FastAPI hands everything over by name
    request: Request,
    desk: AtDesk,
    state: Annotated[str | None, Query(max_length=1000)] = None,
    code: Annotated[str | None, Query(max_length=10_000)] = None,
    error: Annotated[str | None, Query(max_length=1000)] = None,
    error_description: Annotated[str | None, Query(max_length=4000)] = None,
    iss: Annotated[str | None, Query(max_length=1000, description="Who answers (RFC 9207).")] = None,
    browser: Annotated[str | None, Cookie(alias=BROWSER, max_length=200)] = None,
) -> Response:
    """Take what the vendor's consent page sent back: the connection becomes ACTIVE, and its first run starts."""

    def along(db: Any, view: ConnectionView) -> None:
        audit.write_entry(
            db,
            actor_of(request, "consent"),
            "connection.authorized",
            organization_id=view.organization_id,
            connection_id=view.connection_id,
        )

    try:
        arrival = authorization.finish(
            desk.station,
            state=state,
            code=code,
            error=error,
            error_description=error_description,
            iss=iss,
            browser=browser or "",
            along=along,
        )
    except AuthorizationError as refused:
        return _told(refused) if refused.redirect_url is None else _sent_to(refused.redirect_url)
    desk.wake(arrival.connection_id)
    if arrival.redirect_url is not None:
        return _sent_to(arrival.redirect_url)
    return _page("Connected", "The connection is authorized. You can close this page.", HTTPStatus.OK)


def _sent_to(url: str) -> Response:
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={"location": url})


def _told(error: AuthorizationError) -> Response:
    return _page("Not connected", f"{str(error)[:1].upper()}{str(error)[1:]}.", HTTPStatus.BAD_REQUEST)


def _page(title: str, words: str, status: HTTPStatus) -> Response:
    text = _PAGE.format(title=html.escape(title), words=html.escape(words))
    return Response(text, status_code=status, media_type="text/html")
