"""The parts of a data type: one for each parent record, each value of a list, each batch of ids, and all that together.

Parents stream: from the worker, that has just stored them, or from the vendor page by page. None are held.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from vendors.definition import DataType, Definition, Each, Parent
from vendors.errors import DefinitionError, Finding, UnexpectedShapeError, UnusableValueError
from vendors.expressions import OMIT
from vendors.incremental import part_key
from vendors.paths import MISSING, compile_path
from vendors.records_shape import EACH_MEMBER, PARENT_MEMBER

Keys = Iterator[Mapping[str, object]]

_DEEPEST: Final = 8


class ParentSource(Protocol):
    """Whoever holds the parent records that this run has read already."""

    def keys(self, data_type: str, fields: tuple[str, ...], *, changed_since: datetime | None) -> Keys | None:
        """Yield, for each record of a data type, its payload's members at the dotted paths `fields`, by path.

        changed_since: aware, UTC; only records that were written since, None for all that are there. A path that leads
        nowhere is left out. None in place of an iterator: the data type was not read to its end in this run, so that
        the vendor must be asked.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one part of a data type is read for.

    key: the same in every run; scope: what `parent`, `each` and `batch` stand for; given: members for the payloads.
    """

    key: str = ""
    scope: Mapping[str, object] = field(default_factory=dict)
    given: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A parent that is iterated.

    fields: dotted paths of its payload; renamed: the aliases of its own parents, as they are used here;
    keys: the paths of the keys that tell its parts apart, by alias: its own and those of all above it.
    """

    parent: Parent
    fields: tuple[str, ...]
    renamed: Mapping[str, str]
    keys: Mapping[str, str]


Supply = Callable[[Level], Keys]
"""Where the records of a level come from: yields members by path, as ParentSource does."""


def levels_of(definition: Definition, data_type: DataType) -> tuple[Level, ...]:
    """Return the parents to iterate, outermost first. One that is the parent of another comes with that one."""
    parents = list(data_type.parents)
    if data_type.batch is not None:
        parents.append(data_type.batch.parent)
    ancestors = {parent.alias: _ancestors(definition, parent.data_type) for parent in parents}
    wanted = {parent.data_type: parent.alias for parent in parents}
    levels = []
    for parent in parents:
        others = (ancestors[other.alias].values() for other in parents if other is not parent)
        if any(above.data_type == parent.data_type for held in others for above in held):
            continue
        above = ancestors[parent.alias]
        renamed = {alias: wanted.get(other.data_type, alias) for alias, other in above.items()}
        keys = {renamed[alias]: other.key for alias, other in above.items()} | {parent.alias: parent.key}
        own = (PARENT_MEMBER,) if definition.data_types[parent.data_type].parents else ()
        fields = _unique(parent.key, *_captured(definition, parent), *own)
        levels.append(Level(parent=parent, fields=fields, renamed=renamed, keys=keys))
    return tuple(levels)


def reading_order(definition: Definition) -> tuple[str, ...]:
    """Return the data types, parents before their children, else as written. Raises DefinitionError for a circle."""
    order: dict[str, None] = {}

    def place(name: str, below: tuple[str, ...]) -> None:
        if name in order:
            return
        if name in below:
            raise _circle(definition, (*below, name))
        for parent in _parent_names(definition.data_types[name]):
            if parent not in definition.data_types:
                raise _unknown_parent(definition, name, parent)
            place(parent, (*below, name))
        order[name] = None

    for name in definition.data_types:
        place(name, ())
    return tuple(order)


def parts_of(
    data_type: DataType, levels: tuple[Level, ...], supply: Supply, scope: Mapping[str, object], endpoint: str
) -> Iterator[Part]:
    """Yield the parts of a data type. scope: credentials and settings, for lists that are settings."""
    batch = data_type.batch
    outer = tuple(level for level in levels if batch is None or level.parent is not batch.parent)
    inner = next((level for level in levels if batch is not None and level.parent is batch.parent), None)
    lists = [(each, _values(each, scope)) for each in data_type.each_of]
    for parents in _walk_parents(outer, supply, endpoint):
        for each in _walk_lists(lists):
            held: dict[str, object] = {"parent": parents, "each": each}
            given: dict[str, object] = {}
            if parents:
                given[PARENT_MEMBER] = parents
            if each:
                given[EACH_MEMBER] = each
            if inner is None or batch is None:
                key = part_key([_keys_in(outer, parents), each]) if is_parted(data_type) else ""
                yield Part(key=key, scope=held, given=given)
                continue
            for ids in _batches(inner, supply(inner), batch.size, endpoint):
                joined = batch.separator.join(ids)
                yield Part(scope={**held, "batch": {"ids": joined, "list": ids}}, given=given)


def is_parted(data_type: DataType) -> bool:
    """Return whether parts have cursors of their own. Batches are cut differently in each run: one for all of them."""
    return bool(data_type.parents or data_type.each_of) and data_type.batch is None


def _keys_in(levels: tuple[Level, ...], parents: Mapping[str, object]) -> dict[str, object]:
    """Return what tells a part apart: the keys alone, so that a parent with another name is still the same part."""
    paths = {alias: path for level in levels for alias, path in level.keys.items()}
    found = {alias: compile_path(path)(parents.get(alias)) for alias, path in paths.items()}
    return {alias: None if key is MISSING else key for alias, key in found.items()}


def _walk_parents(levels: tuple[Level, ...], supply: Supply, endpoint: str) -> Iterator[dict[str, object]]:
    if not levels:
        yield {}
        return
    level, *rest = levels
    for members in supply(level):
        bound = _bound(level, members, endpoint)
        for more in _walk_parents(tuple(rest), supply, endpoint):
            yield {**bound, **more}


def _bound(level: Level, members: Mapping[str, object], endpoint: str) -> dict[str, object]:
    """Return what `parent` holds for one parent record: itself, and what it was given of its own parents."""
    parent = level.parent
    key = members.get(parent.key)
    if key is None or isinstance(key, dict | list):
        raise UnexpectedShapeError(endpoint, f"a record of {parent.data_type} has no {parent.key} to read its part by")
    bound: dict[str, object] = {}
    above = members.get(PARENT_MEMBER)
    if isinstance(above, Mapping):
        bound.update({level.renamed.get(alias, alias): values for alias, values in above.items()})
    own: dict[str, object] = {}
    for path, value in members.items():
        if path != PARENT_MEMBER:
            _put(own, path, value)
    bound[parent.alias] = own
    return bound


def _walk_lists(lists: list[tuple[Each, list[object]]]) -> Iterator[dict[str, object]]:
    if not lists:
        yield {}
        return
    (each, values), *rest = lists
    for value in values:
        for more in _walk_lists(rest):
            yield {each.alias: value, **more}


def _values(each: Each, scope: Mapping[str, object]) -> list[object]:
    found = each.values.resolve(scope)
    if found is OMIT or found is None:
        return []
    if isinstance(found, str):
        return [part.strip() for part in found.split(",") if part.strip()]
    if not isinstance(found, list | tuple):
        raise UnusableValueError(f"each_of.{each.alias}", "is no list")
    return list({part_key(value): value for value in found}.values())


def _batches(level: Level, keys: Keys, size: int, endpoint: str) -> Iterator[list[str]]:
    held: dict[str, None] = {}
    for members in keys:
        value = members.get(level.parent.key)
        if value is None or isinstance(value, bool | dict | list):
            problem = f"a record of {level.parent.data_type} has no {level.parent.key} to ask for"
            raise UnexpectedShapeError(endpoint, problem)
        held[str(value)] = None
        if len(held) >= size:
            yield list(held)
            held = {}
    if held:
        yield list(held)


def members_at(fields: tuple[str, ...]) -> Callable[[Mapping[str, object]], dict[str, object]]:
    """Return a function from a payload to its members at dotted paths, by path: what a ParentSource yields."""
    getters = [(path, compile_path(path)) for path in fields]

    def read(payload: Mapping[str, object]) -> dict[str, object]:
        found = ((path, get(payload)) for path, get in getters)
        return {path: value for path, value in found if value is not MISSING}

    return read


def _put(held: dict[str, object], path: str, value: object) -> None:
    names = path.split(".")
    for name in names[:-1]:
        inner = held.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        held = inner
    held[names[-1]] = value


def _parent_names(data_type: DataType) -> tuple[str, ...]:
    batch = () if data_type.batch is None else (data_type.batch.parent.data_type,)
    return (*(parent.data_type for parent in data_type.parents), *batch)


def _ancestors(definition: Definition, name: str, depth: int = 0) -> dict[str, Parent]:
    """Return the parents above a data type, by the aliases that its records know them by."""
    found: dict[str, Parent] = {}
    if depth < _DEEPEST:
        for parent in definition.data_types[name].parents:
            found.update(_ancestors(definition, parent.data_type, depth + 1))
            found[parent.alias] = parent
    return found


def _captured(definition: Definition, parent: Parent) -> tuple[str, ...]:
    """Return what records keep of a parent: what their data type names, and what any data type names of that parent.

    A grandchild sees its grandparent only through what the records between have kept of it.
    """
    same = [
        other
        for data_type in definition.data_types.values()
        for other in data_type.parents
        if other.data_type == parent.data_type
    ]
    return _unique(*parent.fields, *(path for other in same for path in (other.key, *other.fields)))


def _unique(*paths: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(paths))


def _circle(definition: Definition, names: tuple[str, ...]) -> DefinitionError:
    return DefinitionError(
        (
            Finding(
                file=definition.file,
                line=1,
                path=f"data_types.{names[-1]}.parents",
                problem=f"parents run in a circle: {' -> '.join(names)}",
                remedy="Take one of them out",
                code="circle",
            ),
        )
    )


def _unknown_parent(definition: Definition, name: str, parent: str) -> DefinitionError:
    return DefinitionError(
        (
            Finding(
                file=definition.file,
                line=1,
                path=f"data_types.{name}.parents",
                problem=f"there is no data type {parent!r}",
                remedy=f"Name one of {', '.join(definition.data_types)}",
                code="unknown_parent",
            ),
        )
    )
