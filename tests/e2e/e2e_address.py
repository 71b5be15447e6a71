#!/usr/bin/env python3
"""Another mail address for an account: asked for with the password, its own once the code from the mailbox has come back, and no answer that tells whether it is somebody else's."""
import os
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import e2e_register  # noqa: E402
import hub  # noqa: E402

CONFIRM, EXISTS, CHANGED, RESET = "Confirm your new mail address", "You have an account already", "Your mail address was changed", "Choose a password"
NEXT = "eleven-Otters-climb-51"


def person(w, name, mail=None):
    w.h.admin_ok("user-add", {"name": name, "role": "user", "password": hub.PASSWORD % name, **({"mail": mail} if mail else {})})
    return hub.User(w.h, name)


def ask(u, address, **more):
    return u.call("PUT", "/api/v1/me/mail", {"mail": address, "password": u.password, **more})


def confirm(u, code):
    return u.call("POST", "/api/v1/me/mail/confirm", {"code": code})


def mail_to(w, address, subject, after=0):
    """The newest mail of this subject to @address, of those behind the first @after."""
    return hub.wait_for("a mail to %s: %s" % (address, subject), lambda: next((m for m in reversed(w.sink.mails[after:]) if m.to == [address] and m.subject == subject), None), 30)


def code_of(m):
    found = re.search(r"code +([0-9a-f]{64})", m.text)
    return found and found.group(1)


def asked(w, u, address):
    """Asks for it; the code that came."""
    n = len(w.sink.mails)
    a = ask(u, address)
    assert a.status == 202, a
    return code_of(mail_to(w, address, CONFIRM, n))


def address_of(u):
    return u.get("/api/v1/me/mail")["mail"]


def same_but(text, *own):
    """What is another's in each answer: his address, times, ids."""
    for what in own:
        text = text.replace(what, "X")
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\b[0-9a-f]{16,64}\b", "T", text)


def headers_of(a):
    return sorted((k.lower(), same_but(v)) for k, v in a.headers.items() if k.lower() not in ("date", "ratelimit", "x-request-id"))


def everything(w, u, address, name):
    """All that one account can see of what became of its wish, and what the database holds of it."""
    hub.wait_for("the mail", lambda: w.rows("SELECT count(*) FROM notice WHERE state = 1") == [(0,)], 30)
    shown = u.call("GET", "/api/v1/me/mail", status=200)
    ident = u.get("/api/v1/me")["id"]
    rows = [w.rows("SELECT %s FROM %s WHERE hex(user_id) = '%s'" % (columns, table, ident.upper()))
            for columns, table in (("kind, length(sealed), mail_hmac IS NULL, length(mail_sealed), expires_s - created_s", "link"),
                                   ("kind, state, tries, link_id IS NULL, job_id, last_end, last_code, mail_sealed IS NULL", "notice"))]
    log = [(e["event"], e["result"], e["role"]) for e in u.get("/api/v1/me/audit?limit=20")["data"]]
    return same_but(shown.body.decode(), address, name), headers_of(shown), rows, log


def the_answer_tells_nothing():
    """A free address, one that another account has, one that is another account's name: the same bytes at once and later; only that mailbox learns which."""
    with e2e_register.World() as w:
        person(w, "holder", "aaaa@uni.example")
        person(w, "bbbb@uni.example")
        seen, first = [], None
        for n, address in enumerate(("cccc@uni.example", "aaaa@uni.example", "bbbb@uni.example", "AAAA@uni.example")):
            u = person(w, "asker%d" % n, "asker%d@example.org" % n)
            before = len(w.sink.mails)
            a = ask(u, address)
            assert a.status == 202 and a.json == {"success": True}, a
            first = first or a
            assert (a.status, a.body, headers_of(a)) == (first.status, first.body, headers_of(first)), (a, headers_of(a), headers_of(first))
            m = mail_to(w, address, EXISTS if n else CONFIRM, before)
            assert bool(code_of(m)) == (not n) and "example.org" in m.text and u.name not in m.text, m.text
            seen.append(everything(w, u, address, u.name))
            assert seen[n] == seen[0], (seen[n], seen[0])
            assert address_of(u) == "asker%d@example.org" % n
        assert '"mail_confirm"' in seen[0][0] and '"state":"sent"' in seen[0][0] and "mail_asked" in str(seen[0][3]), seen[0]
        assert len(w.sink.mails) == 4 and not [m for m in w.sink.mails if m.to[0].startswith("asker")]
        # his own, in capitals: nothing to tell, nothing waits any more
        u = hub.User(w.h, "asker1")
        a = ask(u, "ASKER1@example.org")
        assert a.status == 200 and a.json["pending"] is None, a
        assert w.h.log().count("cccc") == w.h.log().count("aaaa") == 0
        w.h.clean()
        w.h.verify_log()


def it_counts_when_the_code_is_back():
    with e2e_register.World() as w:
        ada, eve = person(w, "ada", "ada@example.org"), person(w, "eve", "eve@example.org")
        assert w.h.request("POST", "/api/v1/me/mail/confirm", {"code": "0" * 64}).status == 401
        assert ask(ada, "ada@uni.example", password="wrong").json["code"] == "EPASSWORD"
        old = asked(w, ada, "ada@elsewhere.example")
        code = asked(w, ada, "ada@uni.example")  # in place of it
        me = ada.get("/api/v1/me/mail")
        assert me["mail"] == "ada@example.org" and me["pending"] == "ada@uni.example" and me["pending_until"], me
        theirs = asked(w, eve, "eve@uni.example")
        n = len(w.sink.mails)
        assert w.post("password/forgot", {"mail": "ada@uni.example"}).status == 202  # nobody's yet
        assert w.post("password/forgot", {"mail": "ada@example.org"}).status == 202
        reset = code_of(mail_to(w, "ada@example.org", RESET, n))
        assert len(w.sink.mails) == n + 1, w.sink.mails[n:]
        wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
        for bad in (old, theirs, reset, wrong, "0" * 64, code[:32] + "0" * 32, theirs[:32] + code[32:], "zz", code + "00"):
            a = confirm(ada, bad)
            assert a.status in (400, 410) and a.json["code"] in ("EFIELD", "ELINK"), (bad, a)
        assert ada.call("POST", "/api/v1/me/mail/confirm", {}).status == 400
        assert confirm(eve, code).status == 410, "another's session"
        for way in ("register/confirm", "password/reset"):
            assert w.post(way, {"code": code, "password": NEXT}).status == 410, "it is good for nothing else"
        assert address_of(ada) == "ada@example.org" and code[32:] not in str(w.rows("SELECT hex(sealed) FROM link")).lower()
        # registrar is killed before it is asked for, after, and on the way back
        w.h.kill("registrar")
        w.h.wait_up()
        for fault, good in (("mail.confirm", (503,)), ("commit.before_commit", (503, 200))):  # 200: another change in the house came to it first, and registrar was back
            w.h.arm(fault)
            assert confirm(ada, code).status in good, fault
            w.h.wait_up()
            if address_of(ada) == "ada@uni.example":  # the log was written: it counts
                break
            assert ada.get("/api/v1/me/mail")["pending"] == "ada@uni.example", fault
        else:
            a = confirm(ada, code)
            assert a.status == 200 and a.json["mail"] == "ada@uni.example" and a.json["pending"] is None, a
        assert confirm(ada, code).status == 410, "good once"
        for address in ("ada@example.org", "ada@uni.example"):
            mail_to(w, address, CHANGED, n)
        assert w.post("password/reset", {"code": reset, "password": NEXT}).status == 410, "it lies in the old mailbox"
        n = len(w.sink.mails)
        for address in ("ada@example.org", "ada@uni.example"):
            assert w.post("password/forgot", {"mail": address}).status == 202
        mail_to(w, "ada@uni.example", RESET, n)
        # a kill while it is asked for: nothing was kept, one asks again
        w.h.arm("link.made")
        assert ask(ada, "ada@third.example").status == 503
        w.h.wait_up()
        assert ada.get("/api/v1/me/mail")["pending"] is None
        code = asked(w, ada, "ada@third.example")
        w.h.move_clock(3601)
        ada.login()  # half an hour without a request had ended the session
        a = confirm(ada, code)  # an hour
        assert a.status == 410 and a.json["code"] == "ELINK", a
        me = ada.get("/api/v1/me/mail")
        assert me["pending"] is None and me["pending_until"] is None, me
        code = asked(w, ada, "ada@third.example")
        ada.call("PUT", "/api/v1/me/password", {"old": ada.password, "password": NEXT}, status=200)
        ada.password = NEXT
        assert confirm(ada, code).status == 410, "a new password ends what somebody else may have begun"
        code = asked(w, ada, "ada@third.example")
        assert ask(ada, None).json["mail"] is None
        assert confirm(ada, code).status == 410 and address_of(ada) is None
        # the first one; with a second factor, when there is one
        ada.enrol()
        assert ask(ada, "ada@third.example").json["code"] == "ENEEDCODE"
        n = len(w.sink.mails)
        assert ask(ada, "ada@third.example", code=ada.code(), notify=False).status == 202
        assert ada.get("/api/v1/me/mail")["notify"] is False
        a = confirm(ada, code_of(mail_to(w, "ada@third.example", CONFIRM, n)))
        assert a.status == 200 and a.json["mail"] == "ada@third.example" and a.json["notify"] is False, a
        events = [e["event"] for e in ada.get("/api/v1/me/audit?limit=100")["data"]]
        assert events.count("mail_proved") == 2 and events.count("mail_asked") >= 4, events
        w.h.clean()
        w.h.verify_log()


def two_for_one_mailbox():
    """Both were asked for while it was free, and both codes lie in it: the second is told, for he has shown that he reads it."""
    with e2e_register.World() as w:
        for turn in range(3):
            pair = [person(w, "%s%d" % (name, turn), "%s%d@example.org" % (name, turn)) for name in ("ada", "bob")]
            address, got = "both%d@uni.example" % turn, {}
            codes = [asked(w, u, address) for u in pair]
            assert all(codes) and codes[0] != codes[1]

            def give(i):
                got[i] = confirm(pair[i], codes[i])
            threads = [threading.Thread(target=give, args=(i,)) for i in (0, 1)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            won = next(i for i in got if got[i].status == 200)
            lost = got[1 - won]
            assert lost.status == 409 and lost.json["code"] == "EEXISTS" and "another account has got this address meanwhile" in lost.json["detail"], got
            assert address_of(pair[won]) == address and address_of(pair[1 - won]).endswith("%d@example.org" % turn)
            assert confirm(pair[1 - won], codes[1 - won]).status == 409
        w.h.clean()
        w.h.verify_log()


def held_back():
    """A mail goes to whoever it names: no more of them than of registrations, whether or not the address is free."""
    with e2e_register.World(rates={"rate_mail": "address=50/h token=50/h user=3/h all=3000/h"}) as w:
        person(w, "holder", "aaaa@uni.example")
        ada = person(w, "ada", "ada@example.org")
        answers = [ask(ada, a) for a in ("a1@uni.example", "aaaa@uni.example", "a2@uni.example", "a3@uni.example", "aaaa@uni.example")]
        assert [a.status for a in answers] == [202, 202, 202, 429, 429] and int(answers[3].headers["Retry-After"]) > 60, answers
        assert ada.get("/api/v1/me/mail")["pending"] == "a2@uni.example"
        mail_to(w, "a2@uni.example", CONFIRM)
        ada.call("PUT", "/api/v1/me/mail", {"notify": False}, status=200)  # mails nobody
        assert ask(ada, "ada@example.org").status == 200
        assert 1 <= len(w.sink.mails) <= 3, w.sink.mails  # what was replaced before it left isn't sent


def where_no_mail_is_sent():
    """There a code can't come: the address counts at once, and one that another account has is refused."""
    with hub.Hub() as h:
        ada, bob = h.user("ada"), h.user("bob@uni.example")
        a = ada.call("PUT", "/api/v1/me/mail", {"mail": "ada@uni.example", "password": ada.password}, status=200).json
        assert a["mail"] == "ada@uni.example" and a["pending"] is None and a["server_sends_mail"] is False, a
        for mail in ("ADA@uni.example", "bob@uni.example"):  # a name is as good to sign in by as an address
            a = (bob if mail[0] == "A" else ada).call("PUT", "/api/v1/me/mail", {"mail": mail, "password": (bob if mail[0] == "A" else ada).password})
            assert a.status == 409 and a.json["code"] == "EEXISTS", a
        h.clean()


def by_the_command_line():
    with e2e_register.World() as w:
        ada = person(w, "ada", "ada@example.org")
        p = ada.cli("account", "mail", "ada@uni.example", "--password-stdin", password=ada.password + "\n")
        assert p.stdout == "a mail is on its way to that address, which counts once its code has come back: sequester account mail confirm\n", p
        m = mail_to(w, "ada@uni.example", CONFIRM)
        assert "sequester account mail confirm" in m.text
        shown = ada.cli("account", "mail").stdout
        assert "mail      ada@example.org" in shown and re.search(r"waits     ada@uni\.example until \S+Z for the code that was mailed there: sequester account mail confirm", shown), shown
        # the owners' keys are replaced meanwhile: what waits is sealed anew with the rest
        sealed = w.rows("SELECT mail_sealed FROM link")
        p = subprocess.run([hub.CLI, "admin", "key", "rotate", "--owners", "--run-dir", os.path.dirname(w.h.admin_path)], capture_output=True, text=True, timeout=120)
        assert p.returncode == 0 and len(sealed) == 1 and w.rows("SELECT mail_sealed FROM link") != sealed, p
        path = os.path.join(w.h.dir, "code")
        for text, code in (("0" * 64, 1), (code_of(m), 0)):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
                f.write(text + "\n")
            p = ada.cli("account", "mail", "confirm", "--code-file", path, check=False)
            assert (p.returncode != 0) == bool(code), p
        assert "mail      ada@uni.example" in p.stdout and "waits" not in p.stdout, p.stdout
        p = subprocess.run([hub.CLI, "account", "mail", "confirm", "--session", os.path.join(w.h.dir, "none"), "--code-file", path], capture_output=True, text=True)
        assert p.returncode == 4, p


def an_unconfirmed_registration_gives_way():
    """Whoever asks for an account with somebody's address, and again each day, keeps its owner from nothing: the code decides."""
    with e2e_register.World() as w:
        u, n = person(w, "olga"), len(w.sink.mails)
        assert w.post("register", {"mail": "olga@example.org"}).status == 202
        theirs = code_of(mail_to(w, "olga@example.org", "Confirm your mail address", n))
        code = asked(w, u, "olga@example.org")
        assert confirm(u, code).status == 200 and address_of(u) == "olga@example.org"
        assert w.post("register/confirm", {"code": theirs, "password": NEXT}).status == 410
        assert w.post("login", {"name": "olga@example.org", "password": u.password}).status == 200
        n = len(w.sink.mails)
        assert w.post("register", {"mail": "olga@example.org"}).status == 202
        mail_to(w, "olga@example.org", EXISTS, n)
        assert confirm(u, asked(w, u, "other@example.org")).status == 200
        # the other way round: confirmed first, it is an account, and nobody takes it
        n = len(w.sink.mails)
        assert w.post("register", {"mail": "pia@example.org"}).status == 202
        theirs = code_of(mail_to(w, "pia@example.org", "Confirm your mail address", n))
        code = asked(w, u, "pia@example.org")
        assert w.post("register/confirm", {"code": theirs, "password": NEXT}).status == 200
        a = confirm(u, code)
        assert a.status == 409 and address_of(u) == "other@example.org", a
        # what gave way is erased, its key too
        w.h.move_clock(3601)
        hub.wait_for("it to go", lambda: w.rows("SELECT count(*) FROM user WHERE pending = 1") == [(0,)], 90)
        w.h.clean()


if __name__ == "__main__":
    hub.main([the_answer_tells_nothing, it_counts_when_the_code_is_back, two_for_one_mailbox, held_back, where_no_mail_is_sent, by_the_command_line, an_unconfirmed_registration_gives_way])
