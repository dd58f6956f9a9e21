"""A worker does not grow with the runs that it makes. The long form: long_run.py."""

import pytest

from tests.faults.conftest import tell
from tests.faults.long_run import Sample, measure, simulated_vendors, slopes
from tests.system.conftest import installation  # noqa: F401 - the fixture, without the audit's own growth
from tests.system.stack import ROOT, Installation

RUNS = 2500


@pytest.mark.soak
def test_some_thousand_runs_leave_no_file_thread_or_connection_behind(installation: Installation) -> None:  # noqa: F811
    worker = installation.start_worker(
        "--without-mingle", "--without-gossip", vendors_dir=ROOT / "simulator" / "definitions", log_level="INFO"
    )
    with simulated_vendors() as vendors:
        samples = measure(installation, worker, vendors, RUNS)
    settled = samples[2:]
    tell(f"{samples[1]}\n{samples[-1]}\n{slopes(samples)}")

    assert max(sample.files for sample in settled) <= samples[1].files + 12  # sockets of calls that were under way
    assert max(sample.threads for sample in settled) <= samples[1].threads + 2
    assert max(sample.connections for sample in settled) <= samples[1].connections + 10  # the pool's own bounds
    assert samples[-1].memory_mb - samples[2].memory_mb < 25


def test_the_slopes_see_what_grows() -> None:
    samples = [
        Sample(runs=n * 2000, memory_mb=100 + 2 * n, files=40 + 2 * n, threads=20 + n % 2, connections=9)
        for n in range(20)
    ]
    assert slopes(samples).rises == ["memory_mb", "files"]
    assert slopes(samples).memory_mb == 10.0


def test_the_slopes_do_not_take_what_fills_up_for_growth() -> None:
    samples = [
        Sample(runs=n * 1000, memory_mb=100 + min(n, 11), files=40, threads=20, connections=9) for n in range(30)
    ]
    assert slopes(samples).rises == []
