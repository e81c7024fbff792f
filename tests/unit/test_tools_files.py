"""Tools described in TOML and JSON: web addresses, MCP servers, and the check of arguments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_bridge import ToolsConfig
from avr_bridge.masking import Mask
from avr_bridge.tools import Toolbox, load_tools
from avr_bridge.tools.schema import parser_of_schema
from avr_bridge.tools.schema_shape import KEYWORDS, completed
from avr_bridge.tools.signature import NotATool

if TYPE_CHECKING:
    from pathlib import Path

HTTP = '[[http]]\nname = "stock"\ndescription = "Tell the stock."\nurl = "http://shop/stock"\n'
MCP = '[[mcp]]\nserver_label = "crm"\nserver_url = "https://mcp/x"\nallowed_tools = ["find"]\n'


def loaded(directory: Path, text: str, environ: dict[str, str], name: str = "t.toml") -> Toolbox:
    (directory / name).write_text(text)
    return load_tools(ToolsConfig(directory=str(directory)), environ)


def test_both_kinds_in_toml(tmp_path: Path) -> None:
    """Functions first, then servers; an address with no parameters takes none."""
    text = MCP + 'authorization = "${TOKEN}"\n' + HTTP
    box = loaded(tmp_path, text, {"TOKEN": '"hush"'})
    assert box.problems == ()
    *_, http, mcp = box.descriptions()
    assert http == {
        "type": "function",
        "name": "stock",
        "description": "Tell the stock.",
        "parameters": {"type": "object", "properties": {}},
    }
    assert mcp == {
        "type": "mcp",
        "server_label": "crm",
        "server_url": "https://mcp/x",
        "allowed_tools": ["find"],
        "authorization": "hush",
        "require_approval": "never",
    }
    assert [(one.name, one.kind) for one in box.loaded[2:]] == [("stock", "http"), ("crm", "mcp")]


def test_json_has_the_same_shape(tmp_path: Path) -> None:
    """The same entries, and `null` nowhere."""
    entry = {"name": "stock", "description": "Tell the stock.", "url": "http://shop"}
    box = loaded(tmp_path, json.dumps({"http": [entry]}), {}, "t.json")
    assert [one.name for one in box.loaded[2:]] == ["stock"]


def test_no_credential_is_shown(tmp_path: Path) -> None:
    """Not in the list of what was loaded, nor in the repr of a tool."""
    text = HTTP + '[http.headers]\nAuthorization = "Bearer ${TOKEN}"\n' + MCP
    text = text.replace("shop/stock", "shop/stock?key=${TOKEN}").replace("mcp/x", "mcp/${TOKEN}")
    box = loaded(tmp_path, text, {"TOKEN": "hush"})
    assert box.problems == ()
    assert "hush" not in repr((box.loaded, vars(box)))
    assert "hush" in repr(box.descriptions())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HTTP.replace("http://shop", "${BASE}"), "http entry 1 (stock): the variable BASE is not"),
        (HTTP.replace("http://shop", "${EMPTY}"), "the variable EMPTY is not set"),
        (HTTP + '[http.headers]\nX = "${NONE}"', "the variable NONE is not set"),
        (HTTP + '[http.headers]\n"X Y" = "1"', "'X Y' is no header's name"),
        (HTTP + '[http.headers]\n"" = "1"', "'' is no header's name"),
        (HTTP + '[http.headers]\nX = "1\\nEvil: 2"', "the header X has a line break"),
        (HTTP + '[http.headers]\nX = "${LINES}"', "the header X has a line break"),
        (HTTP + '[http.headers]\nX = "caf\u00e9"', "a sign that no header can have"),
        (HTTP.replace("http://", "ftp://"), "no http or https address"),
        (HTTP.replace('"stock"', '"two words"'), "a tool's name is"),
        (HTTP.replace('"stock"', '"avr_hangup"'), "avr_hangup is taken by the tool from avr-br"),
        (HTTP + HTTP, "stock is taken"),
        (MCP + MCP, "crm is taken"),
        (HTTP + 'metod = "GET"', "unknown field `metod`"),
        (HTTP + 'method = "HEAD"', "Invalid enum value 'HEAD'"),
        (HTTP + "timeout_s = 0", "timeout_s"),
        (HTTP + '[http.parameters]\ntype = "string"', 'type = "object"'),
        (HTTP + '[http.parameters]\ntype = "object"\nrequired = ["x"]', "required names x"),
        (HTTP + '[http.parameters]\ntype = "object"\nproperties = 7', "no JSON Schema"),
        (HTTP + '[http.parameters]\ntype = "object"\nminProperties = inf', "minProperties"),
        (MCP.replace('["find"]', "[]"), "mcp entry 1 (crm)"),
        (MCP.replace('allowed_tools = ["find"]', ""), "missing required field `allowed_tools`"),
        (MCP + 'require_approval = "always"', "Invalid enum value 'always'"),
        ("", "neither [[http]] nor [[mcp]]"),
        ("[[http]\n", "line 1"),
        ("[http]\n", "Expected `array`"),
        ("tools = 1\n", "unknown field `tools`"),
    ],
)
def test_what_is_wrong_is_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    """One problem, which names the file and the entry; the environment's values stay out."""
    (problem,) = loaded(
        tmp_path, text, {"EMPTY": '""', "SECRET": "hush", "LINES": "hush\nhush"}
    ).problems
    assert problem.startswith(f"{tmp_path}/t.toml: ")
    assert words in problem


def test_a_bad_entry_leaves_the_others(tmp_path: Path) -> None:
    """Also in the same file."""
    box = loaded(tmp_path, '[[http]]\nname = "x"\n' + HTTP, {})
    assert len(box.problems) == 1
    assert [one.name for one in box.loaded[2:]] == ["stock"]


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["order-id"],
    "properties": {
        "order-id": {"type": "string", "minLength": 2},
        "count": {"type": "integer", "minimum": 1},
        "ratio": {"type": "number"},
        "door": {"enum": ["front", "back"]},
        "odd": {"enum": [1.5, True]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 1},
        "note": {"type": ["string", "null"]},
        "place": {"type": "object", "required": ["x"], "properties": {"x": {"type": "boolean"}}},
        "free": {"type": "object", "additionalProperties": True},
        "any": {"anyOf": [{"type": "string"}]},
        "nothing": {"type": "null"},
    },
}


@pytest.mark.parametrize(
    "given",
    [
        {"order-id": "ab"},
        {"order-id": "ab", "count": 1, "ratio": 1, "door": "back", "odd": 7, "tags": ["x"]},
        {"order-id": "ab", "note": None, "place": {"x": True}, "free": {"a": 1}, "any": 2},
        {"order-id": "ab", "note": "n", "nothing": None},
    ],
)
def test_a_schema_lets_through_unchanged(given: dict[str, Any]) -> None:
    """What fits arrives as the model wrote it."""
    assert parser_of_schema(SCHEMA)(json.dumps(given).encode()) == given


@pytest.mark.parametrize(
    "wrong",
    [
        {"order-id": "a"},
        {"order-id": 7},
        {"count": 0},
        {"count": True},
        {"ratio": "1"},
        {"door": "side"},
        {"tags": ["x", "y"]},
        {"tags": [1]},
        {"note": 1},
        {"place": {}},
        {"place": {"x": True, "y": 1}},
        {"nothing": 1},
        {"more": 1},
    ],
)
def test_a_schema_refuses(wrong: dict[str, Any]) -> None:
    """Wrong types and values, missing names, and names that nobody asked for."""
    with pytest.raises(msgspec.ValidationError):
        parser_of_schema(SCHEMA)(json.dumps({"order-id": "ab", **wrong}).encode())


def test_further_properties_may_be_allowed() -> None:
    """With the keyword of JSON Schema."""
    parse = parser_of_schema({**SCHEMA, "additionalProperties": True})
    assert parse(b'{"order-id": "ab", "more": 1}') == {"order-id": "ab", "more": 1}
    with pytest.raises(NotATool):
        parser_of_schema({})


ODD: dict[str, Any] = {
    "letters": {"type": "string", "pattern": r"^\p{L}+$", "minLength": 2},
    "many": {"type": "string", "pattern": "a{99999999999999999999}"},
    "twice": {"type": "number", "minimum": 0, "exclusiveMinimum": 0},
    "half": {"type": "integer", "minimum": 0.5, "maximum": 7},
    "huge": {"type": "integer", "maximum": 10**30},
    "far": {"enum": [10**30, "x"]},
    "lists": {"type": ["array", "object"], "items": {"type": "string"}},
    "long": {"type": "string", "minLength": 2.0},
}
"""Legal, and beyond what Python's patterns and msgspec's types can say."""


def test_what_cannot_be_checked_is_let_through(tmp_path: Path) -> None:
    """Neither the tool nor the bridge is lost for a pattern in JavaScript's syntax or a bound that
    cannot be said; type and other bounds are checked all the same."""
    parameters = {"type": "object", "properties": ODD}
    entry = {"name": "n", "description": "d", "url": "http://shop", "parameters": parameters}
    box = loaded(tmp_path, json.dumps({"http": [entry]}), {}, "t.json")
    assert box.problems == ()
    assert box.descriptions()[2]["parameters"] == parameters
    parse = parser_of_schema(parameters)
    for right in ({"letters": "12"}, {"many": "b"}, {"half": 0}, {"far": 10**30}, {"long": ""}):
        assert parse(json.dumps(right).encode()) == right
    for wrong in ({"letters": "1"}, {"letters": 12}, {"many": 1}, {"half": 8}, {"twice": -1}):
        with pytest.raises(msgspec.ValidationError):
            parse(json.dumps(wrong).encode())


def test_required_beside_what_is_named() -> None:
    """Where further properties are allowed, one of them may be required."""
    parse = parser_of_schema({"type": "object", "required": ["x"], "additionalProperties": True})
    assert parse(b'{"x": 1, "y": 2}') == {"x": 1, "y": 2}
    with pytest.raises(msgspec.ValidationError):
        parse(b'{"y": 2}')


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"required": "ab"}, "required: expected a list of names"),
        ({"required": ["a", "a"]}, "required: expected a list of names"),
        ({"required": [["a"]]}, "required: expected a list of names"),
        ({"properties": {"a": {"type": "strang"}}}, "properties.a.type: expected one of string,"),
        ({"properties": {"a": {"type": []}}}, "properties.a.type: expected one of"),
        ({"properties": {"a": {"type": ["string", 7]}}}, "properties.a.type: expected one of"),
        ({"properties": {"a": "str"}}, "properties.a: expected a schema"),
        ({"properties": {"a": {"anyOf": "x"}}}, "properties.a.anyOf: expected a list of schemas"),
        ({"properties": {"a": {"oneOf": []}}}, "properties.a.oneOf: expected a list of schemas"),
        ({"properties": {"a": {"allOf": [True, 7]}}}, "properties.a.allOf.2: expected a schema"),
        ({"properties": {"a": {"items": ["x"]}}}, "properties.a.items: expected a schema"),
        ({"properties": {"a": {"minLength": "2"}}}, "properties.a.minLength: expected a whole"),
        ({"properties": {"a": {"minLength": True}}}, "properties.a.minLength: expected a whole"),
        ({"properties": {"a": {"maxItems": -1}}}, "properties.a.maxItems: expected a whole"),
        ({"properties": {"a": {"minimum": "0"}}}, "properties.a.minimum: expected a number"),
        ({"properties": {"a": {"multipleOf": 0}}}, "properties.a.multipleOf: expected a number"),
        ({"properties": {"a": {"pattern": 7}}}, "properties.a.pattern: expected text"),
        ({"properties": {"a": {"description": []}}}, "properties.a.description: expected text"),
        ({"properties": {"a": {"enum": "x"}}}, "properties.a.enum: expected a list of values"),
        ({"properties": {"a": {"uniqueItems": 1}}}, "properties.a.uniqueItems: expected true"),
        ({"$defs": {"b": {"not": 7}}}, "$defs.b.not: expected a schema"),
        ({"$defs": []}, "$defs: expected an object"),
        ({"additionalProperties": "no"}, "additionalProperties: expected a schema"),
        ({"anyOf": [{"required": ["a"]}]}, "anyOf may not stand at the top"),
        ({"enum": [{}]}, "enum may not stand at the top"),
    ],
)
def test_what_is_no_schema_is_not_sent(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    """The API would refuse the whole session update, and so each call: one problem instead, which
    names the place, and no tool."""
    entry = {"name": "n", "description": "d", "url": "http://shop"}
    parameters = {"type": "object", "properties": {"a": {"type": "string"}}, **changed}
    text = json.dumps({"http": [{**entry, "parameters": parameters}]})
    box = loaded(tmp_path, text, {}, "t.json")
    (problem,) = box.problems
    assert words in problem
    assert [one.name for one in box.loaded] == ["avr_hangup", "avr_transfer"]


def test_arrays_say_what_is_in_them(tmp_path: Path) -> None:
    """OpenAI refuses an array without `items`, which JSON Schema and Python's `list` allow."""
    lists = {"a": {"type": "array"}, "b": {"anyOf": [{"type": ["array", "null"]}]}}
    entry = {"name": "n", "description": "d", "url": "http://shop"}
    text = json.dumps({"http": [{**entry, "parameters": {"type": "object", "properties": lists}}]})
    (tmp_path / "p.py").write_text('def p(a: list, b: dict[str, list]) -> None:\n    """P."""\n')
    box = loaded(tmp_path, text, {}, "t.json")
    assert box.problems == ()
    written, http = (each["parameters"]["properties"] for each in box.descriptions()[2:])
    assert written["a"] == {"type": "array", "items": {}}
    assert written["b"]["additionalProperties"] == {"type": "array", "items": {}}
    assert http["a"] == {"type": "array", "items": {}}
    assert http["b"] == {"anyOf": [{"type": ["array", "null"], "items": {}}]}


_NAMES = st.sampled_from(["a", "type", "required"])
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.sampled_from(["object", "array", "string", "number", "strang", "[", r"\p{L}", ""]),
)


def _nested(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    words = st.sampled_from([*KEYWORDS, "unheard-of"])
    return (
        st.lists(below, max_size=3)
        | st.dictionaries(words, below, max_size=4)
        | st.dictionaries(_NAMES, below, max_size=2)
    )


@given(st.dictionaries(st.sampled_from(KEYWORDS), st.recursive(_VALUES, _nested), max_size=5))
def test_any_schema_makes_a_parser_or_a_problem(schema: dict[str, Any]) -> None:
    """Nothing that stands in a file ends the bridge; what loads can be sent and can parse."""
    try:
        parse = parser_of_schema({"type": "object", **schema})
    except NotATool:
        return
    assert json.loads(json.dumps(completed(schema))) is not None
    for arguments in (b"{}", b'{"a": 1}', b'{"a": [{"a": "x"}]}'):
        try:
            assert isinstance(parse(arguments), dict)
        except msgspec.ValidationError:
            continue


def test_credentials_of_tools_are_masked_from_then_on(tmp_path: Path) -> None:
    """The model's server, or a service, may quote what it was given. What stands in an address
    without being a credential stays readable."""
    environ = {"CRM_TOKEN": "planted-crm-4711", "CRM_HOST": "planted-host-4711.test"}
    text = MCP + 'authorization = "${CRM_TOKEN}"\n'
    text += """
[[http]]
name = "find"
description = "Find."
url = "https://user:planted-pass-4711@${CRM_HOST}/find"
headers = {Authorization = "Basic ${CRM_TOKEN}-too"}
"""
    assert not loaded(tmp_path, text, environ).problems
    said = "no: planted-crm-4711 planted-crm-4711-too planted-pass-4711 at planted-host-4711.test"
    assert Mask()(said) == "no: *** ***-too *** at planted-host-4711.test"
