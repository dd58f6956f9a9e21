"""What is installed holds what a checkout holds."""

import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: Final[list[str]] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The distribution, built from the checkout as it is."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as built:
        yield built


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_installed_with_all_its_files(package: str, wheel: zipfile.ZipFile) -> None:
    files = {path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix != ".pyc"}
    missing = {path.relative_to(ROOT).as_posix() for path in files} - set(wheel.namelist())
    assert not missing


@pytest.mark.parametrize(
    "data",
    ["models/migrations/", "vendors/catalogue/", "vendors/dialects/", "vendors/schema/", "simulator/definitions/"],
)
def test_data_that_the_programs_read_are_installed(data: str, wheel: zipfile.ZipFile) -> None:
    assert any(name.startswith(data) for name in wheel.namelist())


def test_the_image_is_built_from_every_package() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for package in PACKAGES:
        assert f"\nCOPY {package} {package}\n" in dockerfile
        assert f"!{package}" in ignored


def test_what_pip_is_told_is_what_is_pinned() -> None:
    """Names in pyproject.toml and in requirements/ are the same."""
    run = _names((ROOT / "requirements" / "run.in").read_text(encoding="utf-8").splitlines())
    attempt = _names((ROOT / "requirements" / "try.in").read_text(encoding="utf-8").splitlines())
    assert _names(PROJECT["project"]["dependencies"]) == run
    assert _names(PROJECT["project"]["optional-dependencies"]["embedded"]) == attempt


def _names(requirements: list[str]) -> set[str]:
    lines = (line.split(";")[0].split(">=")[0].strip() for line in requirements)
    return {line for line in lines if line and not line.startswith(("#", "-"))}
