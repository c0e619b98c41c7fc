"""Every setting of the program: typed sections, each value with what it is for and what fits."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

ASR_ENGINES: Final = ("auto", "none", "whisper")
"""What may recognise words without any plug-in."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings."""


class AudioSettings(Section, frozen=True):
    """Where the sound comes from."""

    device: Annotated[
        int | str | None,
        Meta(description="Microphone by index or part of its name; none: the default."),
    ] = None
    channel: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Channel to hear, from 0; none: all, or the loudest where they cancel."),
    ] = None


class VadSettings(Section, frozen=True):
    """How speech is told from other sound."""

    engine: Annotated[
        Literal["silero", "webrtc"], Meta(description="silero holds in noise; webrtc is lighter.")
    ] = "silero"
    webrtc_mode: Annotated[
        int, Meta(ge=0, le=3, description="webrtc: 0 lets much pass, 3 little.")
    ] = 2


class EndpointingSettings(Section, frozen=True):
    """Where utterances begin and end."""

    threshold: Annotated[
        float, Meta(gt=0, lt=1, description="Speech probability that counts as speech.")
    ] = 0.5
    release: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="Probability below which speech is over; none: threshold - 0.15."),
    ] = None
    min_speech_ms: Annotated[
        int,
        Meta(ge=1, le=10_000, description="Speech that must be heard before an utterance opens."),
    ] = 96
    silence_ms: Annotated[
        int, Meta(ge=60, le=60_000, description="Silence that ends an utterance (hangover).")
    ] = 500
    pre_roll_ms: Annotated[
        int, Meta(ge=0, le=10_000, description="Sound before the first speech that is kept.")
    ] = 200
    tail_ms: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Sound after the last speech that is kept; none: 160, or what fits."),
    ] = None
    max_utterance_ms: Annotated[
        int, Meta(ge=1000, le=600_000, description="Longest utterance; longer ones are cut.")
    ] = 20_000
    cut_search_ms: Annotated[
        Annotated[int, Meta(gt=0)] | None,
        Meta(description="How far back the best place for a cut is sought; none: 3000, or less."),
    ] = None
    no_sound_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=600_000,
            description="An utterance ends where no sound comes for so long, not even silence;"
            " live only. 0: never.",
        ),
    ] = 2000
    speculative: Annotated[
        bool, Meta(description="Start the final analysis at half the hangover.")
    ] = True


class PartialSettings(Section, frozen=True):
    """What is told while somebody is still speaking."""

    every_ms: Annotated[
        int, Meta(ge=0, description="A reading after so much more speech; 0: none.")
    ] = 500
    window_ms: Annotated[
        int, Meta(ge=500, description="Emotion is read from at most the last so many ms.")
    ] = 10_000
    voice_after_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=60_000,
            description="Tell of the voice alone where words are so late after an utterance's end.",
        ),
    ] = 300


class AsrSettings(Section, frozen=True):
    """How speech becomes words."""

    engine: Annotated[
        str,
        Meta(
            description="whisper, none, a plug-in, or auto: whisper if a model of it can be had,"
            " else none."
        ),
    ] = "auto"
    model: Annotated[str, Meta(description="whisper: a size, a hub name or a directory.")] = (
        "tiny.en"
    )
    language: Annotated[
        str | None, Meta(description="Code such as en; none: detected (whisper).")
    ] = None
    device: Annotated[Literal["auto", "cpu", "cuda"], Meta(description="Where whisper runs.")] = (
        "auto"
    )
    compute_type: Annotated[
        str,
        Meta(
            description="whisper: what it computes in, such as float32; auto: int8 on a processor,"
            " float16 on CUDA."
        ),
    ] = "auto"
    beam_size: Annotated[int, Meta(ge=1, le=20, description="whisper: hypotheses kept.")] = 1
    word_times: Annotated[bool, Meta(description="whisper: place each word in time (slower).")] = (
        False
    )
    threads: Annotated[int, Meta(ge=0, description="whisper: CPU threads; 0: as many as help.")] = 0


class EmotionSettings(Section, frozen=True):
    """Which model reads emotion."""

    model: Annotated[
        str,
        Meta(
            description="compact (comes with the program), rules (training-free), a plug-in,"
            " a checkpoint (directory or hub name), or public models (`streamser models`) with +"
            " between."
        ),
    ] = "compact"
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Meta(description="checkpoint: where it runs.")
    ] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16", "int8"],
        Meta(
            description="checkpoint: what it computes in. auto: the fastest here that answers"
            " alike, tried at the first start and kept."
        ),
    ] = "auto"
    threads: Annotated[
        int, Meta(ge=0, le=1024, description="checkpoint: CPU threads; 0: as many as torch likes.")
    ] = 0
    remote: Annotated[
        str | None,
        Meta(
            description="Address of a big model elsewhere, http://HOST:8000/; while it is away,"
            " `model` reads."
        ),
    ] = None
    remote_model: Annotated[
        str | None, Meta(description="Name of the model there; none: whichever it is.")
    ] = None
    remote_s: Annotated[
        float,
        Meta(gt=0, le=30, description="Longest that an answer from there is waited for."),
    ] = 2.0
    remote_ca: Annotated[
        str | None,
        Meta(description="PEM file of who signs certificates there; none: whom the system trusts."),
    ] = None
    remote_token_file: Annotated[
        str | None, Meta(description="File with a token that is shown there; none: none is.")
    ] = None


class MoodSettings(Section, frozen=True):
    """How the mood of a session is smoothed."""

    time_constant_s: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="Seconds of silence after which a reading has lost 63 % of its weight.",
        ),
    ] = 30.0


class SpeakersSettings(Section, frozen=True):
    """How speakers who share one microphone are told apart, where their client names none."""

    told_apart: Annotated[
        Literal["auto", "off"] | Annotated[int, Meta(ge=1, le=64)] | None,
        Meta(
            description="auto, off, or how many people there are; none: auto for a file or a"
            " microphone here, off on a server, where clients may ask for it."
        ),
    ] = None
    embedder: Annotated[
        str,
        Meta(description="campplus, or module:factory of a SpeakerEmbedder."),
    ] = "campplus"
    likeness: Annotated[
        float,
        Meta(
            gt=0,
            lt=1,
            description="Mean cosine of voices of one speaker, of an embedder that is brought.",
        ),
    ] = 0.6
    most: Annotated[
        int, Meta(ge=1, le=64, description="Speakers told apart; more are taken for one of them.")
    ] = 10


class WorkerSettings(Section, frozen=True):
    """How work is shared out among the workers of words and of emotion."""

    max_batch: Annotated[int, Meta(ge=1, description="Utterances analysed at once.")] = 8
    max_wait_ms: Annotated[
        int,
        Meta(ge=0, le=1000, description="Wait for more before a batch, with several sessions."),
    ] = 5
    max_partials: Annotated[
        int, Meta(ge=1, description="Waiting partials; the oldest beyond are dropped and counted.")
    ] = 32
    partial_share: Annotated[
        float,
        Meta(gt=0, le=1, description="Share of its time that a worker may spend on partials."),
    ] = 0.5
    max_finals: Annotated[
        int, Meta(ge=1, description="Waiting finals; beyond, utterances fail with a typed event.")
    ] = 256
    deadline_s: Annotated[
        float,
        Meta(
            ge=0, description="Longest a batch may take; then its models are loaded anew. 0: any."
        ),
    ] = 60.0
    load_s: Annotated[
        float,
        Meta(
            ge=0,
            description="Longest that models may take to load, downloads included; then they"
            " cannot be had. 0: any.",
        ),
    ] = 1800.0
    processes: Annotated[
        Annotated[int, Meta(ge=0, le=256)] | None,
        Meta(
            description="serve: processes that host streams, each with models of its own; 0: all"
            " in this one. none: one a core."
        ),
    ] = None


class ServerSettings(Section, frozen=True):
    """Whom ``streamser serve`` serves, and how much of it."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port; 0: any that is free.")] = 8377
    token_file: Annotated[
        str | None, Meta(description="File of tokens: a line each, `name roles token`.")
    ] = None
    tls_cert: Annotated[str | None, Meta(description="Certificate chain, a PEM file.")] = None
    tls_key: Annotated[str | None, Meta(description="Its key, a PEM file.")] = None
    origins: Annotated[
        str, Meta(description="Pages of other sites that may connect, with commas between.")
    ] = ""
    insecure: Annotated[
        bool, Meta(description="Serve other machines without tokens or TLS all the same.")
    ] = False
    proxies: Annotated[
        str,
        Meta(
            description="Proxies that are believed whom they bring (X-Forwarded-For): addresses,"
            " networks, with commas between."
        ),
    ] = ""
    max_sessions: Annotated[int, Meta(ge=1, description="Streams at the same time.")] = 64
    token_share: Annotated[
        float, Meta(gt=0, le=1, description="Share of streams and listeners one of several has.")
    ] = 0.5
    max_listeners: Annotated[int, Meta(ge=1, description="Listeners at the same time.")] = 256
    late_s: Annotated[
        float, Meta(ge=0, description="While finals are so late no stream is let in. 0: however.")
    ] = 5.0
    max_uploads: Annotated[int, Meta(ge=1, description="Uploaded files at the same time.")] = 4
    max_upload_mib: Annotated[
        int, Meta(ge=1, le=4096, description="Longest uploaded file, MiB.")
    ] = 25
    max_upload_s: Annotated[
        float, Meta(gt=0, description="Longest sound of an uploaded file, s.")
    ] = 3600.0
    max_message_kib: Annotated[
        int, Meta(ge=4, le=65_536, description="Longest message of a client, KiB.")
    ] = 2048
    speed: Annotated[
        float, Meta(ge=1, description="Sound is taken at most at so many times real time.")
    ] = 8.0
    message_rate: Annotated[
        float, Meta(ge=1, description="Messages without sound a second, from one connection.")
    ] = 20.0
    message_burst: Annotated[
        int, Meta(ge=1, description="Such messages that may come at once before.")
    ] = 400
    idle_s: Annotated[
        float, Meta(gt=0, description="A stream without any message for so long is ended.")
    ] = 300.0
    session_s: Annotated[float, Meta(gt=0, description="A stream is ended after so long.")] = 14_400
    resume_s: Annotated[
        float, Meta(ge=0, description="A stream whose client vanished is kept for so long.")
    ] = 30.0
    drain_s: Annotated[
        float, Meta(ge=0, description="After SIGTERM streams may go on for so long.")
    ] = 10.0
    shutdown_s: Annotated[
        float, Meta(gt=0, description="What is still to tell at the end may take so long.")
    ] = 10.0
    replay_events: Annotated[
        int, Meta(ge=100, le=1_000_000, description="Events kept for listeners that come back.")
    ] = 20_000
    backlog_events: Annotated[
        int, Meta(ge=16, le=100_000, description="Events that may wait for a slow connection.")
    ] = 1000
    purpose: Annotated[
        str, Meta(max_length=1000, description="The page says before the consent what it is for.")
    ] = ""
    responsible: Annotated[
        str, Meta(max_length=1000, description="The page says who answers for the server.")
    ] = ""
    contact: Annotated[
        str, Meta(max_length=1000, description="The page says whom to ask, such as an address.")
    ] = ""
    meeting_keep_s: Annotated[
        float, Meta(ge=0, description="A meeting that everybody has left is kept for so long.")
    ] = 600.0


class ClusterSettings(Section, frozen=True):
    """How servers that share meetings know of each other; without ``redis`` there is one."""

    redis: Annotated[
        str | None, Meta(description="Address of their Redis: redis://HOST:6379/0, or rediss://.")
    ] = None
    address: Annotated[
        str | None,
        Meta(description="How other servers reach this one: ws://HOST:8377 or wss://."),
    ] = None
    tls_ca: Annotated[
        str | None,
        Meta(
            description="Whose certificates of other servers (wss://) are believed, a PEM file;"
            " none: those that the machine believes."
        ),
    ] = None
    node: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None,
        Meta(description="Name of this server; else that of its machine."),
    ] = None
    prefix: Annotated[
        str, Meta(min_length=1, max_length=64, description="With what keys in Redis begin.")
    ] = "streamser"
    ttl_s: Annotated[
        float, Meta(ge=1, le=60, description="A server that says nothing for so long is gone.")
    ] = 4.0
    keep_s: Annotated[
        int, Meta(ge=10, description="What was told of a meeting is kept there for so long.")
    ] = 3600
    keep_events: Annotated[
        int, Meta(ge=100, description="Events of a meeting that are kept there, about.")
    ] = 2000


class Settings(Section, frozen=True):
    """Every setting of the program."""

    offline: Annotated[bool, Meta(description="Never look for anything on the network.")] = False
    audio: AudioSettings = AudioSettings()
    vad: VadSettings = VadSettings()
    endpointing: EndpointingSettings = EndpointingSettings()
    partial: PartialSettings = PartialSettings()
    asr: AsrSettings = AsrSettings()
    emotion: EmotionSettings = EmotionSettings()
    mood: MoodSettings = MoodSettings()
    speakers: SpeakersSettings = SpeakersSettings()
    worker: WorkerSettings = WorkerSettings()
    server: ServerSettings = ServerSettings()
    cluster: ClusterSettings = ClusterSettings()
