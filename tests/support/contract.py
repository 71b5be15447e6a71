"""Holds the answers of a running hub against docs/openapi.json, field by field: what the file doesn't say may not be answered.

tests/support/hub.py hands every answer of every end-to-end test to `CONTRACT.check`; `CONTRACT.seen` says which were met. Without
python3-jsonschema nothing is checked, and e2e_openapi, which says so, is skipped.
"""
import json
import os
import re

try:
    import jsonschema
except ImportError:
    jsonschema = None

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ALWAYS = ("X-Request-Id", "Strict-Transport-Security", "Content-Security-Policy", "X-Content-Type-Options", "Cache-Control")


class Contract:
    def __init__(self):
        self.seen = set()  # (operationId or None, status, error code or "")
        self.validators = {}
        self.doc = None
        if jsonschema:
            with open(os.path.join(ROOT, "docs", "openapi.json"), encoding="utf-8") as f:
                self.doc = json.load(f)
            self.paths = [(re.compile(re.sub(r"\{\w+\}", "[A-Za-z0-9-]{1,64}", p) + "$"), item) for p, item in self.doc["paths"].items()]

    def operation(self, method, path):
        path = path.split("?")[0]
        for pattern, item in self.paths:
            if pattern.match(path):
                return item.get({"HEAD": "get"}.get(method, method.lower()))
        return None

    def errors_of(self, key, schema, value):
        if key not in self.validators:
            self.validators[key] = jsonschema.Draft202012Validator(schema, resolver=jsonschema.RefResolver("", self.doc))
        return ["%s: %s" % ("/".join(map(str, e.absolute_path)), e.message[:300]) for e in self.validators[key].iter_errors(value)]

    def answer_of(self, op, status):
        """What the file says of this status: (media types, headers), or None."""
        if op is None:
            return None
        a = op["responses"].get(str(status))
        return self.doc["components"]["responses"][a["$ref"].split("/")[-1]] if a and "$ref" in a else a

    def check(self, method, path, status, headers, body):
        """AssertionError when the file doesn't know this answer."""
        if not self.doc or (400 <= status < 500 and "X-Request-Id" not in headers):
            return  # what isn't HTTP gets a bare 4xx from below us
        op = self.operation(method, path)
        name = op["operationId"] if op else None
        where = "%s %s (%s) answers %d" % (method, path, name, status)
        for header in ALWAYS:
            assert header in headers, "%s without %s" % (where, header)
        kind = (headers.get("Content-Type") or "").strip()
        value = json.loads(body) if kind == "application/json" and body else None
        code = value.get("code", "") if isinstance(value, dict) and status >= 400 else ""
        self.seen.add((name, status, code))
        said = self.answer_of(op, status)
        if said is None:  # an address that isn't there, or has another method: an error in the common form
            assert op is None and status >= 400, "%s, of which docs/openapi.json says nothing: src/lib/http/schemas.def" % where
            said = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}, "headers": {}}
        for header in set(said.get("headers", {})) - set(ALWAYS):
            if (header, status) not in (("Location", 201),) or "uploads" not in (value or {}):
                assert header in headers, "%s without %s" % (where, header)
        if method == "HEAD" or status == 304:
            return
        media = said.get("content", {})
        assert kind in media or not media, "%s with Content-Type %s, not %s" % (where, kind, ", ".join(media))
        if kind != "application/json":
            return
        schema = media.get(kind, {}).get("schema", {})
        wrong = self.errors_of((name, status), schema, value)
        assert not wrong, "%s with what docs/openapi.json doesn't say (src/lib/http/schemas.def): %s\n%s" % (where, "; ".join(wrong), body[:1500])


CONTRACT = Contract()
