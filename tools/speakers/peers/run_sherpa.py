"""Let sherpa-onnx say who speaks in recordings; runs in an environment of its own.

    python run_sherpa.py NETWORKS SETTINGS WAV...

SETTINGS is a JSON object of settings by their names. Prints a line of JSON for each recording and
setting. Knows nothing of this project, so that the environment need not either.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import sherpa_onnx
import soundfile


def main() -> None:
    """Answer on standard output."""
    networks, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    segmentation = sherpa_onnx.OfflineSpeakerSegmentationModelConfig(
        pyannote=sherpa_onnx.OfflineSpeakerSegmentationPyannoteModelConfig(
            model=str(networks / "segmentation.onnx")
        ),
    )
    voice = sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(networks / "voice.onnx"))
    programs = {
        name: sherpa_onnx.OfflineSpeakerDiarization(
            sherpa_onnx.OfflineSpeakerDiarizationConfig(
                segmentation=segmentation,
                embedding=voice,
                clustering=sherpa_onnx.FastClusteringConfig(**setting),
            )
        )
        for name, setting in settings.items()
    }
    for file in sys.argv[3:]:
        samples, _ = soundfile.read(file, dtype="float32")
        for name, program in programs.items():
            found = program.process(samples).sort_by_start_time()
            turns = [(each.start, each.end, str(each.speaker)) for each in found]
            print(
                json.dumps({"setting": name, "file": Path(file).name, "turns": turns}), flush=True
            )


if __name__ == "__main__":
    main()
