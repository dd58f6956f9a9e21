"""A vendor's limit over several worker processes, with Redis lost in between."""

from models.vocabulary import RunState
from tests.faults.conftest import Drill, tell

LIMIT, WINDOW_S = 10, 2.0  # as definitions/metered.yaml has it


def test_a_vendor_never_sees_more_than_its_limit_from_all_workers_together(drill: Drill) -> None:
    drill.turnstile.pages = 3
    drill.worker(), drill.worker()
    accounts = {f"account-{n}": drill.connect(f"account-{n}", vendor="metered") for n in range(14)}
    drill.turnstile.wait_for("account-0")
    drill.redis.kill()
    drill.redis.start()
    for connection_id in accounts.values():
        assert drill.ended(connection_id, RunState.SUCCEEDED).run_seq == 1

    made = sorted(call.at for call in drill.turnstile.log if call.vendor == "metered")
    worst = max(sum(start <= at < start + WINDOW_S for at in made) for start in made)
    use = len(made) / (LIMIT * ((made[-1] - made[0]) / WINDOW_S + 1))
    tell(f"{len(made)} calls by two workers: {worst} of {LIMIT} in the worst window, {use:.0%} of the limit used")
    assert len(made) == 3 * len(accounts)
    assert worst <= LIMIT
