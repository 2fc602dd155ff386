"""The TLS of a librdkafka client, as a context of Python's ssl."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Tls:
    """What the client's ssl.* properties say; each field is the property of that name."""

    ca_location: str | None = None
    """A file, or a folder with hashed names."""
    ca_pem: str | None = None
    certificate_location: str | None = None
    certificate_pem: str | None = None
    key_location: str | None = None
    key_pem: str | None = field(default=None, repr=False)
    key_password: str = field(default="", repr=False)
    crl_location: str | None = None
    ciphers: str | None = None
    verify: bool = True
    check_name: bool = True

    def context(self) -> ssl.SSLContext:
        """Return the context. Raises OSError, ValueError or ssl.SSLError for files that cannot be used."""
        for location in (self.ca_location, self.certificate_location, self.key_location, self.crl_location):
            if location is not None:
                os.stat(location)  # the error of ssl does not say which file is not there
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.verify and self.check_name
        context.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE
        if self.ciphers:
            context.set_ciphers(self.ciphers)
        if self.ca_location is not None:
            folder = Path(self.ca_location).is_dir()
            context.load_verify_locations(**{"capath" if folder else "cafile": self.ca_location})
        if self.ca_pem is not None:
            context.load_verify_locations(cadata=self.ca_pem)
        if self.ca_location is None and self.ca_pem is None:
            context.load_default_certs()
        if self.crl_location is not None:
            context.load_verify_locations(cafile=self.crl_location)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        with _file(self.certificate_location, self.certificate_pem) as certificate:
            if certificate is not None:
                with _file(self.key_location, self.key_pem) as key:
                    # Never without a password: OpenSSL would ask the terminal for it.
                    context.load_cert_chain(certificate, key, password=self.key_password)
        return context


@contextlib.contextmanager
def _file(location: str | None, pem: str | None) -> Iterator[str | None]:
    """The path of a file; a text becomes a file in memory that no other user can open, because ssl reads files only."""
    if pem is None:
        yield location
        return
    descriptor = os.memfd_create("swarm-pem", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "w", closefd=False) as file:
            file.write(pem)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
