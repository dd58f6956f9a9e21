"""Fault servers on loopback and sessions that may talk to them."""

import datetime as dt
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.worker.wire.faults import FaultServer
from worker.wire.budget import Budget
from worker.wire.capture import Capture
from worker.wire.guard import AddressGuard, AddressPolicy
from worker.wire.redactor import Redactor
from worker.wire.session import VendorSession
from worker.wire.transport import Transport

SECRET = "s3cr3t/Value+with=signs"


@dataclass(frozen=True, slots=True)
class Run:
    """A session and what it leaves behind. waits: the seconds that it slept."""

    session: VendorSession
    capture: Capture
    redactor: Redactor
    waits: list[float]


class OpenRun(Protocol):
    def __call__(self, *servers: FaultServer, budget_s: float = ..., **kwargs: Any) -> Run: ...


@pytest.fixture
def server() -> Iterator[FaultServer]:
    found = FaultServer()
    yield found
    found.close()


@pytest.fixture
def other_server() -> Iterator[FaultServer]:
    """Another origin: another port."""
    found = FaultServer()
    yield found
    found.close()


@pytest.fixture
def transport() -> Iterator[Transport]:
    found = Transport()
    yield found
    found.close()


@pytest.fixture
def open_run(transport: Transport) -> OpenRun:
    def opened(*servers: FaultServer, budget_s: float = 30.0, **kwargs: Any) -> Run:
        redactor = kwargs.pop("redactor", None) or Redactor((SECRET,))
        capture = Capture(redactor)
        waits: list[float] = []
        guard = kwargs.pop("guard", None) or AddressGuard(
            [server.url for server in servers], policy=AddressPolicy(allow_loopback=True)
        )
        settings: dict[str, Any] = {"wait": waits.append, "draw": lambda: 1.0, "transport": transport, **kwargs}
        session = VendorSession(budget=Budget(budget_s), capture=capture, redactor=redactor, guard=guard, **settings)
        return Run(session, capture, redactor, waits)

    return opened


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of the test's own. file: its certificate, for `ca_file`."""

    file: Path
    server_context: Callable[..., ssl.SSLContext]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("authority")
    now = dt.datetime.now(dt.UTC)

    def signed(
        name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, **how: Any
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=30))
            .not_valid_after(now + dt.timedelta(days=how.get("days", 30)))
            .add_extension(x509.BasicConstraints(ca=bool(how.get("ca")), path_length=None), critical=True)
        )
        if address := how.get("address"):
            names = [x509.IPAddress(ipaddress.ip_address(address))] if address[0].isdigit() else [x509.DNSName(address)]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = signed("test authority", ca_key, "test authority", ca_key, ca=True)
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))

    def server_context(*, address: str = "127.0.0.1", days: int = 30, self_signed: bool = False) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer, issuer_key = ("test vendor", key) if self_signed else ("test authority", ca_key)
        certificate = signed("test vendor", key, issuer, issuer_key, address=address, days=days)
        file = folder / f"{certificate.serial_number}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    return Authority(ca_file, server_context)
