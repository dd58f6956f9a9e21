"""From the bytes of a download or a page to records, piece by piece: gzip, zip; JSON, JSON lines, CSV, XML.

Nothing here grows with the size of what is read: one record, one piece and one batch are held at a time. What unpacks
to more than is reasonable, declares entities, or nests without end is refused as malformed.
"""

import codecs
import csv
import io
import itertools
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final
from xml.parsers import expat

import orjson

from vendors.bodies import is_html, parse_json, refuse_reported_error
from vendors.definition import Records, Response, ShapeKind
from vendors.errors import MalformedBodyError, UnexpectedShapeError
from vendors.paths import compile_path
from vendors.policy import compile_conditions
from vendors.records_shape import Row, compile_rows

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Chunks = Iterator[bytes]

BATCH: Final = 1000
"""Records that are handed on at a time."""

_PIECE_BYTES: Final = 262_144
_GZIP_MAGIC: Final = b"\x1f\x8b"
_PLAIN_PATH: Final = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")
_STARTS_OF_VALUES: Final = '{["-0123456789tfn'
_SPOOL_BYTES: Final = 8_388_608
_MOST_ZIP_MEMBERS: Final = 10_000
_DEEPEST_XML: Final = 200

csv.field_size_limit(
    16 * 2**20
)  # for the process, as csv knows no other way; a report's text may be longer than 128 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackLimits:
    """What unpacking may come to. ratio counts beyond `free_bytes` only: small files may shrink as they like."""

    most_bytes: int = 8 * 2**30
    ratio: int = 200
    free_bytes: int = 32 * 2**20
    record_bytes: int = 16 * 2**20


LIMITS: Final = UnpackLimits()


def decode(
    chunks: Chunks, response: Response, records: Records, endpoint: str, *, limits: UnpackLimits = LIMITS
) -> Iterator[list[Row]]:
    """Yield records in batches of at most BATCH.

    chunks: the body, decoded from its content encoding. Raises MalformedBodyError, UnexpectedShapeError and
    AnswerReportsError, and what `chunks` raises.
    """
    for unpacked in unpack(chunks, response.compression, endpoint, limits=limits):
        yield from _decode_one(unpacked, response, records, endpoint, limits)


def unpack(chunks: Chunks, compression: str, endpoint: str, *, limits: UnpackLimits = LIMITS) -> Iterator[Chunks]:
    """Yield each file that a body holds, as pieces. Read one before asking for the next."""
    if compression == "gzip":
        yield _gunzip(chunks, endpoint, limits)
    elif compression == "zip":
        yield from _unzip(chunks, endpoint, limits)
    else:
        yield chunks


class _Gauge:
    """Counts what goes in and what comes out of an unpacker."""

    def __init__(self, endpoint: str, limits: UnpackLimits) -> None:
        self._endpoint, self._limits = endpoint, limits
        self.taken = 0
        self._given = 0

    def give(self, piece: bytes) -> bytes:
        self._given += len(piece)
        if self._given > self._limits.most_bytes:
            raise MalformedBodyError(self._endpoint, f"unpacks to more than {self._limits.most_bytes} bytes")
        if self._given > self._limits.free_bytes and self._given > self.taken * self._limits.ratio:
            raise MalformedBodyError(self._endpoint, f"unpacks to more than {self._limits.ratio} times its size")
        return piece


def _gunzip(chunks: Chunks, endpoint: str, limits: UnpackLimits) -> Chunks:
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(_GZIP_MAGIC):
            break
    whole = itertools.chain((head,), chunks)
    # What was unpacked on the way already, as by a Content-Encoding beside the file's own name, passes as it is. What
    # is neither gzip nor text is refused by whoever reads the records.
    return _inflated(whole, _Gauge(endpoint, limits), endpoint) if head.startswith(_GZIP_MAGIC) else whole


def _inflated(chunks: Chunks, gauge: _Gauge, endpoint: str) -> Chunks:
    unpacker = zlib.decompressobj(wbits=31)
    for chunk in chunks:
        data = chunk
        while data:
            if unpacker.eof:  # a file may be several that were written one after the other, with zeros at its end
                data = data.lstrip(b"\0")
                unpacker = zlib.decompressobj(wbits=31) if data else unpacker
                continue
            before = len(data)
            try:
                piece = unpacker.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise MalformedBodyError(endpoint, "the gzip data is broken") from error
            data = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            gauge.taken += before - len(data)
            if piece:
                yield gauge.give(piece)
    if not unpacker.eof:
        raise MalformedBodyError(endpoint, "the gzip data ends in the middle")


def _unzip(chunks: Chunks, endpoint: str, limits: UnpackLimits) -> Iterator[Chunks]:
    gauge = _Gauge(endpoint, limits)
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
        for chunk in chunks:
            spool.write(chunk)
        try:
            archive = zipfile.ZipFile(spool)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise MalformedBodyError(endpoint, "is no zip archive") from error
        with archive:
            members = [member for member in archive.infolist() if _is_content(member)]
            if len(members) > _MOST_ZIP_MEMBERS:
                raise MalformedBodyError(endpoint, f"a zip archive of more than {_MOST_ZIP_MEMBERS} files")
            for member in members:
                if member.flag_bits & 1:
                    raise MalformedBodyError(endpoint, "the zip archive asks for a password")
                gauge.taken += member.compress_size
                yield _zip_member(archive, member, gauge, endpoint)


def _is_content(member: zipfile.ZipInfo) -> bool:
    return not member.is_dir() and not member.filename.startswith("__MACOSX/")


def _zip_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, gauge: _Gauge, endpoint: str) -> Chunks:
    try:
        with archive.open(member) as opened:
            while piece := opened.read(_PIECE_BYTES):
                yield gauge.give(piece)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise MalformedBodyError(endpoint, "a file in the zip archive is broken") from error


# ---- formats


def _decode_one(
    chunks: Chunks, response: Response, records: Records, endpoint: str, limits: UnpackLimits
) -> Iterator[list[Row]]:
    if response.format == "json":
        yield from _json_batches(chunks, records, endpoint, limits)
        return
    rows = _READERS[response.format](chunks, response, records, endpoint, limits)
    yield from _batches(rows, records)


def _batches(rows: Iterator[Row], records: Records) -> Iterator[list[Row]]:
    test = compile_conditions(records.filter)
    batch: list[Row] = []
    for row in rows:
        if test is None or test(row):
            batch.append(row)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _json_batches(chunks: Chunks, records: Records, endpoint: str, limits: UnpackLimits) -> Iterator[list[Row]]:
    """Stream a list at a plain path; any other shape is read whole, within the session's limit on size."""
    is_plain = not records.path or _PLAIN_PATH.fullmatch(records.path) is not None
    if records.shape is ShapeKind.LIST and is_plain and not records.optional:
        names = tuple(records.path.split(".")) if records.path else ()
        yield from _batches(_JsonList(chunks, names, endpoint, limits).rows(), records)
        return
    body = b"".join(chunks)
    document = parse_json(body, endpoint)
    refuse_reported_error(document, endpoint, but=records.path.partition(".")[0])
    rows = compile_rows(records, endpoint)(document).rows
    for at in range(0, len(rows), BATCH):
        yield rows[at : at + BATCH]


class _JsonList:
    """Reads the records of one list in a document, value by value, with the standard library's scanner."""

    def __init__(self, chunks: Chunks, names: tuple[str, ...], endpoint: str, limits: UnpackLimits) -> None:
        self._chunks, self._names, self._endpoint, self._limits = chunks, names, endpoint, limits
        self._text = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder(parse_constant=self._refuse_constant).raw_decode
        self._held, self._at = "", 0
        self._has_ended = False

    def rows(self) -> Iterator[Row]:
        self._descend()
        index = 0
        if self._peek() == "]":
            self._take("]")
            self._finish()
            return
        while True:
            value = self._value()
            index += 1
            if not isinstance(value, dict):
                raise UnexpectedShapeError(self._endpoint, f"record {index} of the list is no object")
            yield value
            if self._take(",]") == "]":
                break
        self._finish()

    def _descend(self) -> None:
        """Go to the list: into the objects on the way, past all that stands before it."""
        for depth, name in enumerate(self._names):
            where = ".".join(self._names[: depth + 1])
            if self._peek() != "{":
                raise self._other_shape(f"{where} is missing: there is no object around it")
            self._take("{")
            passed: dict[object, object] = {}
            while True:
                if self._peek() == "}":
                    refuse_reported_error(passed, self._endpoint)
                    raise UnexpectedShapeError(self._endpoint, f"{where}, where the records should be, is missing")
                key = self._value()
                self._take(":")
                if key == name:
                    break
                value = self._value()
                if depth == 0 and isinstance(key, str):
                    passed[key] = value
                if self._peek() == ",":
                    self._take(",")
            if depth == 0:
                refuse_reported_error(passed, self._endpoint, but=name)
        if self._peek() != "[":
            where = ".".join(self._names) or "the whole answer"
            raise self._other_shape(f"{where} is no list")
        self._take("[")

    def _finish(self) -> None:
        """Read on to the end, so that a body that was cut off does not pass for a whole one."""
        for _ in self._names:
            passed: dict[object, object] = {}
            while self._peek() == ",":
                self._take(",")
                key = self._value()
                self._take(":")
                passed[key if isinstance(key, str) else ""] = self._value()
            self._take("}")
            refuse_reported_error(passed, self._endpoint)
        self._skip_blanks()
        if self._at < len(self._held):
            raise MalformedBodyError(self._endpoint, "the body is not JSON: more follows after its end")

    def _value(self) -> object:
        while True:
            self._skip_blanks()
            try:
                value, end = self._scan(self._held, self._at)
            except (ValueError, StopIteration, RecursionError) as error:
                if isinstance(error, RecursionError) or not self._more():
                    raise self._malformed() from error
                continue
            if end == len(self._held) and not isinstance(value, dict | list | str) and self._more():
                continue  # a number may go on in the next piece
            # The scanner found where the value ends; what it means is for the parser that reads all other bodies.
            written, self._at = self._held[self._at : end], end
            return parse_json(written.encode(), self._endpoint)

    def _peek(self) -> str:
        self._skip_blanks()
        if self._at >= len(self._held):
            raise self._malformed()
        return self._held[self._at]

    def _take(self, wanted: str) -> str:
        found = self._peek()
        if found not in wanted:
            raise self._malformed()
        self._at += 1
        return found

    def _skip_blanks(self) -> None:
        while True:
            while self._at < len(self._held) and self._held[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._held) or not self._more():
                return

    def _more(self) -> bool:
        """Hold more text. Pieces grow with what is held, so that a long record is not scanned too often."""
        if self._has_ended:
            return False
        rest = self._held[self._at :]
        if len(rest) > self._limits.record_bytes:
            raise MalformedBodyError(self._endpoint, f"a value of more than {self._limits.record_bytes} bytes")
        wanted = max(len(rest), 65_536)
        pieces, length = [rest], 0
        try:
            while length < wanted:
                chunk = next(self._chunks, None)
                if chunk is None:
                    self._has_ended = True
                    pieces.append(self._text.decode(b"", final=True))
                    break
                pieces.append(self._text.decode(chunk))
                length += len(pieces[-1])
        except UnicodeDecodeError as error:
            raise MalformedBodyError(self._endpoint, "the body is not UTF-8") from error
        self._held, self._at = "".join(pieces), 0
        return len(self._held) > len(rest)

    def _other_shape(self, problem: str) -> UnexpectedShapeError | MalformedBodyError:
        """Return an error for another value than the one that should be here, or for what is no value at all."""
        if self._peek() in _STARTS_OF_VALUES:
            return UnexpectedShapeError(self._endpoint, problem)
        return self._malformed()

    def _malformed(self) -> MalformedBodyError:
        if is_html(self._held.encode("utf-8", "replace")[:512]):
            return MalformedBodyError(self._endpoint, "a page in HTML where JSON was promised")
        problem = (
            "the body is not JSON, or ends in the middle" if self._held else "an empty body where JSON was promised"
        )
        return MalformedBodyError(self._endpoint, problem)

    def _refuse_constant(self, name: str) -> object:
        raise MalformedBodyError(self._endpoint, f"the body is not JSON: {name} is no number")


def _json_lines(chunks: Chunks, _: Response, records: Records, endpoint: str, limits: UnpackLimits) -> Iterator[Row]:
    get = compile_path(records.path)
    for number, line in enumerate(_lines(chunks, endpoint, limits), 1):
        text = line.strip()
        if not text:
            continue
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            if number == 1 and text.startswith(codecs.BOM_UTF8):
                value = parse_json(text, endpoint)
            else:
                what = "a page in HTML" if is_html(text) else "no JSON"
                raise MalformedBodyError(endpoint, f"line {number} is {what}") from error
        row = get(value) if records.path else value
        for found in row if isinstance(row, list) and records.path else [row]:
            if not isinstance(found, dict):
                raise UnexpectedShapeError(endpoint, f"line {number} holds no record")
            yield found


def _lines(chunks: Chunks, endpoint: str, limits: UnpackLimits) -> Iterator[bytes]:
    rest: list[bytes] = []
    length = 0
    for chunk in chunks:
        first, *more = chunk.split(b"\n")
        rest.append(first)
        length += len(first)
        if length > limits.record_bytes:
            raise MalformedBodyError(endpoint, f"a line of more than {limits.record_bytes} bytes")
        if more:
            yield b"".join(rest)
            yield from more[:-1]
            rest, length = [more[-1]], len(more[-1])
    yield b"".join(rest)


def _csv_rows(chunks: Chunks, response: Response, _: Records, endpoint: str, limits: UnpackLimits) -> Iterator[Row]:
    text = io.TextIOWrapper(io.BufferedReader(_Raw(chunks)), encoding="utf-8-sig", newline="")
    reader = csv.reader(_csv_lines(text, endpoint, limits), delimiter=response.csv_delimiter, strict=True)
    columns: list[str] | None = None
    try:
        for values in reader:
            if not values:
                continue
            if columns is None:
                columns = [name.strip() for name in values]
                if is_html(columns[0].encode("utf-8", "replace")):
                    raise MalformedBodyError(endpoint, "a page in HTML where CSV was promised")
                if len(set(columns)) != len(columns):
                    raise UnexpectedShapeError(endpoint, "two columns have the same name")
                continue
            if len(values) != len(columns):
                problem = f"line {reader.line_num} has {len(values)} values where there are {len(columns)} columns"
                raise MalformedBodyError(endpoint, problem)
            yield dict(zip(columns, values, strict=True))
    except csv.Error as error:
        raise MalformedBodyError(endpoint, f"line {reader.line_num} is not CSV") from error
    except UnicodeDecodeError as error:
        raise MalformedBodyError(endpoint, "the body is not UTF-8") from error


def _csv_lines(text: IO[str], endpoint: str, limits: UnpackLimits) -> Iterator[str]:
    while line := text.readline(limits.record_bytes):
        if len(line) >= limits.record_bytes:
            raise MalformedBodyError(endpoint, f"a line of more than {limits.record_bytes} characters")
        yield line


class _Raw(io.RawIOBase):
    """Pieces as a file that can be read."""

    def __init__(self, chunks: Chunks) -> None:
        super().__init__()
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        with memoryview(buffer) as view:
            if not self._rest:
                self._rest = next((chunk for chunk in self._chunks if chunk), b"")
            piece, self._rest = self._rest[: len(view)], self._rest[len(view) :]
            view[: len(piece)] = piece
            return len(piece)


def _xml_rows(
    chunks: Chunks, response: Response, records: Records, endpoint: str, limits: UnpackLimits
) -> Iterator[Row]:
    tag = response.xml_record or records.path.rpartition(".")[2]
    reader = _XmlReader(tag, endpoint)
    for chunk in chunks:
        for at in range(0, len(chunk), _PIECE_BYTES):
            yield from reader.feed(chunk[at : at + _PIECE_BYTES])
            if reader.held > limits.record_bytes:
                raise MalformedBodyError(endpoint, f"a record of more than {limits.record_bytes} characters")
    yield from reader.close()


def xml_document(body: bytes, endpoint: str) -> dict[str, object]:
    """Return a whole XML body as `{root: …}`, for pages that name the next one in their body.

    An element of text alone is its text; else an object: children by tag (a list where a tag comes more than once),
    attributes as `@name`, its own text as `#text`. Prefixes of names are cut off.
    """
    reader = _XmlReader(None, endpoint)
    found = [*reader.feed(body), *reader.close()]
    return found[0]


@dataclass(slots=True)
class _Element:
    tag: str
    members: dict[str, object]
    text: list[str]

    def value(self) -> object:
        text = "".join(self.text).strip()
        if not self.members:
            return text
        if text:
            self.members["#text"] = text
        return self.members

    def add(self, tag: str, value: object) -> None:
        if tag not in self.members:
            self.members[tag] = value
            return
        held = self.members[tag]
        if isinstance(held, list):
            held.append(value)
        else:
            self.members[tag] = [held, value]


class _XmlReader:
    """Builds the elements of one tag as they end (or the root, where there is none). Refuses entities, inner DTDs."""

    def __init__(self, tag: str | None, endpoint: str) -> None:
        self._tag, self._endpoint = tag, endpoint
        self._open: list[_Element] = []
        self._depth = 0
        self._done: list[Row] = []
        self.held = 0
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        # A DOCTYPE that only names a DTD elsewhere is common and harmless, for nothing is ever fetched.
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._refuse_entity
        parser.SkippedEntityHandler = self._refuse_entity
        parser.ExternalEntityRefHandler = self._refuse_entity
        self._parser = parser

    def feed(self, data: bytes) -> list[Row]:
        return self._parse(data, is_final=False)

    def close(self) -> list[Row]:
        return self._parse(b"", is_final=True)

    def _parse(self, data: bytes, *, is_final: bool) -> list[Row]:
        try:
            self._parser.Parse(data, is_final)
        except expat.ExpatError as error:
            problem = f"the body is not XML: {expat.ErrorString(error.code)}, line {error.lineno}"
            raise MalformedBodyError(self._endpoint, problem) from error
        done, self._done = self._done, []
        return done

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST_XML:
            raise MalformedBodyError(self._endpoint, f"XML nested deeper than {_DEEPEST_XML} levels")
        tag = name.rpartition(":")[2]
        if self._open or self._tag is None or tag == self._tag:
            if not self._open:
                self.held = 0
            members: dict[str, object] = {
                f"@{key.rpartition(':')[2]}": value for key, value in attributes.items() if not key.startswith("xmlns")
            }
            self.held += len(name) + sum(len(key) + len(value) for key, value in attributes.items())
            self._open.append(_Element(tag, members, []))

    def _end(self, _: str) -> None:
        self._depth -= 1
        if not self._open:
            return
        element = self._open.pop()
        value = element.value()
        if self._open:
            self._open[-1].add(element.tag, value)
            return
        self.held = 0
        if self._tag is None:
            self._done.append({element.tag: value})
        else:
            self._done.append(value if isinstance(value, dict) else {"#text": value} if value else {})

    def _characters(self, text: str) -> None:
        if self._open:
            self._open[-1].text.append(text)
            self.held += len(text)

    def _doctype(self, _name: str, _system: str | None, _public: str | None, has_internal_subset: int) -> None:
        if has_internal_subset:
            raise MalformedBodyError(self._endpoint, "XML that brings its own DTD, which is not read")

    def _refuse_entity(self, *_: object) -> int:
        raise MalformedBodyError(self._endpoint, "XML that declares or uses entities, which are not read")


_READERS: Final[dict[str, Callable[[Chunks, Response, Records, str, UnpackLimits], Iterator[Row]]]] = {
    "jsonl": _json_lines,
    "csv": _csv_rows,
    "xml": _xml_rows,
}
