"""A certificate for servers on the loopback address, made with the keytool that every Java brings."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from servers.failure import ServerError
from servers.java import Java
from servers.places import only_one, servers_home

# Protects nothing: it signs for the loopback address of this machine, and Java insists on one.
STORE_PASSWORD = "loopback"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A key store (PKCS12, password `STORE_PASSWORD`) for a server and the certificate (PEM) its clients trust."""

    key_store: Path
    trusted: Path


def loopback_certificate(java: Java) -> Certificate:
    """The certificate for 127.0.0.1 and localhost; made once for this user.

    :raises ServerError: keytool failed.
    """
    folder = servers_home() / "certificate"
    with only_one("certificate"):
        if not folder.is_dir():
            servers_home().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".", dir=servers_home()) as scratch:
                made = Path(scratch) / "made"
                made.mkdir()
                _make(made, java)
                made.rename(folder)
    return Certificate(folder / "server.p12", folder / "trusted.pem")


def _make(folder: Path, java: Java) -> None:
    store = ["-alias", "server", "-storetype", "PKCS12", "-keystore", "server.p12", "-storepass", STORE_PASSWORD]
    make = ["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=localhost", "-validity", "3650"]
    make += ["-ext", "SAN=IP:127.0.0.1,DNS:localhost", "-ext", "BC=ca:true"]
    for arguments in (make, ["-exportcert", "-rfc", "-file", "trusted.pem"]):
        done = subprocess.run(
            [java.keytool, *arguments, *store], cwd=folder, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise ServerError(f"keytool could not make a certificate: {(done.stdout + done.stderr).strip()}")
