#!/usr/bin/env python3
"""Somebody at a terminal: `sequester register`, `login`, `account password`, `forgot`, `reset`, tokens and devices, each asking for what it needs without showing it, and codes
that come by mail. What the examples of the manual pages do, done; with a real pseudo-terminal, a real mail server, a real hub."""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import e2e_register  # noqa: E402
import hub  # noqa: E402

GOOD, BETTER, BEST = "seven-Otters-climb-81", "nine Herons wade 44", "eleven Larks ascend 3"


class Terminal:
    """A person's shell: a session leader with a terminal of its own; standard output and error are that terminal."""

    def __init__(self, w):
        self.w, self.home = w, os.path.join(w.h.dir, "home")
        os.makedirs(self.home, 0o700, exist_ok=True)
        self.seen = b""

    def start(self, *args):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.chdir(self.home)
            os.execve(hub.CLI, [hub.CLI, *args], {"PATH": os.environ["PATH"], "HOME": self.home, "TERM": "xterm"})
        return self

    def wait_for(self, text, seconds=60):
        until = time.monotonic() + seconds * hub.PATIENCE
        while text.encode() not in self.seen:
            assert time.monotonic() < until and self.more(), "no %r in %r" % (text, self.seen)
        return self

    def more(self):
        if not select.select([self.fd], [], [], .2)[0]:
            return True
        try:
            got = os.read(self.fd, 4096)
        except OSError:  # its other side is closed
            return False
        self.seen += got
        return bool(got)

    def type(self, prompt, text, is_secret=True):
        """Behind the prompt, when nothing is echoed any more, as a person would."""
        self.wait_for(prompt)
        hub.wait_for("no echo", lambda: not termios.tcgetattr(self.fd)[3] & termios.ECHO, 10)
        self.seen = self.seen.replace(prompt.encode(), b"", 1)
        os.write(self.fd, text.encode() + b"\n")
        self.secret = text
        return self

    def end(self, code=0):
        until = time.monotonic() + 60 * hub.PATIENCE
        while self.more():
            assert time.monotonic() < until, self.seen
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        text = self.seen.decode()
        assert os.waitstatus_to_exitcode(status) == code, (os.waitstatus_to_exitcode(status), text)
        for secret in (GOOD, BETTER, BEST):
            assert secret not in text, text
        return text

    def server(self):
        return ["--server", "https://127.0.0.1:%d" % self.w.h.port, "--cacert", self.w.h.ca]


def test_an_account_from_first_to_last():
    with e2e_register.World(register="open") as w:
        t = Terminal(w)
        assert "a mail is on its way" in t.start("register", "ada@uni.example", *t.server()).end()
        code = w.mail(1, "Confirm your mail address")
        # typed differently, too easy, then well; the code isn't used up by it
        t.start("register", "confirm", *t.server()).type("The code from the mail: ", code).type("not soon guessed: ", GOOD).type("Once more: ", GOOD + "x")
        assert "the two differ" in t.end(1)
        t.start("register", "confirm", *t.server()).type("The code from the mail: ", code).type("not soon guessed: ", "Password1234").type("Once more: ", "Password1234")
        said = t.end(1)
        assert "EWEAK" in said and "stolen" in said and "Password1234" not in said, said
        t.start("register", "confirm", *t.server()).type("The code from the mail: ", code).type("not soon guessed: ", GOOD).type("Once more: ", GOOD)
        assert "the account is there: sequester login" in t.end()
        t.start("register", "confirm", *t.server()).type("The code from the mail: ", code).type("not soon guessed: ", GOOD).type("Once more: ", GOOD)
        assert "ELINK" in t.end(1)
        t.start("login", "--name", "ada@uni.example", *t.server()).type("assword", "wrong-Horse-battery-42")
        assert "EPASSWORD" in t.end(1)
        t.start("login", "--name", "ada@uni.example", *t.server()).type("assword", GOOD)
        assert "signed in as ada@uni.example (user) until" in t.end()
        # a new one, with the old
        t.start("account", "password").type("Your password so far: ", GOOD).type("The new password: ", "ada@uni.example").type("Once more: ", "ada@uni.example")
        assert "your name, this site's" in t.end(1)
        t.start("account", "password").type("Your password so far: ", GOOD).type("The new password: ", BETTER).type("Once more: ", BETTER)
        assert "changed: 0 other sessions and tokens ended" in t.end()
        w.mail(2, "Your password was changed")
        # a token for a script, asked for at the terminal; it works, is listed, and ends
        t.start("token", "create", "cluster", "--scopes", "read", "--networks", "127.0.0.0/8", "--days", "30", "-o", "cluster.token").type("assword", BETTER)
        assert "It is in the file, and nowhere else." in t.end()
        w.mail(3, "An API token was made for your account")
        token = open(os.path.join(t.home, "cluster.token")).read().strip()
        assert w.h.request("GET", "/api/v1/jobs", token=token).status == 200
        listed = t.start("token", "list").end()
        ident = re.search(r"([0-9a-f]{32}) +read .*cluster", listed).group(1)
        t.start("token", "revoke", ident).end()
        assert w.h.request("GET", "/api/v1/jobs", token=token).status == 401
        # another machine
        other = Terminal(w)
        other.home += "-other"
        os.makedirs(other.home, 0o700)
        other.start("login", "--device", *other.server()).wait_for("sequester device approve ")
        short = hub.wait_for("all of the code", lambda: other.more() and re.search(rb"sequester device approve ([A-Z]{4}-?[A-Z]{4})\s", other.seen), 30).group(1).decode()
        t.start("device", "approve", short).type("assword", BETTER)
        assert "approved: the machine that waits is signed in within seconds" in t.end()
        assert "signed in" in other.end()
        assert "ada@uni.example" in other.start("me").end()
        # forgotten: the answer is the same for an address that nobody has
        same = [t.start("account", "forgot", a, *t.server()).end() for a in ("nobody@uni.example", "ada@uni.example")]
        assert same[0] == same[1] and "if there is such an account" in same[0], same
        code = w.mail(5, "Choose a password")
        t.start("account", "reset", *t.server()).type("The code from the mail: ", code[:-1] + ("0" if code[-1] != "0" else "1")).type("not soon guessed: ", BEST).type("Once more: ", BEST)
        assert "ELINK" in t.end(1)
        t.start("account", "reset", *t.server()).type("The code from the mail: ", code).type("not soon guessed: ", BEST).type("Once more: ", BEST)
        assert "changed; all sessions and tokens ended" in t.end()
        assert "EAUTH" in t.start("me").end(4) and "EAUTH" in other.start("me").end(4)
        t.start("login", "--name", "ada@uni.example", *t.server()).type("assword", BEST)
        t.end()
        assert "signed out" in t.start("logout").end().lower()


def test_ctrl_c_leaves_the_terminal_as_it_was():
    with e2e_register.World() as w:
        t = Terminal(w)
        t.start("login", "--name", "ada", *t.server()).wait_for("assword")
        hub.wait_for("no echo", lambda: not termios.tcgetattr(t.fd)[3] & termios.ECHO, 10)
        os.write(t.fd, b"half a passw\x03")
        hub.wait_for("echo again", lambda: termios.tcgetattr(t.fd)[3] & termios.ECHO, 10)
        while t.more():
            pass
        _, status = os.waitpid(t.pid, 0)
        os.close(t.fd)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT and b"half" not in t.seen, (status, t.seen)


def test_without_a_terminal():
    """A script has none: it is told what to give instead, and nothing hangs."""
    with e2e_register.World() as w:
        t = Terminal(w)
        env = {"PATH": os.environ["PATH"], "HOME": t.home}
        for command in (["login", "--name", "ada"], ["register", "confirm"], ["account", "reset"]):
            p = subprocess.run([hub.CLI, *command, *t.server()], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, start_new_session=True, timeout=300)
            assert p.returncode == 2 and "--password-stdin" in p.stderr, (command, p)


if __name__ == "__main__":
    hub.main([test_an_account_from_first_to_last, test_ctrl_c_leaves_the_terminal_as_it_was, test_without_a_terminal])
