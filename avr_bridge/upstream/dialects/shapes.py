"""Objects that more than one dialect shapes in the same way: items, responses, tools.

Pure functions: what is handed in stays as it was.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from avr_bridge.upstream.dialects.base import JsonObject

__all__ = [
    "ANSWER_RENAMES",
    "answer_kind",
    "both_kinds",
    "ga_item",
    "ga_modalities",
    "is_mcp",
    "without_mcp_tools",
]

ANSWER_RENAMES: Mapping[str, str] = MappingProxyType(
    {
        "response.audio.delta": "response.output_audio.delta",
        "response.audio.done": "response.output_audio.done",
        "response.audio_transcript.delta": "response.output_audio_transcript.delta",
        "response.audio_transcript.done": "response.output_audio_transcript.done",
        "response.text.delta": "response.output_text.delta",
        "response.text.done": "response.output_text.done",
    }
)
"""Beta's names of an answer's events; xAI sends some of them too."""

_GA_PARTS = {"text": "output_text", "audio": "output_audio"}
"""Content of an assistant's item. The parts of `response.content_part.*` are so in both."""


def ga_item(item: Any) -> Any:
    """A conversation item with GA's content types; anything odd as it is."""
    if not isinstance(item, dict) or item.get("role") != "assistant":
        return item
    content = item.get("content")
    if not isinstance(content, list):
        return item
    return item | {"content": [_ga_part(part) for part in content]}


def _ga_part(part: Any) -> Any:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return part
    return part | {"type": _GA_PARTS.get(part["type"], part["type"])}


def ga_modalities(modalities: Any) -> Any:
    """Beta's `["text", "audio"]`, in any order, is GA's `["audio"]`, with its transcript."""
    if not isinstance(modalities, list):
        return modalities
    return ["audio"] if "audio" in modalities else ["text"]


def both_kinds(output_modalities: Any) -> Any:
    """The other way: sound alone was never accepted."""
    return ["text", "audio"] if output_modalities == ["audio"] else output_modalities


def answer_kind(session: JsonObject) -> JsonObject:
    """`output_modalities` of a session or response that has `modalities`; else nothing."""
    if "modalities" not in session:
        return {}
    return {"output_modalities": ga_modalities(session["modalities"])}


def is_mcp(thing: Any) -> bool:
    """Whether a tool, a tool choice or an item belongs to MCP, which GA alone has."""
    return isinstance(thing, dict) and str(thing.get("type", "")).startswith("mcp")


def without_mcp_tools(fields: JsonObject) -> JsonObject:
    """`tools` and `tool_choice`, where they are given, without what names an MCP server."""
    kept: JsonObject = {}
    tools = fields.get("tools")
    if isinstance(tools, list):
        kept["tools"] = [tool for tool in tools if not is_mcp(tool)]
    if "tool_choice" in fields and not is_mcp(fields["tool_choice"]):
        kept["tool_choice"] = fields["tool_choice"]
    return kept
