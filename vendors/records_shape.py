"""From a page's document to records: where they stand, what shape they have, what identifies them.

Everything is compiled once for a data type into closures, for a page may hold a thousand records and a run a million.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vendors.definition import DataType, Records, ShapeKind
from vendors.errors import UnexpectedShapeError
from vendors.page import Record
from vendors.paths import MISSING, Getter, compile_path
from vendors.policy import compile_conditions

Row = dict[str, object]

PARENT_MEMBER: Final = "_parent"
"""The member of a payload that holds what the record's parents gave: `{"site": {"id": 7, "name": "…"}}`."""

EACH_MEMBER: Final = "_each"
"""The member of a payload that holds the values of `each_of` that the record was read for."""

_EXACT_BITS: Final = 53
_SEPARATOR: Final = ":"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A page's rows. outer: how many the vendor counts (unfiltered; groups, not what they hold); last: of them."""

    rows: list[Row]
    outer: int
    last: object = None


def compile_rows(records: Records, endpoint: str) -> Callable[[object], Rows]:
    """Return a function from a document to its rows. Raises UnexpectedShapeError where they are not there.

    The rows are the document's own objects wherever the shape allows, so that nothing is copied.
    """
    get = compile_path(records.path, lenient=records.optional)
    lay_out = _SHAPES[records.shape](records, endpoint)
    test = compile_conditions(records.filter)
    where = records.path or "the whole answer"

    def read(document: object) -> Rows:
        found = MISSING if document is MISSING else get(document)
        if found is None or found is MISSING:
            if records.optional or document is MISSING:
                return Rows(rows=[], outer=0)
            is_null = "is null" if found is None else "is missing"
            raise UnexpectedShapeError(endpoint, f"{where}, where the records should be, {is_null}")
        rows, outer, last = lay_out(found)
        if test is not None:
            rows = [row for row in rows if test(row)]
        return Rows(rows=rows, outer=outer, last=last)

    return read


def compile_ids(data_type: DataType, endpoint: str) -> Callable[[list[Row], Mapping[str, object]], list[str]]:
    """Return a function from rows, and the scope of the part that they come from, to their ids, in order.

    Raises UnexpectedShapeError that names the path for an id that is missing, null, or not a text or a whole number.
    """
    paths = data_type.id
    part_aliases = {parent.alias for parent in data_type.parents} | {each.alias for each in data_type.each_of}
    is_of_part = [_is_of_part(path, part_aliases) for path in paths]
    getters = [compile_path(path) for path in paths]
    if len(paths) == 1 and not is_of_part[0]:
        return _single_ids(paths[0], getters[0], endpoint)

    def read(rows: list[Row], scope: Mapping[str, object]) -> list[str]:
        fixed = [
            _escaped(_id_text(get(scope), path, endpoint, 0)) if of_part else None
            for get, path, of_part in zip(getters, paths, is_of_part, strict=True)
        ]
        joined: list[str] = []
        for index, row in enumerate(rows):
            parts = [
                _escaped(_id_text(get(row), path, endpoint, index)) if known is None else known
                for get, path, known in zip(getters, paths, fixed, strict=True)
            ]
            joined.append(_SEPARATOR.join(parts))
        return joined

    return read


_set_id: Final[Callable[[Record, str], None]] = Record.__dict__["id"].__set__
_set_payload: Final[Callable[[Record, Mapping[str, object]], None]] = Record.__dict__["payload"].__set__
_new_record: Final[Callable[[type[Record]], Record]] = object.__new__


def records_of(ids: list[str], rows: list[Row]) -> tuple[Record, ...]:
    """Return one record for each id and row.

    The slots are filled directly: the constructor of a frozen dataclass takes twice as long, and this runs once for
    each of a million records.
    """
    found: list[Record] = []
    append = found.append
    for record_id, row in zip(ids, rows, strict=True):
        record = _new_record(Record)
        _set_id(record, record_id)
        _set_payload(record, row)
        append(record)
    return tuple(found)


# ---- ids


def _single_ids(path: str, get: Getter, endpoint: str) -> Callable[[list[Row], Mapping[str, object]], list[str]]:
    def read(rows: list[Row], _: Mapping[str, object]) -> list[str]:
        found: list[str] = []
        append = found.append
        for row in rows:
            value = get(row)
            if value.__class__ is str and value:
                append(value)
            elif value.__class__ is int:
                append(str(value))
            else:
                append(_id_text(value, path, endpoint, len(found)))
        return found

    plain = path.isidentifier()
    if not plain:
        return read

    def read_plain(rows: list[Row], _: Mapping[str, object]) -> list[str]:
        found: list[str] = []
        append = found.append
        for row in rows:
            value = row.get(path)
            if value.__class__ is str and value:
                append(value)
            elif value.__class__ is int:
                append(str(value))
            else:
                append(_id_text(row.get(path, MISSING), path, endpoint, len(found)))
        return found

    return read_plain


def _id_text(value: object, path: str, endpoint: str, index: int) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**_EXACT_BITS:
        return str(int(value))
    match value:
        case None:
            problem = "is null"
        case "":
            problem = "is an empty text"
        case float():
            problem = "is a number that is not exact"
        case _:
            problem = "is missing" if value is MISSING else "is neither a text nor a whole number"
    raise UnexpectedShapeError(endpoint, f"the id at {path} of record {index + 1} of the page {problem}")


def _escaped(part: str) -> str:
    """Keep `a:b` and `c` apart from `a` and `b:c`."""
    if "\\" in part or _SEPARATOR in part:
        return part.replace("\\", "\\\\").replace(_SEPARATOR, "\\" + _SEPARATOR)
    return part


def _is_of_part(path: str, aliases: set[str]) -> bool:
    root, _, rest = path.partition(".")
    return root in ("parent", "each") and rest.partition(".")[0] in aliases


# ---- shapes: each returns rows, how many the vendor counts, and the last of those

_Laid = tuple[list[Row], int, object]
_LayOut = Callable[[object], _Laid]


def _list(records: Records, endpoint: str) -> _LayOut:
    where = records.path or "the whole answer"

    def lay_out(found: object) -> _Laid:
        rows = _as_list(found, where, endpoint)
        for index, row in enumerate(rows):
            if row.__class__ is not dict:
                raise UnexpectedShapeError(endpoint, f"record {index + 1} at {where} is no object")
        return rows, len(rows), rows[-1] if rows else None

    return lay_out


def _object_values(records: Records, endpoint: str) -> _LayOut:
    where, key_as = records.path or "the whole answer", records.key_as

    def lay_out(found: object) -> _Laid:
        if not isinstance(found, dict):
            raise UnexpectedShapeError(endpoint, f"{where} is no object whose members are the records")
        rows: list[Row] = []
        for key, value in found.items():
            if not isinstance(value, dict):
                raise UnexpectedShapeError(endpoint, f"a member of {where} is no object")
            if value.setdefault(key_as, key) != key:
                problem = f"records at {where} have a member {key_as!r} of their own; choose another `key_as`"
                raise UnexpectedShapeError(endpoint, problem)
            rows.append(value)
        return rows, len(rows), rows[-1] if rows else None

    return lay_out


def _scalars(records: Records, endpoint: str) -> _LayOut:
    where, value_as = records.path or "the whole answer", records.value_as

    def lay_out(found: object) -> _Laid:
        values = _as_list(found, where, endpoint)
        if any(isinstance(value, dict | list) or value is None for value in values):
            raise UnexpectedShapeError(endpoint, f"{where} holds something else than plain values")
        rows: list[Row] = [{value_as: value} for value in values]
        return rows, len(rows), rows[-1] if rows else None

    return lay_out


def _columns_rows(records: Records, endpoint: str) -> _LayOut:
    get_columns, get_rows = compile_path(records.columns), compile_path(records.rows)

    def lay_out(found: object) -> _Laid:
        names = [
            column.get("name") if isinstance(column, dict) else column
            for column in _as_list(get_columns(found), records.columns, endpoint)
        ]
        columns = [name for name in names if isinstance(name, str)]
        if len(columns) != len(names) or len(set(columns)) != len(columns):
            raise UnexpectedShapeError(endpoint, f"{records.columns} is no list of different names")
        values = _as_list(get_rows(found), records.rows, endpoint)
        rows: list[Row] = []
        for index, row in enumerate(values):
            if not isinstance(row, list) or len(row) != len(columns):
                problem = f"row {index + 1} at {records.rows} has not {len(columns)} values, as there are columns"
                raise UnexpectedShapeError(endpoint, problem)
            rows.append(dict(zip(columns, row, strict=True)))
        return rows, len(rows), rows[-1] if rows else None

    return lay_out


def _nested(records: Records, endpoint: str) -> _LayOut:
    where = records.path or "the whole answer"
    get_inner = compile_path(records.inner, lenient=records.optional)
    kept = [(path.rpartition(".")[2], path, compile_path(path)) for path in records.keep]

    def lay_out(found: object) -> _Laid:
        groups = _as_list(found, where, endpoint)
        rows: list[Row] = []
        for group in groups:
            inner = get_inner(group)
            if (inner is MISSING or inner is None) and records.optional:
                continue
            given = {name: _kept(get(group), path, endpoint) for name, path, get in kept}
            for row in _as_list(inner, records.inner, endpoint):
                if not isinstance(row, dict):
                    raise UnexpectedShapeError(endpoint, f"a record at {records.inner} is no object")
                if given and not given.keys().isdisjoint(row):
                    name = min(given.keys() & row.keys())
                    raise UnexpectedShapeError(endpoint, f"`keep` would write over a record's own member {name!r}")
                row.update(given)
                rows.append(row)
        return rows, len(groups), groups[-1] if groups else None

    return lay_out


def _single(records: Records, endpoint: str) -> _LayOut:
    where = records.path or "the whole answer"

    def lay_out(found: object) -> _Laid:
        if not isinstance(found, dict):
            raise UnexpectedShapeError(endpoint, f"{where} is no object")
        return [found], 1, found

    return lay_out


_SHAPES: Final[Mapping[ShapeKind, Callable[[Records, str], _LayOut]]] = {
    ShapeKind.LIST: _list,
    ShapeKind.OBJECT_VALUES: _object_values,
    ShapeKind.SCALARS: _scalars,
    ShapeKind.COLUMNS_ROWS: _columns_rows,
    ShapeKind.NESTED: _nested,
    ShapeKind.SINGLE: _single,
}


def _as_list(found: object, where: str, endpoint: str) -> list[Any]:
    if isinstance(found, list):
        return found
    what = "is missing" if found is MISSING else "is null" if found is None else "is no list"
    raise UnexpectedShapeError(endpoint, f"{where} {what}")


def _kept(value: object, path: str, endpoint: str) -> object:
    if value is MISSING:
        raise UnexpectedShapeError(endpoint, f"an outer object has no {path}, which `keep` names")
    return value
