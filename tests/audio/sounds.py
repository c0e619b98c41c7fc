"""Sound made on the spot for the audio tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamser.audio.source import Frames, Gap

__all__ = ["encode", "heard", "moved", "tone", "tracks", "write"]


def tone(seconds: float, rate: int, channels: int = 1, hz: float = 440.0) -> Frames:
    """Make a sine at half of full scale; every further channel is half as loud as the last."""
    sine = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    frames: Frames = (sine[:, None] * 0.5 ** np.arange(channels)).astype(np.float32)
    return frames


def write(path: Path, frames: Frames, rate: int, subtype: str = "PCM_16") -> Path:
    """Write a file by libsndfile; the format is that of the name."""
    import soundfile

    soundfile.write(path, frames, rate, subtype=subtype)
    return path


def encode(
    path: Path, frames: Frames, rate: int, codec: str, *, video: bool = False, fast: bool = False
) -> Path:
    """Write a file by FFmpeg, with a grey picture before the sound if ``video``.

    ``fast`` puts an MP4's index at its head, so that a cut file can still be opened.
    """
    import av

    layout = {1: "mono", 2: "stereo"}[frames.shape[1]]
    options = {"movflags": "faststart"} if fast else {}
    with av.open(str(path), "w", options=options) as container:
        picture = container.add_stream("mpeg4", rate=25) if video else None
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            grey = np.full((48, 64, 3), 127, dtype=np.uint8)
            for _ in range(5):
                container.mux(picture.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(picture.encode(None))
        for at in range(0, len(frames), 1024):
            piece = np.ascontiguousarray(frames[at : at + 1024].T)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.rate, frame.pts = rate, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tracks(path: Path, sounds: list[Frames], rate: int, marked: tuple[int, ...] = ()) -> Path:
    """Write mono sounds of one length as tracks of one file; some are marked as default."""
    import av
    from av.stream import Disposition

    with av.open(str(path), "w") as container:
        streams = [container.add_stream("flac", rate=rate, layout="mono") for _ in sounds]
        for number, stream in enumerate(streams):
            stream.disposition = Disposition.default if number in marked else Disposition(0)
        for at in range(0, len(sounds[0]), 1024):
            for sound, stream in zip(sounds, streams, strict=True):
                whole = np.ascontiguousarray((sound[at : at + 1024].T * 32767).astype(np.int16))
                frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
                frame.rate, frame.pts = rate, at
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def moved(
    path: Path, out: Path, seconds: float, after: float = -1.0, *, video: bool = False
) -> Path:
    """Write a file's packets anew, those after a time so much later; perhaps with a picture."""
    import av

    with av.open(str(path)) as source, av.open(str(out), "w") as container:
        picture = container.add_stream("mpeg4", rate=25) if video else None
        track = container.add_stream_from_template(source.streams.audio[0])
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            grey = np.full((48, 64, 3), 127, dtype=np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(picture.encode(None))
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is None or packet.pts is None:
                continue
            if packet.pts * packet.time_base >= after:
                later = round(seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts + later, packet.dts + later
            packet.stream = track
            container.mux(packet)
    return out


def heard(chunks: list[Frames | Gap]) -> Frames:
    """Join the sound of some chunks, without the gaps."""
    sound = [chunk for chunk in chunks if not isinstance(chunk, Gap)]
    joined: Frames = np.concatenate(sound)
    return joined
