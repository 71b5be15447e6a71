#!/usr/bin/env python3
"""deploy/systemd/*: one pair of units a process, made from the table below.

    tools/systemd_units.py            write them
    tools/systemd_units.py --check    say whether they are what the table says

Every process is a service of its own, with a user of its own and no capabilities; systemd starts it when sequester.service (parent)
connects to its socket. Jailer alone keeps what starting containers takes. docs/confinement.md explains each exception.
"""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HERE = os.path.join(ROOT, "deploy", "systemd")
NOTE = "# made by tools/systemd_units.py: change its table, then run it\n"

# what every process gives up; a process's own table below overrides a line or takes it away (None)
COMMON = {
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "NoNewPrivileges": "yes",
    "UMask": "0077",
    "LimitCORE": "0",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateNetwork": "yes",
    "PrivateUsers": "yes",
    "PrivateIPC": "yes",
    "PrivateMounts": "yes",
    "DevicePolicy": "closed",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectProc": "invisible",
    "ProcSubset": "pid",
    "RemoveIPC": "yes",
    "KeyringMode": "private",
    "RestrictAddressFamilies": "AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "SystemCallArchitectures": "native",
    # beside the usual: what a process confines itself with
    "SystemCallFilter": ["@system-service", "~@privileged @resources", "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"],
    "SystemCallErrorNumber": "EPERM",
    "IPAddressDeny": "any",
    "NotifyAccess": "none",
    "MemorySwapMax": "0",
}

JAILER = {
    "CapabilityBoundingSet": "CAP_SYS_ADMIN CAP_SETUID CAP_SETGID CAP_KILL CAP_DAC_OVERRIDE CAP_CHOWN",
    "AmbientCapabilities": None,
    "PrivateUsers": "no",           # its user map of a sandbox has to be a block of the host's ids
    "ProtectControlGroups": "no",   # limits of sandboxes
    "ProtectKernelTunables": "no",  # a masked /proc can't be mounted anew in a sandbox
    "ProtectKernelLogs": "no",      # likewise
    "ProtectProc": "default",
    "ProcSubset": "all",
    "PrivateDevices": "no",         # /dev of a sandbox is made from the host's null, zero, random ...
    "DevicePolicy": "auto",         # and the runtime writes each sandbox's own device rules
    "RestrictNamespaces": "no",     # namespaces are what it makes
    "SystemCallFilter": ["~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @swap", "~@keyring userfaultfd perf_event_open"],
    "Delegate": "yes",
    "MemorySwapMax": None,
}

PARENT = {
    "ProcSubset": "all",            # it reads /proc/swaps
    "NotifyAccess": "main",
    "ReadWritePaths": "/run/sequester",
}

GATEWAY = {}
REGISTRAR = {"PrivateUsers": "no"}  # it names operators by the user id at its socket
COURIER = {
    "PrivateNetwork": "no",         # the one that goes out: mail, webhook, syslog
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "IPAddressDeny": "link-local multicast",  # better: name your servers with IPAddressAllow= and deny any
}

ROLES = {
    "keeper": ("keys", {}),
    "storer": ("sealed objects", {}),
    "registrar": ("rights, database, audit log", REGISTRAR),
    "runner": ("tasks", {}),
    "gateway": ("HTTPS", GATEWAY),
    "jailer": ("starts sandboxes", JAILER),
    "courier": ("mail, webhooks, syslog", COURIER),
}


def roles():
    """Those that this tree has."""
    return [r for r in ROLES if os.path.isdir(os.path.join(ROOT, "src", "daemon", r))]


def lines(table):
    out = []
    for key, value in table.items():
        for v in value if isinstance(value, list) else [] if value is None else [value]:
            out.append("%s=%s\n" % (key, v))
    return "".join(out)


def service(role):
    what, own = ROLES[role]
    user = "root" if role == "jailer" else "sequester-" + role
    return NOTE + """[Unit]
Description=Sequester %s: %s
Documentation=file:/usr/share/doc/sequester/confinement.md
CollectMode=inactive-or-failed

[Service]
ExecStart=/usr/libexec/sequester/sequester-%s
User=%s
Group=%s
StateDirectory=sequester/%s
StateDirectoryMode=0700
WorkingDirectory=/var/lib/sequester/%s
StandardInput=null
StandardOutput=journal
StandardError=journal
SyslogIdentifier=sequester-%s
LimitNOFILE=65536
TimeoutStopSec=20

%s""" % (role, what, role, user, user, role, role, role, lines(dict(COMMON, **own)))


def socket(role):
    return NOTE + """[Unit]
Description=Sequester %s is started when the hub asks for it
PartOf=sequester.service

[Socket]
ListenSequentialPacket=/run/sequester/start/%s.sock
SocketUser=sequester
SocketGroup=sequester
SocketMode=0600
Accept=yes
MaxConnections=1
TriggerLimitIntervalSec=0
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
""" % (role, role)


def hub():
    sockets = " ".join("sequester-%s.socket" % r for r in roles())
    return NOTE + """[Unit]
Description=Sequester, a hub for genomic data
Documentation=man:sequester-parent(8) file:/usr/share/doc/sequester/docs/operate.md
Requires=sequester.socket %s
After=sequester.socket %s systemd-tmpfiles-setup.service

[Service]
Type=notify
ExecStart=/usr/sbin/sequester-parent --config /etc/sequester/sequester.ini
User=sequester
Group=sequester
WatchdogSec=60
Restart=on-failure
RestartPreventExitStatus=78
TimeoutStartSec=120
TimeoutStopSec=60
LimitNOFILE=65536

%s
[Install]
WantedBy=multi-user.target
""" % (sockets, sockets, lines(dict(COMMON, **PARENT)))


LISTEN = NOTE + """[Unit]
Description=Sequester listens for HTTPS

[Socket]
# Change the address with `systemctl edit sequester.socket`: an empty ListenStream= first, then yours. Who may come in is
# limited here too, by IPAddressAllow= and IPAddressDeny=, not in the service: it has no network of its own.
ListenStream=127.0.0.1:8443
Backlog=1024
NoDelay=yes

[Install]
WantedBy=sockets.target
"""


def files():
    out = {"sequester.service": hub(), "sequester.socket": LISTEN}
    for role in roles():
        out["sequester-%s@.service" % role] = service(role)
        out["sequester-%s.socket" % role] = socket(role)
    users = ["sequester"] + ["sequester-" + r for r in roles() if r != "jailer"]
    out["sequester.sysusers.conf"] = NOTE + "".join("u %s - \"Sequester\" - -\n" % u for u in users)
    out["sequester.tmpfiles.conf"] = NOTE + "d /run/sequester 0711 sequester sequester -\nd /run/sequester/start 0710 root sequester -\n"
    return out


def main():
    wanted, bad = files(), []
    os.makedirs(HERE, exist_ok=True)
    is_check = "--check" in sys.argv[1:]
    there = {f for f in os.listdir(HERE) if f.startswith("sequester")}
    for name, text in wanted.items():
        path = os.path.join(HERE, name)
        if os.path.exists(path) and open(path).read() == text:
            continue
        bad.append(name)
        if not is_check:
            open(path, "w").write(text)
    for name in there - set(wanted):
        bad.append(name)
        if not is_check:
            os.unlink(os.path.join(HERE, name))
    if is_check and bad:
        print("deploy/systemd isn't what tools/systemd_units.py makes: %s" % ", ".join(sorted(bad)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
