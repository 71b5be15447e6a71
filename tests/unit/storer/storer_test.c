/*
 * The real sequester-storer, started as parent starts it (descriptor 3, its own directory, as root: another user), spoken
 * to as registrar and, where it must refuse, as somebody else.
 */
#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "lib/store/store.h"
#include "lib/wire/wire.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(x) assert_int_equal((x), SQ_OK)
#define OTHER_UID 65534

static struct sq_hooks *hooks;
static int hooks_fd, exe_fd;
static char top[64];
static pid_t pid;
static int parent = -1, registrar = -1;
static uint64_t next_call = 1;
static struct sq_packet *pkt;
static uint8_t owner[16], object[16];

/* ---- starting it ---- */
static void to_storer(const struct sq_msg *m)
{
    OK(sq_wire_send(parent, SQ_ROLE_PARENT, SQ_ROLE_STORER, m));
}

/* a new link to storer, as parent hands it out: our end of it; no hello said yet */
static int new_link(enum sq_role role)
{
    int s[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    struct sq_msg m = sq_msg_of(peer, .role = (uint8_t)role, .socket = s[1]);
    to_storer(&m);
    close(s[1]);
    return s[0];
}

static void exec_storer(int sock, int dir)
{
    if (fchdir(dir) < 0 || dup2(sock, 3) < 0)
        _exit(100);
    if (geteuid() == 0 && (setgid(OTHER_UID) < 0 || setuid(OTHER_UID) < 0))
        _exit(101);
    char *argv[] = {(char[]){"sequester-storer"}, NULL}, *env[] = {(char[]){"SQ_LOG=error"}, NULL};
    execveat(exe_fd, "", argv, env, AT_EMPTY_PATH);
    _exit(102);
}

static void start(void)
{
    int s[2], dir = open(top, O_RDONLY | O_DIRECTORY);
    assert_true(dir >= 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
    assert_int_equal(fcntl(s[0], F_SETFD, FD_CLOEXEC), 0);
    if (!(pid = fork()))
        exec_storer(s[1], dir);
    close(s[1]);
    close(dir);
    parent = s[0];
    OK(sq_wire_hello(parent, SQ_ROLE_PARENT, SQ_ROLE_STORER));
    struct sq_msg m = sq_msg_of(take, .name = sq_span_str("hooks"), .file = hooks_fd);
    to_storer(&m);
    registrar = new_link(SQ_ROLE_REGISTRAR);
    m = sq_msg_bare(go);
    to_storer(&m);
    OK(sq_wire_hello(registrar, SQ_ROLE_REGISTRAR, SQ_ROLE_STORER));
    OK(sq_wire_recv(parent, SQ_ROLE_STORER, SQ_ROLE_PARENT, pkt, &m));
    assert_int_equal(m.no, SQ_MSG_serving);
}

static int ended(void)
{
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    sq_close(&parent);
    sq_close(&registrar);
    return status;
}

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/storer-test-XXXXXX");
    if (!mkdtemp(top) || (geteuid() == 0 && chown(top, OTHER_UID, OTHER_UID) < 0))
        return -1;
    hooks->is_armed = 0;
    memset(owner, 0xaa, 16);
    memset(object, 0x01, 16);
    start();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct sq_msg m = sq_msg_bare(stop);
    to_storer(&m);
    int status = ended();
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", top);
    return system(command) || !WIFEXITED(status) || WEXITSTATUS(status); /* it ended by itself, so nothing broke its list */
}

/* ---- asking it ---- */
static void ask(struct sq_msg *m)
{
    m->call = next_call++;
    OK(sq_wire_send(registrar, SQ_ROLE_REGISTRAR, SQ_ROLE_STORER, m));
}

static sq_err answer(struct sq_msg *out)
{
    sq_err e = sq_wire_recv(registrar, SQ_ROLE_STORER, SQ_ROLE_REGISTRAR, pkt, out);
    if (!e && out->no == SQ_MSG_error_is)
        e = sq_err_from_no(out->u.error_is.code);
    return e;
}

static sq_err call(struct sq_msg m, struct sq_msg *out)
{
    struct sq_msg unused;
    out = out ? out : &unused;
    ask(&m);
    sq_err e = answer(out);
    if (e != SQ_EDOWN)
        assert_int_equal(out->call, m.call);
    return e;
}

static struct sq_msg with_ids(struct sq_msg m)
{
    /* object_id and owner_id are the first fields of all messages to storer that have them */
    switch (m.no) {
#define IDS_OF(name)                                     \
    case SQ_MSG_##name:                                  \
        memcpy(m.u.name.object_id, object, 16);          \
        memcpy(m.u.name.owner_id, owner, 16);            \
        break;
        IDS_OF(file_create)
        IDS_OF(file_commit)
        IDS_OF(file_open)
        IDS_OF(file_erase)
#undef IDS_OF
    case SQ_MSG_file_drop:
        memcpy(m.u.file_drop.object_id, object, 16);
        break;
    default:
        fail();
    }
    return m;
}

static sq_err create(int *out_fd)
{
    struct sq_msg out;
    sq_err e = call(with_ids(sq_msg_bare(file_create)), &out);
    if (!e) {
        sq_packet_keep_fd(pkt, out.u.file_is.file);
        *out_fd = out.u.file_is.file;
    }
    return e;
}

static sq_err commit(uint64_t n_bytes)
{
    return call(with_ids(sq_msg_of(file_commit, .n_bytes = n_bytes)), NULL);
}

static void put(size_t n)
{
    int fd = -1;
    OK(create(&fd));
    uint8_t *p = calloc(1, n + 1);
    memset(p, 0x5c, n);
    OK(sq_write_all(fd, p, n));
    free(p);
    close(fd);
    OK(commit(n));
}

static sq_err erase(struct sq_msg *out)
{
    return call(with_ids(sq_msg_bare(file_erase)), out);
}

static void arm(const char *name)
{
    snprintf(hooks->name, sizeof hooks->name, "%s", name);
    hooks->is_armed = 1;
}

/* ---- tests ---- */
static void test_life(void **state)
{
    (void)state;
    struct sq_msg out;
    int fd = -1, unused;
    uint8_t b[16];
    size_t got;
    OK(create(&fd));
    assert_int_equal(create(&unused), SQ_EEXISTS);
    assert_int_equal(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
    OK(sq_write_all(fd, "sealed", 6));
    assert_int_equal(call(with_ids(sq_msg_bare(file_open)), &out), SQ_ENOTFOUND);
    assert_int_equal(commit(7), SQ_ETRUNCATED);
    assert_int_equal(commit(5), SQ_ECONFLICT);
    owner[0] ^= 1;
    assert_int_equal(commit(6), SQ_EDENIED);
    assert_int_equal(erase(&out), SQ_EDENIED);
    owner[0] ^= 1;
    OK(commit(6));
    OK(commit(6));
    close(fd);
    OK(call(with_ids(sq_msg_bare(file_open)), &out));
    assert_int_equal(out.u.file_is.n_bytes, 6);
    assert_int_equal(fcntl(out.u.file_is.file, F_GETFL) & O_ACCMODE, O_RDONLY);
    OK(sq_pread_full(out.u.file_is.file, b, sizeof b, 0, &got));
    assert_int_equal(got, 6);
    assert_memory_equal(b, "sealed", 6);
    OK(call(sq_msg_bare(file_list), &out));
    assert_int_equal(out.u.file_list_is.files.n, 40);
    assert_memory_equal(out.u.file_list_is.files.p, object, 16);
    assert_memory_equal(out.u.file_list_is.files.p + 16, owner, 16);
    assert_int_equal(sq_get_be64(out.u.file_list_is.files.p + 32), 6);
    OK(call(sq_msg_bare(store_state), &out));
    assert_true(out.u.store_state_is.total_bytes >= out.u.store_state_is.free_bytes);
    bool is_real = out.u.store_state_is.overwrite_is_real;
    OK(erase(&out));
    assert_int_equal(out.u.erased_is.n_pass, 3);
    assert_int_equal(out.u.erased_is.n_bytes, 6);
    assert_int_equal(out.u.erased_is.method == SQ_ERASE_overwritten_verified, is_real);
    assert_int_equal(call(with_ids(sq_msg_bare(file_open)), &out), SQ_ENOTFOUND);
    OK(erase(&out));
    assert_int_equal(out.u.erased_is.method, SQ_ERASE_already_gone);
    assert_int_equal(out.u.erased_is.is_verified, 1);
    OK(call(sq_msg_bare(file_list), &out));
    assert_int_equal(out.u.file_list_is.files.n, 0);
}

static void test_drop_and_erase_nameless(void **state)
{
    (void)state;
    struct sq_msg out;
    struct stat st;
    int fd = -1;
    OK(create(&fd));
    OK(call(with_ids(sq_msg_bare(file_drop)), NULL));
    OK(call(with_ids(sq_msg_bare(file_drop)), NULL));
    assert_int_equal(commit(0), SQ_ENOTFOUND);
    close(fd);
    OK(create(&fd));
    OK(sq_write_all(fd, "sealed", 6));
    OK(erase(&out));
    assert_int_equal(out.u.erased_is.n_pass, 3);
    assert_int_equal(out.u.erased_is.n_bytes, 6);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(commit(6), SQ_ENOTFOUND);
    close(fd);
}

/* The last object of an owner is erased, and with it his directory, while the next one is being written. */
static void test_directory_goes_meanwhile(void **state)
{
    (void)state;
    struct sq_msg out;
    int fd = -1;
    put(6);
    object[0] ^= 1;
    OK(create(&fd));
    OK(sq_write_all(fd, "sealed", 6));
    object[0] ^= 1;
    OK(erase(&out));
    object[0] ^= 1;
    OK(commit(6));
    close(fd);
    OK(call(with_ids(sq_msg_bare(file_open)), &out));
    assert_int_equal(out.u.file_is.n_bytes, 6);
    OK(erase(&out));
    object[0] ^= 1;
}

static void test_killed_at_each_step(void **state)
{
    (void)state;
    struct sq_msg out;
    int fd = -1;
    for (unsigned step = 0; step < 2; step++) {
        object[0] = (uint8_t)(0x10 + step);
        OK(create(&fd));
        OK(sq_write_all(fd, "sealed", 6));
        arm(step ? "create.3b" : "create.3a");
        assert_int_equal(commit(6), SQ_EDOWN);
        assert_true(WTERMSIG(ended()) == SIGKILL);
        close(fd);
        start();
        assert_int_equal(call(with_ids(sq_msg_bare(file_open)), &out), step ? SQ_OK : SQ_ENOTFOUND);
        assert_int_equal(commit(6), step ? SQ_OK : SQ_ENOTFOUND);
    }
    for (unsigned step = 0; step < 2; step++) {
        object[0] = (uint8_t)(0x20 + step);
        put(100000);
        arm(step ? "destroy.4b" : "destroy.4a");
        assert_int_equal(erase(&out), SQ_EDOWN);
        assert_true(WTERMSIG(ended()) == SIGKILL);
        start();
        OK(erase(&out));
        assert_int_equal(out.u.erased_is.method == SQ_ERASE_already_gone, step);
        assert_int_equal(out.u.erased_is.is_verified, 1);
    }
}

static void test_new_registrar(void **state)
{
    (void)state;
    int fd = -1, second = -1;
    OK(create(&fd));
    OK(sq_write_all(fd, "sealed", 6));
    close(registrar);
    registrar = new_link(SQ_ROLE_REGISTRAR);
    OK(sq_wire_hello(registrar, SQ_ROLE_REGISTRAR, SQ_ROLE_STORER));
    object[0]++;
    OK(create(&second)); /* of the new one, and it stays */
    object[0]--;
    assert_int_equal(commit(6), SQ_ENOTFOUND); /* of the old one, and it is gone */
    object[0]++;
    OK(commit(0));
    close(fd);
    close(second);
}

/* Six at once for one object: one overwrites, the others find it gone; and others aren't in the way. */
static void test_erase_at_once(void **state)
{
    (void)state;
    struct sq_msg out;
    unsigned n_real = 0, n_gone = 0;
    put(8 << 20);
    for (unsigned i = 0; i < 6; i++) {
        struct sq_msg m = with_ids(sq_msg_bare(file_erase));
        ask(&m);
    }
    for (unsigned i = 0; i < 6; i++) {
        OK(answer(&out));
        n_real += out.u.erased_is.n_pass == 3;
        n_gone += out.u.erased_is.method == SQ_ERASE_already_gone;
    }
    assert_int_equal(n_real, 1);
    assert_int_equal(n_gone, 5);
}

static void test_table_is_bounded(void **state)
{
    (void)state;
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    if (r.rlim_max < 1200) {
        print_message("# not tried: the hard limit of descriptors is too low\n");
        return;
    }
    int fd;
    for (unsigned i = 0; i < 1024; i++) {
        sq_put_be32(object + 4, i);
        OK(create(&fd));
        close(fd);
    }
    sq_put_be32(object + 4, 5000);
    assert_int_equal(create(&fd), SQ_EBUSY);
    sq_put_be32(object + 4, 17);
    OK(call(with_ids(sq_msg_bare(file_drop)), NULL));
    sq_put_be32(object + 4, 5000);
    OK(create(&fd));
    close(fd);
}

/* ---- attacks ---- */

/* storer must cut @sock and tell parent that @role broke the protocol */
static void expect_cut(int sock, enum sq_role role)
{
    struct sq_msg m;
    uint8_t b[64];
    struct pollfd p = {.fd = sock, .events = POLLIN};
    while (poll(&p, 1, 60000) == 1 && recv(sock, b, sizeof b, 0) > 0)
        ; /* its hello */
    assert_true(p.revents & POLLHUP);
    p.fd = parent;
    assert_int_equal(poll(&p, 1, 60000), 1);
    OK(sq_wire_recv(parent, SQ_ROLE_STORER, SQ_ROLE_PARENT, pkt, &m));
    assert_int_equal(m.no, SQ_MSG_bad_peer);
    assert_int_equal(m.u.bad_peer.role, role);
}

static int raw_link(enum sq_role link_role, enum sq_role said_role)
{
    int sock = new_link(link_role);
    struct sq_msg hello = sq_msg_of(hello, .table_hash = sq_msg_table_hash(), .role = (uint8_t)said_role);
    OK(sq_wire_send(sock, said_role, SQ_ROLE_STORER, &hello));
    return sock;
}

/* Storer has no link to gateway. When nevertheless one reaches it, no message is answered: 8 handlers exist, all for registrar. */
static void test_captured_gateway(void **state)
{
    (void)state;
    put(100);
    const struct sq_msg tries[] = {with_ids(sq_msg_bare(file_open)), with_ids(sq_msg_bare(file_erase)),
                                   with_ids(sq_msg_bare(file_create)), with_ids(sq_msg_of(file_commit, .n_bytes = 100)),
                                   with_ids(sq_msg_bare(file_drop)), sq_msg_bare(file_list), sq_msg_bare(store_state)};
    static const enum sq_role thieves[] = {SQ_ROLE_GATEWAY, SQ_ROLE_RUNNER, SQ_ROLE_WORKER, SQ_ROLE_JAILER};
    for (size_t t = 0; t < sizeof thieves / sizeof thieves[0]; t++)
        for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
            struct sq_buf bytes;
            struct sq_fds none;
            sq_buf_init(&bytes, 0);
            struct sq_msg m = tries[i];
            m.call = 77;
            OK(sq_wire_encode(SQ_ROLE_REGISTRAR, SQ_ROLE_STORER, &m, &bytes, &none));
            int sock = raw_link(thieves[t], thieves[t]);
            assert_int_equal(send(sock, bytes.p, bytes.n, 0), (ssize_t)bytes.n);
            expect_cut(sock, thieves[t]);
            close(sock);
            sq_buf_done(&bytes);
        }
    int sock = raw_link(SQ_ROLE_REGISTRAR, SQ_ROLE_GATEWAY); /* says who it is on registrar's place */
    expect_cut(sock, SQ_ROLE_REGISTRAR);
    close(sock);
}

/* Every number that registrar may not send, truncated messages, and bytes too many. */
static void test_broken_protocol(void **state)
{
    (void)state;
    unsigned n_tried = 0;
    for (unsigned no = 1; no < SQ_MSG_MAX + 2; no++) {
        const struct sq_msg_row *row = sq_msg_row_of(no);
        if (row && (row->no == SQ_MSG_ok || row->no == SQ_MSG_error_is))
            continue; /* answers to nobody's question: dropped */
        bool is_ours = row && row->to == SQ_ROLE_STORER;
        uint8_t b[4096] = {0};
        sq_put_le16(b, (uint16_t)no);
        size_t n = is_ours ? sizeof b : 12; /* ours: with far too many bytes */
        int sock = raw_link(SQ_ROLE_REGISTRAR, SQ_ROLE_REGISTRAR);
        assert_int_equal(send(sock, b, n, 0), (ssize_t)n);
        expect_cut(sock, SQ_ROLE_REGISTRAR);
        close(sock);
        n_tried++;
    }
    print_message("# %u messages refused\n", n_tried);
    close(registrar);
    registrar = new_link(SQ_ROLE_REGISTRAR); /* and it still serves */
    OK(sq_wire_hello(registrar, SQ_ROLE_REGISTRAR, SQ_ROLE_STORER));
    struct sq_msg out;
    OK(call(sq_msg_bare(store_state), &out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(test_life), T(test_drop_and_erase_nameless), T(test_directory_goes_meanwhile),
        T(test_killed_at_each_step), T(test_new_registrar), T(test_erase_at_once),
        T(test_table_is_bounded), T(test_broken_protocol), T(test_captured_gateway),
#undef T
    };
    const char *path = getenv("STORER");
    int exe = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    exe_fd = fcntl(exe, F_DUPFD_CLOEXEC, 10); /* descriptor 3 is for the socket to parent */
    hooks_fd = memfd_create("hooks", MFD_CLOEXEC);
    pkt = sq_packet_new();
    if (exe_fd < 0 || hooks_fd < 0 || !pkt || ftruncate(hooks_fd, sizeof *hooks) < 0)
        return 1;
    hooks = mmap(NULL, sizeof *hooks, PROT_READ | PROT_WRITE, MAP_SHARED, hooks_fd, 0);
    return hooks == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
