/*
 * A whole audit log on the disk: segments, checkpoints, tree file. Torn, old, or changed by someone who may write the disk.
 * Input: how | u16 LE length of checkpoints | u16 LE of tree | u16 LE of the first segment | these | second segment.
 * how & 1: leaf hashes beside the entries are made right, as a forger would; & 2: no tree file; & 4: no second segment.
 * Verifying never writes. A log that verifies can be opened, appended to, and verifies again.
 */
#include "fuzz_file.h"
#include "lib/audit/audit.h"
#include "lib/core/file.h"

#include <dirent.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char golden_vkey[] = "log.example/sequester+358516aa+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
static char top[] = "/dev/shm/sq-fuzz-audit-XXXXXX";
static int top_fd = -1;

static void empty(int dir)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    sq_assert(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_type != DT_DIR)
            sq_assert(unlinkat(dir, e->d_name, 0) == 0);
    closedir(d);
}

static void remove_all(void)
{
    int log = openat(top_fd, "log", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (log >= 0)
        empty(log);
    empty(top_fd);
    unlinkat(top_fd, "log", AT_REMOVEDIR);
    rmdir(top);
}

static void put(int dir, const char *name, const uint8_t *p, size_t n)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    sq_assert(fd >= 0 && !sq_write_all(fd, p, n));
    close(fd);
}

static void right_leaves(uint8_t *p, size_t n)
{
    for (size_t at = 16, len; at + 4 <= n; at += 4 + len + SQ_AUDIT_HASH_BYTES) {
        len = sq_get_le32(p + at);
        if (len > n - at - 4 || n - at - 4 - len < SQ_AUDIT_HASH_BYTES)
            return;
        sq_assert(!sq_audit_leaf_hash(sq_span_of(p + at + 4, len), p + at + 4 + len));
    }
}

static sq_err count(void *ctx, const struct sq_audit_entry *entry, struct sq_span entry_bytes)
{
    (void)entry;
    (void)entry_bytes;
    ++*(uint64_t *)ctx;
    return SQ_OK;
}

static sq_err append_one(struct sq_audit *log)
{
    struct sq_audit_entry e = {.number = sq_audit_size(log) + 1, .time_ms = INT64_C(1800000000000), .event = SQ_AUDIT_recovered};
    struct sq_buf b;
    sq_buf_init(&b, 0);
    sq_err err = sq_audit_entry_encode(&e, &b);
    if (!err)
        err = sq_audit_append(log, (struct sq_span[]){sq_span_of(b.p, b.n)}, 1);
    sq_buf_done(&b);
    return err;
}

static void open_and_use(bool is_good)
{
    struct sq_audit_options options = {.reserve_bytes = 4096};
    struct sq_audit_opened how;
    struct sq_audit_report report;
    struct sq_audit *log = NULL;
    struct sq_audit_proof proof;
    struct sq_buf note;
    uint64_t n = 0;
    sq_err err = sq_audit_open(top_fd, &options, &log, &how);
    sq_assert(!is_good || !err);
    if (err)
        return;
    sq_buf_init(&note, SQ_NOTE_MAX_BYTES);
    sq_assert(how.size == sq_audit_size(log));
    (void)!sq_audit_checkpoint_last(log, &note);
    (void)!sq_audit_read(log, 1, 0, count, &n);
    (void)!sq_audit_inclusion(log, 1, how.size, &proof);
    (void)!sq_audit_consistency(log, how.size / 2, how.size, &proof);
    sq_err appended = append_one(log);
    sq_assert(!is_good || !appended);
    sq_audit_close(log);
    sq_buf_done(&note);
    sq_err verified = sq_audit_verify(top_fd, golden_vkey, NULL, &report);
    sq_assert(!is_good || !verified);
}

static void findings(const struct sq_audit_report *r)
{
    struct sq_buf b;
    sq_buf_init(&b, 0);
    for (size_t i = 0; i < r->n_finding && i < SQ_AUDIT_MAX_FINDINGS; i++)
        sq_assert(!sq_audit_finding_print(&r->finding[i], &b));
    sq_buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (top_fd < 0) {
        sq_assert(sq_crypt_start() == SQ_OK && mkdtemp(top) && (top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
        sq_assert(mkdirat(top_fd, "log", 0700) == 0);
        atexit(remove_all);
    }
    if (size < 7 || size > (1 << 18))
        return 0;
    size_t n_check = sq_get_le16(data + 1), n_tree = sq_get_le16(data + 3), n_first = sq_get_le16(data + 5), left = size - 7;
    n_check = n_check < left ? n_check : left;
    n_tree = n_tree < left - n_check ? n_tree : left - n_check;
    n_first = n_first < left - n_check - n_tree ? n_first : left - n_check - n_tree;
    size_t n_second = left - n_check - n_tree - n_first;
    uint8_t *copy = malloc(size);
    sq_assert(copy);
    memcpy(copy, data, size);
    uint8_t *p = copy + 7, *first = p + n_check + n_tree, *second = first + n_first;
    if (data[0] & 1) {
        right_leaves(first, n_first);
        right_leaves(second, n_second);
    }
    int log = openat(top_fd, "log", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    sq_assert(log >= 0);
    empty(log);
    empty(top_fd);
    put(top_fd, "checkpoints", p, n_check);
    if (!(data[0] & 2))
        put(top_fd, "tree", p + n_check, n_tree);
    put(log, "00000001.seg", first, n_first);
    if (!(data[0] & 4) && n_second)
        put(log, "00000002.seg", second, n_second);
    close(log);
    free(copy);
    struct sq_audit_report report;
    uint64_t n = 0, n_walk = 0;
    sq_err err = sq_audit_verify(top_fd, golden_vkey, NULL, &report);
    sq_assert((err == SQ_EAUDIT) == (report.n_finding > 0));
    findings(&report);
    if (!sq_audit_walk_size(top_fd, &n) && !err)
        sq_assert(n == report.n_entry);
    if (!sq_audit_walk(top_fd, 1, 0, count, &n_walk) && !err)
        sq_assert(n_walk == n);
    open_and_use(!err);
    return 0;
}
