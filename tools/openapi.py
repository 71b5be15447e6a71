#!/usr/bin/env python3
"""Writes docs/openapi.json (OpenAPI 3.1) from routes.def, schemas.def, err.def, states.def and audit/events.def; --check only compares.

    tools/openapi.py            write
    tools/openapi.py --check    exit 1 and say so when the file is older than the tables
"""
import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import api_tables  # noqa: E402

OUT = os.path.join(api_tables.ROOT, "docs", "openapi.json")
PATTERNS = {"time": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", "hex16": "^[0-9a-f]{16}$", "hex32": "^[0-9a-f]{32}$", "hex64": "^[0-9a-f]{64}$",
            "job": r"^job-\d{8}-\d{6}-[0-9a-f]{16}$"}
REASONS = {200: "OK", 400: "Bad request", 401: "Not signed in", 403: "Not allowed", 404: "Not found", 405: "Wrong method", 409: "Not in this state",
           410: "Erased", 413: "Too large", 415: "Wrong content type", 416: "Range outside the file", 421: "Not this host", 422: "The data can't be used",
           412: "Not the file that was asked for", 414: "Address too long", 417: "Unknown expectation",
           429: "Too many requests", 431: "Headers too large", 505: "Not HTTP/1.1", 500: "Something is wrong on our side", 503: "Try again later", 507: "No space"}
RATES = dict(re.findall(r'^SQ_KEY\(rate_(\w+),\s*RATES,\s*"([^"]*)"', api_tables.read("src/lib/core/config.def"), re.M))
HEADERS = {
    "RateLimit-Policy": "The limits that this request was counted against: q requests in w seconds.", "RateLimit": "What is left of them (r), and the seconds until all of it is back (t).",
    "X-Request-Id": "Id of this request; the operator finds it in the log.", "Location": "Where to look at what was made.",
    "Retry-After": "Seconds to wait.", "WWW-Authenticate": "Bearer", "ETag": "SHA-256 of the whole file, strong.",
    "Accept-Ranges": "bytes", "Content-Range": "Which bytes these are, and of how many.", "Content-Disposition": "The file's name."}


def name_of(obj):
    return "".join(w.capitalize() for w in obj.split("_"))


class Maker:
    def __init__(self, tables):
        self.t = tables
        self.schemas, self.responses = {}, {}

    # ---- types ----
    def schema_of(self, kind):
        base, _, may_null = kind
        inner = (re.search(r"\(([^)]*)\)", base) or [None, None])[1]
        if base == "text":
            s = {"type": "string"}
        elif base == "any":
            s = {"type": "object"}
        elif base in PATTERNS:
            s = {"type": "string", "pattern": PATTERNS[base]}
            if base == "time":
                s["format"] = "date-time"
        elif base in ("count", "ms"):
            s = {"type": "integer", "minimum": 0}
        elif base == "integer":
            s = {"type": "integer"}
        elif base == "yesno":
            s = {"type": "boolean"}
        elif base == "true":
            s = {"const": True}
        elif base == "code":
            s = {"$ref": "#/components/schemas/Code"}
        elif base == "event":
            s = {"$ref": "#/components/schemas/Event"}
        elif base.startswith("word"):
            s = {"type": "string", "enum": inner.split()}
        elif base.startswith("state"):
            s = {"type": "string", "enum": self.t.states[inner]}
        elif base.startswith("one"):
            s = {"$ref": "#/components/schemas/" + name_of(inner)}
        else:
            s = {"type": "array", "items": {"type": "string"} if inner == "text" else {"$ref": "#/components/schemas/" + name_of(inner)}}
        if may_null and "type" in s and "enum" not in s:
            s["type"] = [s["type"], "null"]
        elif may_null:
            s = {"anyOf": [s, {"type": "null"}]}
        return s

    def example_of(self, kind, text):
        base = kind[0]
        inner = (re.search(r"\(([^)]*)\)", base) or [None, None])[1]
        if kind[2] and text == "null":
            return None
        if base in ("count", "ms", "integer"):
            return int(text)
        if base == "any":
            return {}
        if base in ("yesno", "true"):
            return text == "true"
        if base.startswith("one"):
            return self.example(inner)
        if base.startswith("many"):
            return [text] if inner == "text" else [self.example(inner)] if self.t.fields[inner] else []
        return text

    def example(self, obj):
        return {f: self.example_of(kind, example) for f, (kind, _, example) in self.t.fields[obj].items()}

    def object_schema(self, obj, is_answer):
        fields = self.t.fields[obj]
        s = {"type": "object", "description": self.t.objects[obj], "properties": {}, "additionalProperties": False}
        for f, (kind, what, _) in fields.items():
            one = self.schema_of(kind)
            s["properties"][f] = dict(one, description=what)
        if is_answer and "success" not in fields:
            s["properties"]["success"] = {"const": True, "description": "Always true."}
        must = [f for f, (kind, _, _) in fields.items() if not kind[1]] + (["success"] if is_answer and "success" not in fields else [])
        if must:
            s["required"] = must
        return s

    def answer_ref(self, obj):
        """A top-level answer carries `success`; the same object inside another doesn't."""
        name = name_of(obj) + ("" if "success" in self.t.fields[obj] else "Answer")
        self.schemas.setdefault(name, self.object_schema(obj, True))
        return {"$ref": "#/components/schemas/" + name}

    # ---- routes ----
    def headers(self, *names):
        return {n: {"$ref": "#/components/headers/" + n} for n in ("X-Request-Id",) + names}

    def success(self, r, status, objs, what):
        names = ("Location",) if status == 201 else ("Retry-After",) if status == 503 else ()
        if r.kind == "DOWNLOAD":
            media = ["application/zip", "application/octet-stream"] if r.name != "job_report" else ["text/plain; charset=utf-8"]
            return {"description": what, "headers": self.headers("ETag", "Accept-Ranges", "Content-Disposition"), "content": {m: {} for m in media}}
        if r.kind == "BUILTIN":
            return {"description": what, "headers": self.headers("ETag"), "content": {"application/json": {"schema": {"type": "object"}}}}
        out = {"description": what, "headers": self.headers(*names)}
        if objs:
            refs = [self.answer_ref(o) for o in objs]
            examples = {o: {"value": self.answer_example(o)} for o in objs}
            content = {"schema": refs[0] if len(refs) == 1 else {"oneOf": refs}}
            content.update({"example": self.answer_example(objs[0])} if len(objs) == 1 else {"examples": examples})
            out["content"] = {"application/json": content}
        return out

    def answer_example(self, obj):
        return dict(self.example(obj), success=True)

    def error_example(self, code):
        _, _, text, hint = self.t.errors[code]
        return {"success": False, "code": code, "message": text, "hint": hint, "id": "b65e177fb59cbb18"}

    def failures(self, r):
        out = {}
        for code in self.t.derived_codes(r):
            out.setdefault(self.t.errors[code][1], []).append(code)
        answers = {}
        for status in sorted(out):
            extra = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",), 416: ("Content-Range",)}.get(status, ())
            codes = out[status]
            schema = {"allOf": [{"$ref": "#/components/schemas/Error"}, {"properties": {"code": {"enum": codes}}}]}
            answers[status] = {"description": "%s: %s" % (REASONS[status], ", ".join("`%s`" % c for c in codes)), "headers": self.headers(*extra),
                               "content": {"application/json": {"schema": schema, "example": self.error_example(codes[0])}}}
        return answers

    def parameters(self, r):
        ps = [{"name": v, "in": "path", "required": True, "description": "The end of a download link: its number and its secret, 64 hex digits." if v == "link" else "An id that the service gave.", "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"}}
              for v in re.findall(r"\{(\w+)\}", r.path)]
        for field, kind, what, example in r.query:
            ps.append({"name": field, "in": "query", "required": False, "description": what, "schema": self.schema_of(kind), "example": self.example_of(kind, example)})
        if r.kind == "BUILTIN":
            ps.append({"name": "If-None-Match", "in": "header", "required": False, "description": "304 if the tag is still one of these.", "schema": {"type": "string"}})
        if r.kind == "DOWNLOAD":
            for h, what in (("Range", "One range of bytes: 5-9, 5-, -7."), ("If-Range", "The range only if the tag is still this one."),
                            ("If-None-Match", "304 if the tag is still one of these.")):
                ps.append({"name": h, "in": "header", "required": False, "description": what, "schema": {"type": "string"}})
        return ps

    def body(self, r):
        if r.kind == "UPLOAD":
            schema = {"type": "object", "required": ["file"], "properties": {"file": {
                "description": "VCF, VCF.gz or BCF, with a file name; up to 16 of them.", "type": "string", "format": "binary"}}}
            return {"required": True, "description": "A form with the file in field `file`.", "content": {"multipart/form-data": {"schema": schema}}}
        if not r.body:
            return None
        self.schemas.setdefault(name_of(r.body), self.object_schema(r.body, False))
        ref = {"$ref": "#/components/schemas/" + name_of(r.body)}
        content = {"application/json": {"schema": ref, "example": self.example(r.body)}}
        if r.kind == "FORM":
            content["application/x-www-form-urlencoded"] = {"schema": ref}
        return {"required": True, "content": content}

    def operation(self, r):
        op = {"operationId": r.name, "summary": r.text.split("; ")[0].split(". ")[0].rstrip("."), "description": r.text,
              "tags": [self.tag(r)], "x-role": r.who.lower(), "x-rate": {"class": r.rate.lower(), "default": RATES[r.rate.lower()]}}
        if r.event != "-":
            op["x-audit-event"] = r.event
        params = self.parameters(r)
        if params:
            op["parameters"] = params
        body = self.body(r)
        if body:
            op["requestBody"] = body
        op["security"] = [] if r.who == "ANYONE" else [{"bearer": []}, {"token": []}]
        answers = {s: self.success(r, s, objs, what) for s, objs, what in r.answers}
        if r.kind == "DOWNLOAD":
            answers[206] = dict(answers[200], description="The range that was asked for.",
                                headers=self.headers("ETag", "Accept-Ranges", "Content-Disposition", "Content-Range"))
            answers[304] = {"description": "It is still the file that you have.", "headers": self.headers("ETag", "Accept-Ranges")}
        if r.kind == "BUILTIN":
            answers[304] = {"description": "It is still the file that you have.", "headers": self.headers("ETag")}
        for status, answer in self.failures(r).items():
            if status in answers:  # /healthz says in its own words why it doesn't serve; what comes before it, as an error
                both = [answers[status]["content"]["application/json"]["schema"], answer["content"]["application/json"]["schema"]]
                answers[status]["content"]["application/json"]["schema"] = {"oneOf": both}
            else:
                answers[status] = self.shared(status, answer)
        op["responses"] = {str(s): answers[s] for s in sorted(answers)}
        return op

    def shared(self, status, answer):
        """Most addresses give the same errors: each set of them is written once."""
        same = [n for n, a in self.responses.items() if a == answer]
        name = same[0] if same else "Error%d%s" % (status, "-%d" % n if (n := sum(x.startswith("Error%d" % status) for x in self.responses)) else "")
        self.responses[name] = answer
        return {"$ref": "#/components/responses/" + name}

    @staticmethod
    def tag(r):
        part = [p for p in r.path.split("/") if p and p not in ("api", "v1", "v2")][0]
        return {"upload": "uploads", "login": "account", "logout": "account", "me": "account", "healthz": "server", "openapi.json": "server", "audit": "server"}.get(part, part)

    def document(self):
        paths = {}
        for r in self.t.routes:
            paths.setdefault(r.path, {})[r.method.lower()] = self.operation(r)
        inner = {re.search(r"\((\w+)\)", kind[0]).group(1) for o in self.t.fields for kind, _, _ in self.t.fields[o].values()
                 if kind[0].startswith(("one", "many")) and "text" not in kind[0]}
        for o in sorted(inner):
            self.schemas.setdefault(name_of(o), self.object_schema(o, False))
        unused = [o for o in self.t.objects if name_of(o) not in self.schemas and name_of(o) + "Answer" not in self.schemas]
        if unused:
            self.t.wrong("nothing uses the object %s: name it in SQ_ANSWER, SQ_BODY or a field, or remove it" % ", ".join(unused))
        why = self.object_schema("why", False)
        error = {"type": "object", "description": "Every error has this body.", "additionalProperties": False,
                 "properties": dict({"success": {"const": False, "description": "Always false."}}, **why["properties"],
                                    error={"type": "string", "description": "The error as OAuth 2 names it: at /api/v1/device/code and /token alone."},
                                    id={"type": "string", "pattern": PATTERNS["hex16"], "description": "Id of this request, as in X-Request-Id."}),
                 "required": ["success", "code", "message", "hint", "id"]}
        self.schemas.update(Error=error, Code={"type": "string", "description": "A code of docs/errors.md.", "enum": list(self.t.errors)},
                            Event={"type": "string", "description": "An event of the audit log.", "enum": self.t.events})
        version = re.search(r"version: '([^']+)'", api_tables.read("meson.build")).group(1)
        return {
            "openapi": "3.1.0",
            "info": {"title": "Sequester", "version": version, "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
                     "description": "A hub for genomes that you run yourself: upload genotypes, impute them, take the result, see it erased. HEAD works where GET does. "
                                    "An address that isn't here answers 404 `ENOTFOUND`, one with another method 405 `EMETHOD` with Allow, both in the form of Error. "
                                    "Rules for requests, uploads and downloads: docs/api.md."},
            "servers": [{"url": "https://{host}", "description": "Your hub. TLS 1.3 only.", "variables": {"host": {"default": "127.0.0.1:8443"}}}],
            "tags": [{"name": n} for n in sorted({self.tag(r) for r in self.t.routes})],
            "paths": paths,
            "components": {
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The token of POST /api/v1/login."},
                    "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "The same in the header that other clients use. Send one of both, not both."}},
                "headers": {n: {"description": d, "schema": {"type": "integer" if n == "Retry-After" else "string"}} for n, d in HEADERS.items()},
                "responses": self.responses,
                "schemas": {n: self.schemas[n] for n in sorted(self.schemas)}}}


def text():
    return json.dumps(Maker(api_tables.Tables()).document(), indent=1, ensure_ascii=False) + "\n"


def main():
    new = text()
    if "--check" in sys.argv[1:]:
        if not os.path.exists(OUT) or open(OUT, encoding="utf-8").read() != new:
            sys.exit("docs/openapi.json is older than its tables (routes.def, schemas.def, err.def, states.def, events.def). Mend: tools/openapi.py")
    else:
        with open(OUT, "w", encoding="utf-8") as f:
            f.write(new)


if __name__ == "__main__":
    main()
