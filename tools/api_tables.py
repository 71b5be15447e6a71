"""Reads the tables of the API: routes.def, schemas.def, err.def, states.def, audit/events.def. What is wrong in them ends the program with
a message that says what to write where."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MACHINERY = 30  # error numbers below this are of our own machinery (err.def): any address can give them


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


STRING = r'"((?:[^"\\]|\\.)*)"'
TYPE = re.compile(r"(~?)(any|text|count|integer|yesno|true|time|ms|hex16|hex32|hex64|job|code|event|word\([^)]*\)|state\(\w+\)|one\(\w+\)|many\(\w+\))(\??)$")


def unquoted(text):
    return re.sub(r"\\(.)", lambda m: "\n" if m.group(1) == "n" else m.group(1), text)


def rows(text, macro, *columns):
    """All lines MACRO(column, ...): s a word, q a text in quotes."""
    cell = {"s": r"([^,()\"]+?)", "q": STRING}
    line = re.compile(r"^%s\(%s\)" % (macro, r",\s*".join(cell[c] for c in columns)), re.M)
    found = [tuple(unquoted(v) if c == "q" else v for v, c in zip(m.groups(), columns)) for m in line.finditer(text)]
    n = len(re.findall(r"^%s\(" % macro, text, re.M))
    if len(found) != n:
        bad = next(x for x in re.findall(r"^%s\(.*" % macro, text, re.M) if not line.match(x))
        sys.exit("a line that this script can't read: %s" % bad)
    return found


class Route:
    def __init__(self, name, no, method, path, who, needs, rate, kind, event, text):
        self.name, self.no, self.method, self.path, self.who, self.needs = name, int(no), method, path, who, needs
        self.rate, self.kind, self.event, self.text = rate, kind, event, text
        self.query, self.body, self.answers, self.codes = [], None, [], []


class Tables:
    def __init__(self):
        self.errors = {name: (int(no), int(status), text, hint) for name, no, status, text, hint in
                       rows(read("src/lib/core/err.def"), "SQ_ERR", "s", "s", "s", "q", "q")}
        self.states = {}
        for table, name, _ in rows(read("src/lib/db/states.def"), "SQ_STATE", "s", "s", "s"):
            self.states.setdefault(table, []).append(name)
        self.events = [r[0] for r in rows(read("src/lib/audit/events.def"), "SQ_EVENT", "s", "s", "s", "q")]
        self.routes = [Route(*r) for r in rows(read("src/lib/http/routes.def"), "SQ_ROUTE", "s", "s", "s", "q", "s", "s", "s", "s", "q", "q")]
        self.who = {name: (re.findall(r"SQ_R_(\w+)", roles), text) for name, roles, text in rows(read("src/lib/http/who.def"), "SQ_WHO", "s", "s", "q")}
        for r in self.routes:
            if r.who not in self.who:
                sys.exit("src/lib/http/routes.def: route %s: who.def has no group %s" % (r.name, r.who))
        self.by_name = {r.name: r for r in self.routes}
        self.read_objects(read("src/lib/http/schemas.def"))
        self.read_routes(read("src/lib/http/schemas.def"))
        self.check_routes()

    def wrong(self, what):
        sys.exit("src/lib/http/schemas.def: " + what)

    def read_objects(self, text):
        self.objects = {name: what for name, what in rows(text, "SQ_OBJECT", "s", "q")}
        self.fields = {name: {} for name in self.objects}
        like = {}
        for name, other in rows(text, "SQ_LIKE", "s", "s"):
            if name not in self.objects or other not in self.objects:
                self.wrong("SQ_LIKE(%s, %s) names an object that isn't there: SQ_OBJECT(%s, \"...\")" % (name, other, other))
            like[name] = other
        own = rows(text, "SQ_FIELD", "s", "s", "q", "q", "q")
        for obj, name, kind, what, example in own:
            if obj not in self.objects:
                self.wrong("SQ_FIELD of `%s`: there is no SQ_OBJECT(%s, \"...\")" % (obj, obj))
            self.fields[obj][name] = (self.type_of(kind, obj + "." + name), what, example)
        for name in self.objects:  # its own fields stand behind the ones it takes over
            at, chain = name, []
            while at in like:
                at = like[at]
                chain.append(at)
            merged = {}
            for base in reversed(chain):
                merged.update(dict(self.fields[base]) if base not in like else {f: self.fields[base][f] for f in self.fields[base]})
            merged.update(self.fields[name])
            self.fields[name] = merged

    def type_of(self, kind, where):
        m = TYPE.match(kind)
        if not m:
            self.wrong("%s: `%s` is no type; the head of the file lists them" % (where, kind))
        may_miss, base, may_null = m.groups()
        inner = re.search(r"\(([^)]*)\)", base)
        if base.startswith("state") and inner.group(1) not in self.states:
            self.wrong("%s: states.def has no table %s" % (where, inner.group(1)))
        if base.startswith(("one", "many")) and inner.group(1) not in self.objects and inner.group(1) != "text":
            self.wrong("%s: there is no SQ_OBJECT(%s, \"...\")" % (where, inner.group(1)))
        return base, bool(may_miss), bool(may_null)

    def route(self, name, macro):
        if name not in self.by_name:
            self.wrong("%s(%s, ...): routes.def has no such route" % (macro, name))
        return self.by_name[name]

    def read_routes(self, text):
        for name, field, kind, what, example in rows(text, "SQ_QUERY", "s", "s", "q", "q", "q"):
            self.route(name, "SQ_QUERY").query.append((field, self.type_of(kind, name + "?" + field), what, example))
        for name, obj in rows(text, "SQ_BODY", "s", "s"):
            self.route(name, "SQ_BODY").body = obj
        for name, status, objs, what in rows(text, "SQ_ANSWER", "s", "s", "s", "q"):
            self.route(name, "SQ_ANSWER").answers.append((int(status), [] if objs == "-" else objs.split("|"), what))
        for name, codes in rows(text, "SQ_CODES", "s", "q"):
            self.route(name, "SQ_CODES").codes += codes.split()
        for r in self.routes:
            for obj in ([r.body] if r.body else []) + [o for a in r.answers for o in a[1]]:
                if obj not in self.objects:
                    self.wrong("route %s: there is no SQ_OBJECT(%s, \"...\")" % (r.name, obj))
            for code in r.codes:
                if code not in self.errors:
                    self.wrong("route %s: err.def has no %s" % (r.name, code))

    def check_routes(self):
        for r in self.routes:
            if not r.answers:
                self.wrong("route `%s` (%s %s) of routes.def has no answer here. Write, with the object that it answers:\n"
                           "    SQ_OBJECT(%s, \"What it is.\")\n    SQ_FIELD(%s, id, \"hex32\", \"Its id.\", \"5f0c3a9be1d24f76a8807be01c5d9e42\")\n"
                           "    SQ_ANSWER(%s, 200, %s, \"When this is answered.\")\n"
                           "and SQ_BODY, SQ_QUERY, SQ_CODES when it takes a body, parameters, or gives errors of its own. Then: tools/openapi.py; tools/api_page.py"
                           % (r.name, r.method, r.path, r.name, r.name, r.name, r.name))

    def derived_codes(self, r):
        """Errors that follow from a route's row: {code: None}, in the order of err.def."""
        codes = {c for c, row in self.errors.items() if 0 < row[0] < MACHINERY and row[1] >= 500 and c not in ("EFULL", "ECONFIG")}
        codes |= {"EREQUEST", "EMISDIRECTED", "ECROSSSITE", "EBUSY", "ETARGET", "EHEADLARGE", "EVERSION", "EEXPECT", "ECROWDED"} | set(r.codes)
        if r.event != "-":
            codes.add("EFULL")  # nothing is acknowledged without its entry in the log
        if r.who != "ANYONE":
            codes |= {"EAUTH", "EDENIED", "ENETWORK"}
        if r.needs != "NONE":
            codes.add("ESCOPE")
        if r.who not in ("ANYONE", "SIGNED_IN") or r.needs == "MINT":
            codes.add("ENOFACTOR")
        if r.needs == "STEP_UP":
            codes.add("ESTEPUP")
        if "{id}" in r.path:
            codes.add("ENOTFOUND")
        if r.body:
            codes |= {"EJSON", "EFIELD"}
        if r.kind in ("JSON", "FORM") and r.method != "GET":
            codes |= {"EMEDIA", "ETOOBIG", "EJSON"}
        if r.kind == "UPLOAD":
            codes |= {"EMEDIA", "ETOOBIG", "EFIELD", "EKILLED", "ECRASHED", "ESANDBOX", "ECONFLICT", "ECANCELLED"}
            codes |= {c for c, row in self.errors.items() if 100 <= row[0] < 140}
        if r.kind == "BUILTIN":
            codes.add("EPRECONDITION")
        if r.kind == "DOWNLOAD":
            codes |= {"ECONFLICT", "EGONE", "EKEYGONE", "ERANGEHDR", "EPRECONDITION", "ETAMPERED", "ETRUNCATED"}
        return [c for c in self.errors if c in codes]
