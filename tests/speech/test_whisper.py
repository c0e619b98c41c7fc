"""Whisper through the real CTranslate2, with models made on the spot."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE, Clip, to_samples
from streamser.errors import ModelError
from streamser.speech import whisper, whisper_files
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from streamser.speech.whisper_encoder import pad
from streamser.speech.whisper_files import WHISPER_SIZES, find_whisper
from tests.scripted_whisper import build_babbling_whisper, build_scripted_whisper
from tests.weights import remove_weights

SENTENCE = "I am so happy today"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a model that says one sentence, and one that says what it hears."""
    folder = tmp_path_factory.mktemp("whisper")
    build_scripted_whisper(folder / "scripted", SENTENCE)
    build_babbling_whisper(folder / "babbling")
    return folder


@pytest.fixture(autouse=True)
def _empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test see the package of weights, or see or fill the cache of whoever runs it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    remove_weights(monkeypatch)


def clip(seconds: float, start: int = 0, seed: int = 0) -> Clip:
    """Return a clip of noise."""
    rng = np.random.default_rng(seed)
    samples = (0.1 * rng.standard_normal(to_samples(1000 * seconds))).astype(np.float32)
    return Clip(f"session {seed}", 1, start, samples, final=True)


def scripted(models: Path, **options: Any) -> WhisperTranscriber:
    """Load the model that says one sentence."""
    return WhisperTranscriber(WhisperOptions(model=str(models / "scripted"), **options))


def test_text_and_probabilities_come_from_the_model(models: Path) -> None:
    """The scripted sentence is heard with certainty, by a model named after its directory."""
    transcriber = scripted(models)
    (transcript,) = transcriber.transcribe([clip(2.0)])
    assert transcriber.name == "faster-whisper/scripted"
    assert transcript.text == SENTENCE
    assert transcript.language == "en"
    assert transcript.words == ()
    assert transcript.avg_logprob == pytest.approx(0.0, abs=1e-3)
    assert transcript.confidence == pytest.approx(1.0, abs=1e-3)
    assert transcript.no_speech == pytest.approx(0.0, abs=1e-3)


def test_a_clip_is_heard_alike_alone_and_in_a_batch(models: Path) -> None:
    """Neighbours change neither text nor probabilities, whatever their lengths."""
    transcriber = WhisperTranscriber(
        WhisperOptions(model=str(models / "babbling"), compute_type="int8")
    )
    clips = [clip(seconds, seed=i) for i, seconds in enumerate((1.0, 7.0, 0.3, 41.0, 3.0))]
    together = transcriber.transcribe(clips)
    assert len({transcript.text for transcript in together}) > 2
    for one, transcript in zip(clips, together, strict=True):
        (alone,) = transcriber.transcribe([one])
        assert alone.text == transcript.text
        assert alone.avg_logprob == pytest.approx(transcript.avg_logprob, abs=1e-3)
        assert alone.no_speech == pytest.approx(transcript.no_speech, abs=1e-3)


def test_the_batch_hears_what_faster_whisper_hears(models: Path) -> None:
    """On the same features, text and log-probability are those of faster-whisper itself."""
    from faster_whisper.transcribe import BatchedInferencePipeline

    transcriber = WhisperTranscriber(
        WhisperOptions(model=str(models / "babbling"), compute_type="int8")
    )
    transcriber._encoder = None  # the other computes in float32
    sound = clip(30.0, seed=9)
    (ours,) = transcriber.transcribe([sound])
    pipeline = BatchedInferencePipeline(transcriber._model)
    segments, _ = pipeline.transcribe(
        sound.samples, language="en", beam_size=1, temperature=0.0, without_timestamps=True,
        vad_filter=False, clip_timestamps=[{"start": 0.0, "end": 30.0}],
        log_prob_threshold=None, no_speech_threshold=None, compression_ratio_threshold=None,
    )  # fmt: skip
    theirs = list(segments)
    assert "".join(segment.text for segment in theirs).strip() == ours.text
    assert theirs[0].avg_logprob == pytest.approx(ours.avg_logprob, abs=1e-3)


def test_features_are_those_of_a_clip_padded_with_silence(models: Path) -> None:
    """Padding after the transform gives what OpenAI's padding before it gives."""
    transcriber = scripted(models)
    for sound in (clip(1.3).samples, np.zeros(8_000, np.float32), clip(30.0).samples):
        padded = np.pad(sound, (0, 30 * SAMPLE_RATE - len(sound)))
        expected = transcriber._extract(padded, padding=560)[:, :3000]
        ours = pad(transcriber._features(sound), 3000)
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_partials_and_finals_of_all_lengths_share_one_batch(models: Path) -> None:
    """Neighbours in windows of other lengths change nothing, and words keep their places."""
    options = WhisperOptions(model=str(models / "babbling"), compute_type="int8", word_times=True)
    transcriber = WhisperTranscriber(options)
    clips = [
        Clip("s", i, 0, clip(seconds, seed=i).samples, final=i == 2)
        for i, seconds in enumerate((1.0, 7.0, 3.0, 29.8, 3.5))
    ]
    together = transcriber.transcribe(clips)
    for one, transcript in zip(clips, together, strict=True):
        (alone,) = transcriber.transcribe([one])
        assert (alone.text, alone.words) == (transcript.text, transcript.words)
        assert all(word.end <= one.end for word in transcript.words)


def test_a_processor_holds_few_windows_at_once(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait: memory is what a stream costs, and decoding more is no cheaper."""
    whisper = scripted(models)
    decode, shapes = whisper._decode, list[int]()

    def note(windows: Any, tokenizers: Sequence[Any]) -> list[Any]:
        shapes.append(windows.shape[0])
        assert len(tokenizers) == windows.shape[0]
        return decode(windows, tokenizers)

    monkeypatch.setattr(whisper, "_decode", note)
    heard = whisper.transcribe([clip(1.0 + number, seed=number) for number in range(5)])
    assert shapes == [2, 2, 1]
    assert [each.text for each in heard] == [SENTENCE] * 5


def test_only_what_was_said_is_encoded(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of silence is encoded behind it; the rest of the window is remembered."""
    transcriber = scripted(models)
    encoder, frames = transcriber._encoder, []
    assert encoder is not None
    encode = encoder.encode

    def note(window: Any) -> Any:
        frames.append(window.shape[1])
        return encode(window)

    monkeypatch.setattr(encoder, "encode", note)
    heard = transcriber.transcribe([clip(2.0), clip(29.5), clip(0.0), clip(41.0)])
    assert [transcript.text for transcript in heard[:3]] == [SENTENCE, SENTENCE, ""]
    assert heard[3].text == f"{SENTENCE} {SENTENCE}"
    assert frames[0] == pytest.approx(254, abs=8)
    assert frames[1] == 3000


def test_where_the_encoder_cannot_be_had_twice_full_windows_are_encoded(
    models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A large model has them in silence; weights of an unknown kind are told in a line."""
    monkeypatch.setattr(whisper_files, "_LARGEST", 1)
    large = scripted(models)
    monkeypatch.undo()

    def refuse(path: Path) -> None:
        raise ModelError(f"the weights in {path} cannot be read (5)")

    assert not caplog.records
    monkeypatch.setattr(whisper, "read_encoder", refuse)
    strange = scripted(models)
    assert [record.message for record in caplog.records] == [
        "Every utterance is encoded in 30 s, which is slow: the weights in"
        f" {models / 'scripted' / 'model.bin'} cannot be read (5)"
    ]
    for transcriber in (large, strange):
        heard = transcriber.transcribe([clip(1.0), clip(2.0)])
        assert [transcript.text for transcript in heard] == [SENTENCE, SENTENCE]


def test_the_arithmetic_is_told_and_no_matter_of_chance(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself it is the first of a fixed order that the device has."""
    import ctranslate2

    assert scripted(models).arithmetic == "int8_float32"
    assert scripted(models, compute_type="float32").arithmetic == "float32"
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device: {"float32"})
    assert scripted(models).arithmetic == "float32"
    offered = {"float16", "float32", "int8_float32", "bfloat16"}
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device: offered)
    assert whisper_files._arithmetic("auto", "cuda") == "float16"
    offered.remove("float16")
    assert whisper_files._arithmetic("auto", "cuda") == "bfloat16"


def test_beam_search_works_on_a_batch(models: Path) -> None:
    """More hypotheses still give the scripted sentence to every clip."""
    heard = scripted(models, beam_size=3).transcribe([clip(1.0), clip(2.0)])
    assert [transcript.text for transcript in heard] == [SENTENCE, SENTENCE]


def test_word_times_are_absolute_and_inside_the_clip(models: Path) -> None:
    """The scripted model attends to half a second a word; clips shift and bound that."""
    transcriber = scripted(models, word_times=True)
    long, short = transcriber.transcribe([clip(3.0, start=160_000), clip(0.8, start=500)])
    assert [word.text for word in long.words] == SENTENCE.split()
    for number, word in enumerate(long.words):
        assert word.start == pytest.approx(160_000 + 8_000 * number, abs=640)
        assert word.end == pytest.approx(160_000 + 8_000 * (number + 1), abs=640)
        assert word.confidence == pytest.approx(1.0, abs=1e-3)
    assert all(500 <= word.start <= word.end <= 500 + 12_800 for word in short.words)


def test_a_clip_over_thirty_seconds_is_cut_where_it_is_quiet(models: Path) -> None:
    """Each piece says the sentence; the second begins in the pause, not at 30 s."""
    samples = clip(40.0).samples.copy()
    samples[25 * SAMPLE_RATE : 26 * SAMPLE_RATE] = 0.0
    transcriber = scripted(models, word_times=True)
    (transcript,) = transcriber.transcribe([Clip("s", 1, 1_000, samples, final=True)])
    assert transcript.text == f"{SENTENCE} {SENTENCE}"
    assert len(transcript.words) == 10
    assert 1_000 + 25 * SAMPLE_RATE <= transcript.words[5].start <= 1_000 + 26 * SAMPLE_RATE
    assert transcript.words[5].text == "I"


def test_pieces_lose_no_sample(models: Path) -> None:
    """Pieces of a long clip follow each other without gap or overlap and are short enough."""
    sound = clip(95.0, start=77)
    pieces = list(whisper._pieces(0, sound))
    assert [piece.start for piece in pieces[1:]] == [
        piece.start + len(piece.samples) for piece in pieces[:-1]
    ]
    np.testing.assert_array_equal(np.concatenate([p.samples for p in pieces]), sound.samples)
    assert max(len(piece.samples) for piece in pieces) <= 30 * SAMPLE_RATE
    assert pieces[0].start == 77


def test_empty_clips_and_batches_are_silence(models: Path) -> None:
    """No sound gives no text, alone or beside others."""
    transcriber = scripted(models)
    assert transcriber.transcribe([]) == []
    assert [t.text for t in transcriber.transcribe([clip(0.0)])] == [""]
    assert [t.text for t in transcriber.transcribe([clip(0.0), clip(1.0)])] == ["", SENTENCE]


def test_the_language_is_detected_for_every_utterance(tmp_path: Path) -> None:
    """A multilingual model says which language it heard; a fixed one is not asked about."""
    build_scripted_whisper(tmp_path / "multi", "Ich bin so glücklich", language="de")
    options = WhisperOptions(model=str(tmp_path / "multi"))
    (detected,) = WhisperTranscriber(options).transcribe([clip(1.0)])
    assert (detected.text, detected.language) == ("Ich bin so glücklich", "de")
    fixed = WhisperOptions(model=str(tmp_path / "multi"), language="fr")
    assert WhisperTranscriber(fixed).transcribe([clip(1.0)])[0].language == "fr"
    with pytest.raises(ModelError, match="language is a code such as en"):
        WhisperTranscriber(WhisperOptions(model=str(tmp_path / "multi"), language="klingon"))


def test_a_clip_may_say_what_is_spoken_in_it(tmp_path: Path) -> None:
    """Before the settings, and for itself alone; what the model does not know fails by its code."""
    build_scripted_whisper(tmp_path / "multi", "Ich bin hier", language="de")
    transcriber = WhisperTranscriber(WhisperOptions(model=str(tmp_path / "multi")))
    french = replace(clip(1.0), language="fr-CA")
    heard = transcriber.transcribe([clip(1.0), french])
    assert [transcript.language for transcript in heard] == ["de", "fr"]
    with pytest.raises(ModelError, match="does not know it") as fault:
        transcriber.transcribe([replace(french, language="tlh")])
    assert fault.value.code == "unsupported_language"


def test_finals_leave_their_language_to_the_session_and_partials_do_not(models: Path) -> None:
    """Those of one batch as well, in any order; a session that has ended leaves nothing."""
    transcriber = scripted(models)
    transcriber.languages, transcriber._language = frozenset({"de", "en"}), None
    chances = {1: [("<|de|>", 0.99), ("<|en|>", 0.01)], 2: [("<|en|>", 0.6), ("<|de|>", 0.3)]}

    def languages(*asked: tuple[int, bool], session: str = "s") -> list[str]:
        clips = [Clip(session, n, 0, clip(3.0 / n**2).samples, final) for n, final in asked]
        pieces = [piece for i, each in enumerate(clips) for piece in whisper._pieces(i, each)]
        found = [chances[n] for n, _ in asked]
        transcriber._model = SimpleNamespace(
            model=SimpleNamespace(detect_language=lambda encoded: found)
        )
        return transcriber._languages([None], pieces)

    assert languages((1, False)) == ["de"]
    assert languages((2, True)) == ["en"]
    assert languages((2, True), (1, True), (2, False)) == ["de", "de", "de"]
    assert languages((2, True), session="another") == ["en"]
    transcriber.forget("s")
    assert languages((2, False)) == ["en"]


def test_a_model_that_hears_nobody_is_reported_as_such(tmp_path: Path) -> None:
    """The no-speech probability is the model's, beside the text that it gives all the same."""
    build_scripted_whisper(tmp_path / "nobody", "Thank you for watching", no_speech=True)
    transcriber = WhisperTranscriber(WhisperOptions(model=str(tmp_path / "nobody")))
    (transcript,) = transcriber.transcribe([clip(2.0)])
    assert transcript.text == "Thank you for watching"
    assert transcript.no_speech == pytest.approx(1.0, abs=1e-3)


def test_an_english_model_refuses_another_language(models: Path) -> None:
    """Better no start than German written down in English sounds."""
    with pytest.raises(ModelError, match="knows only English"):
        scripted(models, language="de")


@pytest.mark.parametrize("missing", ["model.bin", "config.json", "tokenizer.json"])
def test_an_incomplete_directory_names_what_is_missing(
    models: Path, tmp_path: Path, missing: str
) -> None:
    """A directory without one of its files is refused by that file's name."""
    shutil.copytree(models / "scripted", tmp_path / "copy")
    (tmp_path / "copy" / missing).unlink()
    assert find_whisper(str(tmp_path / "copy")) is None
    with pytest.raises(ModelError, match=rf"copy lacks {missing}"):
        WhisperTranscriber(WhisperOptions(model=str(tmp_path / "copy")))


def test_a_damaged_model_is_refused_in_one_line(models: Path, tmp_path: Path) -> None:
    """A file that is no model gives a line, not a traceback of CTranslate2."""
    shutil.copytree(models / "scripted", tmp_path / "copy")
    (tmp_path / "copy" / "model.bin").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        WhisperTranscriber(WhisperOptions(model=str(tmp_path / "copy")))
    assert "\n" not in str(caught.value)


def test_a_missing_directory_is_named_with_what_it_should_hold() -> None:
    """A path that is not there is not mistaken for a hub name."""
    with pytest.raises(ModelError, match=r"No Whisper model './nowhere'.*model.bin"):
        WhisperTranscriber(WhisperOptions(model="./nowhere"))


def test_offline_a_model_that_is_not_cached_says_how_to_get_it() -> None:
    """Without the hub, the message names the repository and the way out."""
    with pytest.raises(ModelError, match=r"Systran/faster-whisper-base.*--offline"):
        WhisperTranscriber(WhisperOptions(model="base", offline=True))


def test_an_unreachable_hub_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that does not answer costs one look, not minutes of retries."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"http://127.0.0.1:9 does not answer"):
        WhisperTranscriber(WhisperOptions(model="base"))


def test_a_cached_model_is_found_and_used_without_the_hub(models: Path, tmp_path: Path) -> None:
    """The cache's layout (refs, snapshots) leads from a size to its files."""
    assert find_whisper("tiny.en") is None
    cached = tmp_path / "hub" / "models--Systran--faster-whisper-tiny.en"
    shutil.copytree(models / "scripted", cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    assert find_whisper("tiny.en") == cached / "snapshots" / "abc"
    transcriber = WhisperTranscriber(WhisperOptions(model="tiny.en", offline=True))
    assert transcriber.name == "faster-whisper/tiny.en"
    assert transcriber.transcribe([clip(1.0)])[0].text == SENTENCE
    (cached / "snapshots" / "abc" / "model.bin").unlink()
    assert find_whisper("tiny.en") is None


def test_the_known_sizes_are_those_of_faster_whisper() -> None:
    """Our copy of the list has not fallen behind the library's."""
    from faster_whisper.utils import _MODELS

    assert WHISPER_SIZES == _MODELS


def test_faults_of_the_gpu_are_explained() -> None:
    """A missing cuBLAS becomes the command that installs it; exhausted memory has a code."""
    error = RuntimeError("Library libcublas.so.12 is not found or cannot be loaded")
    fault = whisper_files.runtime_fault(error)
    assert "pip install 'streamser[cuda]'" in str(fault)
    assert fault.code == "cuda_unavailable"
    assert whisper_files.runtime_fault(RuntimeError("CUDA out of memory")).code == "out_of_memory"
