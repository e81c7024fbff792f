"""TLS towards the model is verified: a certificate authority of our own says who is who."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from avr_bridge import ModelConfig
from avr_bridge.errors import UpstreamRejected
from avr_bridge.testing import SimulatedRealtime
from avr_bridge.upstream import dial
from avr_bridge.upstream.client import open_realtime
from avr_bridge.upstream.events import SessionCreated
from tests.tls import serve_tls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

LIMIT_S = 20


@pytest.fixture(autouse=True)
def _fresh_tls() -> Iterator[None]:
    """The certificates are read once in a process."""
    dial._tls_context.cache_clear()
    yield
    dial._tls_context.cache_clear()


@pytest.fixture(name="authority")
def _authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """One that the process trusts, by SSL_CERT_FILE."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


@asynccontextmanager
async def tls_model(authority: trustme.CA, name: str) -> AsyncGenerator[ModelConfig]:
    async with trio.open_nursery() as nursery:
        plain = await nursery.start(SimulatedRealtime().serve)
        plain_port = int(plain.rpartition(":")[2].removesuffix("/v1"))
        port = await nursery.start(serve_tls, authority, name, plain_port)
        yield ModelConfig(endpoint=f"wss://localhost:{port}/v1")
        nursery.cancel_scope.cancel()


async def test_a_certificate_of_a_trusted_authority(authority: trustme.CA) -> None:
    """SSL_CERT_FILE counts: there is a session."""
    with trio.fail_after(LIMIT_S):
        async with tls_model(authority, "localhost") as config, open_realtime(config) as session:
            assert isinstance(await session.receive(), SessionCreated)


async def refused(config: ModelConfig) -> str:
    with pytest.raises(UpstreamRejected) as caught:
        async with open_realtime(config):
            pytest.fail("there is no session")
    return str(caught.value)


async def test_a_certificate_for_another_host(authority: trustme.CA) -> None:
    """Refused, for good, in words that name TLS."""
    with trio.fail_after(LIMIT_S):
        async with tls_model(authority, "other.example") as config:
            words = await refused(config)
    assert words.startswith("TLS: the server's certificate is not accepted: ")
    assert "Hostname mismatch" in words


@pytest.mark.usefixtures("authority")
async def test_a_certificate_of_an_unknown_authority() -> None:
    """Refused, for good, in words that name TLS."""
    with trio.fail_after(LIMIT_S):
        async with tls_model(trustme.CA(), "localhost") as config:
            words = await refused(config)
    assert words.startswith("TLS: the server's certificate is not accepted: ")
    assert "issuer" in words or "self-signed" in words
