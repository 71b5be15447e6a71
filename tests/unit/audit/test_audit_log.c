/* The log on a real directory: append, prove, read, recover, the reserve, and refusal of what was tampered with. */
#include "lib/audit/audit.h"
#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ORIGIN "log.example/test"
#define RESERVE (256U << 10)

static struct sq_key *seed;
static char vkey[SQ_VKEY_BYTES];
static char root_dir[64];
static int dir = -1; /* of the present test */
static struct sq_audit *log_;

static const struct sq_audit_options options = {.segment_bytes = 2000, .reserve_bytes = RESERVE};

#ifdef SQ_TEST_HOOKS
static struct sq_hooks *hooks;

static void arm(const char *name, sq_err code) /* SQ_OK: die */
{
    snprintf(hooks->name, sizeof hooks->name, "%s", name);
    hooks->fail_code = (int32_t)code;
    hooks->is_armed = code ? 2 : 1;
}
#endif

static int group_start(void **state)
{
    (void)state;
    uint8_t public_key[32];
    const char *tmp = getenv("TMPDIR");
    snprintf(root_dir, sizeof root_dir, "%s/sq-audit-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(root_dir) || chdir(root_dir) || sq_crypt_start() || sq_key_new(&seed) || sq_ed25519_public(seed, public_key)
        || sq_vkey_encode(ORIGIN, public_key, vkey))
        return -1;
#ifdef SQ_TEST_HOOKS
    int fd = open("hooks", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *hooks))
        return -1;
    hooks = mmap(NULL, sizeof *hooks, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (hooks == MAP_FAILED)
        return -1;
    sq_hooks_map(fd);
    close(fd);
#endif
    return 0;
}

static void remove_all(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root_dir);
    if (system(command))
        fprintf(stderr, "can't remove %s\n", root_dir);
}

static int group_stop(void **state)
{
    (void)state;
    sq_key_free(seed);
    remove_all();
    return 0;
}

static int fresh(void **state)
{
    (void)state;
    static int no;
    char name[16];
    snprintf(name, sizeof name, "t%d", ++no);
    if (mkdir(name, 0700))
        return -1;
    dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir < 0 ? -1 : 0;
}

static int done(void **state)
{
    (void)state;
    sq_audit_close(log_);
    log_ = NULL;
    sq_close(&dir);
    return 0;
}

static sq_err reopen(struct sq_audit_opened *how)
{
    sq_audit_close(log_);
    log_ = NULL;
    return sq_audit_open(dir, &options, &log_, how);
}

static sq_err append_n(uint16_t event, unsigned n)
{
    static struct sq_buf b[SQ_AUDIT_GROUP_MAX];
    static struct sq_span s[SQ_AUDIT_GROUP_MAX];
    uint64_t next = sq_audit_size(log_) + 1;
    for (unsigned i = 0; i < n; i++) {
        struct sq_audit_entry x = {.number = next + i, .time_ms = (int64_t)(1000 + next), .event = event, .n_field = 1};
        x.field[0].no = 1;
        x.field[0].sealed = sq_span_str("opaque sealed bytes of some person");
        sq_buf_init(&b[i], 0);
        assert_int_equal(sq_audit_entry_encode(&x, &b[i]), SQ_OK);
        s[i] = sq_span_of(b[i].p, b[i].n);
    }
    sq_err e = sq_audit_append(log_, s, n);
    for (unsigned i = 0; i < n; i++)
        sq_buf_done(&b[i]);
    return e;
}

static sq_err checkpoint(void)
{
    uint8_t root[32];
    struct sq_buf text, note;
    sq_buf_init(&text, 0);
    sq_buf_init(&note, 0);
    assert_int_equal(sq_audit_root(log_, root), SQ_OK);
    assert_int_equal(sq_note_text(ORIGIN, sq_audit_size(log_), root, &text), SQ_OK);
    assert_int_equal(sq_note_sign(seed, ORIGIN, (const char *)text.p, text.n, &note), SQ_OK);
    sq_err e = sq_audit_checkpoint_add(log_, (const char *)note.p, note.n);
    sq_buf_done(&text);
    sq_buf_done(&note);
    return e;
}

static void assert_verifies(uint64_t n, uint64_t signed_size)
{
    struct sq_audit_report r;
    assert_int_equal(sq_audit_verify(dir, vkey, NULL, &r), SQ_OK);
    assert_true(r.n_entry == n);
    assert_true(r.signed_size == signed_size);
    assert_int_equal(r.n_finding, 0);
}

static uint64_t file_size(const char *name)
{
    struct stat st;
    assert_int_equal(fstatat(dir, name, &st, 0), 0);
    return (uint64_t)st.st_size;
}

static void last_segment(char out[32])
{
    for (unsigned no = 1;; no++) {
        char name[32];
        snprintf(name, sizeof name, "log/%08u.seg", no);
        if (faccessat(dir, name, F_OK, 0))
            return;
        memcpy(out, name, sizeof name);
    }
}

static void patch(const char *name, int64_t at, const void *p, size_t n) /* at < 0: from the end */
{
    int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    off_t where = at < 0 ? (off_t)file_size(name) + at : at;
    assert_int_equal(sq_pwrite_all(fd, p, n, where), SQ_OK);
    close(fd);
}

static void cut(const char *name, uint64_t n)
{
    int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)(file_size(name) - n)), 0);
    close(fd);
}

/* ---- ---- */

struct reading {
    uint64_t next, n;
};

static sq_err on_entry(void *ctx, const struct sq_audit_entry *entry, struct sq_span bytes)
{
    struct reading *r = ctx;
    assert_true(entry->number == r->next);
    assert_true(bytes.n >= SQ_AUDIT_ENTRY_MIN_BYTES);
    r->next++;
    r->n++;
    return SQ_OK;
}

static void append_prove_read(void **state)
{
    (void)state;
    uint8_t roots[401][32];
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_int_equal(sq_audit_root(log_, roots[0]), SQ_OK);
    for (uint64_t n = 0; n < 400;) { /* groups of 1, 2, 3 ... across many segments, reopened now and then */
        unsigned group = (unsigned)(n % 7 + 1);
        if (n + group > 400)
            group = (unsigned)(400 - n);
        assert_int_equal(append_n(SQ_AUDIT_login_ok, group), SQ_OK);
        for (unsigned i = 1; i <= group; i++)
            assert_int_equal(sq_audit_root_at(log_, n + i, roots[n + i]), SQ_OK);
        n += group;
        if (n % 5 == 0)
            assert_int_equal(checkpoint(), SQ_OK);
        if (n % 11 == 0)
            assert_int_equal(reopen(NULL), SQ_OK);
        assert_true(sq_audit_size(log_) == n);
    }
    for (uint64_t m = 0; m <= 400; m += 13) {
        struct sq_audit_proof p;
        assert_int_equal(sq_audit_consistency(log_, m, 400, &p), SQ_OK);
        assert_int_equal(sq_audit_check_consistency(m, roots[m], 400, roots[400], p.hash[0], p.n), SQ_OK);
    }
    struct sq_audit_proof p;
    assert_int_equal(sq_audit_consistency(log_, 1, 401, &p), SQ_ERANGE);
    assert_int_equal(sq_audit_inclusion(log_, 0, 400, &p), SQ_ERANGE);
    assert_int_equal(sq_audit_inclusion(log_, 17, 399, &p), SQ_OK);
    for (uint64_t from = 1; from <= 401; from += 50) {
        struct reading r = {.next = from};
        assert_int_equal(sq_audit_read(log_, from, 30, on_entry, &r), SQ_OK);
        assert_true(r.n == (from > 400 ? 0 : 30));
        r = (struct reading){.next = from};
        assert_int_equal(sq_audit_walk(dir, from, 0, on_entry, &r), SQ_OK);
        assert_true(r.n == 401 - from);
    }
    uint64_t size = 0;
    assert_int_equal(sq_audit_walk_size(dir, &size), SQ_OK);
    assert_true(size == 400);
    assert_verifies(400, 400);
    assert_int_equal(sq_audit_open(dir, &options, &log_, NULL), SQ_ECONFLICT); /* one writer */
}

static void append_refuses(void **state)
{
    (void)state;
    struct sq_buf b;
    sq_buf_init(&b, 0);
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 3), SQ_OK);
    struct sq_audit_entry x = {.number = 3, .event = 1};
    assert_int_equal(sq_audit_entry_encode(&x, &b), SQ_OK);
    struct sq_span s = sq_span_of(b.p, b.n);
    assert_int_equal(sq_audit_append(log_, &s, 1), SQ_ERANGE);
    sq_put_le64(b.p + 8, 5);
    assert_int_equal(sq_audit_append(log_, &s, 1), SQ_ERANGE);
    sq_put_le64(b.p + 8, 4);
    b.p[7] = 1;
    assert_int_equal(sq_audit_append(log_, &s, 1), SQ_ERANGE);
    b.p[7] = 0;
    assert_int_equal(sq_audit_append(log_, &s, 1), SQ_OK);
    sq_buf_done(&b);
    assert_verifies(4, 0);
}

static void checkpoints_are_checked(void **state)
{
    (void)state;
    uint8_t root[32];
    struct sq_buf text, note, last;
    sq_buf_init(&text, 0);
    sq_buf_init(&note, 0);
    sq_buf_init(&last, 0);
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_int_equal(sq_audit_checkpoint_last(log_, &last), SQ_ENOTFOUND);
    assert_int_equal(append_n(SQ_AUDIT_list, 8), SQ_OK);
    assert_int_equal(sq_audit_root(log_, root), SQ_OK);
    assert_int_equal(sq_note_text(ORIGIN, 7, root, &text), SQ_OK); /* root of 8 as that of 7 */
    assert_int_equal(sq_note_sign(seed, ORIGIN, (const char *)text.p, text.n, &note), SQ_OK);
    assert_int_equal(sq_audit_checkpoint_add(log_, (const char *)note.p, note.n), SQ_EAUDIT);
    text.n = note.n = 0;
    assert_int_equal(sq_note_text(ORIGIN, 9, root, &text), SQ_OK);
    assert_int_equal(sq_note_sign(seed, ORIGIN, (const char *)text.p, text.n, &note), SQ_OK);
    assert_int_equal(sq_audit_checkpoint_add(log_, (const char *)note.p, note.n), SQ_ERANGE);
    text.n = note.n = 0;
    assert_int_equal(sq_audit_root_at(log_, 5, root), SQ_OK);
    assert_int_equal(sq_note_text(ORIGIN, 5, root, &text), SQ_OK);
    assert_int_equal(sq_note_sign(seed, ORIGIN, (const char *)text.p, text.n, &note), SQ_OK);
    assert_int_equal(checkpoint(), SQ_OK);
    assert_int_equal(sq_audit_checkpoint_add(log_, (const char *)note.p, note.n), SQ_ERANGE); /* older */
    uint64_t size = file_size("checkpoints");
    assert_int_equal(checkpoint(), SQ_OK); /* the same again */
    assert_true(file_size("checkpoints") == size);
    struct sq_note_head h;
    assert_int_equal(sq_audit_checkpoint_last(log_, &last), SQ_OK);
    assert_int_equal(sq_note_verify(vkey, (const char *)last.p, last.n, &h), SQ_OK);
    assert_true(h.size == 8);
    /* many, so that the tail of the file is read */
    for (int i = 0; i < 400; i++) {
        assert_int_equal(append_n(SQ_AUDIT_list, 1), SQ_OK);
        assert_int_equal(checkpoint(), SQ_OK);
    }
    assert_true(file_size("checkpoints") > 66000);
    struct sq_audit_opened how;
    assert_int_equal(reopen(&how), SQ_OK);
    assert_true(how.checkpoint_size == 408 && how.size == 408 && how.n_torn_bytes == 0);
    /* an unfinished note is what a crash leaves */
    cut("checkpoints", 30);
    assert_int_equal(reopen(&how), SQ_OK);
    assert_true(how.checkpoint_size == 407);
    assert_int_equal(checkpoint(), SQ_OK);
    assert_verifies(408, 408);
    sq_buf_done(&text);
    sq_buf_done(&note);
    sq_buf_done(&last);
}

static void torn_end_is_cut_and_kept(void **state)
{
    (void)state;
    struct sq_audit_opened how;
    static const size_t lengths[] = {1, 3, 4, 50, 200};
    char seg[32];
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 15), SQ_OK); /* one group: the segment is over its limit, the next begins one */
    assert_int_equal(checkpoint(), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 5), SQ_OK);
    for (size_t i = 0; i < 5; i++) {
        uint8_t junk[200];
        memset(junk, i % 2 ? 0 : 0x60, sizeof junk);
        junk[0] = 0x90; /* a plausible length, cut or not matching */
        junk[1] = junk[2] = junk[3] = 0;
        last_segment(seg);
        uint64_t before = file_size(seg);
        patch(seg, (int64_t)before, junk, lengths[i]);
        struct sq_audit_report r;
        assert_int_equal(sq_audit_verify(dir, vkey, NULL, &r), SQ_OK);
        assert_true(r.n_torn_bytes == lengths[i]);
        assert_int_equal(reopen(&how), SQ_OK);
        assert_true(how.n_torn_bytes == lengths[i]);
        assert_true(how.size == 20);
        assert_true(file_size(seg) == before);
        assert_true(file_size("torn-21") == lengths[i]);
    }
    assert_int_equal(append_n(SQ_AUDIT_list, 1), SQ_OK);
    assert_verifies(21, 15);
}

static void shorter_than_signed_is_refused(void **state)
{
    (void)state;
    char seg[32];
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 10), SQ_OK);
    assert_int_equal(checkpoint(), SQ_OK);
    last_segment(seg);
    cut(seg, 10);
    assert_int_equal(reopen(NULL), SQ_EROLLBACK);
    cut(seg, 500);
    assert_int_equal(reopen(NULL), SQ_EROLLBACK);
    assert_int_equal(unlinkat(dir, "tree", 0), 0); /* and without the tree file */
    assert_int_equal(reopen(NULL), SQ_EROLLBACK);
    assert_int_equal(unlinkat(dir, seg, 0), 0);
    assert_int_equal(reopen(NULL), SQ_EROLLBACK);
}

static void acknowledged_but_unsigned_is_kept_too(void **state)
{
    (void)state;
    char seg[32];
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 5), SQ_OK);
    last_segment(seg);
    cut(seg, 1); /* the tree file knows five entries */
    assert_int_equal(reopen(NULL), SQ_EROLLBACK);
    assert_int_equal(sq_audit_walk_size(dir, &(uint64_t){0}), SQ_OK);
}

static void damage_is_refused_at_open(void **state)
{
    (void)state;
    char seg[32];
    uint8_t b = 0;
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 10), SQ_OK);
    assert_int_equal(checkpoint(), SQ_OK);
    last_segment(seg);
    int fd = openat(dir, seg, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, &b, 1, 400), 1);
    close(fd);
    b ^= 1;
    patch(seg, 400, &b, 1);
    assert_int_equal(reopen(NULL), SQ_EAUDIT);
    b ^= 1;
    patch(seg, 400, &b, 1);
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_verifies(10, 10);
}

static void tree_is_made_again(void **state)
{
    (void)state;
    struct sq_audit_opened how;
    uint8_t before[32], after[32];
    assert_int_equal(reopen(NULL), SQ_OK);
    for (int i = 0; i < 10; i++)
        assert_int_equal(append_n(SQ_AUDIT_list, 7), SQ_OK);
    assert_int_equal(checkpoint(), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 7), SQ_OK);
    assert_int_equal(sq_audit_root(log_, before), SQ_OK);
    uint64_t size = file_size("tree");
    assert_int_equal(unlinkat(dir, "tree", 0), 0);
    assert_int_equal(reopen(&how), SQ_OK);
    assert_true(how.is_tree_rebuilt && file_size("tree") == size);
    assert_int_equal(sq_audit_root(log_, after), SQ_OK);
    assert_memory_equal(before, after, 32);
    cut("tree", 3200);
    assert_int_equal(reopen(&how), SQ_OK);
    assert_true(how.is_tree_rebuilt && file_size("tree") == size);
    patch("tree", 4032, "damage", 6); /* a node of the signed part that its root needs */
    struct sq_audit_report r;
    assert_int_equal(sq_audit_verify(dir, vkey, NULL, &r), SQ_EAUDIT);
    assert_int_equal(r.finding[0].damage, SQ_AUDIT_TREE);
    assert_int_equal(reopen(&how), SQ_OK);
    assert_true(how.is_tree_rebuilt);
    assert_verifies(77, 70);
    /* its end not written by a crash: zeros, or missing */
    uint8_t zero[64] = {0};
    patch("tree", -64, zero, 64);
    assert_int_equal(reopen(&how), SQ_OK);
    assert_true(!how.is_tree_rebuilt && file_size("tree") == size);
    cut("tree", 70);
    assert_int_equal(reopen(&how), SQ_OK);
    assert_true(!how.is_tree_rebuilt && file_size("tree") == size);
    assert_int_equal(sq_audit_root(log_, after), SQ_OK);
    assert_memory_equal(before, after, 32);
    assert_verifies(77, 70);
}

static void an_unfinished_segment_is_made_again(void **state)
{
    (void)state;
    char seg[32], next[40];
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 30), SQ_OK);
    last_segment(seg);
    snprintf(next, sizeof next, "log/%08u.seg", (unsigned)atoi(seg + 4) + 1);
    for (int n = 0; n < 16; n += 5) {
        int fd = openat(dir, next, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, "SQAUDIT\1\0\0\0\0\0\0\0\0", (size_t)n), n);
        close(fd);
        assert_verifies(30, 0);
        assert_int_equal(reopen(NULL), SQ_OK);
        assert_true(sq_audit_size(log_) == 30);
    }
    assert_int_equal(append_n(SQ_AUDIT_list, 30), SQ_OK);
    assert_verifies(60, 0);
}

/* The writer is killed at random moments; whatever it said is durable must be there, and the log must open. */
static void killed_writer(void **state)
{
    (void)state;
    uint64_t *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(told != MAP_FAILED);
    for (int round = 0; round < 12; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (reopen(NULL))
                _exit(1);
            for (unsigned i = 0;; i++) {
                if (append_n(SQ_AUDIT_list, i % 9 + 1) || (i % 4 == 0 && checkpoint()))
                    _exit(1);
                *told = sq_audit_size(log_);
            }
        }
        assert_true(pid > 0);
        uint64_t before = *told; /* every other round at work for certain, however busy the machine is; the others perhaps while it opens */
        for (unsigned i = 0; round % 2 && *(volatile uint64_t *)told == before && i < 100000; i++)
            usleep(500);
        usleep(3000 + (unsigned)round * 2711);
        kill(pid, SIGKILL);
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(reopen(NULL), SQ_OK);
        assert_true(sq_audit_size(log_) >= *told);
        struct sq_audit_report r;
        assert_int_equal(sq_audit_verify(dir, vkey, NULL, &r), SQ_OK);
        sq_audit_close(log_);
        log_ = NULL;
    }
    assert_true(*told > 0);
    munmap(told, sizeof *told);
}

#ifdef SQ_TEST_HOOKS
static void die_at(const char *name)
{
    uint64_t size = 0;
    pid_t pid = fork();
    if (pid == 0) {
        if (reopen(NULL) || append_n(SQ_AUDIT_list, 3) || checkpoint())
            _exit(1);
        arm(name, SQ_OK);
        (void)append_n(SQ_AUDIT_list, 3);
        (void)checkpoint();
        _exit(2);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(reopen(NULL), SQ_OK);
    size = sq_audit_size(log_);
    assert_true(size % 3 == 0);
    struct sq_audit_report r;
    assert_int_equal(sq_audit_verify(dir, vkey, NULL, &r), SQ_OK);
    assert_true(r.n_entry == size);
    sq_audit_close(log_);
    log_ = NULL;
}

static void death_at_each_hook(void **state)
{
    (void)state;
    die_at("audit.write");
    die_at("audit.sync");
    die_at("audit.tree");
    die_at("audit.checkpoint");
}

static void failing_writes(void **state)
{
    (void)state;
    uint8_t root[32], after[32];
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 3), SQ_OK);
    assert_int_equal(sq_audit_root(log_, root), SQ_OK);
    arm("audit.write", SQ_EIO);
    assert_int_equal(append_n(SQ_AUDIT_list, 2), SQ_ELOG);
    assert_true(sq_audit_size(log_) == 3);
    assert_int_equal(sq_audit_root(log_, after), SQ_OK);
    assert_memory_equal(root, after, 32);
    assert_int_equal(append_n(SQ_AUDIT_list, 2), SQ_OK); /* it may work again */
    arm("audit.tree", SQ_EFULL); /* the tree lags: no failure, and proofs still work */
    assert_int_equal(append_n(SQ_AUDIT_list, 4), SQ_OK);
    struct sq_audit_proof p;
    assert_int_equal(sq_audit_root(log_, after), SQ_OK);
    assert_int_equal(sq_audit_consistency(log_, 3, 9, &p), SQ_OK);
    assert_int_equal(sq_audit_check_consistency(3, root, 9, after, p.hash[0], p.n), SQ_OK);
    assert_verifies(9, 0);
    assert_int_equal(reopen(NULL), SQ_OK); /* made up for at open */
    assert_int_equal(checkpoint(), SQ_OK);
    arm("audit.sync", SQ_EIO); /* unknown state: nothing more until reopened */
    assert_int_equal(append_n(SQ_AUDIT_list, 1), SQ_ELOG);
    assert_int_equal(append_n(SQ_AUDIT_list, 1), SQ_ELOG);
    assert_int_equal(append_n(SQ_AUDIT_key_destroyed, 1), SQ_ELOG);
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_true(sq_audit_size(log_) >= 9);
    assert_int_equal(append_n(SQ_AUDIT_list, 1), SQ_OK);
}

static void reserve_is_for_erasure(void **state)
{
    (void)state;
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_true(file_size("reserve") == RESERVE);
    arm("audit.write", SQ_EFULL);
    assert_int_equal(append_n(SQ_AUDIT_list, 1), SQ_ELOG);
    assert_true(file_size("reserve") == RESERVE); /* not for this */
    arm("audit.write", SQ_EFULL);
    assert_int_equal(append_n(SQ_AUDIT_key_destroyed, 2), SQ_OK);
    assert_true(file_size("reserve") < RESERVE);
    arm("audit.reserve", SQ_EFULL); /* still no room for a whole reserve: routine entries wait */
    assert_int_equal(append_n(SQ_AUDIT_login_ok, 1), SQ_ELOG);
    assert_int_equal(append_n(SQ_AUDIT_object_erased, 1), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_login_ok, 1), SQ_OK); /* room again: the reserve is filled first */
    assert_true(file_size("reserve") == RESERVE);
    assert_int_equal(sq_audit_reserve_release(log_, 4096), SQ_OK);
    assert_true(file_size("reserve") == RESERVE - 4096);
    assert_int_equal(sq_audit_reserve_release(log_, RESERVE), SQ_OK);
    assert_int_equal(sq_audit_reserve_release(log_, 1), SQ_EFULL);
    assert_verifies(4, 0);
}
#endif

/* A real full disk: a small tmpfs of our own. */
static int full_disk_child(void)
{
    bool ok = unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
    if (!ok || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mkdir("full", 0700)
        || mount("none", "full", "tmpfs", 0, "size=1m"))
        return 77;
    dir = open("full", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    static const struct sq_audit_options big = {.reserve_bytes = RESERVE};
    if (dir < 0 || sq_audit_open(dir, &big, &log_, NULL))
        return 1;
    int n = 0;
    while (append_n(SQ_AUDIT_list, 50) == SQ_OK)
        n++;
    while (append_n(SQ_AUDIT_list, 1) == SQ_OK)
        n++;
    uint64_t size = sq_audit_size(log_);
    if (n < 10 || append_n(SQ_AUDIT_login_ok, 1) != SQ_ELOG || sq_audit_size(log_) != size)
        return 2;
    for (int i = 0; i < 20; i++) /* erasure goes on */
        if (append_n(SQ_AUDIT_key_destroyed, 20))
            return 3;
    if (append_n(SQ_AUDIT_login_ok, 1) != SQ_ELOG)
        return 4;
    sq_audit_close(log_);
    struct sq_audit_opened how;
    if (sq_audit_open(dir, &big, &log_, &how) || how.is_reserve_whole || how.size != size + 400)
        return 5;
    struct sq_audit_report r;
    return sq_audit_verify(dir, vkey, NULL, &r) ? 6 : 0;
}

static void full_disk(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(full_disk_child());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip(); /* no namespaces here */
    assert_int_equal(status, 0);
}

static void kept_note_finds_a_rollback(void **state)
{
    (void)state;
    struct sq_buf kept;
    struct sq_audit_report r;
    sq_buf_init(&kept, 0);
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 6), SQ_OK);
    assert_int_equal(checkpoint(), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 6), SQ_OK);
    assert_int_equal(checkpoint(), SQ_OK);
    assert_int_equal(sq_audit_checkpoint_last(log_, &kept), SQ_OK);
    assert_int_equal(sq_buf_add(&kept, "", 1), SQ_OK);
    assert_int_equal(sq_audit_verify(dir, vkey, (const char *)kept.p, &r), SQ_OK);
    /* another history of the same length, signed by nobody but ending in a valid older checkpoint */
    assert_int_equal(fresh(NULL), 0);
    assert_int_equal(reopen(NULL), SQ_OK);
    assert_int_equal(append_n(SQ_AUDIT_list, 6), SQ_OK);
    assert_int_equal(checkpoint(), SQ_OK);
    assert_int_equal(sq_audit_verify(dir, vkey, NULL, &r), SQ_OK);
    assert_int_equal(sq_audit_verify(dir, vkey, (const char *)kept.p, &r), SQ_EAUDIT);
    assert_int_equal(r.finding[0].damage, SQ_AUDIT_TRUNCATED);
    assert_true(r.finding[0].entry == 7 && r.finding[0].signed_size == 12);
    assert_int_equal(append_n(SQ_AUDIT_login_ok, 6), SQ_OK);
    assert_int_equal(sq_audit_verify(dir, vkey, (const char *)kept.p, &r), SQ_EAUDIT);
    assert_int_equal(r.finding[0].damage, SQ_AUDIT_REWRITTEN);
    assert_int_equal(sq_audit_verify(dir, vkey, "not a note", &r), SQ_EFIELD);
    assert_int_equal(sq_audit_verify(dir, "not a key", NULL, &r), SQ_EFIELD);
    sq_buf_done(&kept);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, done)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(append_prove_read), TEST(append_refuses), TEST(checkpoints_are_checked), TEST(torn_end_is_cut_and_kept),
        TEST(shorter_than_signed_is_refused), TEST(acknowledged_but_unsigned_is_kept_too), TEST(damage_is_refused_at_open),
        TEST(tree_is_made_again), TEST(an_unfinished_segment_is_made_again), TEST(killed_writer),
#ifdef SQ_TEST_HOOKS
        TEST(death_at_each_hook), TEST(failing_writes), TEST(reserve_is_for_erasure),
#endif
        TEST(full_disk), TEST(kept_note_finds_a_rollback),
    };
    return cmocka_run_group_tests(tests, group_start, group_stop);
}
