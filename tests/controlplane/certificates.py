"""A certificate authority for one run of the tests, and what it signs."""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
LIFETIME = datetime.timedelta(days=365)


class Authority:
    """Signs certificates; keeps everything as PEM files in one folder."""

    def __init__(self, folder: Path, name: str = "assay-tests") -> None:
        """Make a new one of this name: `ca.crt` and `ca.key` in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        # The training-operator reads no other kind of an authority's key.
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraint = x509.BasicConstraints(ca=True, path_length=None)
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        signed = (
            self._builder(self._name, self._key)
            .add_extension(constraint, critical=True)
            .add_extension(names, critical=False)
        )
        self.certificate = folder / "ca.crt"
        write_key(folder / "ca.key", self._key)
        self._write(self.certificate, signed)

    def issue(
        self, file: str, name: str, groups: Sequence[str] = (), hosts: Sequence[str] = ()
    ) -> tuple[Path, Path]:
        """Sign a certificate: `FILE.crt` and `FILE.key`.

        Args:
            file: name of the two files.
            name: the user's, or the server's, name.
            groups: groups of the user.
            hosts: names and addresses of the server.

        Returns:
            Paths of certificate and key.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = self._builder(subject, key).add_extension(
            x509.ExtendedKeyUsage(uses), critical=False
        )
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        certificate = self.folder / f"{file}.crt"
        self._write(certificate, builder)
        return certificate, write_key(self.folder / f"{file}.key", key)

    def _builder(self, subject: x509.Name, key: Key) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # Clocks of servers and clients may differ a little.
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + LIFETIME)
        )

    def _write(self, path: Path, builder: x509.CertificateBuilder) -> None:
        signed = builder.sign(self._key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def new_key(path: Path) -> Path:
    """Write a new private key, for signing tokens."""
    return write_key(path, ec.generate_private_key(ec.SECP256R1()))


def write_key(path: Path, key: Key) -> Path:
    """Write a private key that only this user can read."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return path


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
