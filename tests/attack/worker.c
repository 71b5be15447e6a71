/*
 * A worker that an attacker has taken over. It says hello and takes its order as the real one, then does what the first
 * line of its first input says, `attack NAME`, and passes that line on to its outputs, so that the next stage gets it too.
 * `only STAGE` in that line: the stages before behave. Built by tests/e2e/e2e_hostile_worker.py, statically.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONTROL = 3, FIRST_PORT = 4, PANEL = 1, INGEST, QC, IMPUTE, FINISH };

static uint8_t packet[70000];
static size_t n_packet;
static int stage;

static void number(uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        packet[n_packet++] = (uint8_t)(v >> 8 * i);
}

static void begin(unsigned no)
{
    n_packet = 0;
    number(no, 2);
    number(0, 2);
    number(0, 8);
}

static void text(const char *s)
{
    number(strlen(s), 4);
    memcpy(packet + n_packet, s, strlen(s));
    n_packet += strlen(s);
}

static void send_it(void)
{
    send(CONTROL, packet, n_packet, MSG_NOSIGNAL);
}

static void done(void)
{
    begin(134);
    send_it();
}

static void counts(uint64_t n, const char *chrom, unsigned format)
{
    begin(132);
    number(format, 1);
    number(1, 1);
    text(chrom);
    for (int i = 0; i < 9; i++)
        number(n, 8);
    text("");
    text("");
    send_it();
}

static void say_failed(unsigned code, const char *detail)
{
    begin(133);
    number(code, 2);
    number(1, 8);
    number(1, 4);
    text("x");
    text(detail);
    send_it();
    _exit(0);
}

static int first_output(void)
{
    static const int ports[] = {0, 2, 1, 2, 3, 3}; /* inputs come first: lib/jobs/stages.def */
    return FIRST_PORT + ports[stage];
}

static int n_output(void)
{
    static const int n[] = {0, 0, 2, 2, 3, 2};
    return n[stage];
}

static void pass_on(const char *line)
{
    for (int i = 0; i < n_output(); i++) {
        ssize_t n = write(first_output() + i, line, strlen(line));
        (void)n;
    }
}

/* process 1 of a pid namespace ignores the signals that it sends itself, but not this */
static void fall(void)
{
    *(volatile int *)(uintptr_t)16 = 1;
}

static void flood(int fd)
{
    static char zeros[65536];
    while (write(fd, zeros, sizeof zeros) > 0)
        ;
}

static void attack(const char *what, const char *line)
{
    if (!strcmp(what, "exit-0"))
        _exit(0);
    if (!strcmp(what, "exit-1"))
        _exit(1);
    if (!strcmp(what, "abort"))
        abort();
    if (!strcmp(what, "segv"))
        fall();
    if (!strcmp(what, "done-exit-1")) {
        done();
        _exit(1);
    }
    if (!strcmp(what, "done-segv")) {
        pass_on(line);
        counts(1, "22", 1);
        done();
        fall();
    }
    if (!strcmp(what, "garbage")) {
        memset(packet, 0xa5, sizeof packet);
        send(CONTROL, packet, 1000, MSG_NOSIGNAL);
    }
    if (!strcmp(what, "huge-packet")) {
        send(CONTROL, packet, sizeof packet, MSG_NOSIGNAL);
    }
    if (!strcmp(what, "hello-again")) {
        begin(1);
        number(TABLE_HASH, 8);
        number(9, 1);
        send_it();
    }
    if (!strcmp(what, "as-registrar")) { /* a message that only registrar may send */
        begin(111);
        n_packet += 16;
        send_it();
    }
    if (!strcmp(what, "as-runner")) {
        begin(43);
        n_packet += 16 + 4 + 16 + 4 + 32;
        send_it();
    }
    if (!strcmp(what, "trailing")) {
        begin(134);
        number(0, 1);
        send_it();
    }
    if (!strcmp(what, "descriptor")) {
        union {
            struct cmsghdr align;
            char space[CMSG_SPACE(sizeof(int))];
        } control = {0};
        begin(134);
        struct iovec part = {.iov_base = packet, .iov_len = n_packet};
        struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &(int){first_output()}, sizeof(int));
        sendmsg(CONTROL, &m, MSG_NOSIGNAL);
    }
    if (!strcmp(what, "progress-back")) {
        begin(131);
        number(10, 8);
        number(5, 8);
        send_it();
    }
    if (!strcmp(what, "progress-flood"))
        for (;;) {
            begin(131);
            number(1, 8);
            number(2, 8);
            send_it();
        }
    if (!strcmp(what, "counts-huge"))
        counts(UINT64_MAX, "22", 1);
    if (!strcmp(what, "counts-chrom"))
        counts(1, "<script>", 1);
    if (!strcmp(what, "counts-format"))
        counts(1, "22", 200);
    if (!strcmp(what, "failed-sealed"))
        say_failed(7, "keeper is sealed, it says");
    if (!strcmp(what, "failed-ok"))
        say_failed(0, "");
    if (!strcmp(what, "failed-tampered"))
        say_failed(60, "");
    if (!strcmp(what, "failed-control"))
        say_failed(101, "a\nb");
    if (!strcmp(what, "no-output")) {
        counts(1000, "22", 1);
        done();
        _exit(0);
    }
    if (!strcmp(what, "endless"))
        flood(first_output());
    if (!strcmp(what, "endless-report"))
        flood(FIRST_PORT + 3);
    if (!strcmp(what, "memory"))
        for (;;) {
            char *p = malloc(1 << 26);
            if (p)
                memset(p, 1, 1 << 26);
        }
    if (!strcmp(what, "lie")) { /* all in form, nothing true */
        pass_on(line);
        counts(123456, "22", 2);
        done();
        _exit(0);
    }
}

int main(void)
{
    static char line[256];
    begin(1);
    number(TABLE_HASH, 8);
    number(9, 1);
    send_it();
    ssize_t n = recv(CONTROL, packet, sizeof packet, 0);
    n = recv(CONTROL, packet, sizeof packet, 0);
    if (n < 13)
        _exit(9);
    stage = packet[12];
    if (stage == PANEL) { /* panels are added by the operator */
        counts(1, "22", 1);
        done();
        _exit(0);
    }
    for (size_t at = 0; at < sizeof line - 1 && read(FIRST_PORT, line + at, 1) == 1 && line[at] != '\n';)
        at++;
    char what[64] = "", rest[64] = "";
    int only = 0;
    if (sscanf(line, "attack %63s only %d%63s", what, &only, rest) < 1)
        _exit(8);
    if (only && stage < only)
        strcpy(what, "lie");
    attack(what, line);
    sleep(300); /* whoever waits for more is stopped by its limit */
    return 0;
}
