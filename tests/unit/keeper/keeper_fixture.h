/* A parent for the real keeper binary: starts it in a directory, hands out what parent would, speaks as its peers. */
#ifndef SQ_TESTS_KEEPER_FIXTURE_H
#define SQ_TESTS_KEEPER_FIXTURE_H

#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "lib/core/log.h"
#include "lib/crypt/crypt.h"
#include "lib/wire/wire.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ORIGIN "test.example/log"
#define KEY_FILE_HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"

struct fixture_setting {
    const char *key, *value; /* value NULL or "": not set */
};

struct fixture {
    struct fixture_setting more[2]; /* of the configuration */
    pid_t pid;
    int parent;
    int link[SQ_ROLE_COUNT];
    char dir[64];
    int hooks_fd;
    struct sq_hooks *hooks;
    struct sq_packet *pkt; /* the last reply lies here */
    uint64_t call;
};

static const enum sq_role peers[] = {SQ_ROLE_GATEWAY, SQ_ROLE_REGISTRAR, SQ_ROLE_RUNNER};

static void tell_keeper(struct fixture *f, struct sq_msg m)
{
    assert_int_equal(sq_wire_send(f->parent, SQ_ROLE_PARENT, SQ_ROLE_KEEPER, &m), SQ_OK);
}

/* A new link for @role: keeper's end goes over, ours stays. */
static void give_peer(struct fixture *f, enum sq_role role)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    tell_keeper(f, sq_msg_of(peer, .role = (uint8_t)role, .socket = pair[1]));
    close(pair[1]);
    sq_close(&f->link[role]);
    f->link[role] = pair[0];
    struct timeval limit = {.tv_sec = 20};
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

static int key_file_fd(const char *hex)
{
    int fd = memfd_create("keyfile", 0);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, hex, strlen(hex)), (ssize_t)strlen(hex));
    return fd;
}

/* Start keeper in f->dir; true when it serves. */
static bool keeper_start(struct fixture *f, const char *backend, const char *key_hex)
{
    int pair[2];
    const char *exe = getenv("SQ_KEEPER_EXE");
    assert_non_null(exe);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    f->pid = fork();
    assert_true(f->pid >= 0);
    if (!f->pid) {
        if (dup2(pair[1], 3) != 3 || chdir(f->dir))
            _exit(120);
        if (pair[1] == 3)
            fcntl(3, F_SETFD, 0);
        execl(exe, "sequester-keeper", (char *)NULL);
        _exit(121);
    }
    close(pair[1]);
    f->parent = pair[0];
    struct timeval limit = {.tv_sec = 20};
    setsockopt(f->parent, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(sq_wire_hello(f->parent, SQ_ROLE_PARENT, SQ_ROLE_KEEPER), SQ_OK);
    tell_keeper(f, sq_msg_of(setting, .key = sq_span_str("key_backend"), .value = sq_span_str(backend)));
    tell_keeper(f, sq_msg_of(setting, .key = sq_span_str("origin"), .value = sq_span_str(ORIGIN)));
    tell_keeper(f, sq_msg_of(setting, .key = sq_span_str("totp_beside"), .value = sq_span_str("1")));
    tell_keeper(f, sq_msg_of(setting, .key = sq_span_str("totp_hash"), .value = sq_span_str("sha1")));
    tell_keeper(f, sq_msg_of(setting, .key = sq_span_str("passkey_rsa"), .value = sq_span_str("yes")));
    for (size_t i = 0; i < sizeof f->more / sizeof f->more[0]; i++)
        if (f->more[i].value && *f->more[i].value)
            tell_keeper(f, sq_msg_of(setting, .key = sq_span_str(f->more[i].key), .value = sq_span_str(f->more[i].value)));
    tell_keeper(f, sq_msg_of(take, .name = sq_span_str("hooks"), .file = f->hooks_fd));
    if (key_hex) {
        int fd = key_file_fd(key_hex);
        tell_keeper(f, sq_msg_of(take, .name = sq_span_str("keyfile"), .file = fd));
        close(fd);
    }
    for (size_t i = 0; i < 3; i++)
        give_peer(f, peers[i]);
    tell_keeper(f, sq_msg_bare(go));
    struct sq_msg m;
    if (sq_wire_recv(f->parent, SQ_ROLE_KEEPER, SQ_ROLE_PARENT, f->pkt, &m) || m.no != SQ_MSG_serving)
        return false;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(sq_wire_hello(f->link[peers[i]], peers[i], SQ_ROLE_KEEPER), SQ_OK);
    return true;
}

/* Ends it as parent would, or with SIGKILL. Returns the wait status. */
static int keeper_stop(struct fixture *f, bool is_kill)
{
    int status = 0;
    if (is_kill)
        kill(f->pid, SIGKILL);
    else
        tell_keeper(f, sq_msg_bare(stop));
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    for (size_t i = 0; i < SQ_ROLE_COUNT; i++)
        sq_close(&f->link[i]);
    sq_close(&f->parent);
    return status;
}

/* Ask as @from; the code of error_is, or SQ_OK with the reply in *out. */
static sq_err ask(struct fixture *f, enum sq_role from, struct sq_msg m, struct sq_msg *out)
{
    struct sq_msg reply;
    m.call = ++f->call;
    assert_int_equal(sq_wire_send(f->link[from], from, SQ_ROLE_KEEPER, &m), SQ_OK);
    sq_err err = sq_wire_recv(f->link[from], SQ_ROLE_KEEPER, from, f->pkt, &reply);
    if (err)
        return err;
    assert_int_equal(reply.call, f->call);
    if (reply.no == SQ_MSG_error_is)
        return sq_err_from_no(reply.u.error_is.code);
    assert_int_equal(reply.no, sq_msg_row_of(m.no)->reply);
    if (out)
        *out = reply;
    return SQ_OK;
}

static sq_err reg(struct fixture *f, struct sq_msg m, struct sq_msg *out)
{
    return ask(f, SQ_ROLE_REGISTRAR, m, out);
}

static void fixture_new(struct fixture *f)
{
    *f = (struct fixture){.parent = -1, .pkt = sq_packet_new()};
    for (size_t i = 0; i < SQ_ROLE_COUNT; i++)
        f->link[i] = -1;
    snprintf(f->dir, sizeof f->dir, "/tmp/sq-keeper-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->hooks_fd = memfd_create("hooks", MFD_CLOEXEC);
    assert_int_equal(ftruncate(f->hooks_fd, sizeof *f->hooks), 0);
    f->hooks = mmap(NULL, sizeof *f->hooks, PROT_READ | PROT_WRITE, MAP_SHARED, f->hooks_fd, 0);
    assert_true(f->hooks != MAP_FAILED);
}

static void fixture_done(struct fixture *f)
{
    char path[80];
    snprintf(path, sizeof path, "%s/slab", f->dir);
    unlink(path);
    rmdir(f->dir);
    munmap(f->hooks, sizeof *f->hooks);
    close(f->hooks_fd);
    sq_packet_free(f->pkt);
}

#endif
