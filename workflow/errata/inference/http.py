"""HTTP connections to a model server.

The check that a server is ready and the questions themselves use the same `Connection`: they take the same route
(proxy), trust the same certificates and send the same headers.

- Proxy: HTTP_PROXY or HTTPS_PROXY by the scheme of the base URL, else ALL_PROXY. No proxy is used for this
  machine and for hosts that NO_PROXY names: by the host's name, its domain, its address, or a network that contains
  its address ("10.0.0.0/8").
- Certificates: those that the system trusts, or only those of the file or folder that SSL_CERT_FILE or else
  REQUESTS_CA_BUNDLE names.

The requests go through aiohttp. For the same work the client of the openai package takes several times the CPU, and
with a few hundred requests in flight the server then waits for the client (`benchmarks/base_pass.py`). aiohttp is
imported when a connection is opened, because the Python that runs Snakemake lacks it.
"""

import asyncio
import ipaddress
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from errata import __version__
from errata.core.errors import UserError

if TYPE_CHECKING:
    import aiohttp

# A server that accepts no connection within this many seconds is absent; a local one accepts within milliseconds.
_CONNECT_SECONDS = 30.0
# Characters of a server's error message that are shown; some servers send a whole web page.
_SHOWN = 500
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


class NoReply(Exception):
    """There was no connection, or it broke before the reply was complete."""


class Reply(NamedTuple):
    """An HTTP reply; the names of its headers are found in upper and lower case."""

    status: int
    content: bytes
    headers: Mapping[str, str]

    @property
    def error(self) -> str:
        """The status and the server's own message, if it sent `{"error": {"message"}}` or `{"message"}`."""
        text = self.content.decode("utf-8", "replace").strip()
        try:
            value: Any = json.loads(text)
            value = value.get("error", value)
            text = value if isinstance(value, str) else value["message"]
        except (ValueError, AttributeError, KeyError, TypeError):
            pass
        return f"HTTP {self.status}: {text[:_SHOWN]}"


class Connection:
    """Requests to one server, over as many sockets as there are requests in flight.

    Attributes:
        proxy: address of the proxy without its password; None where there is none.
    """

    def __init__(self, session: "aiohttp.ClientSession", base_url: str, proxy: str | None) -> None:
        import aiohttp

        self._session = session
        self._base_url = base_url.rstrip("/")
        self._errors = (aiohttp.ClientError, OSError)
        self._untrusted = aiohttp.ClientConnectorCertificateError
        self.proxy = proxy

    async def get(self, path: str, timeout: float) -> Reply:
        """Raises as `post`."""
        return await self._request("GET", path, timeout)

    async def post(self, path: str, body: bytes, timeout: float) -> Reply:
        """Send JSON and wait for the whole reply.

        Args:
            path: below the base URL, e.g. "chat/completions".
            timeout: seconds until the reply must be complete.

        Raises:
            TimeoutError: it was not.
            NoReply: there was no connection, or it broke.
            UserError: the server's certificate is not trusted.
        """
        return await self._request("POST", path, timeout, data=body, headers={"Content-Type": "application/json"})

    async def _request(self, method: str, path: str, timeout: float, **more: Any) -> Reply:
        try:
            async with (
                asyncio.timeout(timeout),
                self._session.request(method, f"{self._base_url}/{path}", **more) as response,
            ):
                return Reply(response.status, await response.read(), response.headers)
        except TimeoutError:
            raise
        except self._untrusted as error:
            raise UserError(
                f"{self._base_url}: the server's certificate is not trusted ({_verify_message(error)}). If it is the "
                "right server, put the path of its certificate, or of the authority that signed it (a PEM file), into "
                f"the environment variable {_CERTIFICATE_VARIABLES[0]}."
            ) from error
        except self._errors as error:
            raise NoReply(str(error) or type(error).__name__) from error


@asynccontextmanager
async def connect(base_url: str, api_key: str, *, own: bool = False) -> AsyncIterator[Connection]:
    """Open a connection; its sockets are closed at the end of the block.

    Args:
        own: the server was started by this process, on this machine.

    Raises:
        UserError: the base URL, the environment's proxy or its certificates cannot be used.
    """
    import aiohttp

    proxy = None if own else proxy_for(base_url)
    encrypted = any(url.startswith("https:") for url in (base_url, proxy or ""))
    async with aiohttp.ClientSession(
        # The caller limits the requests in flight. Sockets are kept open for the next request.
        connector=aiohttp.TCPConnector(limit=0, ssl=trusted_certificates() if encrypted else True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        headers={"Authorization": f"Bearer {api_key}", "User-Agent": f"errata/{__version__}"},
        # looked up once: aiohttp's own `trust_env` does so for every request, in a thread
        proxy=proxy,
    ) as session:
        yield Connection(session, base_url, proxy and _without_password(proxy))


def proxy_for(base_url: str) -> str | None:
    """The proxy that the environment names for a base URL, None for a direct connection.

    Raises:
        UserError: the base URL is malformed or contains a password, or the proxy is not an HTTP proxy.
    """
    try:
        address = urlsplit(base_url)
        host = address.hostname or ""
        port = address.port
    except ValueError as error:
        raise UserError(f"base_url: {base_url!r} is not an address ({error}).") from error
    if address.username is not None:
        raise UserError(
            f"base_url: the address of {host} contains a user name. Remove it, and put the key into the variable that "
            "api_key_env names."
        )
    if _is_direct(host, port):
        return None
    proxies = getproxies()
    scheme = next((each for each in (address.scheme, "all") if proxies.get(each)), None)
    if scheme is None:
        return None
    proxy = proxies[scheme] if "://" in proxies[scheme] else f"http://{proxies[scheme]}"
    kind = urlsplit(proxy).scheme.lower()
    if kind not in {"http", "https"}:
        raise UserError(
            f"{scheme.upper()}_PROXY names a {kind} proxy, which Errata cannot use. Name an HTTP proxy there, or add "
            f"{host} to NO_PROXY to ask it directly."
        )
    return proxy


def _is_direct(host: str, port: int | None) -> bool:
    """Whether a host is this machine, or is exempt from the proxy by NO_PROXY."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bool(proxy_bypass(host if port is None else f"{host}:{port}"))
    if address.is_loopback or address.is_unspecified:
        return True
    # urllib compares names only
    for entry in getproxies().get("no", "").split(","):
        with suppress(ValueError):
            if address in ipaddress.ip_network(entry.strip().strip("[]"), strict=False):
                return True
    return bool(proxy_bypass(host))


def trusted_certificates() -> ssl.SSLContext:
    """The trusted certificates of authorities: the system's, or those that the environment names.

    Raises:
        UserError: the environment names a file without certificates.
    """
    name = next((name for name in _CERTIFICATE_VARIABLES if os.environ.get(name)), None)
    if name is None:
        return ssl.create_default_context()
    path = Path(os.environ[name])
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        reason = error.strerror or "it contains no certificate"
        raise UserError(f"{name}: {path}: cannot read certificates ({reason}). Name a PEM file.") from error


def _without_password(proxy: str) -> str:
    address = urlsplit(proxy)
    return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()


def _verify_message(error: Any) -> str:
    cause = error.certificate_error
    return getattr(cause, "verify_message", None) or str(cause)
