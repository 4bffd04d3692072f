"""The door to addresses that customers enter: what is judged is what is connected to, and nothing is followed."""

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.conftest import NOON
from tests.webhooks.receiver import Answering, dropping, endless, receiver, saying, silent, trickling

from tollgate.infra.http_client import ANSWER_BYTES_MAX, Answer, HttpClient, NoAnswer, NotPermitted
from tollgate.infra.names import Reach

NAMES = {
    "hooks.test": ("127.0.0.1",),
    "somewhere.test": ("::2", "127.0.0.1"),
    "nowhere.test": (),
    "rebinding.test": ("8.8.8.8", "127.0.0.1"),
}


async def resolve(name: str) -> tuple[str, ...]:
    return NAMES.get(name, (name,))


INSIDE = HttpClient(Reach(resolve, private=True))
OUTSIDE = HttpClient(Reach(resolve, private=False))


async def post(url: str, client: HttpClient = INSIDE, seconds_max: float = 5) -> Answer:
    return await client.post(url, headers={"x-mark": "1"}, body=b'{"a": 1}', seconds_max=seconds_max)


async def test_a_request_goes_to_the_address_and_names_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:1")
    async with receiver() as server:
        answer = await post(f"http://hooks.test:{server.port}/a/b?c=d%20e")

    [arrived] = server.arrived
    assert answer == Answer(200, b"ok")
    assert (arrived.target, arrived.body) == ("/a/b?c=d%20e", b'{"a": 1}')
    assert (arrived.headers["host"], arrived.headers["x-mark"]) == (f"hooks.test:{server.port}", "1")
    assert arrived.headers["accept-encoding"] == "identity"


async def test_of_several_addresses_one_that_answers_is_enough() -> None:
    async with receiver() as server:
        assert (await post(f"http://somewhere.test:{server.port}/")).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "hooks.test",
        "rebinding.test",
        "localhost",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "169.254.169.254",
        "127.1",
    ],
)
async def test_nothing_is_sent_into_private_networks(host: str) -> None:
    async with receiver() as server:
        with pytest.raises(NotPermitted, match="not on the public network"):
            await post(f"https://{host}:{server.port}/", OUTSIDE)
        with pytest.raises(NotPermitted, match="https"):
            await post(f"http://{host}:{server.port}/", OUTSIDE)
    assert server.arrived == []


@pytest.mark.parametrize("url", ["ftp://hooks.test/", "https://", "https://[::1", "/hook", "https://a\x00b/"])
async def test_what_is_no_address_is_not_sent_to(url: str) -> None:
    with pytest.raises(NotPermitted):
        await post(url)


async def test_redirects_are_answers_like_others() -> None:
    async with receiver() as server, receiver() as inside:
        server.answering = saying(302, b"", f"Location: {inside.url}")
        assert (await post(server.url)).status == 302
    assert inside.arrived == []


async def test_of_an_answer_without_end_only_the_beginning_is_read() -> None:
    async with receiver() as server:
        server.answering = endless
        answer = await post(server.url)
    assert answer == Answer(200, b"x" * ANSWER_BYTES_MAX)


async def test_an_answer_whose_body_does_not_come_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollgate.infra.http_client._BODY_SECONDS_MAX", 0.1)
    async with receiver() as server:
        server.answering = trickling
        assert await post(server.url) == Answer(200, b"some")


@pytest.mark.parametrize(("answering", "why"), [(silent, "within 0.2 s"), (dropping, "broke before")])
async def test_what_does_not_answer_is_not_waited_for(answering: Answering, why: str) -> None:
    async with receiver() as server:
        server.answering = answering
        with pytest.raises(NoAnswer, match=why):
            await post(server.url, seconds_max=0.2)


async def test_nobody_there_is_told_in_words() -> None:
    async with receiver() as server:
        closed = server.url
    with pytest.raises(NoAnswer, match="No connection came about"):
        await post(closed)
    with pytest.raises(NoAnswer, match="leads nowhere"):
        await post("http://nowhere.test/")


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context that can prove to be hooks.test, and one that believes it."""
    pem = _certificate(tmp_path_factory.mktemp("tls") / "hooks.pem")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


class TestTls:
    """The connection is to an address, and the certificate has to prove the name all the same."""

    async def test_the_name_is_proven(self, trusted: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        believing = HttpClient(Reach(resolve, private=True), trusted[1])
        async with receiver(trusted[0]) as server:
            assert (await post(f"https://hooks.test:{server.port}/", believing)).status == 200

    async def test_another_name_at_the_same_address_is_refused(
        self, trusted: tuple[ssl.SSLContext, ssl.SSLContext]
    ) -> None:
        believing = HttpClient(Reach(resolve, private=True), trusted[1])
        async with receiver(trusted[0]) as server:
            await post(f"https://hooks.test:{server.port}/", believing)
            for client, host in ((believing, "somewhere.test"), (believing, "127.0.0.1"), (INSIDE, "hooks.test")):
                with pytest.raises(NoAnswer, match="certificate"):
                    await post(f"https://{host}:{server.port}/", client)
        assert len(server.arrived) == 1

    async def test_a_server_without_tls_gets_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tollgate.infra.http_client._CONNECT_SECONDS_MAX", 0.1)
        async with receiver() as server:
            with pytest.raises(NoAnswer, match="No connection within"):
                await post(f"https://hooks.test:{server.port}/")
        assert server.arrived == []


async def test_time_runs_out_while_connecting_too() -> None:
    async def slow(name: str) -> tuple[str, ...]:
        await asyncio.sleep(10)
        return (name,)

    with pytest.raises(NoAnswer, match="No answer within"):
        await post("http://hooks.test/", HttpClient(Reach(slow, private=True)), seconds_max=0.05)


def _certificate(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOON - timedelta(days=3650))
        .not_valid_after(NOON + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return path
