"""The protocol document, written from the event classes themselves."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import msgspec
from msgspec import inspect as kinds

from streamser import events
from streamser.cli.protocol_examples import examples
from streamser.events import PROTOCOL, AnyEvent, Event

__all__ = [
    "COMPACT_EVIDENCE",
    "ERROR_CODES",
    "FUSED_EVIDENCE",
    "RULES_EVIDENCE",
    "event_schema",
    "protocol_document",
]

ERROR_CODES = {
    "bench_failed": "a measurement of `streamser bench` broke off",
    "closed": "the analyser was closed while the utterance waited",
    "cuda_unavailable": "CUDA's libraries were not found or do not fit",
    "device_lost": "the microphone was unplugged or taken away; what was heard is still analysed",
    "device_unavailable": "the microphone is there but cannot be opened or started",
    "file_not_found": "there is no such file or folder",
    "file_unreadable": "the file is there but may not or cannot be read",
    "internal_error": "a fault of streamser itself, or one without a code of its own",
    "invalid_audio": "a source of sound cannot be used, for a reason without a code of its own",
    "invalid_config": "a setting, flag or preset cannot be used",
    "model_unavailable": "a model is missing, cannot be loaded, or failed",
    "no_audio": "the source ended, or the file was empty, before any sound came",
    "no_input_device": "this machine has no sound input",
    "no_portaudio": "the library PortAudio, which microphones need, is not installed",
    "not_audio": "the file is not sound, or of an unknown format",
    "not_raw_audio": "a file with a header was given where raw samples were promised",
    "out_of_memory": "a model did not fit into the memory of the device it runs on",
    "output_failed": "`analyze -o` could not write its output",
    "overloaded": "too many utterances were waiting already, so this one was not analysed",
    "recording_failed": "`--record` could not write; the disk may be full",
    "skipped": "the final analysis of the utterance was left out",
    "truncated_audio": "the sound broke off early; what came before is still analysed",
    "unknown_device": "no input has that name or number, or more than one has",
}
"""Every value of `error.code`, in alphabetical order, with what it says."""

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
}
"""Every measurement in the evidence of the bundled model: unit or range, and meaning."""

FUSED_EVIDENCE = {
    "logit_margin": ("logits", "lead of the likeliest category over the next, uncalibrated"),
    "temperature": ("> 0", "what the logits were divided by; 1 where nothing was calibrated"),
    "unsure_below": ("0 or more", "a likeliest category less probable than this is `unsure`"),
}
"""Every key in the evidence of trained models: unit or range, and meaning."""

_INTRODUCTION = f"""\
# Protocol `{PROTOCOL}`

<!-- Written by `streamser protocol --write docs/protocol.md` from streamser/events.py. -->

{{names}}

Each event is one JSON object; in files and on stdout it is one line. Times whose names end in
`_ms` count from the first sound of the session, on the clock of the audio. An utterance gives
`input_audio_buffer.speech_started`, any number of `streamser.transcript.partial` and
`streamser.emotion.delta`, `input_audio_buffer.speech_stopped`, `input_audio_buffer.committed`,
and then its finals: `conversation.item.input_audio_transcription.completed` (where speech is
transcribed), `streamser.emotion.completed` and `streamser.mood.updated`, or one
`conversation.item.input_audio_transcription.failed` in their place. Finals come in the order of
the utterances; the next utterance may begin before they come.
"""

_ERRORS = """\
## Error codes

The values of `error.code`, in the events `error` and
`conversation.item.input_audio_transcription.failed`. Faults that end a command before its session
begins have codes as well; these come as an exception's `code` in Python, never as an event. Later
versions may add codes: treat one that you do not know like `internal_error`.
"""

_EVIDENCE = """\
## Evidence of the model `rules`

What `emotion.evidence` holds where `emotion.model` is `rules`. A key is absent where nothing was
measured: without voiced sound there are no `f0_`, `intensity_` and `hf500_` keys, below 0.3 s of
it no scores and weights, and without a transcript none of the last two.
"""

_COMPACT_EVIDENCE = """\
## Evidence of the model `compact`

What `emotion.evidence` holds where `emotion.model` is `compact`, the model that comes with the
program. It is empty where there was neither sound nor words; the `f0_` keys are absent without
voiced sound.
"""

_FUSED_EVIDENCE = """\
## Evidence of trained models

What `emotion.evidence` holds where `emotion.model` is a trained checkpoint. It is empty where the
model knows no categories, or there was neither sound nor text that it reads.
"""


def protocol_document() -> str:
    """Write the whole document, as Markdown; the same classes give the same text."""
    shown = {type(example): example for example in examples()}
    kinds_of_events: tuple[type[Event], ...] = get_args(AnyEvent)
    described = [_struct(event) for event in kinds_of_events]
    values = _values(described)
    parts = [
        _INTRODUCTION.format(names=_paragraph(events.__doc__).partition("\n\n")[2]),
        "## Every event\n",
        f"{_paragraph(Event.__doc__)}\n",
        _type_row_table(_struct(Event).fields, first=("type", "string", "Which event it is.")),
        "## Events\n",
        "| type | what it says |\n|---|---|",
        "".join(
            f"| [`{event.tag}`](#{_anchor(str(event.tag))}) | {_summary(event.cls)} |\n"
            for event in described
        ),
        *(_event_section(_struct(event), shown[event]) for event in kinds_of_events),
        "## Values inside events\n",
        *(_value_section(value) for value in values),
        _ERRORS,
        _table(
            ("code", "what it says"), ((f"`{code}`", says) for code, says in ERROR_CODES.items())
        ),
        _COMPACT_EVIDENCE,
        _measurements(COMPACT_EVIDENCE),
        _EVIDENCE,
        _measurements(RULES_EVIDENCE),
        _FUSED_EVIDENCE,
        _measurements(FUSED_EVIDENCE),
        "## JSON Schema\n",
        "<details><summary>Schema of all events</summary>\n",
        f"```json\n{event_schema()}\n```\n",
        "</details>\n",
    ]
    return "\n".join(parts)


def _measurements(evidence: dict[str, tuple[str, str]]) -> str:
    rows = ((f"`{key}`", *meant) for key, meant in evidence.items())
    return _table(("key", "unit or range", "meaning"), rows)


def event_schema() -> str:
    """Write the JSON Schema (2020-12) of any event, indented."""
    (schema,), components = msgspec.json.schema_components(
        (AnyEvent,), ref_template="#/$defs/{name}"
    )
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": PROTOCOL,
        **schema,
        "$defs": components,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _event_section(event: kinds.StructType, example: Event) -> str:
    envelope = {field.name for field in _struct(Event).fields}
    own = [field for field in event.fields if field.name not in envelope]
    pretty = msgspec.json.format(msgspec.json.encode(example), indent=2).decode()
    return "\n".join(
        [
            f"### `{event.tag}`\n",
            f"{_paragraph(event.cls.__doc__)}\n",
            _type_row_table(own),
            f"```json\n{pretty}\n```\n",
        ]
    )


def _value_section(value: kinds.StructType) -> str:
    name = value.cls.__name__
    return f"### {name}\n\n{_paragraph(value.cls.__doc__)}\n\n{_type_row_table(value.fields)}"


def _type_row_table(
    fields: Iterable[kinds.Field], first: tuple[str, str, str] | None = None
) -> str:
    rows = ["| field | type | meaning |", "|---|---|---|"]
    if first is not None:
        rows.append("| `{}` | {} | {} |".format(*first))
    rows += [
        f"| `{field.encode_name}` | {_type(field.type)} | {_meaning(field.type)} |"
        for field in fields
    ]
    return "\n".join(rows) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    rule = "|".join("---" for _ in head)
    lines = (" | ".join(row) for row in (head, *rows))
    written = [f"| {line} |" for line in lines]
    return "\n".join([written[0], f"|{rule}|", *written[1:]]) + "\n"


def _type(kind: kinds.Type) -> str:
    match kind:
        case kinds.Metadata():
            return _type(kind.type)
        case kinds.UnionType():
            return " or ".join(_type(each) for each in kind.types)
        case kinds.LiteralType():
            return ", ".join(f'`"{value}"`' for value in kind.values)
        case kinds.StructType():
            name = kind.cls.__name__
            return f"[{name}](#{_anchor(name)})"
        case kinds.DictType():
            return f"object of {_type(kind.value_type)}"
        case kinds.VarTupleType() | kinds.ListType():
            return f"array of {_type(kind.item_type)}"
        case kinds.NoneType():
            return "null"
    plain = {
        kinds.StrType: "string",
        kinds.IntType: "integer",
        kinds.FloatType: "number",
        kinds.BoolType: "boolean",
    }
    return plain[type(kind)]


def _meaning(kind: kinds.Type) -> str:
    if isinstance(kind, kinds.Metadata):
        return str((kind.extra_json_schema or {}).get("description", ""))
    return _summary(kind.cls) if isinstance(kind, kinds.StructType) else ""


def _values(described: Iterable[kinds.StructType]) -> list[kinds.StructType]:
    """List the structs inside events, in the order in which events speak of them."""
    found: dict[str, kinds.StructType] = {}

    def visit(kind: Any) -> None:
        if isinstance(kind, kinds.StructType):
            if kind.cls.__name__ not in found:
                found[kind.cls.__name__] = kind
                for field in kind.fields:
                    visit(field.type)
        else:
            for inner in _inside(kind):
                visit(inner)

    for event in described:
        for field in event.fields:
            visit(field.type)
    return list(found.values())


def _inside(kind: Any) -> Iterator[kinds.Type]:
    match kind:
        case kinds.Metadata():
            yield kind.type
        case kinds.UnionType():
            yield from kind.types
        case kinds.DictType():
            yield kind.value_type
        case kinds.VarTupleType() | kinds.ListType():
            yield kind.item_type


def _struct(cls: type) -> kinds.StructType:
    info = kinds.type_info(cls)
    assert isinstance(info, kinds.StructType)
    return info


def _summary(cls: type) -> str:
    return _paragraph(cls.__doc__).partition("\n\n")[0]


def _paragraph(docstring: str | None) -> str:
    """Join the lines of each paragraph of a docstring, reST literals made Markdown's."""
    paragraphs = inspect.cleandoc(docstring or "").replace("``", "`").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    kept = (sign for sign in heading.lower() if sign.isalnum() or sign in "-_ ")
    return "".join(kept).replace(" ", "-")
