"""Ask the server of this container whether it is alive: exit code 0, or 1 and why."""

from __future__ import annotations

import os
import ssl
import sys
from http.client import HTTPException
from urllib.request import urlopen


def main() -> int:
    """Ask with TLS where the server will not answer without."""
    place = f"127.0.0.1:{os.environ.get('STREAMSER_SERVER_PORT', '8377')}/healthz"
    # Its certificate is for the name that others call it by, not for this address.
    unnamed = ssl._create_unverified_context()
    why = ""
    for url in (f"http://{place}", f"https://{place}"):
        try:
            with urlopen(url, timeout=2, context=unnamed):
                return 0
        except (OSError, HTTPException) as error:
            why += f"{url}: {error}\n"
    sys.stderr.write(why)
    return 1


if __name__ == "__main__":
    sys.exit(main())
