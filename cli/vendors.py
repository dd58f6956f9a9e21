"""`connection-health vendors`: what can be connected, and definitions of your own."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from cli import output
from cli.door import offline_station
from cli.errors import NotThereError, RefusedError
from cli.exits import Exit
from cli.output import Fact, Json
from vendors.credentials_schema import input_schema
from vendors.definition import DataType, Definition
from vendors.errors import DefinitionError, Finding
from vendors.loader import check_definition

app = typer.Typer(no_args_is_help=True, help="The vendors that can be connected.", rich_markup_mode=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One vendor in the list. broken: its file cannot be used."""

    name: str
    definition: Definition | None
    broken: str | None = None


@app.command("list")
def list_all(
    ctx: typer.Context,
    *,
    category: Annotated[str | None, typer.Option(help="Only those of this category (`IDP`).")] = None,
    as_json: Json = False,
) -> None:
    """List the vendors of the catalogue and of your own folder."""
    catalogue = offline_station(ctx).catalogue
    found = []
    for name in catalogue.vendors:
        try:
            definition = catalogue.get(name)
        except DefinitionError as error:
            found.append(Listed(name=name, definition=None, broken=str(error.findings[0])))
            continue
        if category is None or definition.category.lower() == category.lower():
            found.append(Listed(name=name, definition=definition))
    if as_json:
        output.print_json({"items": [_listed_document(each) for each in found]})
    else:
        rows = [_row(each) for each in found]
        output.print_rows(("VENDOR", "TITLE", "CATEGORY", "AUTH", "DATA TYPES"), rows, empty="No vendors that fit.")
    broken = [each for each in found if each.broken]
    for each in broken:
        output.note(f"Error: {each.name} cannot be used: {each.broken}")
    if broken:
        raise typer.Exit(Exit.OURS)


@app.command("show")
def show(
    ctx: typer.Context,
    vendor: Annotated[str, typer.Argument(help="Its name.")],
    *,
    as_json: Json = False,
) -> None:
    """Show what a vendor's connection needs and what is read from it."""
    definition = offline_station(ctx).catalogue.get(vendor)
    if as_json:
        output.print_json(_definition_document(definition))
        return
    output.print_facts(
        [
            Fact("vendor", definition.vendor),
            Fact("title", definition.title),
            Fact("category", definition.category),
            Fact("documentation", definition.docs_url),
            Fact("auth", str(definition.auth.type)),
            Fact("dialect", definition.dialect),
            Fact("file", definition.file),
        ]
    )
    for head, schema in (("Credentials", definition.credentials), ("Settings", definition.settings)):
        rows = _fields(schema)
        if rows:
            output.print_head(head)
            output.print_rows(("NAME", "", "FORM", "WHAT"), rows, empty="")
    output.print_head("Data types")
    types: list[list[output.Cell]] = [
        [name, _endpoint(each), str(each.pagination.type), _how(each), ", ".join(each.scopes)]
        for name, each in definition.data_types.items()
    ]
    output.print_rows(("NAME", "ENDPOINT", "PAGES", "READS", "SCOPES"), types, empty="none")


@app.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(help="Definitions, or folders of them.", metavar="FILE...")],
    *,
    as_json: Json = False,
) -> None:
    """Check definitions: every fault with its line and what to write instead. Exit code 4 where one cannot be used."""
    paths = [path for given in files for path in _definitions(given)]
    found = [finding for path in paths for finding in check_definition(path)]
    fatal = sum(finding.fatal for finding in found)
    if as_json:
        output.print_json(
            {"ok": not fatal, "files": [str(path) for path in paths], "findings": list(map(_finding, found))}
        )
    else:
        for finding in found:
            output.print_line(f"{'error' if finding.fatal else 'warning'}: {finding}")
        if not found:
            output.print_line(f"{len(paths)} checked, nothing to say." if len(paths) > 1 else f"{paths[0]} is fine.")
    if fatal:
        raise RefusedError(f"{fatal} faults in {len(paths)} files; a definition with a fault is not used")


def _definitions(given: Path) -> list[Path]:
    if given.is_dir():
        inside = sorted(given.glob("*.yaml"))
        if not inside:
            raise NotThereError(f"{given} holds no *.yaml file")
        return inside
    if not given.exists():
        near = difflib.get_close_matches(given.name, [each.name for each in given.parent.glob("*.yaml")], n=1)
        meant = f". Did you mean {given.parent / near[0]}?" if near else ""
        raise NotThereError(f"no file {given}{meant}")
    return [given]


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "file": finding.file,
        "line": finding.line,
        "path": finding.path,
        "problem": finding.problem,
        "remedy": finding.remedy,
        "code": finding.code,
        "fatal": finding.fatal,
    }


def _row(each: Listed) -> list[output.Cell]:
    definition = each.definition
    if definition is None:
        return [each.name, Text("broken", style="red"), "", "", ""]
    types = ", ".join(definition.data_types)
    return [each.name, definition.title, definition.category, str(definition.auth.type), types]


def _listed_document(each: Listed) -> dict[str, object]:
    definition = each.definition
    if definition is None:
        return {"vendor": each.name, "broken": each.broken}
    return {
        "vendor": each.name,
        "vendor_name": definition.title,
        "category": definition.category,
        "auth": definition.auth.type,
        "data_types": list(definition.data_types),
    }


def _definition_document(definition: Definition) -> dict[str, object]:
    return {
        "vendor": definition.vendor,
        "vendor_name": definition.title,
        "category": definition.category,
        "docs_url": definition.docs_url,
        "auth": definition.auth.type,
        "dialect": definition.dialect,
        "schema": input_schema(definition),
        "data_types": [
            {
                "name": name,
                "endpoint": _endpoint(each),
                "pagination": each.pagination.type,
                "incremental": each.incremental is not None,
                "parents": [parent.data_type for parent in each.parents],
                "scopes": list(each.scopes),
            }
            for name, each in definition.data_types.items()
        ],
        "file": definition.file,
    }


def _fields(schema: Mapping[str, Any]) -> list[list[output.Cell]]:
    required = schema.get("required") or ()
    rows: list[list[output.Cell]] = []
    for name, rule in (schema.get("properties") or {}).items():
        marks = [word for word, holds in (("secret", rule.get("secret")), ("optional", name not in required)) if holds]
        form = str(rule.get("type", "string"))
        if rule.get("enum"):
            form = " | ".join(map(str, rule["enum"]))
        if rule.get("prefix") or rule.get("suffix"):
            form = f"{rule.get('prefix', '')}…{rule.get('suffix', '')}"
        if "default" in rule:
            form = f"{form} = {rule['default']}"
        what = ". ".join(str(rule[key]).rstrip(".") for key in ("title", "description") if rule.get(key))
        rows.append([name, ", ".join(marks), form, what])
    return rows


def _endpoint(data_type: DataType) -> str:
    request = data_type.request or (data_type.job.create if data_type.job is not None else None)
    if request is None:
        return data_type.component or ""
    return f"{request.method} {request.path.raw}"


def _how(data_type: DataType) -> str:
    words = []
    if data_type.job is not None:
        words.append("by export job")
    if data_type.incremental is not None:
        words.append("what changed")
    if data_type.parents:
        words.append(f"for each of {', '.join(parent.data_type for parent in data_type.parents)}")
    return ", ".join(words) or "everything"
