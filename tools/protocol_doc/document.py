"""The protocol document, written from the event classes themselves."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import msgspec
from msgspec import inspect as kinds

from streamser import events
from streamser.events import (
    PROTOCOL,
    AnyEvent,
    Event,
    ListenerEvent,
    Placed,
    SessionEvent,
    Stamp,
    encode_event,
)
from streamser.server.dialects.openai_realtime import ClientMessage
from tools.protocol_doc.codes import (
    COMPACT_EVIDENCE,
    ERROR_CODES,
    FINAL_EVIDENCE,
    FUSED_EVIDENCE,
    READY_EVIDENCE,
    RULES_EVIDENCE,
)
from tools.protocol_doc.examples import examples, message_examples

__all__ = ["event_schema", "protocol_document"]

_INTRODUCTION = f"""\
# Protocol `{PROTOCOL}`

<!-- Written by `python -m tools.protocol_doc --write docs/protocol.md` from streamser/events/. -->

{{names}}

Each event is one JSON object; in files and on stdout it is one line. Times whose names end in
`_ms` count from the first sound of the session, on the clock of the audio. An utterance gives
`input_audio_buffer.speech_started`, any number of `streamser.transcript.partial` and
`streamser.emotion.delta`, `input_audio_buffer.speech_stopped`, `input_audio_buffer.committed`,
where its words are late `streamser.emotion.provisional`, and then its finals:
`conversation.item.input_audio_transcription.completed` (where speech is transcribed),
`streamser.emotion.completed` and `streamser.mood.updated`, or one
`conversation.item.input_audio_transcription.failed` in their place. Finals come in the order of
the utterances; the next utterance may begin before they come.
"""

_LISTENERS = """\
## For listeners of a server

Who listens at `/v1/events` gets a snapshot first, then every event of the sessions as above, and
these. Each carries a stamp:
"""

_MESSAGES = """\
## Messages of a client

What a client may send to `/v1/realtime`, as text; a binary message is sound in the stream's format.
How to connect, and what closes a connection: [server.md](server.md).
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

_FINAL_EVIDENCE = """\
## Evidence of finals

What `emotion.evidence` of a final holds beside what its model measured, whatever that is. The first
three are absent where less than half a second of speech sounds, `overlap` where it is 0. They judge
nothing; how right they are: [tempo.md](tempo.md).
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

_READY_EVIDENCE = """\
## Evidence of public models

What `emotion.evidence` holds where `emotion.model` is one or several of the public models that
`streamser models` lists: the shares of what was there. It is empty where none that was asked knows
categories.
"""


def protocol_document() -> str:
    """Write the whole document, as Markdown; the same classes give the same text."""
    shown: dict[type, Any] = {type(example): example for example in examples()}
    asked: dict[type, Any] = {type(example): example for example in message_examples()}
    of_sessions, of_listeners, messages = (
        [_struct(kind) for kind in get_args(kinds_of)]
        for kinds_of in (SessionEvent, ListenerEvent, ClientMessage)
    )
    values = _values([*of_sessions, *of_listeners, *messages])
    parts = [
        _INTRODUCTION.format(names=_paragraph(events.__doc__).partition("\n\n")[2]),
        "## Every event\n",
        f"{_paragraph(Event.__doc__)}\n",
        _type_row_table(_struct(Event).fields, first=("type", "string", "Which event it is.")),
        "## Events\n",
        _contents(of_sessions),
        *(_section(event, _struct(Event), shown[event.cls]) for event in of_sessions),
        _LISTENERS,
        _type_row_table(_struct(Stamp).fields),
        _contents(of_listeners),
        *(_section(event, _struct(Placed), shown[event.cls]) for event in of_listeners),
        _MESSAGES,
        _contents(messages, "Message "),
        *(
            _section(message, _struct(Placed), asked[message.cls], "Message ")
            for message in messages
        ),
        "## Values inside events and messages\n",
        *(_value_section(value) for value in values),
        _ERRORS,
        _table(
            ("code", "what it says"), ((f"`{code}`", says) for code, says in ERROR_CODES.items())
        ),
        _FINAL_EVIDENCE,
        _measurements(FINAL_EVIDENCE),
        _COMPACT_EVIDENCE,
        _measurements(COMPACT_EVIDENCE),
        _EVIDENCE,
        _measurements(RULES_EVIDENCE),
        _FUSED_EVIDENCE,
        _measurements(FUSED_EVIDENCE),
        _READY_EVIDENCE,
        _measurements(READY_EVIDENCE),
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
    return json.dumps(_clean(whole), indent=2, ensure_ascii=False)


def _clean(schema: Any) -> Any:
    """Take the indentation from docstrings: some versions of msgspec leave it, some do not."""
    if isinstance(schema, dict):
        return {
            key: inspect.cleandoc(value)
            if key == "description" and isinstance(value, str)
            else _clean(value)
            for key, value in schema.items()
        }
    return [_clean(each) for each in schema] if isinstance(schema, list) else schema


def _contents(described: Iterable[kinds.StructType], before: str = "") -> str:
    rows = (
        f"| [`{each.tag}`](#{_anchor(f'{before}{each.tag}')}) | {_summary(each.cls)} |\n"
        for each in described
    )
    return "| type | what it says |\n|---|---|\n" + "".join(rows)


def _section(
    kind: kinds.StructType, envelope: kinds.StructType, example: Any, before: str = ""
) -> str:
    said = {field.name for field in envelope.fields}
    own = [field for field in kind.fields if field.name not in said]
    pretty = msgspec.json.format(encode_event(example), indent=2).decode()
    return "\n".join(
        [
            f"### {before}`{kind.tag}`\n",
            f"{_paragraph(kind.cls.__doc__)}\n",
            *([_type_row_table(own)] if own else []),
            f"```json\n{pretty}\n```\n",
        ]
    )


def _value_section(value: kinds.StructType) -> str:
    name = value.cls.__name__
    first = None if value.tag is None else (str(value.tag_field), f'`"{value.tag}"`', "")
    rows = _type_row_table(value.fields, first)
    return f"### {name}\n\n{_paragraph(value.cls.__doc__)}\n\n{rows}"


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
