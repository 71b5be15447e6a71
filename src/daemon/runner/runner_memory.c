/*
 * A panel is read by many sandboxes at once, at random places: it lies in memory once, in a memory file that nobody can
 * write any more, and each sandbox gets an open file of its own on it (reopened through /proc/self/fd), because a shared
 * one would share its offset: one sandbox could move it under another. An entry that nobody uses is dropped after a
 * minute, or at once when room is needed.
 */
#include "daemon/runner/runner.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_ENTRIES 32
#define IDLE_MS 60000
#define SWEEP_MS 5000
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

struct entry {
    uint8_t object_id[SQ_ID_BYTES];
    uint64_t n_bytes;
    int fd; /* -1 while it is being filled */
    unsigned n_user;
    int64_t idle_since_ms;
    bool is_used;
};

struct sq_memory {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* an entry was filled or given up; monotonic clock */
    struct entry entry[MAX_ENTRIES];
    uint64_t n_bytes, max_bytes;
    int proc_fd; /* /proc/self/fd, opened before confinement */
};

static void drop_locked(struct sq_memory *memory, struct entry *en)
{
    sq_close(&en->fd);
    memory->n_bytes -= en->n_bytes;
    memset(en, 0, sizeof *en);
    en->fd = -1;
}

static void drop_idle_locked(struct sq_memory *memory, int64_t idle_ms)
{
    int64_t now_ms = sq_clock_steady_ms();
    for (size_t i = 0; i < MAX_ENTRIES; i++) {
        struct entry *en = &memory->entry[i];
        if (en->is_used && !en->n_user && now_ms - en->idle_since_ms >= idle_ms)
            drop_locked(memory, en);
    }
}

static void *sweep_main(void *arg)
{
    struct sq_memory *memory = arg;
    pthread_mutex_lock(&memory->lock);
    for (;;) {
        struct timespec until = sq_task_deadline(SWEEP_MS);
        while (pthread_cond_timedwait(&memory->wake, &memory->lock, &until) != ETIMEDOUT)
            ;
        drop_idle_locked(memory, IDLE_MS);
    }
    return NULL;
}

sq_err sq_memory_new(uint64_t max_bytes, struct sq_memory **out_memory)
{
    struct sq_memory *memory = calloc(1, sizeof *memory);
    if (!memory)
        return sq_fail(SQ_ENOMEM);
    memory->max_bytes = max_bytes;
    for (size_t i = 0; i < MAX_ENTRIES; i++)
        memory->entry[i].fd = -1;
    pthread_mutex_init(&memory->lock, NULL);
    pthread_condattr_t c;
    pthread_condattr_init(&c);
    pthread_condattr_setclock(&c, CLOCK_MONOTONIC);
    pthread_cond_init(&memory->wake, &c);
    pthread_condattr_destroy(&c);
    memory->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (memory->proc_fd < 0) {
        free(memory);
        return sq_fail(SQ_ESYS);
    }
    *out_memory = memory;
    return SQ_OK;
}

sq_err sq_memory_start(struct sq_memory *memory)
{
    pthread_attr_t a;
    pthread_t thread;
    pthread_attr_init(&a);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&a, 64U << 10);
    int r = pthread_create(&thread, &a, sweep_main, memory);
    pthread_attr_destroy(&a);
    return r ? sq_fail(SQ_ESYS) : SQ_OK;
}

/* ---- filling ---- */

static int memory_file(void)
{
    int fd = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

static sq_err fill(struct sq_task *t, struct sq_vault_opener *opener, uint64_t n_bytes, int *out_fd)
{
    uint8_t *copy = malloc(SQ_RUNNER_COPY_BYTES);
    int fd = memory_file();
    sq_err e = !copy ? sq_fail(SQ_ENOMEM) : fd < 0 ? sq_fail(SQ_ESYS) : SQ_OK;
    for (uint64_t at = 0; !e && at < n_bytes;) {
        size_t want = n_bytes - at < SQ_RUNNER_COPY_BYTES ? (size_t)(n_bytes - at) : SQ_RUNNER_COPY_BYTES;
        e = sq_task_is_stopped(t) ? SQ_ECANCELLED : sq_task_read(opener, at, copy, want);
        if (!e)
            e = sq_write_all(fd, copy, want);
        sq_task_sign(t);
        at += want;
    }
    if (!e && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        e = sq_fail(SQ_ESYS);
    if (copy)
        sq_wipe(copy, SQ_RUNNER_COPY_BYTES);
    free(copy);
    if (e)
        sq_close(&fd);
    else
        *out_fd = fd;
    return e;
}

/* ---- the table ---- */

static struct entry *find_locked(struct sq_memory *memory, const uint8_t object_id[SQ_ID_BYTES])
{
    for (size_t i = 0; i < MAX_ENTRIES; i++)
        if (memory->entry[i].is_used && !memcmp(memory->entry[i].object_id, object_id, SQ_ID_BYTES))
            return &memory->entry[i];
    return NULL;
}

static sq_err reserve_locked(struct sq_memory *memory, const uint8_t object_id[SQ_ID_BYTES], uint64_t n_bytes,
                             struct entry **out_entry)
{
    if (n_bytes > memory->max_bytes)
        return sq_fail(SQ_ENOMEM);
    if (memory->n_bytes + n_bytes > memory->max_bytes)
        drop_idle_locked(memory, 0);
    if (memory->n_bytes + n_bytes > memory->max_bytes)
        return sq_fail(SQ_ENOMEM);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < MAX_ENTRIES; i++) {
            struct entry *en = &memory->entry[i];
            if (en->is_used)
                continue;
            *en = (struct entry){.n_bytes = n_bytes, .fd = -1, .n_user = 1, .is_used = true};
            memcpy(en->object_id, object_id, SQ_ID_BYTES);
            memory->n_bytes += n_bytes;
            *out_entry = en;
            return SQ_OK;
        }
        drop_idle_locked(memory, 0);
    }
    return sq_fail(SQ_ENOMEM);
}

static sq_err reopen(const struct sq_memory *memory, int fd, int *out_fd)
{
    char name[16];
    snprintf(name, sizeof name, "%d", fd);
    int own = openat(memory->proc_fd, name, O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return sq_fail(SQ_ESYS);
    *out_fd = own;
    return SQ_OK;
}

sq_err sq_memory_get(struct sq_memory *memory, struct sq_task *t, const struct sq_task_file *f,
                     struct sq_vault_opener *opener, int *out_fd)
{
    uint64_t n_bytes = sq_vault_opener_plain_bytes(opener);
    sq_err e = SQ_OK;
    struct entry *en;
    pthread_mutex_lock(&memory->lock);
    while ((en = find_locked(memory, f->object_id)) && en->fd < 0 && !sq_task_is_stopped(t)) {
        sq_task_sign(t); /* who fills it signs for itself */
        struct timespec until = sq_task_deadline(1000);
        pthread_cond_timedwait(&memory->wake, &memory->lock, &until);
    }
    if (en && en->fd < 0) {
        pthread_mutex_unlock(&memory->lock);
        return SQ_ECANCELLED;
    }
    if (en) {
        en->n_user++;
    } else {
        e = reserve_locked(memory, f->object_id, n_bytes, &en);
        if (!e) {
            int fd = -1;
            pthread_mutex_unlock(&memory->lock);
            e = fill(t, opener, n_bytes, &fd);
            pthread_mutex_lock(&memory->lock);
            en->fd = fd;
            if (e)
                drop_locked(memory, en); /* whoever waits tries with a grant of its own */
            pthread_cond_broadcast(&memory->wake);
        }
    }
    if (!e) {
        e = reopen(memory, en->fd, out_fd);
        if (e)
            en->n_user--;
    }
    pthread_mutex_unlock(&memory->lock);
    return e;
}

void sq_memory_put(struct sq_memory *memory, const uint8_t object_id[SQ_ID_BYTES])
{
    pthread_mutex_lock(&memory->lock);
    struct entry *en = find_locked(memory, object_id);
    if (en && en->n_user && --en->n_user == 0)
        en->idle_since_ms = sq_clock_steady_ms();
    pthread_mutex_unlock(&memory->lock);
}
