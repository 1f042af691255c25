"""Signing in with flytekit: machine users, commands, configuration files, TLS."""

from __future__ import annotations

import gc
import ipaddress
import logging
import stat
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from flytelineage.errors import AdminUnavailable, ConfigError
from flytelineage.flyteadmin import FlyteAdmin
from flytelineage.testing.flyteadmin import FlyteAdminDouble
from flytelineage.testing.simulator import Stream
from tests.flyteadmin.conftest import Client
from tests.flyteadmin.workflows import id_of

SECRET = "correct horse, battery"  # with characters that must be escaped


@pytest.fixture
def guarded(stream: Stream) -> Iterator[FlyteAdminDouble]:
    """A FlyteAdmin that wants tokens."""
    with FlyteAdminDouble([stream], client_secret=SECRET) as double:
        yield double


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    return file


@pytest.fixture
def user(guarded: FlyteAdminDouble, client: Client, secret_file: Path) -> FlyteAdmin:
    """A machine user with its secret in a file."""
    return client(guarded, client_id="flytelineage", client_secret=f"file:{secret_file}")


# ------------------------------------------------------------------ client secret


def test_a_machine_user_signs_in(user: FlyteAdmin, guarded, stream: Stream) -> None:
    """One token serves many calls."""
    for _ in range(3):
        assert user.execution(id_of(stream)).kind == "execution"

    assert guarded.identity.issued == 1


def test_an_expired_token_is_replaced(user: FlyteAdmin, guarded, stream: Stream) -> None:
    """Nobody notices but the identity provider."""
    user.execution(id_of(stream))
    guarded.identity.expire()

    user.execution(id_of(stream))

    assert guarded.identity.issued == 2


def test_a_rotated_secret_is_taken(
    user: FlyteAdmin, guarded, stream: Stream, secret_file: Path
) -> None:
    """The file is read at each sign-in, so no restart is needed."""
    user.execution(id_of(stream))
    guarded.identity.client_secret = "the new one"
    guarded.identity.expire()
    secret_file.write_text("the new one")

    user.execution(id_of(stream))

    assert guarded.identity.refused == 0


def test_a_secret_that_comes_late_is_taken(
    user: FlyteAdmin, guarded, stream: Stream, secret_file: Path
) -> None:
    """While the file is being replaced the call fails, the next one does not."""
    content = secret_file.read_text()
    secret_file.unlink()
    with pytest.raises(AdminUnavailable, match="cannot be read"):
        user.execution(id_of(stream))
    secret_file.write_text(content)

    assert user.execution(id_of(stream)).kind == "execution"


def test_a_wrong_secret(
    guarded, client: Client, stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    """The message names the provider's answer and no secret; nothing else is logged."""
    admin = client(guarded, client_id="flytelineage", client_secret="guessed wrongly")

    with (
        caplog.at_level(logging.INFO),
        pytest.raises(AdminUnavailable, match=r"as clientsecret failed: 401 Client Error") as no,
    ):
        admin.execution(id_of(stream))

    assert "guessed" not in f"{no.value} {no.value.__cause__} {caplog.text}"
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_slow_identity_provider(user: FlyteAdmin, guarded, stream: Stream) -> None:
    """Signing in has deadlines of its own."""
    guarded.identity.delay_seconds = 30
    user.timeout_seconds = 0.2
    began = time.monotonic()

    with pytest.raises(AdminUnavailable, match=r"Signing in .* timed out"):
        user.execution(id_of(stream))

    assert time.monotonic() - began < 5
    # The socket of a call that timed out is left to the collector, which would warn later.
    user.close()
    gc.collect()


def test_half_of_a_machine_user(guarded, client: Client) -> None:
    """What is missing is said by name before anything is asked."""
    admin = client(guarded, client_secret=SECRET)

    with pytest.raises(ConfigError, match=r"needs FlyteAdmin\.client_id and"):
        admin.check()


def test_an_unknown_way_to_sign_in(guarded, client: Client) -> None:
    """Names that flytekit's plugins do not know are told with those it does."""
    with pytest.raises(AdminUnavailable, match="Unknown authentication type 'Handshake'"):
        client(guarded, auth_mode="Handshake").check()


# ------------------------------------------------------- environment and files


def test_flytekits_environment_signs_in(
    guarded, client: Client, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deployments that run flytekit elsewhere have these variables already."""
    monkeypatch.setenv("FLYTE_CREDENTIALS_CLIENT_ID", "flytelineage")
    monkeypatch.setenv("FLYTE_CREDENTIALS_CLIENT_SECRET", SECRET)

    assert client(guarded).execution(id_of(stream)).kind == "execution"


@pytest.fixture
def config_file(guarded, tmp_path: Path, secret_file: Path) -> Path:
    """What flytectl writes, for a machine user."""
    file = tmp_path / "config.yaml"
    file.write_text(
        f"""
        admin:
          endpoint: dns:///{guarded.endpoint}
          insecure: true
          authType: ClientSecret
          clientId: flytelineage
          clientSecretLocation: {secret_file}
        """
    )
    return file


def test_a_configuration_file_is_enough(client: Client, stream: Stream, config_file: Path) -> None:
    """Endpoint, TLS and user as flytectl has them."""
    admin = client(config_file=str(config_file))

    assert admin.configured
    assert admin.execution(id_of(stream)).kind == "execution"


def test_our_options_go_first(client: Client, config_file: Path) -> None:
    """The file fills in what is not said."""
    admin = client(config_file=str(config_file), client_id="somebody else")

    with pytest.raises(AdminUnavailable, match="401 Client Error"):
        admin.check()


def test_a_configuration_file_that_is_missing(client: Client, tmp_path: Path) -> None:
    """It is named."""
    admin = client(config_file=str(tmp_path / "nothing.yaml"))

    with pytest.raises(ConfigError, match=r"nothing\.yaml"):
        admin.check()


def test_nobody_opens_a_browser(
    guarded, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file says Pkce nobody signs in, and the message says how to."""
    file = tmp_path / "config.yaml"
    file.write_text(f"admin: {{endpoint: {guarded.endpoint}, insecure: true, authType: Pkce}}")
    monkeypatch.setattr("webbrowser.open_new_tab", lambda _: pytest.fail("a browser"))

    with pytest.raises(AdminUnavailable, match=r"set FlyteAdmin\.auth_mode = 'ClientSecret'"):
        client(config_file=str(file)).check()


# ---------------------------------------------------------------------- commands


def command(tmp_path: Path, script: str) -> list[str]:
    file = tmp_path / "fetch-token"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(stat.S_IRWXU)
    return [str(file)]


def test_a_command_gives_the_token(guarded, client: Client, tmp_path: Path) -> None:
    """Whatever it prints is the token."""
    token = guarded.identity.issue()

    client(guarded, auth_mode="ExternalCommand", command=command(tmp_path, f"echo {token}")).check()


@pytest.mark.parametrize(
    ("script", "reason"), [("echo secret; exit 3", "it ends with 3"), ("exec sleep 60", "Timeout")]
)
def test_a_command_that_gives_none(
    guarded, client: Client, tmp_path: Path, caplog, script: str, reason: str
) -> None:
    """What it printed is shown nowhere."""
    admin = client(
        guarded,
        auth_mode="ExternalCommand",
        command=command(tmp_path, script),
        timeout_seconds=0.2,
    )

    with pytest.raises(AdminUnavailable, match=f"gives no token: {reason}") as no:
        admin.check()

    assert "secret" not in f"{no.value}{caplog.text}"


# ----------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificate() -> tuple[bytes, bytes]:
    """A key and a certificate for the loopback that no public authority signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return (
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
        signed.public_bytes(pem),
    )


@pytest.fixture
def private(certificate: tuple[bytes, bytes]) -> Iterator[FlyteAdminDouble]:
    """A FlyteAdmin with TLS."""
    with FlyteAdminDouble(tls=certificate) as double:
        yield double


def test_a_private_authority(
    private: FlyteAdminDouble, client: Client, certificate: tuple[bytes, bytes], tmp_path: Path
) -> None:
    """Its certificate is given as a file."""
    file = tmp_path / "ca.pem"
    file.write_bytes(certificate[1])

    client(endpoint=private.endpoint, ca_cert_file=str(file)).check()


def test_an_unknown_authority(private: FlyteAdminDouble, client: Client) -> None:
    """TLS is what happens unless somebody says otherwise, and it is checked."""
    with pytest.raises(AdminUnavailable, match="cannot be reached"):
        client(endpoint=private.endpoint).check()


def test_no_tls_where_it_is_wanted(private: FlyteAdminDouble, client: Client) -> None:
    """Told at once, with the option to look at."""
    with pytest.raises(AdminUnavailable, match=r"FlyteAdmin\.insecure"):
        client(endpoint=private.endpoint, insecure=True).check()


def test_any_certificate_where_flytekit_says_so(
    private: FlyteAdminDouble, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`admin.insecureSkipVerify` and its variable keep working."""
    monkeypatch.setenv("FLYTE_PLATFORM_INSECURE_SKIP_VERIFY", "true")

    client(endpoint=private.endpoint).check()


def test_a_certificate_that_is_missing(private: FlyteAdminDouble, client: Client) -> None:
    """The option is named."""
    admin = client(endpoint=private.endpoint, ca_cert_file="/nowhere/ca.pem")

    with pytest.raises(ConfigError, match=r"Check FlyteAdmin\.ca_cert_file"):
        admin.check()
