"""Certificates of an authority that is made up, for the tests that encrypt."""

from pathlib import Path

import trustme


def write_certificate(folder: Path) -> tuple[Path, Path, Path]:
    """Write a certificate, its key, and the authority's certificate."""
    authority = trustme.CA()
    own = authority.issue_cert("localhost", "127.0.0.1")
    paths = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    own.cert_chain_pems[0].write_to_path(paths[0])
    own.private_key_pem.write_to_path(paths[1])
    authority.cert_pem.write_to_path(paths[2])
    return paths
