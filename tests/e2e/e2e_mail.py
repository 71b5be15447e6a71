#!/usr/bin/env python3
"""What leaves the site: mails with receipts, signed webhooks, syslog; to servers whose certificates are good, and to no others; and a
mail server that is dead, slow or refuses delays nothing but its mails (S2-09, S3-80, S3-03)."""
import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

try:
    import aiosmtpd  # noqa: F401  (python3-aiosmtpd of Debian)
except ImportError:
    if sys.executable == "/usr/bin/python3":
        raise
    os.execv("/usr/bin/python3", ["/usr/bin/python3"] + sys.argv)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import disk  # noqa: E402
import hub  # noqa: E402
import outside  # noqa: E402

DAY, HOUR = 86400, 3600
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAABBBB"
MAIL_PASSWORD = "smtp-Password-77"


def private_file(h, name, text):
    path = os.path.join(h.dir, name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(text)
    return path


class World:
    """A hub with its mail server (STARTTLS, sign-in), webhook and collector."""

    def __init__(self, syslog="tcp", hook_tls=False, **settings):
        self.h = hub.Hub()
        self.ca = outside.Authority(os.path.join(self.h.dir, "outside"))
        self.good = self.ca.pair("good")
        self.sink = outside.Sink(self.good, "hub", MAIL_PASSWORD)
        self.hook = outside.Receiver(SECRET, self.good if hook_tls else None)
        self.log = outside.Collector(syslog, self.good if syslog == "tls" else None)
        ini = {"smtp_url": "smtp://localhost:%d" % self.sink.port, "smtp_user": "hub", "smtp_password_file": private_file(self.h, "smtp.password", MAIL_PASSWORD + "\n"),
               "mail_from": "hub@example.org", "public_url": "https://hub.example.org", "outbound_ca": self.ca.ca,
               "webhook_url": ("https://localhost:%d/hook" if hook_tls else "http://127.0.0.1:%d/hook") % self.hook.port,
               "webhook_secret_file": private_file(self.h, "hook.secret", SECRET + "\n"), "syslog_url": "%s://127.0.0.1:%d" % (syslog, self.log.port)}
        ini.update(settings)
        with open(self.h.ini, "a") as f:
            for k, v in ini.items():
                if v is not None:
                    f.write("%s = %s\n" % (k, v))

    def __enter__(self):
        self.h.__enter__()
        self.h.panel()
        self.ada = self.user("ada")
        return self

    def __exit__(self, *a):
        self.h.__exit__(*a)
        self.sink.down()
        self.hook.stop()
        self.log.stop()

    def user(self, name):
        self.h.admin_ok("user-add", {"name": name, "role": "user", "password": hub.PASSWORD % name, "mail": name + "@example.com"})
        return hub.User(self.h, name)

    def move(self, seconds):
        self.h.move_clock(seconds)
        with contextlib.suppress(AssertionError):
            self.h.admin_ok("clock-confirm")
        for u in [self.ada]:
            hub.wait_for("a new token", lambda: self.try_login(u), 20)

    @staticmethod
    def try_login(u):
        try:
            return u.login()
        except AssertionError:
            return None

    def mails(self, n, seconds=30):
        return hub.wait_for("mail %d" % n, lambda: self.sink.mails if len(self.sink.mails) >= n else None, seconds)

    def status(self):
        return self.h.admin_ok("status")["courier"]

    def events(self, name):
        p = subprocess.run([hub.CLI, "audit", "tail", "--log", self.h.log_dir(), "--json", "--limit", "100000"], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
        return [e for e in next(v for v in hub.json.loads(p.stdout).values() if isinstance(v, list)) if e["event"] == name]

    def rows(self, sql, *args):
        with contextlib.closing(sqlite3.connect(os.path.join(self.h.state, "registrar", "registrar.db"), timeout=10)) as db:
            return db.execute(sql, args).fetchall()

    def qc(self):
        """A small job, done."""
        return self.ada.run_job(self.ada.upload()["id"], mode="qconly")["id"]

    def verify_receipts(self, text, least):
        path = os.path.join(self.h.dir, "receipts.txt")
        with open(path, "wb") as f:
            f.write(text)
        p = subprocess.run([hub.CLI, "receipt", "verify", path, "--vkey", self.h.vkeys()["receipt_vkey"], "--json"], capture_output=True, text=True)
        assert p.returncode == 0, p.stdout + p.stderr
        found = hub.json.loads(p.stdout)["receipts"]
        assert len(found) >= least, found
        return found


def check_mail(m, subject, about):
    assert m.is_tls and m.sender == "hub@example.org" and m.to == ["ada@example.com"], (m.sender, m.to)
    assert m.subject == subject and "ada@example.com" in m.m["To"] and m.m["Auto-Submitted"] == "auto-generated", m.raw
    assert re.match(r"<[0-9a-f]{32}@example\.org>$", m.ident) and m.m["Date"], m.raw
    for must in (about, "https://hub.example.org", "Where is my data", "When is it gone?", "What to do?"):
        assert must in m.text, (must, m.text)
    for never in (b"SECRETNAME", b"secretfile", b"NA1", b"HG0"):
        assert never not in m.raw, m.raw
    assert all(len(line) <= 998 for line in m.raw.splitlines())


def test_the_life_of_a_job_is_told():
    with World() as w:
        up = w.ada.upload_raw(open(hub.TARGET, "rb").read(), "secretfile.vcf.gz").json["id"]
        job = w.ada.run_job(up, name="SECRETNAME")["id"]
        m = w.mails(1)[0]
        check_mail(m, "Your job is finished", job)
        assert not m.receipts and "AUTH" in w.sink.commands[0] and w.sink.commands[0].endswith("True"), w.sink.commands
        w.move(5 * DAY - 600)  # 48 hours and some before the end
        time.sleep(3)
        assert len(w.sink.mails) == 1
        w.move(1200)
        check_mail(w.mails(2)[1], "Your result will be erased in 48 hours", job)
        time.sleep(3)
        assert len(w.sink.mails) == 2, w.sink.mails[2].subject  # once
        w.move(2 * DAY)
        m = w.mails(3, 60)[2]
        check_mail(m, "Your data has been erased", job)
        found = w.verify_receipts(m.receipts, 8)
        kinds = {o["kind"] for r in found for o in r["objects"]}
        assert {"upload", "genotypes", "ids", "body", "report"} <= kinds, kinds
        jobs = {r["job"] for r in found if r["objects"][0]["kind"] != "upload"}  # the raw upload went before there was a job
        assert len(jobs) == 1 and "0" * 32 not in jobs, found
        assert "signed receipts (%d)" % len(found) in m.text
        page = w.ada.get("/api/v1/jobs/%s/receipt" % job)
        assert page["next"] is None and m.receipts.startswith(page["job_receipt"].encode()), page
        served = b"".join(r.encode() for r in [page["job_receipt"], *page["receipts"]])
        assert sorted(served.split(b"sequester-receipt/v1")) == sorted(m.receipts.split(b"sequester-receipt/v1"))
        # an upload that nobody used; a job that can't be done
        up = w.ada.upload_raw(open(hub.TARGET, "rb").read(), "secretfile.vcf.gz").json["id"]
        w.ada.call("DELETE", "/api/v1/uploads/" + up, status=202)
        m = w.mails(4)[3]
        check_mail(m, "Your upload has been erased", up)
        w.verify_receipts(m.receipts, 3)
        out = []
        for line in disk.many_samples(1).decode().splitlines():
            cols = line.split("\t")
            out.append(line if line.startswith("#") else "\t".join(cols[:1] + [str(int(cols[1]) + 1), "."] + cols[3:]))
        job = w.ada.submit(w.ada.upload_raw(("\n".join(out) + "\n").encode(), "secretfile.vcf").json["id"])
        assert w.ada.wait_job(job)["state"] == "failed"
        m = w.mails(5)[4]
        check_mail(m, "Your job could not be done", job)
        assert "too few of your variants are in the panel" in m.text, m.text
        # the webhook was told the same, signed, without anything personal
        hub.wait_for("five webhook events", lambda: len(w.hook.events) >= 5, 20)
        # each once; one that had to be tried again may come behind a later one
        assert sorted(e["type"] for _, e in w.hook.events) == ["job.erased", "job.expiring", "job.failed", "job.finished", "upload.erased"] and not w.hook.bad, w.hook.events
        assert len({i for i, _ in w.hook.events}) == 5 and "example.com" not in str(w.hook.events) and "SECRET" not in str(w.hook.events)
        # every attempt is in the log, and the collector has the log from the first entry after its first contact on
        hub.wait_for("ten entries", lambda: len(w.events("mail_sent")) == 5 and len(w.events("webhook_sent")) == 5, 20)
        hub.wait_for("the collector to have all", lambda: w.status()["syslog"]["behind"] <= 2, 20)
        got = w.log.entries()
        assert got == list(range(got[0], got[-1] + 1)) and got[0] < 80, got[:5]
        assert re.match(r"<1\d\d>1 \d{4}-\d\d-\d\dT[\d:.]+Z sequester\.local sequester - \w+ - \{", w.log.lines[0]), w.log.lines[0]
        assert "example.com" not in "".join(w.log.lines)
        s = w.status()
        assert s["mail"]["state"] == "idle" and s["webhook"]["state"] == "idle" and s["mail"]["given_up"] == 0, s
        # the address is nowhere in clear
        assert "example.com" not in w.h.log()
        assert subprocess.run(["grep", "-rqa", "ada@example.com", w.h.state]).returncode == 1
        w.h.verify_log()


def test_a_late_job_is_told():
    """More than 24 hours under way: its owner and the webhook hear of it, once."""
    with World() as w:
        up = w.ada.upload()["id"]
        held = w.h.hold("runner.mid_task:qc")  # nothing goes on
        try:
            job = w.ada.submit(up)
            hub.wait_for("the job to begin", lambda: w.h.is_held(held), 30)
            w.move(DAY + 60)
            check_mail(w.mails(1)[0], "Your job takes longer than it should", job)
        finally:
            w.h.release(held)
        w.ada.login()  # a token doesn't live that long
        w.ada.wait_job(job)
        hub.wait_for("two webhook events", lambda: len(w.hook.events) >= 2, 30)
        assert [e["type"] for _, e in w.hook.events].count("job.late") == 1 and w.hook.events[0][1]["type"] == "job.late", w.hook.events
        assert [m.subject for m in w.mails(2)].count("Your job takes longer than it should") == 1


def test_the_account_decides():
    with World(webhook_url=None, webhook_secret_file=None, syslog_url=None) as w:
        assert w.ada.get("/api/v1/me/mail")["mail"] == "ada@example.com"
        for bad in ("eve@example.com\r\nBcc: mallory@example.com", "eve@example.com\nX: y", "eve", "eve@@example.com", "e ve@example.com", "eve@example.com, b@c.de", "\u00e4@example.com",
                    "a" * 65 + "@example.com", "a@" + "b" * 300, "", 7, ["eve@example.com"]):
            a = w.ada.call("PUT", "/api/v1/me/mail", {"mail": bad, "password": w.ada.password})
            assert a.status == 400 and a.json["code"] == "EFIELD" and a.json["field"] == "mail", (bad, a)
        assert w.ada.call("PUT", "/api/v1/me/mail", {"mail": "eve@example.com\0"}).status == 400
        for bad in ({}, {"notify": "yes"}, {"notify": 1}, {"notify": None}):
            assert w.ada.call("PUT", "/api/v1/me/mail", bad).status == 400, bad
        code, _ = w.h.admin("user-add", {"name": "eve", "role": "user", "password": hub.PASSWORD % "eve", "mail": "eve@example.com\r\nBcc: x@y.z"})
        assert code == 32, code
        w.ada.cli("account", "mail", "--off")
        w.qc()
        time.sleep(2)
        assert not w.sink.commands
        p = w.ada.cli("account", "mail", "--on", "other@example.net", "--password-stdin", password=w.ada.password + "\n")
        assert "account mail confirm" in p.stdout, p.stdout
        code = re.search(r"code +([0-9a-f]{64})", w.mails(1)[0].text).group(1)
        assert w.sink.mails[0].to == ["other@example.net"]
        w.ada.call("POST", "/api/v1/me/mail/confirm", {"code": code}, status=200)
        p = w.ada.cli("account", "mail")
        assert "other@example.net" in p.stdout and "mails     on" in p.stdout, p.stdout
        changed = w.mails(3)[1:]
        assert [m.subject for m in changed] == ["Your mail address was changed"] * 2 and sorted(m.to[0] for m in changed) == ["ada@example.com", "other@example.net"], changed
        hub.wait_for("no address to be kept longer than its mail takes", lambda: w.rows("SELECT count(*) FROM notice WHERE mail_sealed IS NOT NULL") == [(0,)], 30)
        w.qc()
        assert w.mails(4)[3].to == ["other@example.net"]
        hub.wait_for("the mail to be written down as sent", lambda: re.search("job_finished.* sent", w.ada.cli("account", "mail").stdout), 30)
        assert "none" in w.ada.cli("account", "mail", "--remove", "--password-stdin", password=w.ada.password + "\n").stdout
        assert w.ada.get("/api/v1/me/mail")["mail"] is None and w.rows("SELECT mail_sealed FROM user WHERE role = 1") == [(None,)]
        assert [(m.subject, m.to) for m in w.mails(5)[4:]] == [("Your mail address was changed", ["other@example.net"])]
        w.qc()
        time.sleep(2)
        assert len(w.sink.mails) == 5
        assert len([e for e in w.events("user_changed") if e["role"] == "user"]) == 4


def test_the_account_is_told():
    """How he signs in has changed, a token was made, somebody tries, or came from elsewhere: his mail says it, whatever he chose to be told of his jobs."""
    with World(webhook_url=None, webhook_secret_file=None, syslog_url=None) as w:
        ada, seen = w.ada, []

        def told(*subjects):
            got = w.mails(len(seen) + len(subjects))[len(seen):]
            assert sorted(m.subject for m in got) == sorted(subjects), got
            assert all("https://hub.example.org" in m.text and "What to do?" in m.text for m in got), [m.text for m in got]
            seen.extend(got)
            return got

        def login(source, password):
            code, out = w.h.curl("--interface", source, "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json", "-d",
                                 hub.json.dumps({"name": "ada", "password": password}), "https://127.0.0.1:%d/api/v1/login" % w.h.port)
            assert code == 0, out
            return int(out)
        ada.cli("account", "mail", "--off")
        ada.call("PUT", "/api/v1/me/mail", {"mail": "ada@example.com", "password": ada.password}, status=200)  # the one that she has: nothing to tell
        made = ada.call("POST", "/api/v1/me/tokens", {"name": "secret-name", "scopes": ["read"], "days": 3, "password": ada.password}, status=201).json
        assert "secret-name" not in told("An API token was made for your account")[0].text and made["token"][:20] not in seen[0].text
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        asked = w.h.request("POST", "/api/v1/device/code", "client_id=sequester-cli&scope=read", headers=form).json
        ada.call("POST", "/api/v1/device/approve", {"user_code": asked["user_code"], "password": ada.password}, status=200)
        a = w.h.request("POST", "/api/v1/device/token", "grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=sequester-cli&device_code=" + asked["device_code"], headers=form)
        assert a.status == 200, a
        told("An API token was made for your account")
        # elsewhere, once a day; not where she was before
        assert login("127.0.0.1", ada.password) == login("127.0.0.5", ada.password) == login("127.0.0.6", ada.password) == 200
        assert "127.0.0" not in told("A sign-in from an address not seen before")[0].text
        assert [login("127.0.0.9", "wrong") for _ in range(7)] == [401] * 7
        told("Failed attempts to sign in to your account")
        w.h.move_clock(3600)
        assert [login("127.0.0.9", "wrong") for _ in range(7)] == [401] * 7
        assert login("127.0.0.7", "wrong") == 401
        w.h.move_clock(DAY)
        w.h.admin_ok("clock-confirm")
        ada.login()
        assert login("127.0.0.8", ada.password) == 200
        told("A sign-in from an address not seen before")
        new = "eleven-Otters-climb-51"
        ada.call("PUT", "/api/v1/me/password", {"old": ada.password, "password": new}, status=200)
        ada.password = new
        told("Your password was changed")
        ada.enrol()
        told("Your second factors were changed")
        time.sleep(2)
        assert len(w.sink.mails) == len(seen), w.sink.mails[len(seen):]
        assert all(m.to == ["ada@example.com"] for m in seen)


def test_what_ends_is_told_before():
    with World(webhook_url=None, webhook_secret_file=None, syslog_url=None) as w:
        ada = w.ada

        def token(name, days):
            return ada.call("POST", "/api/v1/me/tokens", {"name": name, "scopes": ["read"], "days": days, "password": ada.password}, status=201).json

        def subjects():
            return [m.subject for m in w.sink.mails if "ends within" in m.subject]
        long, other, short = token("long", 30), token("other", 31), token("short", 10)
        w.h.admin_ok("user-expire", {"name": "ada", "expires": hub.json.loads('"%s"' % time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(w.h.now() + 60 * DAY)))})
        w.move(22 * DAY)
        time.sleep(2)
        assert not subjects()
        w.move(2 * DAY)  # six days are left of the long one, seven of the other; the short one has ended
        hub.wait_for("a mail", lambda: subjects() == ["An API token of yours ends within a week"], 30)
        until = time.strftime("%d %B %Y, %H:%M UTC", time.strptime(long["expires"], "%Y-%m-%dT%H:%M:%SZ"))
        assert until in next(m.text for m in w.sink.mails if "ends within" in m.subject), until
        w.move(DAY)
        time.sleep(2)
        assert len(subjects()) == 1  # one mail for both, and once
        w.move(22 * DAY)
        hub.wait_for("a mail", lambda: subjects()[1:] == ["Your account ends within two weeks"], 30)
        time.sleep(2)
        assert len(subjects()) == 2 and other["id"] and short["id"]


def mail_test(w):
    a = w.h.admin_ok("mail-test", {"to": "operator@example.com"})
    return a["end"], a


def test_peers_keys():
    """peer_rsa_bits = 3072: mail, webhook and syslog servers with RSA-2048 get nothing; with 3072 bits, or another kind of key, they do."""
    with World(syslog="tls", hook_tls=True, peer_rsa_bits="3072") as w:
        weak, strong = w.ca.pair("weak", rsa_bits=2048), w.ca.pair("strong", rsa_bits=3072)
        assert mail_test(w)[0] == "sent"
        n, done = len(w.sink.mails), len(w.sink.commands)
        w.sink.up(weak)
        assert mail_test(w)[0] == "certificate", mail_test(w)
        assert len(w.sink.mails) == n and len(w.sink.commands) == done, w.sink.commands[done:]
        w.sink.up(strong)
        assert mail_test(w)[0] == "sent", mail_test(w)
        hub.wait_for("lines by TLS", lambda: w.log.lines, 20)
        port = w.log.port
        w.log.stop()
        fake = outside.Collector("tls", weak, port)
        w.ada.get("/api/v1/me")
        hub.wait_for("the status to say so", lambda: "certificate" in (w.status()["syslog"]["last_error"] or ""), 40)
        assert not fake.lines
        fake.stop()
        w.log = outside.Collector("tls", strong, port)
        hub.wait_for("the collector to have all", lambda: w.status()["syslog"]["behind"] <= 3 and w.log.lines, 60)
        # started by others, courier isn't told: refused rather than left out in silence
        with open(w.h.ini) as f:
            ini = f.read()
        path = os.path.join(w.h.dir, "by-sockets.ini")
        with open(path, "w") as f:
            f.write(ini + "start_by = sockets\n")
        p = subprocess.run([os.path.join(hub.BUILD, "sequester-parent"), "--config", path], capture_output=True, text=True, timeout=300)
        assert p.returncode == 78 and "peer_rsa_bits can't be more than 2048 with start_by = sockets" in p.stderr, (p.returncode, p.stderr)
    with World() as w:  # as delivered
        w.sink.up(w.ca.pair("weak", rsa_bits=2048))
        assert mail_test(w)[0] == "sent", mail_test(w)


def test_certificates():
    with World(syslog="tls", hook_tls=True) as w:
        assert mail_test(w)[0] == "sent"
        assert "queued as 1" in mail_test(w)[1]["answer"] or len(w.sink.mails) == 2, mail_test(w)
        other = outside.Authority(os.path.join(w.h.dir, "other"))
        bad = {"expired": w.ca.pair("expired", days=(-10, -1)), "not valid yet": w.ca.pair("early", days=(1, 10)), "another host": w.ca.pair("host", hosts=("mail.example.org",)),
               "self-signed": w.ca.pair("self", self_signed=True), "another CA": other.pair("other")}
        n, done = len(w.sink.mails), len(w.sink.commands)
        for what, pair in bad.items():
            w.sink.up(pair)
            end, a = mail_test(w)
            assert end == "certificate" and a["sent"] is False, (what, a)
        w.sink.up(None)  # no STARTTLS offered: nothing goes in clear
        assert mail_test(w)[0] == "tls", mail_test(w)
        assert len(w.sink.mails) == n and len(w.sink.commands) == done, w.sink.commands[done:]
        # a job meanwhile is done, its mail waits, and says so
        job = w.qc()
        hub.wait_for("a failed try", lambda: w.events("mail_failed"), 20)
        s = w.status()["mail"]
        assert s["state"] == "failing" and s["waiting"] == 1 and "TLS" in s["last_error"], s
        w.sink.password = "another"
        w.sink.up(w.good)
        assert mail_test(w)[0] == "login", mail_test(w)
        w.sink.password = MAIL_PASSWORD
        w.sink.up(w.good)
        w.move(61)
        check_mail(w.mails(n + 1)[-1], "Your job is finished", job)
        # the webhook: https, its certificate; no redirection is followed
        hub.wait_for("the webhook", lambda: w.hook.events, 20)
        elsewhere = outside.Receiver(SECRET)
        w.hook.redirect, n = "http://127.0.0.1:%d/x" % elsewhere.port, len(w.hook.events)
        w.qc()
        hub.wait_for("a redirection", lambda: [e for e in w.events("webhook_failed") if e["b"] == 302], 30)
        assert elsewhere.n == 0 and len(w.hook.events) == n
        elsewhere.stop()
        w.hook.redirect = None
        # syslog over TLS: the collector comes back with a bad certificate, then with its own
        hub.wait_for("lines by TLS", lambda: w.log.lines, 20)
        port, had = w.log.port, w.log.entries()
        w.log.stop()
        fake = outside.Collector("tls", bad["self-signed"], port)
        w.ada.get("/api/v1/me")
        hub.wait_for("the status to say so", lambda: "certificate" in (w.status()["syslog"]["last_error"] or ""), 40)
        assert not fake.lines
        fake.stop()
        w.log = outside.Collector("tls", w.good, port)
        hub.wait_for("the collector to have all", lambda: w.status()["syslog"]["behind"] <= 3 and w.log.lines, 60)
        got = w.log.entries()
        assert got[0] <= had[-1] + 1, (had[-1], got[0])  # nothing between was lost but what lay in the old one's buffers
        assert got == list(range(got[0], got[-1] + 1))


def test_a_dead_mail_server_delays_nothing():
    with World(webhook_url=None, webhook_secret_file=None, syslog_url=None) as w:
        w.sink.down()
        job = w.qc()
        hub.wait_for("a failed try", lambda: len(w.events("mail_failed")) == 1, 20)
        begun = time.monotonic()
        w.ada.call("DELETE", "/api/v1/jobs/" + job, status=202)
        w.ada.wait_job(job, ("erased",), 30)
        sys.stderr.write("# erased in %.1f s with a dead mail server\n" % (time.monotonic() - begun))
        two = w.qc()
        hub.wait_for("tries", lambda: w.status()["mail"]["waiting"] == 3, 20)  # `finished` of the erased job waits too, and will be moot
        w.sink.up(w.good)
        w.move(61)
        subjects = {m.subject: m for m in w.mails(2)}
        time.sleep(2)
        assert len(w.sink.mails) == 2 and set(subjects) == {"Your data has been erased", "Your job is finished"}, subjects
        check_mail(subjects["Your job is finished"], "Your job is finished", two)
        w.verify_receipts(subjects["Your data has been erased"].receipts, 4)
        # one that hangs: the job and its end go on
        w.sink.mode = "hang"
        three = w.qc()
        hub.wait_for("the hanging server to be asked", lambda: w.sink.commands[-1:] == ["RCPT"], 20)
        w.ada.call("DELETE", "/api/v1/jobs/" + three, status=202)
        w.ada.wait_job(three, ("erased",), 30)
        hub.wait_for("the time limit", lambda: "did not answer in time" in (w.status()["mail"]["last_error"] or ""), 40)
        w.sink.down()
        w.sink.mode = "ok"
        # the deadline passes with the server dead: gone all the same, and the alarm is raised
        w.move(7 * DAY + 10)
        w.ada.wait_job(two, ("erased",), 60)
        disk.settle(w.h, 1)
        hub.wait_for("the alarm", lambda: "event=send_overdue" in w.h.log(), 30)


def test_answers_of_the_server():
    with World(webhook_url=None, webhook_secret_file=None, syslog_url=None) as w:
        w.sink.mode = "reject5"
        a = w.h.admin_ok("mail-test", {"to": "operator@example.com"})
        assert a["end"] == "refused" and a["code"] == 550 and "550 5.1.1" in a["answer"] and "no such user here" in a["answer"], a
        p = subprocess.run([hub.CLI, "admin", "mail", "test", "--to", "operator@example.com", "--run-dir", os.path.dirname(w.h.admin_path)], capture_output=True, text=True)
        assert p.returncode == 1 and "no such user here" in p.stdout, p
        w.qc()
        hub.wait_for("it is given up", lambda: w.events("mail_given_up"), 20)
        assert w.events("mail_given_up")[0]["b"] == 550 and "ada@" not in w.h.log()
        w.sink.mode = "reject4"
        w.qc()
        hub.wait_for("it is tried again", lambda: w.events("mail_failed"), 20)
        assert w.events("mail_failed")[0]["b"] == 451 and w.status()["mail"]["waiting"] == 1
        for _ in range(40):  # 1, 5, 15 minutes, 1 hour, every 4 hours; then no more
            n = len(w.events("mail_failed")) + len(w.events("mail_given_up"))
            ((wait,),) = w.rows("SELECT ifnull(min(next_s), 0) FROM notice WHERE state = 1") or ((0,),)
            if not wait:
                break
            tries = w.rows("SELECT tries, next_s - created_s FROM notice WHERE state = 1")
            pause = {1: 60, 2: 300, 3: 900, 4: 3600}.get(tries[0][0], 4 * 3600)
            w.move(pause + 1)
            hub.wait_for("the next try", lambda: len(w.events("mail_failed")) + len(w.events("mail_given_up")) > n, 20)
        given = w.events("mail_given_up")
        assert len(given) == 2 and 15 <= given[1]["a"] <= 25, given
        assert w.status()["mail"]["state"] == "idle" and w.status()["mail"]["given_up"] == 2
        w.sink.mode = "ok"
        w.qc()
        w.mails(1)


def test_killed_anywhere():
    with World(webhook_url=None, webhook_secret_file=None, syslog_url=None) as w:
        for n, (fault, role, copies) in enumerate((("courier.before_send", "courier", 1), ("courier.after_send", "courier", 2), ("notice.sent", "registrar", 2))):
            had = len(w.sink.mails)
            pid = w.h.pid(role)
            hits = w.h.fault_hits()
            w.h.arm(fault)
            job = w.qc() if role == "courier" else w.ada.submit(w.ada.upload()["id"], mode="qconly")
            hub.wait_for("the fault " + fault, lambda: w.h.fault_hits() > hits, 40)
            w.h.started_anew(role, pid)
            w.h.wait_up()
            if role == "courier":
                hub.wait_for("the try to be counted", lambda: len(w.events("mail_failed")) == n + 1, 30)
            w.move(61)
            mails = w.mails(had + copies, 40)[had:]
            time.sleep(2)
            assert len(w.sink.mails) == had + copies, [m.ident for m in w.sink.mails]
            assert len({m.ident for m in mails}) == 1 and all(job in m.text for m in mails), mails  # a duplicate is known as one
        hub.wait_for("the last one to be written down as sent", lambda: w.status()["mail"]["waiting"] == 0, 30)
        w.h.verify_log()


def test_captured_courier():
    """It may open the addresses that registrar sealed, and nothing else of anybody."""
    import e2e_attack
    h = hub.Hub()
    try:
        h.start()
        w = e2e_attack.World.__new__(e2e_attack.World)
        w.h = h
        h.panel()
        for name in ("ada", "bob"):
            h.admin_ok("user-add", {"name": name, "role": "user", "password": hub.PASSWORD % name, "mail": name + "@example.com"})
        ada = hub.User(h, "ada")
        job = ada.run_job(ada.upload()["id"], mode="qconly", name="NAME-OF-A-JOB")["id"]
        ada.upload()  # ready: its name is still there
        token = ada.token
        h.stop()
        rows = {i: dict(mail=m, name=n, password=p) for i, m, n, p in w.db("SELECT id, mail_sealed, name_sealed, password_sealed FROM user")}
        (owner, upload_name), = w.db("SELECT owner_id, name_sealed FROM upload WHERE name_sealed IS NOT NULL")
        (job_name,), = w.db("SELECT name_sealed FROM job WHERE id = ?", job)
        (bob,) = [i for i in rows if i != owner]
        objects = [i for (i,) in w.db("SELECT id FROM object")]
        p = e2e_attack.Played(h, "courier")
        try:
            e2e_attack.play_corpus(p)
            e2e_attack.play_malformed(p)
            e2e_attack.play_parent(p)
            m = p.ask("keeper", "mail_open", owner_id=owner, sealed=rows[owner]["mail"])
            assert m.name == "mail_is" and m.address == "ada@example.com", m
            for what, who, sealed in [("a job's name", owner, job_name), ("a file's name", owner, upload_name), ("an account's name", owner, rows[owner]["name"]),
                                      ("a password's hash", owner, rows[owner]["password"]), ("another's address", owner, rows[bob]["mail"]),
                                      ("an address as another's", bob, rows[owner]["mail"]), ("nothing", owner, b""), ("an owner that isn't", bytes(16), rows[owner]["mail"]),
                                      ("an object as owner", objects[0], rows[owner]["mail"]), ("a changed one", owner, rows[owner]["mail"][:-1] + bytes([rows[owner]["mail"][-1] ^ 1]))]:
                code = p.code("keeper", "mail_open", owner_id=who, sealed=sealed)
                assert code in ("ETAMPERED", "ENOTFOUND", "EKEYGONE"), (what, code)
            for name, fields in (("fields_open", dict(owner_id=owner, token=token, batch=b"")), ("mail_show", dict(owner_id=owner, token=token, sealed=rows[owner]["mail"]))):
                row = next(r for r in hub.WIRE.rows if r.name == name)
                p.refused("keeper", name, *e2e_attack.packet(row, fields))  # also with a live token in its hands
            p.others_live()
            assert set(p.now.taken) <= {"hooks", "ca", "smtp_password", "webhook_secret"} and set(p.now.links) == {"registrar", "keeper"}
        finally:
            p.done()
    finally:
        h.__exit__(None)


if __name__ == "__main__":
    tests = [test_the_life_of_a_job_is_told, test_a_late_job_is_told, test_the_account_decides, test_the_account_is_told, test_what_ends_is_told_before, test_certificates, test_peers_keys, test_a_dead_mail_server_delays_nothing, test_answers_of_the_server,
             test_killed_anywhere, test_captured_courier]
    hub.main([t for t in tests if not sys.argv[1:] or t.__name__ in sys.argv[1:]])
