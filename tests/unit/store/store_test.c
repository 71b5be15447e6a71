/* The store over a real directory: names, lengths, order, refusals, and each step failing once. */
#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "lib/store/store.h"
#include "lib/store/store_internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(x) assert_int_equal((x), SQ_OK)

static struct sq_hooks *hooks;
static char top[64];
static int dir_fd;
static struct sq_store *store;

static void id_of(uint8_t out[16], unsigned n, uint8_t first)
{
    memset(out, 0x5a, 16);
    out[0] = first;
    sq_put_be32(out + 12, n);
}

static void arm(const char *name, int how, sq_err code)
{
    snprintf(hooks->name, sizeof hooks->name, "%s", name);
    hooks->fail_code = (int32_t)code;
    hooks->is_armed = how;
}

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "store-test-XXXXXX");
    if (!mkdtemp(top) || (dir_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return -1;
    hooks->is_armed = 0;
    return sq_store_open(dir_fd, &store) != SQ_OK;
}

static int teardown(void **state)
{
    (void)state;
    char command[96];
    sq_store_close(store);
    store = NULL;
    close(dir_fd);
    snprintf(command, sizeof command, "rm -rf %s", top);
    return system(command);
}

static bool is_there(const uint8_t *owner, const uint8_t *object)
{
    char o[33], f[33], path[80];
    sq_hex(owner, 16, o);
    sq_hex(object, 16, f);
    snprintf(path, sizeof path, "objects/%s/%s", o, f);
    return faccessat(dir_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* make and commit an object of @n bytes of @fill */
static void put(const uint8_t *owner, const uint8_t *object, size_t n, uint8_t fill)
{
    int fd = -1, writer = -1;
    OK(sq_store_create(store, owner, object, &fd));
    OK(sq_store_writer(store, fd, &writer));
    uint8_t *p = malloc(n + 1);
    assert_non_null(p);
    memset(p, fill, n);
    OK(sq_write_all(writer, p, n));
    free(p);
    sq_close(&writer);
    OK(sq_store_commit(store, owner, object, fd, n));
    sq_close(&fd);
}

static void test_appears_whole(void **state)
{
    (void)state;
    uint8_t owner[16], object[16], b[8];
    id_of(owner, 1, 0xa0);
    id_of(object, 2, 0);
    int fd = -1, writer = -1, reader = -1;
    uint64_t n = 0;
    size_t got = 0;
    OK(sq_store_create(store, owner, object, &fd));
    OK(sq_store_writer(store, fd, &writer));
    OK(sq_write_all(writer, "sealed", 6));
    assert_false(is_there(owner, object));
    assert_int_equal(sq_store_reader(store, owner, object, &reader, &n), SQ_ENOTFOUND);
    assert_int_equal(sq_store_commit(store, owner, object, fd, 7), SQ_ETRUNCATED);
    assert_int_equal(sq_store_commit(store, owner, object, fd, 5), SQ_ECONFLICT);
    assert_int_equal(sq_store_commit(store, owner, object, -1, 6), SQ_ENOTFOUND);
    assert_false(is_there(owner, object));
    OK(sq_store_commit(store, owner, object, fd, 6));
    assert_true(is_there(owner, object));
    OK(sq_store_commit(store, owner, object, fd, 6)); /* again, with and without the descriptor */
    OK(sq_store_commit(store, owner, object, -1, 6));
    assert_int_equal(sq_store_commit(store, owner, object, -1, 9), SQ_ETRUNCATED);
    assert_int_equal(sq_store_commit(store, owner, object, -1, 2), SQ_ECONFLICT);
    OK(sq_store_reader(store, owner, object, &reader, &n));
    assert_int_equal(n, 6);
    OK(sq_read_full(reader, b, sizeof b, &got));
    assert_int_equal(got, 6);
    assert_memory_equal(b, "sealed", 6);
    struct stat st;
    assert_int_equal(fstat(reader, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    sq_close(&fd);
    sq_close(&writer);
    sq_close(&reader);
}

static void test_writer_only_appends(void **state)
{
    (void)state;
    uint8_t owner[16], object[16], b[8];
    id_of(owner, 1, 0xa0);
    id_of(object, 2, 0);
    int fd = -1, writer = -1;
    size_t got = 0;
    OK(sq_store_create(store, owner, object, &fd));
    OK(sq_store_writer(store, fd, &writer));
    OK(sq_write_all(writer, "abc", 3));
    assert_int_equal(pwrite(writer, "X", 1, 0), 1); /* O_APPEND: goes to the end whatever the offset */
    OK(sq_pread_full(fd, b, sizeof b, 0, &got));
    assert_int_equal(got, 4);
    assert_memory_equal(b, "abcX", 4);
    assert_true(read(writer, b, 1) < 0);
    uint8_t other_object[16];
    id_of(other_object, 3, 0);
    put(owner, other_object, 10, 1);
    int reader = -1;
    uint64_t n;
    OK(sq_store_reader(store, owner, other_object, &reader, &n));
    assert_true(write(reader, b, 1) < 0);
    assert_true(ftruncate(reader, 0) < 0);
    sq_close(&reader);
    sq_close(&fd);
    sq_close(&writer);
}

static void test_names_are_taken_once(void **state)
{
    (void)state;
    uint8_t owner[16], object[16];
    id_of(owner, 1, 0xa0);
    id_of(object, 2, 0);
    int first = -1, second = -1, third = -1;
    OK(sq_store_create(store, owner, object, &first));
    OK(sq_store_create(store, owner, object, &second)); /* nameless: both may be, storer's table says one */
    OK(sq_write_all(first, "one", 3));
    OK(sq_write_all(second, "two", 3));
    OK(sq_store_commit(store, owner, object, first, 3));
    assert_int_equal(sq_store_commit(store, owner, object, second, 3), SQ_ECONFLICT);
    assert_int_equal(sq_store_create(store, owner, object, &third), SQ_EEXISTS);
    sq_close(&first);
    sq_close(&second);
}

static void test_owners_stay_apart(void **state)
{
    (void)state;
    uint8_t a[16], b[16], object[16];
    id_of(a, 1, 0xa0);
    id_of(b, 2, 0xb0);
    id_of(object, 2, 0);
    put(a, object, 100, 7);
    int fd = -1;
    uint64_t n;
    struct sq_erased how;
    assert_int_equal(sq_store_reader(store, b, object, &fd, &n), SQ_ENOTFOUND);
    OK(sq_store_erase(store, b, object, &how));
    assert_int_equal(how.method, SQ_ERASE_already_gone);
    assert_true(is_there(a, object));
}

/* Somebody with the directory plants links: an open must not follow them out. */
static void test_links_are_not_followed(void **state)
{
    (void)state;
    uint8_t owner[16], object[16];
    char o[33], f[33], path[96];
    id_of(owner, 1, 0xa0);
    id_of(object, 2, 0);
    sq_hex(owner, 16, o);
    sq_hex(object, 16, f);
    int fd = -1;
    uint64_t n;
    struct sq_erased how;
    snprintf(path, sizeof path, "objects/%s", o);
    assert_int_equal(mkdirat(dir_fd, path, 0700), 0);
    snprintf(path, sizeof path, "objects/%s/%s", o, f);
    assert_int_equal(symlinkat("/etc/passwd", dir_fd, path), 0);
    assert_int_equal(sq_store_reader(store, owner, object, &fd, &n), SQ_EIO);
    assert_int_equal(sq_store_erase(store, owner, object, &how), SQ_EERASE);
    assert_int_equal(unlinkat(dir_fd, path, 0), 0);
    assert_int_equal(mkdirat(dir_fd, path, 0700), 0); /* a directory is no object */
    assert_int_equal(sq_store_reader(store, owner, object, &fd, &n), SQ_EIO);
    assert_int_equal(unlinkat(dir_fd, path, AT_REMOVEDIR), 0);
    snprintf(path, sizeof path, "objects/%s", o);
    assert_int_equal(unlinkat(dir_fd, path, AT_REMOVEDIR), 0);
    assert_int_equal(symlinkat("/tmp", dir_fd, path), 0);
    assert_int_not_equal(sq_store_create(store, owner, object, &fd), SQ_OK);
    assert_int_equal(unlinkat(dir_fd, path, 0), 0);
}

static void test_erase(void **state)
{
    (void)state;
    uint8_t owner[16], object[16], b[16];
    id_of(owner, 1, 0xa0);
    id_of(object, 2, 0);
    put(owner, object, (3u << 20) + 4321, 0x77);
    int reader = -1;
    uint64_t n;
    size_t got = 1;
    OK(sq_store_reader(store, owner, object, &reader, &n));
    struct sq_erased how;
    struct sq_store_state where;
    OK(sq_store_state(store, &where));
    OK(sq_store_erase(store, owner, object, &how));
    assert_int_equal(how.n_pass, 3);
    assert_int_equal(how.n_bytes, (3u << 20) + 4321);
    assert_true(how.is_verified);
    assert_string_equal(how.filesystem, where.filesystem);
    if (where.overwrite_is_real) {
        assert_int_equal(how.method, SQ_ERASE_overwritten_verified);
        assert_true(how.n_extent >= 1);
        assert_false(how.is_moved);
    } else {
        assert_int_not_equal(how.method, SQ_ERASE_overwritten_verified);
    }
    assert_false(is_there(owner, object));
    OK(sq_pread_full(reader, b, sizeof b, 0, &got)); /* a reader that still holds it sees nothing */
    assert_int_equal(got, 0);
    sq_close(&reader);
    struct stat st;
    char o[33], path[64];
    sq_hex(owner, 16, o);
    snprintf(path, sizeof path, "objects/%s", o);
    assert_int_equal(fstatat(dir_fd, path, &st, 0), -1); /* the owner's directory went with its last file */
    OK(sq_store_erase(store, owner, object, &how));
    assert_int_equal(how.method, SQ_ERASE_already_gone);
    assert_true(how.is_verified);
    put(owner, object, 0, 0);
    OK(sq_store_erase(store, owner, object, &how));
    assert_int_equal(how.method, SQ_ERASE_already_gone); /* an empty file */
    assert_false(is_there(owner, object));
}

static void test_erase_nameless(void **state)
{
    (void)state;
    uint8_t owner[16], object[16];
    id_of(owner, 1, 0xa0);
    id_of(object, 2, 0);
    int fd = -1;
    struct sq_erased how;
    struct stat st;
    OK(sq_store_create(store, owner, object, &fd));
    OK(sq_write_all(fd, "sealed bytes", 12));
    OK(sq_store_erase_nameless(store, fd, &how));
    assert_int_equal(how.n_bytes, 12);
    assert_int_equal(how.n_pass, 3);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    sq_close(&fd);
}

/* An owner's directory can go between create and commit: the last other file was erased. */
static void test_commit_makes_directory_again(void **state)
{
    (void)state;
    uint8_t owner[16], a[16], b[16];
    id_of(owner, 1, 0xa0);
    id_of(a, 1, 0);
    id_of(b, 2, 0);
    put(owner, a, 10, 1);
    int fd = -1;
    struct sq_erased how;
    OK(sq_store_create(store, owner, b, &fd));
    OK(sq_store_erase(store, owner, a, &how));
    OK(sq_store_commit(store, owner, b, fd, 0));
    assert_true(is_there(owner, b));
    sq_close(&fd);
}

/* An owner's directory is synced with its first object, and never again until it goes, whoever took it away. */
static void test_directories_that_are_durable(void **state)
{
    (void)state;
    uint8_t owner[16], other[16] = {0}, a[16], b[16];
    id_of(owner, 1, 0xa0);
    id_of(a, 1, 0);
    id_of(b, 2, 0);
    int fd = -1;
    struct sq_erased how;
    assert_false(sq_store_is_known(store, owner) || sq_store_is_known(store, other));
    OK(sq_store_create(store, owner, a, &fd));
    assert_false(sq_store_is_known(store, owner)); /* made, and not yet durable */
    OK(sq_store_commit(store, owner, a, fd, 0));
    sq_close(&fd);
    assert_true(sq_store_is_known(store, owner) && !sq_store_is_known(store, other));
    put(owner, b, 10, 1);
    OK(sq_store_erase(store, owner, a, &how));
    OK(sq_store_erase(store, owner, b, &how));
    assert_false(sq_store_is_known(store, owner)); /* it has gone with its last file */
    put(owner, a, 10, 1);
    assert_true(sq_store_is_known(store, owner));
    OK(sq_store_create(store, owner, b, &fd)); /* the operator moved it away */
    char from[64] = "objects/", to[80];
    sq_hex(owner, 16, from + 8);
    snprintf(to, sizeof to, "%s.away", from);
    assert_int_equal(renameat(dir_fd, from, dir_fd, to), 0);
    sq_close(&fd);
    OK(sq_store_create(store, owner, b, &fd));
    assert_false(sq_store_is_known(store, owner));
    OK(sq_store_commit(store, owner, b, fd, 0));
    assert_true(sq_store_is_known(store, owner));
    sq_close(&fd);
    for (unsigned i = 0; i < SQ_STORE_KNOWN; i++) { /* many others: the oldest is forgotten, which costs a sync and nothing else */
        id_of(other, i + 2, 0xa0);
        put(other, a, 1, 1);
        assert_true(sq_store_is_known(store, other));
    }
    assert_false(sq_store_is_known(store, owner));
}

/* Every step fails once: an error comes back, nothing acknowledged is lost, and asking again finishes the work. */
static void test_each_step_fails_once(void **state)
{
    (void)state;
    static const char *const commits[] = {"create.3a", "create.3b", "store.sync"};
    static const char *const erasures[] = {"store.overwrite", "store.verify", "destroy.4a", "store.unlink", "destroy.4b", "store.sync"};
    uint8_t owner[16], object[16];
    struct sq_erased how;
    id_of(owner, 1, 0xa0);
    for (unsigned i = 0; i < 3; i++) {
        int fd = -1;
        id_of(object, i, 1);
        OK(sq_store_create(store, owner, object, &fd));
        OK(sq_write_all(fd, "x", 1));
        arm(commits[i], 2, SQ_EIO);
        assert_int_equal(sq_store_commit(store, owner, object, fd, 1), SQ_EIO);
        assert_int_equal(hooks->is_armed, 0);
        OK(sq_store_commit(store, owner, object, fd, 1));
        sq_close(&fd);
    }
    struct sq_store_state where;
    OK(sq_store_state(store, &where));
    for (unsigned i = 0; i < 6; i++) {
        id_of(object, i, 2);
        put(owner, object, 5000, 0x33);
        arm(erasures[i], 2, SQ_EIO);
        sq_err e = sq_store_erase(store, owner, object, &how);
        assert_int_equal(hooks->is_armed, 0);
        if (where.overwrite_is_real || i > 1) {
            assert_int_equal(e, SQ_EERASE);
            OK(sq_store_erase(store, owner, object, &how));
        } else { /* where overwriting is worth nothing, a failed one doesn't hold the erasure up, and is told */
            OK(e);
            assert_int_not_equal(how.method, SQ_ERASE_overwritten_verified);
            assert_false(how.is_verified);
        }
        assert_false(is_there(owner, object));
    }
}

/* The process dies at each step; another one goes on with the same directory. */
static void test_dies_at_each_step(void **state)
{
    (void)state;
    static const char *const steps[] = {"create.3a", "create.3b", "destroy.4a", "destroy.4b"};
    uint8_t owner[16], object[16];
    struct sq_erased how;
    id_of(owner, 1, 0xa0);
    for (unsigned i = 0; i < 4; i++) {
        id_of(object, i, 3);
        pid_t pid = fork();
        if (!pid) {
            struct sq_store *mine = NULL; /* its own: /proc/self/fd of the other process isn't its */
            int fd = -1;
            if (sq_store_open(dir_fd, &mine) || sq_store_create(mine, owner, object, &fd) || sq_write_all(fd, "abcd", 4))
                _exit(2);
            arm(steps[i], 1, SQ_OK);
            if (!sq_store_commit(mine, owner, object, fd, 4) && !sq_store_erase(mine, owner, object, &how))
                _exit(0);
            _exit(1);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == 9);
        assert_int_equal(is_there(owner, object), i == 1 || i == 2); /* never half: no name, or the whole file */
        if (i == 1)
            OK(sq_store_commit(store, owner, object, -1, 4));
        OK(sq_store_erase(store, owner, object, &how));
        assert_int_equal(how.method == SQ_ERASE_already_gone, i == 0 || i == 3);
        assert_false(is_there(owner, object));
    }
}

static void test_list(void **state)
{
    (void)state;
    enum { N = 57 };
    uint8_t owner[16], object[16];
    bool seen[N] = {false};
    struct sq_store_place place = {.owner_at = 0};
    struct sq_store_file file[8];
    for (unsigned i = 0; i < N; i++) {
        id_of(owner, i % 5, (uint8_t)(200 - i % 5));
        id_of(object, i, (uint8_t)(i * 37 + 1));
        put(owner, object, i + 1, 1);
    }
    assert_int_equal(mkdirat(dir_fd, "objects/lost+found", 0700), 0); /* not ids */
    assert_int_equal(mkdirat(dir_fd, "objects/ABCDEFABCDEFABCDEFABCDEFABCDEFAB", 0700), 0);
    size_t n = 0, total = 0;
    for (unsigned page = 0;; page++) {
        OK(sq_store_list(store, &place, 8, file, &n));
        if (!n)
            break;
        for (size_t i = 0; i < n; i++) {
            assert_true(is_there(file[i].owner, file[i].object));
            assert_true(file[i].n_bytes >= 1 && file[i].n_bytes <= N);
            unsigned no = (unsigned)file[i].n_bytes - 1; /* as long as its number */
            id_of(object, no, (uint8_t)(no * 37 + 1));
            assert_memory_equal(object, file[i].object, 16);
            assert_false(seen[no]); /* each once */
            seen[no] = true;
        }
        total += n;
        if (page == 2) { /* what the listing stands in goes away: the others are still listed */
            struct sq_erased how;
            for (unsigned i = 0; i < N; i++) {
                id_of(owner, i % 5, (uint8_t)(200 - i % 5));
                id_of(object, i, (uint8_t)(i * 37 + 1));
                if (seen[i] || memcmp(owner, place.owner, 16))
                    continue;
                OK(sq_store_erase(store, owner, object, &how));
                seen[i] = true;
                total++;
            }
        }
    }
    assert_int_equal(total, N);
}

struct worker {
    unsigned no;
    sq_err e;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    uint8_t owner[16], object[16];
    struct sq_erased how;
    id_of(owner, 9, 0xc0); /* one owner for all: its directory comes and goes meanwhile */
    for (unsigned i = 0; i < 12 && !w->e; i++) {
        int fd = -1;
        id_of(object, w->no * 100 + i, 4);
        w->e = sq_store_create(store, owner, object, &fd);
        if (!w->e)
            w->e = sq_write_all(fd, "0123456789", 10);
        if (!w->e)
            w->e = sq_store_commit(store, owner, object, fd, 10);
        sq_close(&fd);
        if (!w->e)
            w->e = sq_store_erase(store, owner, object, &how);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    (void)state;
    pthread_t t[4];
    struct worker w[4] = {{0}};
    for (unsigned i = 0; i < 4; i++) {
        w[i].no = i;
        assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        OK(w[i].e);
    }
    struct sq_store_place place = {.owner_at = 0};
    struct sq_store_file file;
    size_t n = 9;
    OK(sq_store_list(store, &place, 1, &file, &n));
    assert_int_equal(n, 0);
}

static void test_mountinfo(void **state)
{
    (void)state;
    static const char text[] = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
                               "36 22 8:2 / /data rw master:1 shared:3 - ext4 /dev/sdb1 rw,data=journal\n"
                               "37 22 0:40 / /b rw - btrfs /dev/sdc rw,space_cache=v2\n"
                               "38 22 8:3 / /x rw - xfs /dev/sdd rw,attr2\n"
                               "39 22 0:41 / /o rw - overlay overlay rw,lowerdir=/data=journal\n"
                               "40 22 0:42 / /t rw - tmpfs - rw\n"
                               "41 broken line\n";
    static const struct {
        uint64_t id;
        const char *filesystem;
        bool is_real;
    } want[] = {{22, "ext4", true},     {36, "ext4 data=journal", false}, {37, "btrfs", false},  {38, "xfs", true},
                {39, "overlay", false}, {40, "tmpfs", false},             {41, "unknown", false}, {99, "unknown", false}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        struct sq_store_mount m;
        sq_store_mount_parse(text, want[i].id, &m);
        assert_string_equal(m.filesystem, want[i].filesystem);
        assert_int_equal(m.overwrite_is_real, want[i].is_real);
        assert_int_equal(m.why_not[0] == 0, want[i].is_real);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(test_appears_whole), T(test_writer_only_appends), T(test_names_are_taken_once), T(test_owners_stay_apart),
        T(test_links_are_not_followed), T(test_erase), T(test_erase_nameless), T(test_commit_makes_directory_again),
        T(test_directories_that_are_durable),
        T(test_each_step_fails_once), T(test_dies_at_each_step), T(test_list), T(test_many_threads), T(test_mountinfo),
#undef T
    };
    int fd = memfd_create("hooks", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, sizeof *hooks) < 0)
        return 1;
    sq_hooks_map(fd);
    hooks = mmap(NULL, sizeof *hooks, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return hooks == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
