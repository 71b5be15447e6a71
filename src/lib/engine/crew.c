/* A few threads for one pass. The caller is thread 0; a thread that can't be started is work for the others, not an error. */
#include "lib/engine/engine_internal.h"

#include <pthread.h>
#include <time.h>

struct member {
    struct crew *crew;
    crew_work work;
    void *ctx;
    unsigned no;
    double cpu;
};

double crew_cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *member_run(void *arg)
{
    struct member *m = arg;
    double before = crew_cpu_now();
    sq_err e = m->work(m->ctx, m->no);
    int none = SQ_OK;
    if (e)
        atomic_compare_exchange_strong(&m->crew->failed, &none, (int)e);
    m->cpu = crew_cpu_now() - before;
    return NULL;
}

sq_err crew_run(struct crew *c, unsigned n_thread, crew_work work, void *ctx)
{
    struct member member[SQ_ENGINE_MAX_THREADS];
    pthread_t thread[SQ_ENGINE_MAX_THREADS];
    unsigned n_started = 1;
    c->n_thread = n_thread;
    atomic_store(&c->failed, SQ_OK);
    for (unsigned i = 0; i < n_thread; i++)
        member[i] = (struct member){.crew = c, .work = work, .ctx = ctx, .no = i};
    while (n_started < n_thread && !pthread_create(&thread[n_started], NULL, member_run, &member[n_started]))
        n_started++;
    member_run(&member[0]);
    c->cpu = member[0].cpu;
    for (unsigned i = 1; i < n_started; i++) {
        pthread_join(thread[i], NULL);
        c->cpu += member[i].cpu;
    }
    return (sq_err)atomic_load(&c->failed);
}
