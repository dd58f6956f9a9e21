"""The one door: what parsed JSON, or a tree of XML, tells of a failure. Never raises; rows of data are never read."""

from collections.abc import Mapping

from classifier.members import Collector, Role, Said, role_of
from classifier.replies.alone import is_error_alone
from classifier.replies.data import is_data
from classifier.replies.lists import complaint_of, error_alone, grave_messages, lone_error, unlisted
from classifier.replies.shapes import failing_part
from classifier.replies.weighing import said_by, weighed


def failure_in_list(entries: list[object]) -> Said | None:
    """Return what a list says that is an error and nothing else, None where it is rows or holds none."""
    complaint = complaint_of(entries)
    if complaint is None:
        return error_alone(entries)
    said = Said()
    Collector(said).into(complaint)
    return said


def failure_in(document: Mapping[str, object], *, lacks_records: bool = False) -> Said | None:
    """Return what an object says where it tells of a failure, None where it does not.

    Its shape is asked first, then its members are weighed. lacks_records: the caller knows that records should be there
    and are not, so that less proof is needed.
    """
    document = unlisted(document)
    is_alone = is_error_alone(document)
    if is_data(document) and not is_alone:
        return lone_error(document) or grave_messages(document)
    part = failing_part(document) or (document if is_alone else None)
    if part is None:
        return weighed(document, lacks_records=lacks_records) or grave_messages(document)
    said = Said()
    Collector(said).into(part)
    if not (said.texts or said.codes):
        Collector(said).into(document)
    if not said.texts:
        _take_fields(said, document.get("data"))
    if not said.texts:
        more = said_by(document)
        said.codes.extend(more.codes)
        said.texts.extend(more.texts)
        said.inner_status = said.inner_status or more.inner_status
    return said


def _take_fields(said: Said, data: object) -> None:
    """Take the sentences that stand by the fields they are about, where data should be (JSend's `fail`)."""
    if isinstance(data, dict) and 0 < len(data) <= 5 and all(isinstance(value, str) for value in data.values()):
        Collector(said).into({name: value for name, value in data.items() if role_of(name) is Role.CODE})
        said.texts.extend(str(value)[:300] for value in data.values())
