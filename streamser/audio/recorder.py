"""Keep what was heard as a FLAC file that survives the death of its writer."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import AudioError

_FLUSH_EVERY = SAMPLE_RATE // 2


class FlacRecorder:
    """Write 16 kHz mono samples to ``path`` as 16-bit FLAC, as they come.

    A process that is killed leaves a readable file without about its last 3/4 second: half a
    second between flushes and the encoder's open block of 4096 samples. The file is a new one.
    Raises ``AudioError`` (code ``recording_failed``) where it is there already, cannot be made
    or cannot be written on, from the constructor, ``write`` and ``close``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import soundfile

        self.path = Path(path)
        self._faults: tuple[type[Exception], ...] = (OSError, soundfile.SoundFileError)
        self._since_flush = 0
        try:
            # libsndfile does not say why it cannot open a file; the system does.
            # A new file is for its owner only, since what people say is theirs; and it is no
            # link that somebody else has put there.
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            self._file = soundfile.SoundFile(
                self.path, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC"
            )
        except self._faults as fault:
            raise self._failed(fault) from fault

    def write(self, samples: Samples) -> None:
        """Append samples, mono float32 of shape (n,); those beyond full scale are clipped.

        Scaled by 32768, so that sound which came from 16-bit samples is kept to the bit.
        """
        pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
        try:
            self._file.write(pcm)
            self._since_flush += len(pcm)
            if self._since_flush >= _FLUSH_EVERY:
                self._since_flush = 0
                self._file.flush()
        except self._faults as fault:
            raise self._failed(fault) from fault

    def close(self) -> None:
        """Write the rest and the length into the header; a second call does nothing."""
        try:
            self._file.close()
        except self._faults as fault:
            raise self._failed(fault) from fault

    def __enter__(self) -> FlacRecorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _failed(self, fault: Exception) -> AudioError:
        why = getattr(fault, "strerror", None) or "no room left, or the file was taken away"
        return AudioError(f"cannot record to {self.path}: {why}", code="recording_failed")
