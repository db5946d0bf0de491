"""A value that satisfies a JSON schema: the arguments of a tool call, or a structured answer."""

import re
from typing import Any, cast

Schema = dict[str, Any]

_DEPTH = 8

_FORMATS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "PT5M",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

# JSON schema patterns are open-ended; these cover what people write in tools (codes, numbers, dates, names).
_CANDIDATES = (
    *_FORMATS.values(),
    *("a", "A", "1", "abc", "ABC", "Abc", "abc1", "abc_def", "abc-def", "ABC-123", "AB-1234", "EUR", "#aabbcc", "@abc"),
    *("12", "123", "1234", "12345", "123456", "12.34", "+12025550123", "2026-01", "03:04", "v1.2.3", "1.2.3", "/a/b"),
)


def build_value(schema: Any, name: str = "value", root: Schema | None = None, depth: int = 0) -> Any:
    """Return one value of `schema`; `name`, the property's name, becomes the text of free strings."""
    if not isinstance(schema, dict):
        return name
    node = cast("Schema", schema)
    top = node if root is None else root
    node = _resolve(node, top)
    for key in ("const", "default"):
        if key in node:
            return node[key]
    if node.get("enum"):
        return node["enum"][0]
    for key in ("anyOf", "oneOf"):
        if node.get(key):
            return build_value(_simplest(node[key], depth), name, top, depth + 1)
    return _build_typed(node, name, top, depth)


def _resolve(node: Schema, root: Schema) -> Schema:
    """Follow `$ref` inside the document and fold `allOf` into one schema."""
    seen = 0
    while "$ref" in node and seen < 20:
        seen += 1
        target: Any = root
        for step in str(node["$ref"]).removeprefix("#").strip("/").split("/"):
            target = target.get(step.replace("~1", "/").replace("~0", "~"), {}) if step else target
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    for part in node.get("allOf", ()):
        merged = _resolve(part, root)
        properties = {**node.get("properties", {}), **merged.get("properties", {})}
        required = [*node.get("required", ()), *merged.get("required", ())]
        node = {**node, **merged, "properties": properties, "required": required}
    return node


def _simplest(options: list[Schema], depth: int) -> Schema:
    """Return the first option, or, deep inside a recursive schema, the first that ends it."""
    if depth >= _DEPTH:
        for option in options:
            if option.get("type") in {"null", "string", "integer", "number", "boolean"}:
                return option
    return options[0]


def _type_of(node: Schema) -> str:
    kind = node.get("type")
    if isinstance(kind, list):
        kinds = [str(one) for one in cast("list[Any]", kind)]
        return next((one for one in kinds if one != "null"), "null")
    if kind is not None:
        return str(kind)
    if "properties" in node:
        return "object"
    return "array" if "items" in node else "string"


def _build_typed(node: Schema, name: str, root: Schema, depth: int) -> Any:
    kind = _type_of(node)
    if kind == "object":
        return _build_object(node, root, depth)
    if kind == "array":
        return _build_array(node, name, root, depth)
    if kind in {"integer", "number"}:
        number = _build_number(node, 1 if kind == "integer" else 0.5)
        return int(number) if kind == "integer" else number
    return {"boolean": True, "null": None}[kind] if kind in {"boolean", "null"} else _build_string(node, name)


def _build_object(node: Schema, root: Schema, depth: int) -> dict[str, Any]:
    properties: dict[str, Any] = node.get("properties") or {}
    required: list[str] = list(node.get("required", ()))
    names = [name for name in properties if name in required or depth < _DEPTH]
    names += [name for name in required if name not in properties]
    return {name: build_value(properties.get(name, {}), name, root, depth + 1) for name in names}


def _build_array(node: Schema, name: str, root: Schema, depth: int) -> list[Any]:
    fixed = [build_value(item, name, root, depth + 1) for item in node.get("prefixItems", ())]
    least: int = node.get("minItems", 0 if depth >= _DEPTH else 1)
    count = max(0, min(least, node.get("maxItems", least)) - len(fixed))
    items = [build_value(node.get("items", {}), name, root, depth + 1) for _ in range(count)]
    if node.get("uniqueItems"):
        items = [_vary(item, index, node.get("items", {})) for index, item in enumerate(items)]
    return fixed + items


def _vary(item: Any, index: int, schema: Schema) -> Any:
    if schema.get("enum"):
        return schema["enum"][index % len(schema["enum"])]
    if isinstance(item, bool):
        return index % 2 == 0
    if isinstance(item, int | float):
        return item + index * schema.get("multipleOf", 1)
    return f"{item}{index or ''}" if isinstance(item, str) else item


def _build_number(node: Schema, step: float) -> float:
    multiple = node.get("multipleOf")
    step = multiple or step
    low, high = node.get("minimum"), node.get("maximum")
    if node.get("exclusiveMinimum") is not None:
        low = node["exclusiveMinimum"] + step
    if node.get("exclusiveMaximum") is not None:
        high = node["exclusiveMaximum"] - step
    if low is None:
        low = min(1, high) if high is not None else 1
    if multiple:
        return -(-low // multiple) * multiple
    return low


def _build_string(node: Schema, name: str) -> str:
    if node.get("format") in _FORMATS:
        return _FORMATS[node["format"]]
    low, high = node.get("minLength", 0), node.get("maxLength")
    if pattern := node.get("pattern"):
        return _find_match(str(pattern), low, high)
    text = name if len(name) >= low else name + "x" * (low - len(name))
    return text if high is None else text[:high]


def _find_match(pattern: str, low: int, high: int | None) -> str:
    try:
        compiled = re.compile(pattern)
    except re.error:
        return "value"
    fitting = (one for one in _CANDIDATES if len(one) >= low and (high is None or len(one) <= high))
    return next((one for one in fitting if compiled.search(one)), "value")
