/* A fresh database file for each test, in a directory of its own. */
#ifndef SQ_TESTS_DB_FIXTURE_H
#define SQ_TESTS_DB_FIXTURE_H

#include "lib/core/fault.h"
#include "lib/db/db.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static struct sq_db *db;
static char db_dir[64];

#ifdef SQ_TEST_HOOKS
static struct sq_hooks *hooks;
#endif

static inline int db_group_start(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(db_dir, sizeof db_dir, "%s/sq-db-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(db_dir) || chdir(db_dir))
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

static inline int db_group_stop(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", db_dir);
    return system(command);
}

static inline int db_fresh(void **state)
{
    (void)state;
    unlink("t.db");
    unlink("t.db-wal");
    unlink("t.db-shm");
    return sq_db_open("t.db", &db) ? -1 : 0;
}

static inline int db_done(void **state)
{
    (void)state;
    sq_db_close(db);
    db = NULL;
    return 0;
}

#define DB_TEST(f) cmocka_unit_test_setup_teardown(f, db_fresh, db_done)
#define OK(call) assert_int_equal((call), SQ_OK)

/* ids made of one byte, so that a test can say 7 */
static inline const uint8_t *id(unsigned n)
{
    static uint8_t ids[256][16];
    memset(ids[n & 0xff], (int)(n & 0xff), 16);
    return ids[n & 0xff];
}

static inline struct sq_db_sealed sealed(const char *text)
{
    struct sq_db_sealed s = {.n = (uint16_t)strlen(text)};
    memcpy(s.p, text, s.n);
    return s;
}

static inline struct sq_db_object some_object(unsigned n, unsigned owner)
{
    struct sq_db_object o = {.kind = SQ_DB_object_kind_upload, .state = SQ_DB_object_state_opening, .created_s = 100,
                             .not_after_s = 1000, .opening_expires_s = 500};
    memcpy(o.id, id(n), 16);
    memcpy(o.owner_id, id(owner), 16);
    return o;
}

static inline struct sq_db_upload some_upload(unsigned n, unsigned owner, unsigned object)
{
    struct sq_db_upload u = {.state = SQ_DB_upload_state_receiving, .created_s = 100, .expires_s = 2000};
    memcpy(u.id, id(n), 16);
    memcpy(u.owner_id, id(owner), 16);
    memcpy(u.object_id, id(object), 16);
    u.name_sealed = sealed("sealed file name");
    return u;
}

static inline struct sq_db_job some_job(const char *name, unsigned owner, unsigned upload)
{
    struct sq_db_job j = {.state = SQ_DB_job_state_queued, .claim_state = SQ_DB_claim_state_none, .created_s = 100, .expires_s = 5000};
    snprintf(j.id, sizeof j.id, "%s", name);
    memcpy(j.owner_id, id(owner), 16);
    memcpy(j.upload_id, id(upload), 16);
    snprintf(j.panel_id, sizeof j.panel_id, "panel");
    snprintf(j.population, sizeof j.population, "mixed");
    snprintf(j.mode, sizeof j.mode, "impute");
    return j;
}

/* object 1, upload 2 and panel "panel" (object 3) of owner 9, for jobs to name */
static inline void make_ground(void)
{
    struct sq_db_object o = some_object(1, 9);
    OK(sq_db_object_insert(db, &o));
    struct sq_db_upload u = some_upload(2, 9, 1);
    OK(sq_db_upload_insert(db, &u));
    o = some_object(3, 8);
    OK(sq_db_object_insert(db, &o));
    struct sq_db_panel p = {.id = "panel", .name = "A panel", .build = "GRCh37", .chrom = "22", .haplotypes = 400, .sites = 9000};
    memcpy(p.object_id, id(3), 16);
    OK(sq_db_panel_insert(db, &p));
}

#endif
