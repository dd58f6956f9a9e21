"""Which addresses a vendor call may go to: global unicast ones, and nothing that leads inside (docs/decisions/0005).

Two walls. `AddressGuard` reads each URL, redirects too, before anything is sent. `AddressPolicy` judges each address
that a name resolved to, at the moment of connecting, and the connection goes to that very address: a name that resolves
to something else the next time (rebinding) gains nothing. Both say no to what they do not know.
"""

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from worker.wire.errors import BlockedAddressError, CredentialScopeError

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

# The registries of special-purpose addresses (IANA, RFC 6890 and its successors) as they stand, and not `is_global`,
# whose answers differ between patch releases of Python and which calls multicast global.
_INNER_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "168.63.129.16/32",  # global by its number, but Azure's platform answers there, inside each machine
    )
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_INNER_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, with Teredo, ORCHID and benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4 carries an IPv4 address that routers along the way would unpack
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_HOST: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_NUMBER: Final = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\.?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DEFAULT_PORT: Final = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Scheme, host (lower case; an IPv6 address without brackets) and port of a URL."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _DEFAULT_PORT[self.scheme] else f":{self.port}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """Which addresses may be connected to, besides global unicast ones.

    allow_loopback: for trying out and for tests; allowed_networks: what the operator opens on purpose, for vendors that
    run inside (`ip_network("10.20.0.0/16")`).
    """

    allow_loopback: bool = False
    allowed_networks: tuple[IPNetwork, ...] = ()

    def problem_of(self, address: IPAddress | str) -> str | None:
        """Return why the address may not be connected to, or None where it may. Other text is a problem too."""
        return _problem_of(self, address)

    def check_all(self, host: str, addresses: Iterable[str]) -> None:
        """Raise BlockedAddressError unless a host has addresses and each of them may be connected to."""
        found = False
        for address in addresses:
            found = True
            problem = self.problem_of(address)
            if problem is not None:
                raise BlockedAddressError(host, f"{address} is {problem}")
        if not found:
            raise BlockedAddressError(host, "it has no address")


@lru_cache(maxsize=4096)  # asked at every connection of every run, and vendors have few addresses
def _problem_of(policy: AddressPolicy, address: IPAddress | str) -> str | None:
    try:
        ip = ip_address(address)
    except ValueError:
        return "no address"
    if isinstance(ip, IPv6Address):
        if ip.scope_id is not None:
            return "an address with a zone"
        ip = ip.ipv4_mapped or (IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip)
    if any(ip in network for network in policy.allowed_networks if network.version == ip.version):
        return None
    if ip.is_loopback:
        return None if policy.allow_loopback else "a loopback address"
    if isinstance(ip, IPv4Address):
        is_outer = not any(ip in network for network in _INNER_V4)
    else:
        is_outer = ip in _GLOBAL_V6 and not any(ip in network for network in _INNER_V6)
    return None if is_outer else "not a global unicast address"


class AddressGuard:
    """What one run may call.

    base_urls: the definition's (also those of its token endpoint): they open `http` where one of them is plain, and
    their ports; credential_hosts: hosts that may see credentials, exact or `*.suffix`; empty: the hosts of whatever the
    connector asks for. Redirects never carry credentials to another origin, whatever stands here.
    """

    __slots__ = ("_origins", "_ports", "credential_hosts", "policy")

    def __init__(
        self,
        base_urls: Iterable[str] = (),
        *,
        policy: AddressPolicy = AddressPolicy(),
        credential_hosts: Iterable[str] = (),
    ) -> None:
        self.policy = policy
        self.credential_hosts = tuple(host.lower().rstrip(".") for host in credential_hosts)
        self._ports: dict[str, frozenset[int]] = {"https": frozenset((443,))}
        self._origins: dict[str, Origin] = {}
        for url in base_urls:
            origin = split_origin(url)
            ports = self._ports.get(origin.scheme, frozenset((_DEFAULT_PORT[origin.scheme],)))
            self._ports[origin.scheme] = ports | {origin.port}

    def check(self, url: str) -> Origin:
        """Return the origin of an absolute URL that may be called. Raises BlockedAddressError."""
        authority = _authority(url)
        origin = self._origins.get(authority)
        if origin is None:
            origin = self._checked(split_origin(url))
            self._origins[authority] = origin
        elif _CONTROL.search(url):
            raise BlockedAddressError("a URL", "control characters have no place in it")
        return origin

    def check_credentials(self, origin: Origin) -> None:
        """Raise CredentialScopeError where credentials may not go to this origin's host."""
        if not self.credential_hosts:
            return
        for allowed in self.credential_hosts:
            if origin.host == allowed or (allowed.startswith("*.") and origin.host.endswith(allowed[1:])):
                return
        raise CredentialScopeError(origin.host, self.credential_hosts)

    def _checked(self, origin: Origin) -> Origin:
        ports = self._ports.get(origin.scheme)
        if ports is None:
            raise BlockedAddressError(str(origin), f"{origin.scheme} is not among the schemes {', '.join(self._ports)}")
        if origin.port not in ports:
            allowed = ", ".join(map(str, sorted(ports)))
            raise BlockedAddressError(str(origin), f"port {origin.port} is not among {allowed}")
        if is_address(origin.host):
            self.policy.check_all(origin.host, (origin.host,))
        elif not self.policy.allow_loopback and (origin.host == "localhost" or origin.host.endswith(".localhost")):
            raise BlockedAddressError(origin.host, "a name for loopback")
        return origin


def is_address(host: str) -> bool:
    """Say whether a host (without brackets) is an IP address and needs no look-up."""
    if not (":" in host or host[-1:].isdecimal()):
        return False
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def parse_network(text: str) -> IPNetwork:
    """Read one of an operator's allowed networks. Raises ValueError with a sentence."""
    return ip_network(text.strip())


def split_origin(url: str) -> Origin:
    """Return the origin of an absolute http or https URL, with a numeric host in its normal form.

    Raises BlockedAddressError for whatever two readers of URLs could understand differently: user information, control
    characters; blanks, backslashes, percent signs and other signs that are in no host name; ports that are no numbers.
    """
    if _CONTROL.search(url):
        raise BlockedAddressError("a URL", "control characters have no place in it")
    return _origin(_authority(url))


@lru_cache(maxsize=4096)
def _origin(authority: str) -> Origin:
    scheme, colon, rest = authority.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in _DEFAULT_PORT:
        raise BlockedAddressError(authority[:60], "only absolute http and https URLs can be called")
    if "@" in rest:
        raise BlockedAddressError("a URL", "user information before the host is refused; credentials go into headers")
    if rest.startswith("["):
        host, bracket, port_text = rest[1:].partition("]")
        if not bracket or (port_text and not port_text.startswith(":")):
            raise BlockedAddressError(rest, "no host that can be read")
        host, port_text = _v6(host), port_text[1:]
    else:
        host, _, port_text = rest.partition(":")
        host = _host(host)
    if port_text and not (port_text.isascii() and port_text.isdecimal() and 0 < int(port_text) < 65536):
        raise BlockedAddressError(rest, f"{port_text!r} is no port")
    return Origin(scheme, host, int(port_text) if port_text else _DEFAULT_PORT[scheme])


def _authority(url: str) -> str:
    """Return the URL up to the end of its authority."""
    start, end = url.find("://") + 3, len(url)
    for sign in "/?#":
        at = url.find(sign, start)
        if 0 <= at < end:
            end = at
    return url[:end]


def _v6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise BlockedAddressError(f"[{text}]", "no IPv6 address") from None
    if address.scope_id is not None:
        raise BlockedAddressError(f"[{text}]", "an address with a zone")
    return str(address)


def _host(text: str) -> str:
    host = text.lower()
    if not host.isascii():
        try:
            host = text.encode("idna").decode("ascii").lower()
        except UnicodeError:
            raise BlockedAddressError(text, "no host name that can be called") from None
    if not _HOST.fullmatch(host):
        raise BlockedAddressError(text or "a URL without a host", "no host name that can be called")
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:  # 2130706433, 0x7f.1, 0177.0.0.1: C libraries take them all for addresses
            host = socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
        except OSError:
            raise BlockedAddressError(text, "a host that ends in a number and is no address") from None
    return host.rstrip(".")
