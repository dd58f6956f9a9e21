"""The hunt for secrets finds what it hunts for: else every `no secret got out` would prove nothing."""

import base64
import html
import json
import os
from collections.abc import Callable
from urllib.parse import quote

import pytest
import redis

from tests.system.leaks import Hunt, RedisTap, found_in
from tests.system.stack import Installation

SECRET = 's3cr3t/Value+with=signs & "quotes"'


@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(lambda text: text, id="as it is"),
        pytest.param(lambda text: quote(text, safe=""), id="in a URL"),
        pytest.param(lambda text: json.dumps({"message": text}), id="in JSON"),
        pytest.param(html.escape, id="in HTML"),
        pytest.param(lambda text: text.encode().hex(), id="as hexadecimal digits"),
        *(
            pytest.param(
                lambda text, before=before: base64.b64encode(f"{before}{text}:more".encode()).decode(),
                id=f"in base64 after {len(before)} bytes",
            )
            for before in ("", "a", "ab", "user:")
        ),
        pytest.param(lambda text: base64.urlsafe_b64encode(f"\xff{text}".encode()).decode(), id="in base64 for URLs"),
    ],
)
def test_a_secret_is_found_in_every_spelling(spell: Callable[[str], str]) -> None:
    content = f"before {spell(SECRET)} after".encode()

    assert [leak.secret for leak in found_in([("here", content)], [("token", SECRET)])]
    assert not list(found_in([("here", b"before *** after")], [("token", SECRET)]))


def test_a_secret_in_a_table_a_message_or_a_log_is_told_with_its_place(installation: Installation) -> None:
    token = "decoy-token-of-the-hunt"
    with RedisTap(installation.redis_url) as tap, redis.Redis.from_url(installation.redis_url) as broker:
        hunt = Hunt(database_url=installation.database_url, tap=tap, folder=installation.folder)
        hunt.add(token=token)
        installation.connect("plain", {"token": token}, {"port": "9"})
        broker.ping()
        assert hunt.leaks(is_quiet=True) == []  # in the vault, sealed, it may stand

        with installation.database.transaction() as db:
            db.execute(b"UPDATE connection SET identifier = %s", (token,))
        broker.rpush("queue", base64.b64encode(token.encode()))
        (installation.folder / "worker-1.log").write_text(f"GET /?key={token}{os.linesep}")

        assert {leak.place for leak in hunt.leaks(is_quiet=True)} == {"table connection", "Redis", "log worker-1.log"}
