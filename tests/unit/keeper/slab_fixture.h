/* What the tests of the slab share: a slab in a file without a name, things in it, and a child that dies at a named step. */
#ifndef SQ_SLAB_FIXTURE_H
#define SQ_SLAB_FIXTURE_H

#include "daemon/keeper/slab.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "lib/crypt/crypt.h"
#include "lib/vault/vault.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW 1800000000
#define SLOT_AT(i) (8192 + (off_t)(i)*SQ_SLAB_SLOT_BYTES)
#define FIRST_FREE 4 /* token, note, lookup and site owner come first */

static const uint8_t kek_bytes[32] = "test key, not a secret: 32 bytes";
static const uint8_t owner_a[16] = "owner A", owner_b[16] = "owner B", obj_1[16] = "object 1", obj_2[16] = "object 2";

static inline void ok(sq_err err)
{
    assert_int_equal(err, SQ_OK);
}

static inline int new_file(void)
{
    char name[] = "/tmp/sq-slab-XXXXXX";
    int fd = mkostemp(name, O_DSYNC | O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

static inline sq_err create_by_file(struct sq_slab *slab, const struct sq_key *kek)
{
    return sq_slab_create(slab, &(struct sq_slab_lock){.backend = SQ_SLAB_FILE, .kek = kek}, NOW);
}

static inline sq_err create_by_passphrase(struct sq_slab *slab, const char *passphrase)
{
    struct sq_slab_lock lock;
    struct sq_key *kek = NULL;
    sq_err err = sq_slab_lock_passphrase(passphrase, strlen(passphrase), 8192, 1, &lock, &kek);
    if (!err)
        err = sq_slab_create(slab, &lock, NOW);
    sq_key_free(kek);
    return err;
}

static inline struct sq_slab *open_slab(int fd)
{
    struct sq_slab *slab = NULL;
    struct sq_key *kek = NULL;
    ok(sq_slab_open(fd, &slab));
    ok(sq_key_from(kek_bytes, &kek));
    if (sq_slab_is_new(slab))
        ok(create_by_file(slab, kek));
    else
        ok(sq_slab_unseal(slab, kek));
    sq_key_free(kek);
    return slab;
}

static inline struct sq_slab *with_things(int fd)
{
    struct sq_slab *slab = open_slab(fd);
    ok(sq_slab_add(slab, SQ_SLAB_OWNER, owner_a, NULL, 0, 0, NOW));
    ok(sq_slab_add(slab, SQ_SLAB_OBJECT, obj_1, owner_a, NOW + 100, 2, NOW));
    return slab;
}

static inline void key_of(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, uint8_t out[32])
{
    struct sq_key *key = NULL;
    ok(sq_slab_key(slab, type, id, NOW, NULL, &key));
    memcpy(out, sq_key_bytes(key), 32);
    sq_key_free(key);
}

static inline sq_err try_key(struct sq_slab *slab, const uint8_t *id, int64_t now_s)
{
    struct sq_key *key = NULL;
    sq_err err = sq_slab_key(slab, SQ_SLAB_OBJECT, id, now_s, NULL, &key);
    sq_key_free(key);
    return err;
}

static inline void flip(int fd, off_t at, uint8_t bit)
{
    uint8_t b;
    assert_int_equal(pread(fd, &b, 1, at), 1);
    b ^= bit;
    assert_int_equal(pwrite(fd, &b, 1, at), 1);
}

/* ---- crashes: a child does one thing and dies at the named step; then the slab is opened as after a restart ---- */

static struct sq_hooks *hooks;

static inline void hooks_make(void)
{
    int fd = memfd_create("hooks", 0);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, sizeof *hooks), 0);
    sq_hooks_map(fd);
    hooks = mmap(NULL, sizeof *hooks, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(hooks != MAP_FAILED);
    close(fd);
}

static inline void arm(const char *name, int32_t how, sq_err code)
{
    hooks->fail_code = (int32_t)code;
    snprintf(hooks->name, sizeof hooks->name, "%s", name);
    hooks->is_armed = how;
}

static inline bool dies(void (*act)(struct sq_slab *), int fd, const char *fault)
{
    arm(fault, 1, 0);
    pid_t child = fork();
    if (!child) {
        struct sq_slab *slab = open_slab(fd);
        act(slab);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    hooks->is_armed = 0;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

#endif
