"""The vendors that can be connected, and what their connections need."""

from typing import Any

from fastapi import APIRouter, Response

from vendors.catalogue import Catalogue
from vendors.credentials_schema import input_schema
from vendors.definition import Definition
from vendors.errors import DefinitionError, UnknownVendorError
from web.api.answers import answer
from web.api.authority import AtDesk
from web.api.route import Route
from web.api.shapes import ConnectorShape, WholeConnectorShape
from web.problems import not_found

router = APIRouter(prefix="/v1/connectors", tags=["connectors"], route_class=Route)


@router.get("", summary="List vendors", response_model=list[ConnectorShape])
def list_connectors(desk: AtDesk) -> Response:
    """List the vendors that can be connected. Needs no key."""
    return answer([_document(each) for each in usable(desk.station.catalogue)], headers=_CACHED)


@router.get("/{vendor}", summary="Get a vendor", response_model=WholeConnectorShape)
def get(vendor: str, desk: AtDesk) -> Response:
    """Return one vendor with the JSON Schema of its credentials and settings. Needs no key."""
    definition = _found(desk.station.catalogue, vendor)
    return answer({**_document(definition), "schema": input_schema(definition)}, headers=_CACHED)


@router.get("/{vendor}/schema", summary="Get a vendor's schema", response_model=dict[str, Any])
def get_schema(vendor: str, desk: AtDesk) -> Response:
    """Return the JSON Schema of a vendor's credentials and settings alone. Needs no key."""
    return answer(input_schema(_found(desk.station.catalogue, vendor)), headers=_CACHED)


_CACHED = {"cache-control": "public, max-age=60"}


def usable(catalogue: Catalogue) -> list[Definition]:
    """Return every definition that can be used. A broken one is told of by `doctor`, not here."""
    found = []
    for vendor in catalogue.vendors:
        try:
            found.append(catalogue.get(vendor))
        except DefinitionError:
            continue
    return found


def _found(catalogue: Catalogue, vendor: str) -> Definition:
    try:
        return catalogue.get(vendor if vendor in catalogue else vendor.lower())
    except UnknownVendorError:
        raise not_found("vendor") from None


def _document(definition: Definition) -> dict[str, object]:
    return {
        "vendor": definition.vendor,
        "vendor_name": definition.title,
        "logo_url": None,
        "category": definition.category,
        "auth": definition.auth.type,
        "docs_url": definition.docs_url or None,
        "data_export_types": list(definition.data_types),
    }
