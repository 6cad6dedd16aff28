"""Certificates made for a test by the openssl program: self-signed, or by an authority of the test's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl program")


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path


def make_pair(path: Path, name: str, *options: str, days: int = 30, key: str = "ec") -> Pair:
    """A self-signed certificate for a host name; ``key`` is ec, rsa, ed25519 or rsa-pss."""
    pair = Pair(path / f"{name}.pem", path / f"{name}.key")
    kinds = {
        "ec": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
        "rsa": ["rsa:2048"],
        "ed25519": ["ed25519"],
        "rsa-pss": ["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"],
    }
    run(
        "req", "-x509", "-newkey", *kinds[key], "-nodes", "-subj", f"/CN={name}", "-days", str(days),
        "-addext", f"subjectAltName=DNS:{name}", "-keyout", pair.key, "-out", pair.certificate, *options,
    )  # fmt: skip
    return pair


def make_authority(path: Path, name: str = "authority") -> Pair:
    """An authority that may sign."""
    pair = Pair(path / f"{name}.pem", path / f"{name}.key")
    run(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", f"/CN={name}", "-keyout", pair.key, "-out", pair.certificate,
    )  # fmt: skip
    return pair


def make_signed(path: Path, authority: Pair, subject: str, *emails: str) -> Pair:
    """A client's certificate, signed by an authority; the last common name names the files."""
    name = subject.rsplit("CN=", 1)[-1]
    pair = Pair(path / f"{name}.pem", path / f"{name}.key")
    request, extra = path / f"{name}.csr", path / f"{name}.ext"
    run(
        "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", subject, "-keyout", pair.key, "-out", request,
    )  # fmt: skip
    extra.write_text("subjectAltName=" + ",".join(f"email:{each}" for each in emails) if emails else "")
    run(
        "x509", "-req", "-in", request, "-CA", authority.certificate, "-CAkey", authority.key,
        "-CAcreateserial", "-days", "30", "-extfile", extra, "-out", pair.certificate,
    )  # fmt: skip
    return pair


def run(*arguments: str | Path) -> bytes:
    """Run openssl; gives what it writes."""
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=200).stdout
