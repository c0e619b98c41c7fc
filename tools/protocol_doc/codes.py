"""What codes and measurements in events mean, for the protocol document."""

from __future__ import annotations

__all__ = [
    "COMPACT_EVIDENCE",
    "ERROR_CODES",
    "FINAL_EVIDENCE",
    "FUSED_EVIDENCE",
    "READY_EVIDENCE",
    "RULES_EVIDENCE",
]

ERROR_CODES = {
    "audio_too_big": "sound is too long to be put into the page of `streamser report`",
    "audio_too_long": "the sound of a file that was sent lasts longer than the server takes",
    "closed": "the analyser was closed while the utterance waited",
    "cuda_unavailable": "CUDA's libraries were not found or do not fit",
    "deadline": "the models did not answer for the utterance in time (`worker.deadline_s`)",
    "device_lost": "the microphone was unplugged or taken away; what was heard is still analysed",
    "device_unavailable": "the microphone is there but cannot be opened or started",
    "field_too_long": "a field of a form is longer than 64 KiB",
    "file_not_found": "there is no such file or folder",
    "file_too_big": "a file that was sent is longer than the server takes",
    "file_unreadable": "the file is there but may not or cannot be read",
    "forbidden": "the token may not do this: it lacks the role, or is for another meeting or"
    " speaker",
    "idle_timeout": "a stream sent nothing for too long, and was ended",
    "input_audio_buffer_commit_empty": "there was nothing to commit",
    "internal_error": "a fault of streamser itself, or one without a code of its own",
    "invalid_audio": "a source of sound cannot be used, for a reason without a code of its own",
    "invalid_certificate": "the file of a certificate cannot be used, or not with this address",
    "invalid_config": "a setting, flag or preset cannot be used",
    "invalid_form": "what was sent is no form, or breaks off",
    "invalid_json": "a message of a client is not a JSON object with a type",
    "invalid_proxy": "what was given as a proxy is none, or must not stand before this server",
    "invalid_query": "the address of a connection has a parameter that cannot be used",
    "invalid_request": "a request is not HTTP as it is understood here",
    "invalid_token": "a token has characters that cannot be sent",
    "invalid_url": "an address is not that of a server",
    "invalid_value": "a field of a message, named by `param`, cannot be used",
    "message_too_big": "a server told of an event longer than a client takes: 4 MiB",
    "method_not_allowed": "the address has another method: `Allow` says which one",
    "missing_field": "a form lacks the field that `param` names",
    "mixed_sessions": "a file of events holds several sessions, and none was chosen",
    "model_not_found": "no model of the server has that name",
    "model_unavailable": "a model is missing, cannot be loaded, or failed",
    "no_audio": "the source ended, or the file was empty, before any sound came",
    "no_input_device": "this machine has no sound input",
    "no_portaudio": "the library PortAudio, which microphones need, is not installed",
    "no_session": "a file holds no events of a session, or not of the one asked for",
    "not_audio": "the file is not sound, or of an unknown format",
    "not_found": "there is nothing at this address",
    "not_raw_audio": "a file with a header was given where raw samples were promised",
    "not_ready": "the models are being loaded, for the first time or anew",
    "out_of_memory": "a model did not fit into the memory of the device it runs on",
    "output_failed": "`analyze -o` could not write its output",
    "overloaded": "too many utterances were waiting already, so this one was not analysed; or"
    " finals are late (`server.late_s`), and no stream is let in",
    "redis_away": "the Redis of a cluster cannot be reached",
    "recording_failed": "`--record` could not write; the disk may be full",
    "replay": "a replay takes no sound: it only plays what was recorded",
    "request_timeout": "a request did not come in time",
    "server_error": "a server, or the way to it, cannot be used; without a code of its own",
    "server_timeout": "a server did not tell the last events in time",
    "server_unreachable": "a server cannot be reached",
    "session_expired": "a stream went on for too long, and was ended",
    "session_over": "a client program went on sending after the stream had ended",
    "shutting_down": "the server is about to end",
    "skipped": "the final analysis of the utterance was left out",
    "too_many_bots": "as many meeting bots are connected as there may be streams, or as the token"
    " may have",
    "too_many_frames": "frames that are no messages came faster than allowed: it is closed",
    "too_many_listeners": "all places for listeners are taken",
    "too_many_listeners_of_token": "the token has as many listeners as it may",
    "too_many_markers": "markers wait for an utterance to end, and there is no room for more",
    "too_many_messages": "messages without sound came faster than allowed for 10 s: it is closed",
    "too_many_sessions": "all streams of the server are in use",
    "too_many_sessions_of_token": "the token has as many streams as it may",
    "too_many_visits": "the token connects again and again; try again in some seconds",
    "too_many_uploads": "as many files are being read as may be at a time",
    "too_many_uploads_of_token": "the token has as many files here as it may",
    "truncated_audio": "the sound broke off early; what came before is still analysed",
    "unauthorized": "a token is wanted, or the given one is not known",
    "unknown_device": "no input has that name or number, or more than one has",
    "unknown_message": "a message of a client has a type that the server does not know",
    "unknown_session": "there is no such session, or its events are forgotten",
    "unsupported_audio": "sound is of a format that browsers do not play in a page",
    "unsupported_language": "the recogniser does not know the language, or it is not a code of one",
    "unsupported_media_type": "a request's body is of a type that is not taken here",
    "untrusted_certificate": "a server's certificate is signed by nobody who is believed",
    "websocket_expected": "this address is for websockets",
    "worker_died": "the thread of the models died over the utterance, twice",
    "wrong_host": "the server is called by a name that is not its own",
    "wrong_origin": "a page of another site may not connect",
}
"""Every value of `error.code`, in alphabetical order, with what it says."""

FINAL_EVIDENCE = {
    "speech_rate": ("syllables/s", "how fast it is spoken, pauses included, by the sound alone"),
    "pause_share": ("0 to 1", "share of the time in pauses of 0.2 s or more"),
    "longest_pause_s": ("s", "the longest of them; 0: there is none"),
    "overlap": ("0 to 1", "share in which two speak at once, where voices are told apart"),
}
"""Every key in the evidence of finals, whatever the model: unit or range, and meaning."""

RULES_EVIDENCE = {
    "voiced_seconds": ("s", "voiced sound; below 0.3 s arousal is not judged"),
    "speech_seconds": ("s", "sound within 30 dB of the loudest"),
    "baseline_utterances": ("count", "earlier utterances that the voice was compared with"),
    "f0_median_hz": ("Hz", "median pitch of voiced frames"),
    "intensity_db": ("dB re full scale", "median level of voiced frames"),
    "hf500_db": ("dB", "energy above 500 Hz over energy from 80 to 500 Hz in voiced frames"),
    "f0_score": ("-1 to 1", "pitch among this speaker's own: 2 P(higher than the baseline) - 1"),
    "f0_weight": ("0 to 1", "share of pitch in arousal; the three weights sum to 1"),
    "intensity_score": ("-1 to 1", "level among this speaker's own, likewise"),
    "intensity_weight": ("0 to 1", "share of level in arousal"),
    "hf500_score": ("-1 to 1", "brightness among this speaker's own, likewise"),
    "hf500_weight": ("0 to 1", "share of brightness in arousal"),
    "vader_compound": ("-1 to 1", "VADER's compound score of the words, which is the valence"),
    "lexicon_words": ("count", "words that the lexicon knows; with 0 the scores ignore the words"),
}
"""Every measurement in the evidence of the model `rules`: unit or range, and meaning."""

COMPACT_EVIDENCE = {
    "known_utterances": ("count", "earlier utterances that the voice is compared with, 50 at most"),
    "speech_seconds": ("s", "speech frames; below 0.2 s the voice is not judged"),
    "f0_median_hz": ("Hz", "median pitch of voiced frames"),
    "f0_deviations": ("deviations", "how far that is from what is usual for this stream"),
    "logit_margin": ("logits", "lead of the likeliest category over the next, uncalibrated"),
    "unsure_below": ("0 or more", "a likeliest category less probable than this is `unsure`"),
    "words_weight": ("0 to 1", "how much the words count, by how sure the recogniser is of them"),
}
"""Every measurement in the evidence of the bundled model: unit or range, and meaning."""

FUSED_EVIDENCE = {
    "logit_margin": ("logits", "lead of the likeliest category over the next, uncalibrated"),
    "temperature": ("> 0", "what the logits were divided by; 1 where nothing was calibrated"),
    "unsure_below": ("0 or more", "a likeliest category less probable than this is `unsure`"),
}
"""Every key in the evidence of trained models: unit or range, and meaning."""

READY_EVIDENCE = {
    "audio_weight": ("0 to 1", "share of the voice in the categories; the two shares sum to 1"),
    "text_weight": ("0 to 1", "share of the words in the categories"),
    "outside": ("0 to 1", "share of what was held likely that is none of our categories"),
}
"""Every key in the evidence of public models: unit or range, and meaning."""
