"""Let senko say who speaks in recordings; runs in an environment of its own.

    python run_senko.py NETWORKS SETTINGS WAV...

As ``run_sherpa.py``, but for the networks: senko has the same embedder of its own, and silero.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import senko


def main() -> None:
    """Answer on standard output."""
    settings = json.loads(sys.argv[2])
    programs = {
        name: senko.Diarizer(device="cpu", warmup=False, quiet=True, **setting)
        for name, setting in settings.items()
    }
    for file in sys.argv[3:]:
        for name, program in programs.items():
            found = program.diarize(file)
            turns = [
                (each["start"], each["end"], each["speaker"])
                for each in (found or {}).get("merged_segments", ())
            ]
            print(
                json.dumps({"setting": name, "file": Path(file).name, "turns": turns}), flush=True
            )


if __name__ == "__main__":
    main()
