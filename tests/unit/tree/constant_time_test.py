#!/usr/bin/env python3
"""What is secret is compared by sq_equal_ct() alone (src/lib/core/buf.h), which takes as long whatever is equal. In the rooms that hold secrets no
memcmp() or strcmp() has an argument that is called like one, but those below, each with its reason.

    constant_time_test.py SOURCE_ROOT

bench/timing measures what this can't show: that the whole takes as long.
"""
import glob
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap

ROOT = os.path.abspath(sys.argv[1])
ROOMS = ("src/daemon/keeper", "src/daemon/registrar", "src/daemon/gateway", "src/daemon/runner", "src/daemon/courier", "src/lib/identity", "src/lib/crypt", "src/lib/vault", "src/lib/mail", "src/lib/http")
SECRET = re.compile(r"secret|passw|passphrase|code|ticket|token|mark|hash|mac|digest|sum|sha|sig|proof|key|kek|check|share|link|nonce|challenge|pin|otp|recovery|given|want|right|made|have|again", re.I)
COMPARES = re.compile(r"\b(memcmp|strcmp|strncmp|strcasecmp|strncasecmp|bcmp|strstr|memmem)\(")

# file: {arguments: why nothing is learnt from the time}
FINE = {
    "src/daemon/keeper/factors.c": {"q->proof, none, sizeof none": "is there one at all? The numbers of proofs are compared in proofs.c",
                                    "q->link_proof, none, sizeof none": "the same"},
    "src/daemon/keeper/hsm.c": {"have, padded, 32": "the token's label, of the configuration"},
    "src/daemon/keeper/slab_format.c": {"sum, bytes + at, sizeof sum": "an unkeyed checksum of the slab against torn writes"},
    "src/daemon/keeper/slab_slot.c": {"want, have, sizeof want": "a block that was just written, read back"},
    "src/daemon/registrar/api.c": {"p, key, n": "names of parameters"},
    "src/daemon/registrar/certificate.c": {"old.p, a->mark, 32": "fingerprint of the public certificate", "told, a.mark, sizeof told": "the same"},
    "src/daemon/registrar/check_accounts.c": {"have.p, o->id, ID": "ids of rows"},
    "src/daemon/registrar/contents.c": {"t.sum[0].sha256, row.sha256, sizeof row.sha256": "digests of an object that the operator has checked: nobody guesses at it"},
    "src/daemon/registrar/jobs.c": {"p, wanted": "populations of a panel"},
    "src/daemon/registrar/register.c": {"domain + n_have - n, p, n": "mail domains of the configuration", "x.link.user_id, user, ID": "ids of accounts"},
    "src/daemon/registrar/user_rates.c": {"table.kept->mark, mark, sizeof mark": "which counters were kept"},
    "src/daemon/gateway/limits.c": {"t->mark, mark, sizeof mark": "which counters were kept"},
    "src/daemon/runner/runner_package.c": {"name, CHECK_NAME": "names of files in a package"},
    "src/lib/identity/breached.c": {"want, have, sizeof have": "a search in a public list"},
    "src/lib/identity/jwt.c": {"again.p, part.p, part.n": "is the token's own text written in the one way? Public to who sent it",
                               "again.p, json->p, json->n": "the same", "want.p, header.p, header.n": "the token's header, which is public"},
    "src/lib/identity/passkey.c": {"json_string_value(v), want": "type and origin that the browser names", "sum, auth_data.p, sizeof sum": "hash of the site's name"},
    "src/lib/crypt/crypt_sign.c": {"sig + 32, p256_half, sizeof p256_half": "a signature, sent by who asks, against a constant"},
    "src/lib/crypt/recipient.c": {"(const char *)text.p + i, marks[m], n": "does a text look like a private key? Its own sender's"},
    "src/lib/vault/vault_open.c": {"sha, o->sum.sha256, sizeof sha": "digest of what was opened, after each tag was right"},
    "src/lib/http/http_rules.c": {"content_type, wanted, n": "content types"},
    "src/lib/http/http_server.c": {"key, known[i].name": "names of headers"},
    "src/lib/http/multipart.c": {"p, key, n_key": "names of parameters"},
    "src/lib/http/routes.c": {"rows[i].method, wanted": "methods"},
}


def compared(text):
    """(line, arguments) of each comparison; one with a text of ours in quotes compares with something that everybody knows."""
    for m in COMPARES.finditer(text):
        depth, i = 1, m.end()
        while depth:
            depth += (text[i] == "(") - (text[i] == ")")
            i += 1
        args = re.sub(r"\s+", " ", text[m.end():i - 1])
        if '"' not in args:
            yield text.count("\n", 0, m.start()) + 1, args


found, counted = {}, 0
for room in ROOMS:
    for path in sorted(glob.glob(os.path.join(ROOT, room, "*.c"))):
        name = os.path.relpath(path, ROOT)
        with open(path, encoding="utf-8") as f:
            for line, args in compared(f.read()):
                counted += 1
                if SECRET.search(re.sub(r"sizeof[^,]*", "", args)):
                    found.setdefault(name, {})[args] = line

with tap.case("of %d comparisons none is of a secret: those take sq_equal_ct()" % counted) as bad:
    bad += ["%s:%d compares %s: take sq_equal_ct(), or say in this test why nothing is learnt from its time" % (name, line, args)
            for name, rows in found.items() for args, line in rows.items() if args not in FINE.get(name, {})]
    if counted < 100:
        bad.append("only %d comparisons were found: has the search stopped working?" % counted)

with tap.case("each exception is still there") as bad:
    bad += ["%s has no comparison of %s any more" % (name, args) for name, rows in FINE.items() for args in rows if args not in found.get(name, {})]

with tap.case("the comparison itself has no way out but its end") as bad:
    with open(os.path.join(ROOT, "src/lib/core/buf.c"), encoding="utf-8") as f:
        body = re.search(r"bool sq_equal_ct\(.*?\n\}", f.read(), re.S).group(0)
    if body.count("return") != 1 or re.search(r"\b(if|break|goto)\b|\?", body) or "volatile" not in body:
        bad.append("sq_equal_ct() ends early: " + body)

tap.done()
