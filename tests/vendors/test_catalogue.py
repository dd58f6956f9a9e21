"""The catalogue: every definition that we ship is sound, documented and complete; a broken file harms only itself."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vendors import catalogue as catalogue_module
from vendors.catalogue import BUILT_IN, EXAMPLES, Catalogue
from vendors.connector import open_connector
from vendors.consent import offers_consent
from vendors.credentials_schema import prepare
from vendors.definition import Definition
from vendors.errors import DefinitionError, UnknownVendorError
from vendors.loader import check_definition, load_definition

FILES = sorted([*BUILT_IN.glob("*.yaml"), *EXAMPLES.glob("*.yaml")])
DEMO = """\
vendor: {vendor}
title: {title}
base_url: https://api.demo.example
auth: {{type: none}}
check: {{path: /me}}
data_types: {{users: {{request: {{path: /users}}, id: id}}}}
"""
LONGEST_LINES = 80


class NoTokens:
    """A keeper that holds nothing: opening a connector asks for nothing."""

    def load(self) -> Mapping[str, object] | None:
        return None

    def exclusive(self) -> object:
        raise AssertionError("nothing is sent, so no token is renewed")


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return Catalogue()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_definition_has_nothing_to_be_told(file: Path) -> None:
    assert check_definition(file) == ()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_definition_is_short_and_says_what_people_need(file: Path) -> None:
    definition = load_definition(file)
    assert len(file.read_text().splitlines()) <= LONGEST_LINES
    assert definition.title != definition.vendor
    assert definition.category
    assert definition.docs_url
    assert definition.check is not None
    properties = definition.credentials.get("properties")
    assert isinstance(properties, dict)
    assert all(words.get("title") for words in properties.values())
    assert any(words.get("description") for words in properties.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_connection_can_be_made_from_a_shipped_definition(file: Path) -> None:
    """With the values of its own examples: the base URL resolves, and the connector accepts every path and rule."""
    definition = load_definition(file)
    prepared = prepare(definition, _examples(definition.credentials, whole=True), _examples(definition.settings))
    connector = open_connector(
        definition,
        credentials=prepared.credentials,
        settings=prepared.settings,
        tokens=NoTokens(),  # type: ignore[arg-type]  # it refuses what is never asked
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert sorted(connector.data_types) == sorted(definition.data_types)


@pytest.mark.parametrize("vendor", ["jupyterhub", "canaille", "edge"])
def test_the_examples_reach_this_machine_alone(shipped: Catalogue, vendor: str) -> None:
    definition = shipped.get(vendor)
    assert str(definition.base_url.resolve({"settings": {"port": "18100"}})).startswith("http://127.0.0.1:18100")


def test_at_least_twelve_vendors_are_described(shipped: Catalogue) -> None:
    assert len(list(BUILT_IN.glob("*.yaml"))) >= 12
    assert {"github", "okta", "tenable", "crowdstrike", "jupyterhub"} <= set(shipped.vendors)
    assert shipped.problems == ()


def test_a_vendor_is_found_by_name_and_read_once(shipped: Catalogue) -> None:
    assert shipped.get("okta") is shipped.get("okta")
    assert shipped.get("okta").title == "Okta"
    assert "okta" in shipped
    assert "OKTA" not in shipped
    assert shipped.paths["okta"] == BUILT_IN / "okta.yaml"


@pytest.mark.parametrize(
    ("vendor", "sentence"),
    [
        ("otka", "no definition of a vendor named 'otka', did you mean 'okta'?"),
        ("OKTA", "no definition of a vendor named 'OKTA', did you mean 'okta'?"),
        ("../okta", "no definition of a vendor named '../okta', did you mean 'okta'?"),
        ("zzz", "no definition of a vendor named 'zzz'; known: demo, okta"),
    ],
)
def test_an_unknown_vendor_is_told_with_what_was_meant(tmp_path: Path, vendor: str, sentence: str) -> None:
    for name in ("demo", "okta"):
        (tmp_path / f"{name}.yaml").write_text(DEMO.format(vendor=name, title=name))
    with pytest.raises(UnknownVendorError) as caught:
        Catalogue([tmp_path]).get(vendor)
    assert str(caught.value) == sentence


def test_the_operators_definition_wins_and_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "okta.yaml").write_text(DEMO.format(vendor="okta", title="Ours"))
    (tmp_path / "demo.yaml").write_text(DEMO.format(vendor="demo", title="Demo"))
    both = Catalogue.with_operators_folder(tmp_path)
    assert both.get("okta").title == "Ours"
    assert both.get("demo").title == "Demo"
    assert both.get("github").title == "GitHub"
    (note,) = both.notes
    assert (note.code, note.fatal) == ("replaces", False)
    assert note.problem == f"stands in the place of {BUILT_IN / 'okta.yaml'}"


def test_no_folder_of_the_operators_is_no_problem() -> None:
    assert Catalogue.with_operators_folder(None).vendors == Catalogue().vendors


def test_a_broken_file_harms_only_itself(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("vendor: bad\nauth: {type: none}\n")
    (tmp_path / "demo.yaml").write_text(DEMO.format(vendor="demo", title="Demo"))
    mixed = Catalogue([tmp_path])
    assert mixed.vendors == ("bad", "demo")
    assert mixed.get("demo").title == "Demo"
    for _ in range(2):
        with pytest.raises(DefinitionError, match="`base_url` is missing"):
            mixed.get("bad")
    assert {Path(problem.file).name for problem in mixed.problems} == {"bad.yaml"}
    (tmp_path / "bad.yaml").write_text(DEMO.format(vendor="bad", title="Mended"))
    with pytest.raises(DefinitionError):  # a file is read once, also a broken one
        mixed.get("bad")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("demo.yml", "is not read: definitions end in .yaml"),
        ("Demo.yaml", "is not read: its name is no vendor's name"),
        ("de mo.yaml", "is not read: its name is no vendor's name"),
    ],
)
def test_a_file_whose_name_cannot_be_found_is_told(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / name).write_text(DEMO.format(vendor="demo", title="Demo"))
    index = Catalogue([tmp_path])
    assert index.vendors == ()
    assert [note.problem for note in index.notes] == [problem]


@pytest.mark.parametrize("name", [".hidden.yaml", "README.md", "demo.yaml~"])
def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("anything")
    (tmp_path / "folder.yaml").mkdir()
    index = Catalogue([tmp_path])
    assert (index.vendors, index.notes) == ((), ())


def test_a_folder_that_is_not_there_is_told_and_ours_stay(tmp_path: Path) -> None:
    index = Catalogue.with_operators_folder(tmp_path / "nowhere")
    assert "okta" in index
    (note,) = index.notes
    assert (note.fatal, note.problem) == (True, "cannot be read: No such file or directory")


def test_many_threads_read_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo.yaml").write_text(DEMO.format(vendor="demo", title="Demo"))
    index, found = Catalogue([tmp_path]), list[Definition]()
    loads, load = list[Path](), catalogue_module._loaded

    def counted(path: Path) -> Definition | DefinitionError:
        loads.append(path)
        return load(path)

    monkeypatch.setattr(catalogue_module, "_loaded", counted)
    threads = [threading.Thread(target=lambda: found.append(index.get("demo"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len({id(definition) for definition in found}) == 1
    assert len(loads) == 1


def test_importing_and_indexing_bring_no_parser_along() -> None:
    """A worker pays for YAML and JSON Schema when a run needs a definition, not when it is imported."""
    code = (
        "import sys; from vendors.catalogue import Catalogue; Catalogue().vendors; "
        "print(sorted({'ruamel', 'jsonschema'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"]},
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_way_of_a_shipped_definition_can_be_chosen(file: Path) -> None:
    """With an application of the operator's where a way asks for one."""
    definition = load_definition(file)
    part, _, name = definition.auth.by.partition(".")
    assert part in {"", "settings"}
    for way in definition.auth.options:
        settings = {**_examples(definition.settings), name: way}
        prepared = prepare(definition, _examples(definition.credentials, whole=True), settings)
        open_connector(
            definition,
            credentials=prepared.credentials,
            settings=prepared.settings,
            tokens=NoTokens(),  # type: ignore[arg-type]  # it refuses what is never asked
            now=datetime(2026, 1, 1, tzinfo=UTC),
            app={"client_id": "ours", "client_secret": "a secret"},
        )


@pytest.mark.parametrize("vendor", ["canaille", "gitlab", "hubspot", "ms_entra"])
def test_some_are_authorized_by_consent(shipped: Catalogue, vendor: str) -> None:
    assert offers_consent(shipped.get(vendor))


def _examples(schema: Mapping[str, object], *, whole: bool = False) -> dict[str, object]:
    """A value for each field that has to be given, or for all: its example, else a text that its pattern lets pass."""
    properties = schema.get("properties")
    required = schema.get("required", [])
    given: dict[str, object] = {}
    for name, words in properties.items() if isinstance(properties, dict) else ():
        examples = words.get("examples")
        if whole or (isinstance(required, list) and name in required):
            given[name] = examples[0] if examples else "0" * 32
    return given
