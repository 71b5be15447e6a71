/* The file itself: versions, transactions, crashes, what deleting leaves behind, a full disk. */
#include "db_fixture.h"

#include "lib/core/file.h"

#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void sql(const char *path, const char *text)
{
    sqlite3 *raw = NULL;
    assert_int_equal(sqlite3_open(path, &raw), SQLITE_OK);
    assert_int_equal(sqlite3_exec(raw, text, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(raw), SQLITE_OK);
}

static void put_object(unsigned n)
{
    struct sq_db_object o = some_object(n, 9);
    OK(sq_db_object_insert(db, &o));
}

static int64_t count_objects(void)
{
    int64_t n = -1;
    OK(sq_db_object_count(db, NULL, 0, &n, NULL));
    return n;
}

static void reopen(void)
{
    sq_db_close(db);
    db = NULL;
    OK(sq_db_open("t.db", &db));
}

static void opens_again(void **state)
{
    (void)state;
    struct stat st;
    put_object(1);
    assert_int_equal(stat("t.db", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat("t.db-wal", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    OK(sq_db_check(db));
    reopen();
    assert_int_equal(count_objects(), 1);
}

static void versions(void **state)
{
    (void)state;
    struct sq_db *other = NULL;
    sq_db_close(db);
    db = NULL;
    sql("t.db", "PRAGMA user_version = 2");
    assert_int_equal(sq_db_open("t.db", &other), SQ_EROLLBACK); /* made by a newer program */
    sql("t.db", "PRAGMA user_version = 1; PRAGMA application_id = 7");
    assert_int_equal(sq_db_open("t.db", &other), SQ_EIO); /* of another program */
    sql("foreign.db", "CREATE TABLE x (y)");
    assert_int_equal(sq_db_open("foreign.db", &other), SQ_EIO);
    int fd = open("text.db", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "this is not a database, but a text of more than a hundred bytes, so that the header is looked at at all ...", 107), 107);
    close(fd);
    assert_int_equal(sq_db_open("text.db", &other), SQ_EIO);
    assert_int_equal(sq_db_open("no/such/dir.db", &other), SQ_ENOTFOUND);
    /* version 0 is an empty file: brought up in one transaction, so a second open finds all or nothing */
    fd = open("empty.db", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    OK(sq_db_open("empty.db", &other));
    OK(sq_db_check(other));
    sq_db_close(other);
    assert_null(db);
}

static void transactions(void **state)
{
    (void)state;
    OK(sq_db_begin(db));
    assert_int_equal(sq_db_begin(db), SQ_ECONFLICT);
    put_object(1);
    OK(sq_db_save(db));
    put_object(2);
    OK(sq_db_save(db));
    put_object(3);
    OK(sq_db_save_keep(db));
    OK(sq_db_save_undo(db)); /* 2, and 3 that was kept within it */
    OK(sq_db_save(db));
    put_object(4);
    OK(sq_db_save_keep(db));
    OK(sq_db_commit(db));
    assert_int_equal(count_objects(), 2);
    OK(sq_db_begin(db));
    put_object(5);
    sq_db_rollback(db);
    sq_db_rollback(db);
    assert_int_equal(count_objects(), 2);
    assert_int_equal(sq_db_commit(db), SQ_EIO); /* nothing to commit */
    /* a refused statement leaves the transaction usable */
    OK(sq_db_begin(db));
    struct sq_db_object o = some_object(1, 9);
    assert_int_equal(sq_db_object_insert(db, &o), SQ_EEXISTS);
    put_object(6);
    OK(sq_db_commit(db));
    assert_int_equal(count_objects(), 3);
    /* closing rolls back */
    OK(sq_db_begin(db));
    put_object(7);
    reopen();
    assert_int_equal(count_objects(), 3);
#ifdef SQ_TEST_HOOKS
    OK(sq_db_begin(db));
    put_object(8);
    snprintf(hooks->name, sizeof hooks->name, "db.commit");
    hooks->fail_code = SQ_EFULL;
    hooks->is_armed = 2;
    assert_int_equal(sq_db_commit(db), SQ_EFULL);
    assert_int_equal(count_objects(), 3);
    OK(sq_db_begin(db)); /* it was rolled back */
    OK(sq_db_commit(db));
#endif
}

/* Killed at any moment: a transaction is there whole or not at all, and what was told to be durable is there. */
static void killed(void **state)
{
    (void)state;
    int64_t *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(told != MAP_FAILED);
    sq_db_close(db);
    db = NULL;
    for (int round = 0; round < 12; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (sq_db_open("t.db", &db))
                _exit(1);
            for (int64_t n = *told;; n++) {
                char key[32];
                bool ok = !sq_db_begin(db);
                for (int k = 0; ok && k < 10; k++) { /* ten values that must agree */
                    snprintf(key, sizeof key, "k%d", k);
                    ok = !sq_db_meta_set_no(db, key, n);
                }
                if (!ok || sq_db_commit(db))
                    _exit(1);
                *told = n;
            }
        }
        int64_t before = *told; /* every other round at work for certain, however busy the machine is; the others perhaps while it opens */
        for (unsigned i = 0; round % 2 && *(volatile int64_t *)told == before && i < 100000; i++)
            usleep(500);
        usleep(4000 + (unsigned)round * 1777);
        kill(pid, SIGKILL);
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        OK(sq_db_open("t.db", &db));
        OK(sq_db_check(db));
        int64_t first = 0, n = 0;
        if (sq_db_meta_get_no(db, "k0", &first) == SQ_OK) {
            assert_true(first >= *told);
            for (int k = 1; k < 10; k++) {
                char key[32];
                snprintf(key, sizeof key, "k%d", k);
                OK(sq_db_meta_get_no(db, key, &n));
                assert_true(n == first);
            }
        }
        sq_db_close(db);
        db = NULL;
    }
    assert_true(*told > 0);
    munmap(told, sizeof *told);
}

static bool is_in_file(const char *path, const char *marker)
{
    struct sq_buf b;
    sq_buf_init(&b, 0);
    sq_err e = sq_file_read(AT_FDCWD, path, &b);
    bool is_there = !e && b.n && memmem(b.p, b.n, marker, strlen(marker));
    sq_buf_done(&b);
    return is_there;
}

static void deleted_is_gone(void **state)
{
    (void)state;
    static const char marker[] = "MARKER-8f1c-in-a-row-that-will-be-deleted";
    uint8_t name[32] = {1};
    for (unsigned i = 1; i <= 60; i++) { /* enough rows for several pages */
        struct sq_db_user u = {.role = 1, .created_s = 1, .name_sealed = sealed(marker), .password_sealed = sealed(marker)};
        memcpy(u.id, id(i), 16);
        memcpy(u.name_hmac, name, 32);
        name[1]++;
        OK(sq_db_user_insert(db, &u));
    }
    OK(sq_db_outbox_put(db, 1, sq_span_str(marker)));
    OK(sq_db_fold(db));
    assert_true(is_in_file("t.db", marker)); /* the search finds it while it is there */
    for (unsigned i = 1; i <= 60; i++)
        OK(sq_db_user_delete(db, id(i)));
    OK(sq_db_outbox_delete_upto(db, 1));
    OK(sq_db_fold(db));
    assert_false(is_in_file("t.db", marker));
    assert_false(is_in_file("t.db-wal", marker));
    struct stat st;
    assert_int_equal(stat("t.db-wal", &st), 0);
    assert_int_equal(st.st_size, 0);
    /* replaced values too */
    OK(sq_db_meta_set(db, "k", sq_span_str(marker)));
    OK(sq_db_meta_set(db, "k", sq_span_str("a much shorter one")));
    OK(sq_db_fold(db));
    assert_false(is_in_file("t.db", marker));
}

static void damage_is_noticed(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 200; i++)
        put_object(i);
    OK(sq_db_fold(db));
    sq_db_close(db);
    db = NULL;
    uint8_t junk[3000];
    memset(junk, 0x5e, sizeof junk);
    int fd = open("t.db", O_RDWR | O_CLOEXEC);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    for (off_t at = 4096 * 3 + 200; at + (off_t)sizeof junk < st.st_size; at += 4096)
        OK(sq_pwrite_all(fd, junk, sizeof junk, at));
    close(fd);
    sq_err e = sq_db_open("t.db", &db);
    assert_int_equal(e ? e : sq_db_check(db), SQ_EIO);
}

static int full_child(void)
{
    bool ok = unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0;
    if (!ok || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mkdir("full", 0700)
        || mount("none", "full", "tmpfs", 0, "size=1m"))
        return 77;
    if (sq_db_open("full/t.db", &db))
        return 1;
    uint8_t value[4000] = {1};
    sq_err e = SQ_OK;
    int n = 0;
    for (; !e && n < 2000; n++) {
        char key[32];
        snprintf(key, sizeof key, "k%d", n);
        e = sq_db_meta_set(db, key, sq_span_of(value, sizeof value));
    }
    if (e != SQ_EFULL || n < 10)
        return 2;
    return sq_db_check(db) ? 3 : 0; /* and nothing is broken */
}

static void full_disk(void **state)
{
    (void)state;
    sq_db_close(db);
    db = NULL;
    pid_t pid = fork();
    if (pid == 0)
        _exit(full_child());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
}

#ifdef SQ_TEST_HOOKS
/* What erasing on a full disk lives on: given back in slices, filled again when there is room, never half counted. */
static void reserve_is_filled_and_given_back(void **state)
{
    (void)state;
    struct sq_db_reserve *r = NULL;
    assert_int_equal(sq_db_reserve_open("reserve", 64 << 10, &r), SQ_OK);
    assert_int_equal(sq_db_reserve_release(r, 1), SQ_EFULL); /* nothing in it yet */
    snprintf(hooks->name, sizeof hooks->name, "db.reserve");
    hooks->fail_code = SQ_EFULL;
    hooks->is_armed = 2;
    assert_int_equal(sq_db_reserve_fill(r), SQ_EFULL);
    assert_int_equal(sq_db_reserve_release(r, 1), SQ_EFULL);
    assert_int_equal(sq_db_reserve_fill(r), SQ_OK); /* room again */
    assert_int_equal(sq_db_reserve_release(r, 48 << 10), SQ_OK);
    sq_db_reserve_close(r);
    assert_int_equal(sq_db_reserve_open("reserve", 64 << 10, &r), SQ_OK);
    assert_int_equal(sq_db_reserve_release(r, 48 << 10), SQ_OK); /* the rest, less than was asked for */
    assert_int_equal(sq_db_reserve_release(r, 1), SQ_EFULL);
    sq_db_reserve_close(r);
    unlink("reserve");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {DB_TEST(opens_again), DB_TEST(versions), DB_TEST(transactions), DB_TEST(killed),
                                       DB_TEST(deleted_is_gone), DB_TEST(damage_is_noticed), DB_TEST(full_disk),
#ifdef SQ_TEST_HOOKS
                                       DB_TEST(reserve_is_filled_and_given_back),
#endif
    };
    return cmocka_run_group_tests(tests, db_group_start, db_group_stop);
}
