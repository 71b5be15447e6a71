#!/usr/bin/env python3
"""docs/openapi.json: valid OpenAPI 3.1 by the official schema, each schema in it valid JSON Schema, each example fitting its schema, and no route without one.

    openapi_test.py SOURCE_ROOT
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap

ROOT = os.path.abspath(sys.argv[1])
try:
    import jsonschema
except ImportError:
    print("1..0 # SKIP python3-jsonschema is not installed")
    sys.exit(0)


def load(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return json.load(f)


DOC = load("docs", "openapi.json")
OFFICIAL = load("tests", "data", "openapi-3.1", "schema.json")


def validator(schema):
    """A validator that resolves references into the document."""
    return jsonschema.Draft202012Validator(schema, resolver=jsonschema.RefResolver("", DOC))


def errors_of(schema, value):
    return ["%s: %s" % ("/".join(map(str, e.absolute_path)), e.message[:200]) for e in validator(schema).iter_errors(value)]


def resolved(answer):
    return DOC["components"]["responses"][answer["$ref"].split("/")[-1]] if "$ref" in answer else answer


def operations():
    for path, item in DOC["paths"].items():
        for method, op in item.items():
            yield method.upper() + " " + path, op


with tap.case("the file is what the tables say") as bad:
    p = subprocess.run([sys.executable, os.path.join(ROOT, "tools", "openapi.py"), "--check"], capture_output=True, text=True)
    if p.returncode:
        bad.append(p.stderr)

with tap.case("the official schema of OpenAPI 3.1 accepts it") as bad:
    for e in jsonschema.Draft202012Validator(OFFICIAL).iter_errors(DOC):
        bad.append("%s: %s" % ("/".join(map(str, e.absolute_path)), e.message[:300]))

with tap.case("and would not accept just anything") as bad:
    for damage in (lambda d: d["paths"].update(x={}), lambda d: d.pop("info"), lambda d: d["paths"]["/jobs"]["get"].update(responses=[]),
                   lambda d: d["components"]["securitySchemes"]["bearer"].pop("type")):
        broken = json.loads(json.dumps(DOC))
        damage(broken)
        if jsonschema.Draft202012Validator(OFFICIAL).is_valid(broken):
            bad.append("accepted")

with tap.case("each schema is valid JSON Schema, each reference leads somewhere, no object takes unknown fields") as bad:
    for name, schema in DOC["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            bad.append("%s takes unknown fields" % name)
    for ref in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOC))):
        at = DOC
        for step in ref.split("/"):
            at = at.get(step) if isinstance(at, dict) else None
        if at is None:
            bad.append("no " + ref)

with tap.case("each example fits its schema") as bad:
    n = 0
    for name, op in operations():
        places = [op.get("requestBody", {})] + [resolved(a) for a in op["responses"].values()]
        for place in places:
            for media in place.get("content", {}).values():
                for example in ([media["example"]] if "example" in media else []) + [x["value"] for x in media.get("examples", {}).values()]:
                    n += 1
                    bad += ["%s: %s" % (name, e) for e in errors_of(media["schema"], example)]
        for param in op.get("parameters", []):
            if "example" in param:
                n += 1
                bad += ["%s?%s: %s" % (name, param["name"], e) for e in errors_of(param["schema"], param["example"])]
    if n < 200:
        bad.append("only %d examples" % n)

with tap.case("each operation says who may, what it answers, and which errors it gives") as bad:
    ids = [op["operationId"] for _, op in operations()]
    if len(ids) != len(set(ids)):
        bad.append("an operationId stands twice")
    for name, op in operations():
        if not any(s.startswith("2") for s in op["responses"]) or "400" not in op["responses"] or "503" not in op["responses"]:
            bad.append(name + ": answers are missing")
        told = {status: json.dumps(resolved(answer)) for status, answer in op["responses"].items()}
        refused = ["EAUTH" in told.get("401", ""), "EDENIED" in told.get("403", "")]
        if refused != 2 * [bool(op["security"])] or "ECROSSSITE" not in told.get("403", ""):
            bad.append(name + ": security and 401, 403 disagree")

with tap.case("a route without its answer is refused, with what to write") as bad:
    with tempfile.TemporaryDirectory() as d:
        for folder in ("tools", "docs", "src/lib/http", "src/lib/core", "src/lib/db", "src/lib/audit"):
            shutil.copytree(os.path.join(ROOT, folder), os.path.join(d, folder), ignore=shutil.ignore_patterns("*.c", "__pycache__"))
        shutil.copy(os.path.join(ROOT, "meson.build"), d)
        at = os.path.join(d, "src/lib/http/routes.def")
        open(at, "a").write('SQ_ROUTE(nobody_told, 255, GET, "/api/v1/nobody-told", USER, READ, READ, JSON, "view", "Not described.")\n')
        p = subprocess.run([sys.executable, os.path.join(d, "tools", "openapi.py"), "--check"], capture_output=True, text=True)
        if p.returncode != 1 or "SQ_ANSWER(nobody_told, 200" not in p.stderr:
            bad.append("%d %s" % (p.returncode, p.stderr))

tap.done()
