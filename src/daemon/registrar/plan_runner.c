/*
 * Runner and the plan: how tasks end, what becomes of them when runner dies or work is to stop.
 */
#include "daemon/registrar/registrar.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- what runner says ---- */

static void read_result(const struct sq_msg_task_ended *m, struct task_result *t)
{
    *t = (struct task_result){.code = sq_err_from_no(m->code), .cpu_ms = m->cpu_ms, .peak_kib = m->peak_kib, .walls = m->walls};
    t->why.line = m->line;
    t->why.column = m->column;
    if (sq_span_copy(m->field, t->why.field, sizeof t->why.field) || sq_span_copy(m->detail, t->why.detail, sizeof t->why.detail))
        t->why.field[0] = t->why.detail[0] = 0;
    for (const uint8_t *p = m->sums.p; t->n_sum < SQ_STAGE_MAX_PORTS && (t->n_sum + 1) * 52 <= m->sums.n; p += 52) {
        struct object_sum *s = &t->sum[t->n_sum++];
        s->n_part = sq_get_be32(p);
        s->plain_bytes = sq_get_be64(p + 4);
        s->sealed_bytes = sq_get_be64(p + 12);
        memcpy(s->sha256, p + 20, 32);
    }
    if (m->counts.n != 2 + 16 + 9 * 8 + 32 + 256)
        return;
    const uint8_t *p = m->counts.p;
    t->format = p[0];
    t->is_phased = p[1];
    memcpy(t->chrom, p + 2, 16);
    uint64_t *number[] = {&t->n_sample, &t->n_variant, &t->n_kept, &t->n_in_panel, &t->n_excluded, &t->first_bp, &t->last_bp, &t->n_haplotype, &t->n_site};
    for (size_t i = 0; i < 9; i++)
        *number[i] = sq_get_be64(p + 18 + 8 * i);
    memcpy(t->build, p + 90, 32);
    memcpy(t->populations, p + 122, 256);
}

struct waiting {
    uint8_t task[ID];
    struct task_result *out;
    bool is_done;
    struct waiting *next;
};

static bool tell_waiting(struct registrar *r, const uint8_t task[ID], const struct task_result *t)
{
    bool is_found = false;
    pthread_mutex_lock(&r->plan_lock);
    for (struct waiting *w = r->waiting; w; w = w->next)
        if (!memcmp(w->task, task, ID)) {
            *w->out = *t;
            w->is_done = is_found = true;
        }
    if (is_found)
        pthread_cond_broadcast(&r->wait_wake);
    pthread_mutex_unlock(&r->plan_lock);
    return is_found;
}

sq_err task_run_and_wait(struct registrar *r, const uint8_t task[ID], const struct sq_msg *m, unsigned timeout_ms, struct task_result *out)
{
    struct waiting w = {.out = out};
    memcpy(w.task, task, ID);
    pthread_mutex_lock(&r->plan_lock);
    w.next = r->waiting;
    r->waiting = &w;
    pthread_mutex_unlock(&r->plan_lock);
    sq_err e = sq_node_do(r->node, SQ_ROLE_RUNNER, m, CALL_MS);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(timeout_ms / 1000);
    pthread_mutex_lock(&r->plan_lock);
    int waited = 0;
    while (!e && !w.is_done && !waited)
        waited = pthread_cond_timedwait(&r->wait_wake, &r->plan_lock, &until);
    for (struct waiting **at = &r->waiting; *at; at = &(*at)->next)
        if (*at == &w) {
            *at = w.next;
            break;
        }
    if (!e && !w.is_done)
        e = sq_fail(SQ_ETIMEOUT);
    pthread_mutex_unlock(&r->plan_lock);
    return e ? e : out->code;
}

void on_task_ended(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    struct registrar *r = ctx;
    const struct sq_msg_task_ended *m = &msg->u.task_ended;
    struct task_result t;
    read_result(m, &t);
    struct sq_db_task task;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_task_get(db, m->task_id, &task);
    db_unlock(r);
    const struct sq_stage_row *stage = !e ? sq_stage_row_of((unsigned)task.stage) : NULL;
    sq_log(SQ_LOG_task_ended, SQ_LID("task", m->task_id, ID), SQ_LW("stage", stage ? stage->name : "-"), SQ_LW("code", sq_err_name(t.code)),
           SQ_LN("ms", m->wall_ms), SQ_LN("cpu_ms", m->cpu_ms), SQ_LN("peak_kib", m->peak_kib));
    if (tell_waiting(r, m->task_id, &t) || e || task.fence != (int64_t)m->fence) {
        if (!e && task.state != SQ_DB_task_state_running)
            grant_end(r, task.id);
        sq_ask_ok(ask); /* somebody waited for it, or it is of no interest any more */
        return;
    }
    if (stage && t.code == SQ_EDOWN) /* jailer or keeper is away: it needs a moment, and tries are few */
        usleep(task_retry_ms(&task) * 1000);
    if (stage)
        e = task_over(r, &task, &t);
    else if (task.stage == WORK_PACKAGE)
        e = package_ended(r, &task, t.code, t.n_sum ? &t.sum[0] : NULL);
    if (task.job_id[0])
        task_saw_damage(r, &task, t.code);
    if (e)
        sq_ask_fail(ask, e); /* runner keeps it, and tells again */
    else
        sq_ask_ok(ask);
}

/* ---- runner died, or work is to stop ---- */

struct tasks {
    struct sq_db_task row[1000];
    size_t n;
};

static sq_err take_task(void *ctx, const struct sq_db_task *row)
{
    struct tasks *t = ctx;
    if (row->stage != WORK_STREAM && t->n < 1000) /* streams end with gateway, not with runner */
        t->row[t->n++] = *row;
    return SQ_OK;
}

/* an operator's import went down with runner: he is told, and starts it again */
static void tell_all_waiting(struct registrar *r)
{
    pthread_mutex_lock(&r->plan_lock);
    for (struct waiting *w = r->waiting; w; w = w->next)
        if (!w->is_done) {
            *w->out = (struct task_result){.code = SQ_EDOWN};
            w->is_done = true;
        }
    pthread_cond_broadcast(&r->wait_wake);
    pthread_mutex_unlock(&r->plan_lock);
}

void tasks_of_dead_runner(struct registrar *r)
{
    tell_all_waiting(r);
    struct tasks *t = calloc(1, sizeof *t);
    sq_assert(t);
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_task_list(db, NULL, NULL, SQ_DB_task_state_running, 1000, take_task, t);
    db_unlock(r);
    for (size_t i = 0; i < t->n && !e; i++) {
        struct task_result lost = {.code = SQ_EDOWN};
        if (sq_stage_row_of((unsigned)t->row[i].stage))
            e = task_over(r, &t->row[i], &lost);
        else if (t->row[i].stage == WORK_PACKAGE)
            e = package_ended(r, &t->row[i], SQ_EDOWN, NULL);
    }
    free(t);
    plan_wake(r);
}

void tasks_stop(struct registrar *r, const char *job_id, const uint8_t *upload_id)
{
    struct tasks *t = calloc(1, sizeof *t);
    sq_assert(t);
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_task_list(db, job_id, upload_id, SQ_DB_task_state_failed, 1000, take_task, t);
    db_unlock(r);
    for (size_t i = 0; i < t->n && !e; i++) {
        struct sq_msg m = sq_msg_bare(task_cancel);
        memcpy(m.u.task_cancel.task_id, t->row[i].id, ID);
        sq_err told = sq_node_do(r->node, SQ_ROLE_RUNNER, &m, CALL_MS);
        (void)told; /* a runner that is away runs nothing */
        grant_end(r, t->row[i].id);
    }
    free(t);
    plan_wake(r);
}
