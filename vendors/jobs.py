"""Asynchronous exports: create a job, ask how it does, download what it made. Sends by `calls`, reads by `decoders`."""

import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urljoin

from classifier.vocabulary import Phase
from vendors.bodies import json_document, refuse_error_words, refuse_reported_error
from vendors.calls import Caller, Passed
from vendors.decoders import decode
from vendors.definition import Job, Records, RequestSpec, Response
from vendors.errors import JobFailedError, UnexpectedShapeError
from vendors.expressions import JOB_ROOTS, compile_value
from vendors.page import Skip
from vendors.paths import MISSING, compile_path
from vendors.records_shape import Row
from vendors.requests_made import Draft, RequestMaker, Scope
from vendors.wire import Answer, Policy, Session

_SHORTEST_SLEEP_S: Final = 1.0
_LONGEST_WORD: Final = 40


class JobReader:
    """Reads one data type's records by jobs."""

    def __init__(  # noqa: PLR0917 - a job touches every part of a definition
        self,
        job: Job,
        response: Response,
        records: Records,
        caller: Caller,
        policy: Policy | None,
        base_url: str,
    ) -> None:
        self._job, self._response, self._records, self._caller, self._policy = job, response, records, caller, policy
        self._create = RequestMaker(job.create, base_url=base_url)
        self._poll = RequestMaker(job.poll.request, base_url=base_url)
        # Where the poll gives URLs and the definition no request, a GET without anything else; its path is replaced.
        by_url = RequestSpec(path=compile_value("/", roots=JOB_ROOTS))
        self._download = RequestMaker(job.download or by_url, base_url=base_url)
        self._download_auth = job.download_auth and (job.download is None or job.download.auth)
        self._job_id = compile_path(job.job_id)
        self._status = compile_path(job.poll.status)
        self._urls = None if job.poll.urls is None else compile_path(job.poll.urls)
        self._parts = None if job.poll.parts is None else compile_path(job.poll.parts)
        self._failed_parts = None if job.poll.failed_parts is None else compile_path(job.poll.failed_parts)
        self.endpoint = self._create.endpoint

    def read(
        self, session: Session, scope: Scope, data_type: str | None, *, bound: Callable[[Draft], None], phase: Phase
    ) -> Iterator[list[Row] | Passed]:
        """Yield the records that one job exports, in batches, or what a rule lets pass in place of them.

        bound: puts the interval's ends into the request that creates the job. Raises VendorError.
        """
        draft = self._create.draft(scope)
        bound(draft)
        # A job whose creation is in doubt is not created again: the vendor counts them.
        request = draft.request(data_type=data_type, phase=phase, policy=self._policy, idempotent=False)
        created = self._caller.send(session, request, auth=self._job.create.auth)
        if isinstance(created, Passed):
            yield created
            return
        job: dict[str, object] = {"id": self._id_of(created)}
        polled = self._wait(session, {**scope, "job": job}, data_type, phase)
        if isinstance(polled, Passed):
            yield polled
            return
        answer, document = polled
        for part in self._parts_of(document):
            for url in self._urls_of(answer, document):
                given = {name: value for name, value in (("url", url), ("part", part)) if value is not None}
                yield from self._downloaded(session, {**scope, "job": {**job, **given}}, url, data_type, phase)
        lost = MISSING if self._failed_parts is None else self._failed_parts(document)
        if lost not in (MISSING, None) and lost:
            rule = f"{self._job.poll.failed_parts}: {len(lost) if isinstance(lost, list) else lost}"
            yield Passed(skip=Skip(endpoint=self._poll.endpoint, status=answer.status, rule=rule), ends_part=False)

    def _id_of(self, answer: Answer) -> object:
        document = json_document(answer, self.endpoint)
        refuse_reported_error(document, self.endpoint)
        found = self._job_id(document)
        if not isinstance(found, str | int) or isinstance(found, bool) or found == "":
            refuse_error_words(document, self.endpoint)
            raise UnexpectedShapeError(self.endpoint, f"the answer has no job at {self._job.job_id}")
        return found

    def _wait(
        self, session: Session, scope: Scope, data_type: str | None, phase: Phase
    ) -> tuple[Answer, object] | Passed:
        """Ask until the job is done. Raises JobFailedError where it failed, or is given up."""
        poll, endpoint = self._job.poll, self._poll.endpoint
        pause_s = max(poll.every_s, _SHORTEST_SLEEP_S)
        began, slept_s = time.monotonic(), 0.0
        while True:
            request = self._poll.draft(scope).request(data_type=data_type, phase=phase, policy=self._policy)
            answer = self._caller.send(session, request, auth=poll.request.auth)
            if isinstance(answer, Passed):
                return answer
            document = json_document(answer, endpoint)
            refuse_reported_error(document, endpoint)
            word = self._word(document)
            if word in poll.done:
                return answer, document
            if word in poll.failed:
                raise JobFailedError(endpoint, f"the vendor ended the export as {word}")
            if word not in poll.running:
                refuse_error_words(document, endpoint)
                known = ", ".join((*poll.done, *poll.running, *poll.failed))
                raise UnexpectedShapeError(endpoint, f"{poll.status} is {word[:_LONGEST_WORD]!r}, none of {known}")
            if max(slept_s, time.monotonic() - began) + pause_s > poll.give_up_after_s:
                raise JobFailedError(endpoint, f"the export is still {word} after {poll.give_up_after_s:.0f} s")
            session.sleep(pause_s)
            slept_s += pause_s

    def _word(self, document: object) -> str:
        found = self._status(document)
        if found is MISSING or isinstance(found, dict | list) or found is None:
            refuse_error_words(document, self._poll.endpoint)
            raise UnexpectedShapeError(self._poll.endpoint, f"the answer has no status at {self._job.poll.status}")
        return str(found).lower() if isinstance(found, bool) else str(found)

    def _urls_of(self, answer: Answer, document: object) -> list[str | None]:
        if self._urls is None:
            return [None]
        found = self._urls(document)
        urls = [found] if isinstance(found, str) else found
        if not isinstance(urls, list) or not all(isinstance(url, str) and url for url in urls):
            problem = f"the export is done, but {self._job.poll.urls} names nothing to download"
            raise UnexpectedShapeError(self._poll.endpoint, problem)
        return [urljoin(answer.url, url) for url in urls]

    def _parts_of(self, document: object) -> list[object]:
        """Return the names of the parts to download, or one None where the job is downloaded whole."""
        if self._parts is None:
            return [None]
        found = self._parts(document)
        if not isinstance(found, list) or not all(isinstance(part, str | int) for part in found):
            raise UnexpectedShapeError(self._poll.endpoint, f"{self._job.poll.parts} is no list of parts")
        return list(found)

    def _downloaded(
        self, session: Session, scope: Scope, url: str | None, data_type: str | None, phase: Phase
    ) -> Iterator[list[Row] | Passed]:
        draft = self._download.draft(scope)
        if url is not None and self._job.download is None:
            draft.go_to(url)
            draft.endpoint = "GET (download)"
        draft.headers["Accept"] = "*/*"
        request = draft.request(data_type=data_type, phase=phase, policy=self._policy)
        with self._caller.stream(session, request, auth=self._download_auth) as streamed:
            if isinstance(streamed, Passed):
                yield streamed
                return
            yield from decode(streamed.chunks(), self._response, self._records, draft.endpoint)
