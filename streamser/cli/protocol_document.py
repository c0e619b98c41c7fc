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

__all__ = ["event_schema", "protocol_document"]

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
        "## JSON Schema\n",
        "<details><summary>Schema of all events</summary>\n",
        f"```json\n{event_schema()}\n```\n",
        "</details>\n",
    ]
    return "\n".join(parts)


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
