"""Let ``python -m streamser`` do what ``streamser`` does."""

from __future__ import annotations

from streamser.cli.main import main

if __name__ == "__main__":
    main()
