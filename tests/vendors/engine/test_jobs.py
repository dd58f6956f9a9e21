import gzip
import json
from typing import Any

import pytest

from tests.vendors.engine.fakes import BASE, Reply, define, read, read_until_error
from vendors.definition import Definition
from vendors.errors import (
    AnswerRefusedError,
    AnswerReportsError,
    JobFailedError,
    MalformedBodyError,
    UnexpectedShapeError,
    UnusableValueError,
)
from vendors.wire import Request

FILES = "https://files.example/export"
POLL: dict[str, Any] = {
    "path": "/exports/${job.id}",
    "every": "PT15S",
    "give_up_after": "PT2M",
    "status": "state",
    "done": ["READY"],
    "running": ["QUEUED", "WORKING"],
    "failed": ["ERROR"],
    "urls": "files.*.href",
}


def exporting(poll: dict[str, Any] | None = None, download: dict[str, Any] | None = None, **more: Any) -> Definition:
    job = {
        "create": {
            "method": "POST",
            "path": "/exports",
            "json": {"from": '${window.start | date("epoch_ms")}', "to": '${window.end | date("date")}'},
            "job_id": "export.id",
        },
        "poll": POLL if poll is None else poll,
        "download": {"auth": "none", "format": "jsonl", "compression": "gzip"} if download is None else download,
    }
    thing = {
        "job": job,
        "id": "id",
        "incremental": {"field": "at", "window": "P10D", "default_start": "2026-05-25"},
        **more,
    }
    return define({"things": thing})


def lines(*ids: int) -> bytes:
    rows = [json.dumps({"id": number, "at": "2026-05-26T00:00:00Z"}) for number in ids]
    return gzip.compress("\n".join(rows).encode())


class Exporter:
    """A vendor whose job goes through `states` and then gives `files`."""

    def __init__(self, states: list[Any], files: dict[str, Any]) -> None:
        self.states, self.files = states, files

    def __call__(self, request: Request) -> Any:
        if request.method == "POST":
            return {"export": {"id": "job/1"}}
        if request.url.startswith(BASE):
            state = self.states.pop(0)
            done = {"state": state, "files": [{"href": url} for url in self.files]}
            return done if isinstance(state, str) else state
        return Reply(body=self.files[request.url])


def test_a_job_is_made_asked_after_and_downloaded() -> None:
    files = {f"{FILES}/1": lines(1, 2), f"{FILES}/2": lines(3)}
    found = read(exporting(), Exporter(["QUEUED", "WORKING", "READY"], files))
    create, *polls, first, second = found.session.requests
    assert create.json == {"from": 1779667200000, "to": "2026-06-01"}
    assert create.idempotent is False
    assert {poll.url for poll in polls} == {f"{BASE}/exports/job%2F1"}
    assert found.session.slept == [15.0, 15.0]
    assert [first.url, second.url] == list(files)
    assert first.auth_headers == second.auth_headers == {}
    assert found.ids == ["1", "2", "3"]
    assert found.cursor is not None
    assert found.cursor["at"] == "2026-06-01T11:50:00+00:00"


def test_each_window_is_a_job_of_its_own() -> None:
    spec = {"field": "at", "window": "P5D", "default_start": "2026-05-25"}
    found = read(exporting(incremental=spec), Exporter(["READY", "READY"], {f"{FILES}/1": lines(1)}))
    assert [request.method for request in found.session.requests].count("POST") == 2


def test_a_job_that_breaks_in_the_middle_leaves_the_cursor() -> None:
    files = {f"{FILES}/1": lines(1), f"{FILES}/2": lines(2)[:-8]}
    found = read_until_error(exporting(), Exporter(["READY"], files))
    assert isinstance(found.error, MalformedBodyError)
    assert (found.ids, found.cursor) == (["1"], None)


def test_a_job_that_is_never_done_is_given_up() -> None:
    found = read_until_error(exporting(), Exporter(["QUEUED"] * 100, {}))
    assert isinstance(found.error, JobFailedError)
    assert "still QUEUED after 120 s" in str(found.error)
    assert sum(found.session.slept) <= 120


def test_a_job_that_the_vendor_ends_is_an_error() -> None:
    found = read_until_error(exporting(), Exporter(["WORKING", "ERROR"], {}))
    assert isinstance(found.error, JobFailedError)
    assert "ended the export as ERROR" in str(found.error)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        pytest.param("PAUSED", UnexpectedShapeError, id="a word that nobody named"),
        pytest.param({"files": []}, UnexpectedShapeError, id="no status"),
        pytest.param({"state": "READY"}, UnexpectedShapeError, id="no files"),
        pytest.param({"state": "READY", "files": [{"href": None}]}, UnexpectedShapeError, id="a file that is null"),
        pytest.param({"error": "denied"}, AnswerReportsError, id="an error with 200"),
        pytest.param(Reply(status=500), AnswerRefusedError, id="a refusal"),
    ],
)
def test_a_poll_that_is_not_as_promised(state: Any, error: type[Exception]) -> None:
    found = read_until_error(exporting(), Exporter([state], {}))
    assert type(found.error) is error


def test_a_job_without_an_id_is_an_error() -> None:
    with pytest.raises(UnexpectedShapeError, match=r"no job at export\.id"):
        read(exporting(), lambda _: {"export": {}})


def test_no_files_are_no_records() -> None:
    assert read(exporting(), Exporter([{"state": "READY", "files": []}], {})).ids == []


def test_credentials_do_not_follow_a_download_elsewhere() -> None:
    definition = exporting(download={"format": "jsonl", "compression": "gzip"})
    found = read_until_error(definition, Exporter(["READY"], {f"{FILES}/1": lines(1)}))
    assert isinstance(found.error, UnusableValueError)
    assert "auth: none" in str(found.error)
    assert all(request.url.startswith(BASE) for request in found.session.requests)


def test_a_download_at_home_takes_the_credentials() -> None:
    definition = exporting(download={"format": "jsonl", "compression": "gzip"})

    def vendor(request: Request) -> Any:
        if request.url == f"{BASE}/files/1":
            return Reply(body=lines(1))
        return Exporter([{"state": "READY", "files": [{"href": "/v1/files/1"}]}], {})(request)

    found = read(definition, vendor)
    assert found.ids == ["1"]
    assert found.session.requests[-1].auth_headers == {"Authorization": "Bearer t0ken"}


def test_a_download_by_a_request_of_its_own_in_parts() -> None:
    poll = {**POLL, "parts": "chunks", "failed_parts": "lost"}
    del poll["urls"]
    download = {"path": "/exports/${job.id}/chunks/${job.part}", "format": "json"}

    def vendor(request: Request) -> Any:
        if request.method == "POST":
            return {"export": {"id": 5}}
        if "/chunks/" in request.url:
            return [{"id": f"r{request.url[-1]}", "at": "2026-05-26T00:00:00Z"}]
        return {"state": "READY", "chunks": [1, 2], "lost": [3]}

    found = read(exporting(poll, download), vendor)
    assert found.ids == ["r1", "r2"]
    assert (found.skipped, found.cursor) == (1, None)


def test_a_file_that_a_rule_lets_pass_is_a_hole_and_the_others_are_read() -> None:
    rules = [{"status": [404], "body": {"path": "code", "eq": "GONE"}, "action": "empty"}]
    files = {f"{FILES}/1": b"", f"{FILES}/2": lines(2)}
    exporter = Exporter(["READY"], files)

    def vendor(request: Request) -> Any:
        return Reply(status=404, body={"code": "GONE"}) if request.url == f"{FILES}/1" else exporter(request)

    found = read(exporting(errors=rules), vendor)
    assert (found.ids, found.skipped, found.cursor) == (["2"], 1, None)


def test_a_plain_download_is_streamed_with_the_same_readers() -> None:
    thing = {"request": {"path": "/report"}, "id": "Id", "response": {"format": "csv"}}
    found = read(define({"things": thing}), lambda _: Reply(body=b"Id,Name\n1,a\n2,b\n"))
    assert found.payloads == [{"Id": "1", "Name": "a"}, {"Id": "2", "Name": "b"}]
    assert found.full_pass


def test_a_streamed_401_renews_nothing_for_a_fixed_key_and_stands() -> None:
    thing = {"request": {"path": "/report"}, "id": "Id", "response": {"format": "csv"}}
    found = read_until_error(define({"things": thing}), lambda _: Reply(status=401))
    assert isinstance(found.error, AnswerRefusedError)
    assert len(found.session.requests) == 1


def test_pages_of_xml_go_on_by_a_url_in_their_body() -> None:
    thing = {
        "request": {"path": "/hosts"},
        "id": "ID",
        "response": {"format": "xml", "xml_record": "HOST"},
        "pagination": {"type": "next_url", "token": {"from": "R.WARNING.URL"}},
    }
    replies = iter(
        [
            f"<R><HOST><ID>1</ID></HOST><WARNING><URL>{BASE}/hosts?p=2</URL></WARNING></R>",
            "<R><HOST><ID>2</ID></HOST></R>",
        ]
    )
    found = read(define({"things": thing}), lambda _: Reply(body=next(replies)))
    assert found.ids == ["1", "2"]


def test_pages_of_lines_go_on_by_a_number() -> None:
    thing = {
        "request": {"path": "/rows"},
        "id": "id",
        "response": {"format": "jsonl", "compression": "gzip"},
        "pagination": {"type": "page", "token": {"in": "query.page"}, "start": 1},
    }
    replies = iter([lines(1, 2), lines(3), b""])
    found = read(define({"things": thing}), lambda _: Reply(body=next(replies)))
    assert found.ids == ["1", "2", "3"]
