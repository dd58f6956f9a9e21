"""Definitions by vendor name, out of folders. A name is found by its file's name; a file is read when it is asked for.

Later folders win over earlier ones, so that an operator can put another definition in the place of ours; that is told.
"""

import importlib
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol, cast

from vendors.definition import Definition
from vendors.errors import DefinitionError, Finding, UnknownVendorError

BUILT_IN: Final = Path(__file__).parent / "catalogue"
EXAMPLES: Final = BUILT_IN / "examples"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


class _Loader(Protocol):
    def load_definition(self, path: Path) -> Definition: ...

    def check_definition(self, path: Path) -> tuple[Finding, ...]: ...


class Catalogue:
    """The definitions of some folders. Safe to share between threads; folders are listed once, files are read once."""

    def __init__(self, folders: Iterable[Path] = (BUILT_IN, EXAMPLES)) -> None:
        """Index the folders. One that cannot be listed is a problem that is told, not an error."""
        self.folders = tuple(folders)
        self._paths: dict[str, Path] = {}
        self._notes: list[Finding] = []
        self._read: dict[str, Definition | DefinitionError] = {}
        self._lock = threading.Lock()
        for folder in self.folders:
            self._index(folder)

    @classmethod
    def with_operators_folder(cls, folder: Path | None) -> "Catalogue":
        """Return our catalogue and examples, and over them the operator's own folder, if there is one."""
        return cls((BUILT_IN, EXAMPLES) if folder is None else (BUILT_IN, EXAMPLES, folder))

    @property
    def vendors(self) -> tuple[str, ...]:
        """All names, sorted. A name may still have a broken file."""
        return tuple(sorted(self._paths))

    @property
    def paths(self) -> Mapping[str, Path]:
        """The file of each name."""
        return dict(self._paths)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What the names of the files alone tell: definitions that replace ours, and files that are not read."""
        return tuple(self._notes)

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Everything that can be said about the files. Reads them all: for commands and checks, not for a run."""
        loader = _loader()
        found = (finding for vendor in self.vendors for finding in loader.check_definition(self._paths[vendor]))
        return (*self._notes, *found)

    def get(self, vendor: str) -> Definition:
        """Return a vendor's definition. Raises UnknownVendorError, or DefinitionError where its file is broken."""
        path = self._paths.get(vendor)
        if path is None:
            raise UnknownVendorError(vendor, self.vendors)
        with self._lock:
            found = self._read.get(vendor)
            if found is None:
                found = self._read[vendor] = _loaded(path)
        if isinstance(found, DefinitionError):
            raise DefinitionError(found.findings)  # a new one: a raised exception carries its traceback along
        return found

    def prepare(self) -> None:
        """Load what files are read with, which takes longer than to read one."""
        _loader()

    def after_fork(self) -> None:
        """Let go of a lock that another thread of the parent may have held."""
        self._lock = threading.Lock()

    def __contains__(self, vendor: object) -> bool:
        return vendor in self._paths

    def _index(self, folder: Path) -> None:
        try:
            files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        except OSError as problem:
            self._note(
                folder, "folder", f"cannot be read: {problem.strerror}", "Check the setting and the rights", fatal=True
            )
            return
        for path in files:
            if path.suffix == ".yml":
                self._note(path, "file-name", "is not read: definitions end in .yaml", f"Name it {path.stem}.yaml")
            elif path.suffix == ".yaml":
                self._add(path)

    def _add(self, path: Path) -> None:
        name = path.stem
        if _NAME.fullmatch(name) is None:
            remedy = "Name it after its vendor: lower case letters, digits and _"
            self._note(path, "file-name", "is not read: its name is no vendor's name", remedy)
            return
        former = self._paths.get(name)
        if former is not None:
            self._note(path, "replaces", f"stands in the place of {former}", "Nothing to do, if that is meant")
        self._paths[name] = path

    def _note(self, path: Path, code: str, problem: str, remedy: str, *, fatal: bool = False) -> None:
        finding = Finding(
            file=str(path), line=1, path="(the file)", problem=problem, remedy=f"{remedy}.", code=code, fatal=fatal
        )
        self._notes.append(finding)


def _loaded(path: Path) -> Definition | DefinitionError:
    try:
        return _loader().load_definition(path)
    except DefinitionError as error:
        return error


def _loader() -> _Loader:
    """Return vendors.loader, which brings a YAML parser and a schema validator along: 0.3 s of CPU.

    A worker pays for them when it starts, not when it is imported.
    """
    return cast("_Loader", importlib.import_module("vendors.loader"))
