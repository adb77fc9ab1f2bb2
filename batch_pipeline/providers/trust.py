"""Whom a connection trusts, read once: loading the certificates takes as long as a small request.

A sensor's tick and every step of a run make clients anew.
"""

from __future__ import annotations

import ssl
from functools import cache

import httpx2


@cache
def certificates() -> ssl.SSLContext:
    """The authorities of the installed bundle, or of SSL_CERT_FILE and SSL_CERT_DIR."""
    return httpx2.create_ssl_context()
