"""The guards that the mutants take out still stand where they are looked for."""

import importlib.util
from pathlib import Path

import pytest

from tests.faults import mutation_gate, soak_mutants
from tests.faults.mischief import FAULTS
from tests.faults.mutants.sitecustomize import MUTANTS


@pytest.mark.parametrize("name", MUTANTS)
def test_the_words_of_each_guard_are_still_there(name: str) -> None:
    for module, guard, instead in MUTANTS[name]:
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        assert guard in Path(spec.origin).read_text(encoding="utf-8")
        assert guard != instead


def test_every_drill_of_the_gate_has_its_mutant() -> None:
    assert mutation_gate.DRILLS.keys() <= MUTANTS.keys()


def test_every_mutant_has_the_faults_that_bring_it_out() -> None:
    assert soak_mutants.FAULTS_FOR.keys() == MUTANTS.keys()
    assert {kind for kinds in soak_mutants.FAULTS_FOR.values() for kind in kinds.split(",")} <= FAULTS.keys()
