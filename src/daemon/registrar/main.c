/*
 * sequester-registrar: who may do what, and what happened.
 *
 * I hold the database and the audit log, alone. For every request I verify who asks, check his right, change rows and
 * record the event in one transaction, append the event to the log, and only then answer. I am the only one that may ask
 * keeper for a grant, and I plan what runner does. I pass on descriptors of sealed files.
 *
 * I can't: open a sealed object or a sealed field (keeper opens fields for their owner's own token), see a payload byte,
 * reach a network, write outside my directory. Passwords pass through me once, on their way to keeper, and are wiped.
 */
#include "daemon/registrar/registrar.h"

#include "lib/core/file.h"
#include "lib/identity/identity.h"
#include "lib/proc/confine.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define DB_RESERVE_BYTES (UINT64_C(16) << 20)

static struct registrar registrar;

static void thread_start(void *(*run)(void *), void *arg)
{
    pthread_t t;
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    sq_assert(!pthread_create(&t, &a, run, arg));
    pthread_attr_destroy(&a);
}

static void on_peer_up(void *ctx, enum sq_role peer)
{
    struct registrar *r = ctx;
    if (!has_recovered(r))
        return; /* recovery does it */
    if (peer == SQ_ROLE_KEEPER)
        keys_forget(r);
    erase_wake(r);
    plan_wake(r);
}

/* What a dead peer had under way ends before its successor can begin anything: node.c lets no new link come up meanwhile. */
static void on_peer_down(void *ctx, enum sq_role peer)
{
    struct registrar *r = ctx;
    if (!has_recovered(r))
        return;
    if (peer == SQ_ROLE_GATEWAY) {
        uploads_of_dead_gateway(r);
        streams_of_dead_gateway(r);
    } else if (peer == SQ_ROLE_RUNNER) {
        tasks_of_dead_runner(r);
    }
}

static sq_err open_records(struct registrar *r)
{
    int dir = -1;
    struct sq_audit_opened how;
    sq_err e = sq_db_reserve_open("registrar.reserve", DB_RESERVE_BYTES, &r->reserve);
    if (!e)
        e = sq_db_open("registrar.db", &r->db);
    if (e == SQ_EFULL && r->reserve && !sq_db_reserve_release(r->reserve, DB_RESERVE_BYTES / 4)) /* the files beside it need some space */
        e = sq_db_open("registrar.db", &r->db);
    if (!e)
        e = sq_dir_open(AT_FDCWD, "log", 0700, &dir);
    if (!e)
        e = sq_audit_open(dir, NULL, &r->log, &how);
    sq_close(&dir);
    if (e)
        return e;
    e = outbox_flush(r);
    r->next_entry = sq_audit_size(r->log) + 1;
    return e;
}

static void read_settings(struct registrar *r)
{
    r->origin = sq_node_setting(r->node, "origin");
    r->public_url = sq_node_setting(r->node, "public_url");
    r->retention_s = (int64_t)sq_node_setting_u64(r->node, "retention_days") * SQ_DAY_S;
    r->upload_life_s = (int64_t)sq_node_setting_u64(r->node, "upload_hours") * 3600;
    r->is_factor_required = !strcmp(sq_node_setting(r->node, "second_factor"), "required");
    r->is_seal_to_required = !strcmp(sq_node_setting(r->node, "seal_to"), "required");
    r->is_admin_sign_in = !strcmp(sq_node_setting(r->node, "admin_sign_in"), "yes");
    r->token_life_s = (int64_t)sq_node_setting_u64(r->node, "token_hours") * 3600;
    r->upload_max_bytes = sq_node_setting_u64(r->node, "upload_max_mib") << 20;
    r->quota_bytes = sq_node_setting_u64(r->node, "quota_mib") << 20;
    r->max_samples = sq_node_setting_u64(r->node, "max_samples");
    r->max_variants = sq_node_setting_u64(r->node, "max_variants");
    r->jobs_per_user = sq_node_setting_u64(r->node, "jobs_per_user");
    r->sandboxes = sq_node_setting_u64(r->node, "sandboxes");
    r->chunk_bp = sq_node_setting_u64(r->node, "chunk_mb") * 1000000;
    r->watchdog_ms = (int64_t)sq_node_setting_u64(r->node, "watchdog_s") * 1000;
    r->admin_fd = sq_node_take(r->node, "admin");
    sq_err e = user_rates_open(r);
    sq_assert(!e); /* parent has looked at them */
}

static void handlers(struct sq_node *node)
{
    sq_node_on(node, SQ_MSG_api, on_api);
    sq_node_on(node, SQ_MSG_upload_open, on_upload_open);
    sq_node_on(node, SQ_MSG_upload_close, on_upload_close);
    sq_node_on(node, SQ_MSG_upload_abort, on_upload_abort);
    sq_node_on(node, SQ_MSG_download_open, on_download_open);
    sq_node_on(node, SQ_MSG_download_end, on_download_end);
    sq_node_on(node, SQ_MSG_refused, on_refused);
    sq_node_on(node, SQ_MSG_tls_state, on_tls_state);
    sq_node_on(node, SQ_MSG_task_progress, on_task_progress);
    sq_node_on(node, SQ_MSG_task_ended, on_task_ended);
    sq_node_threads(node, SQ_ROLE_GATEWAY, 24); /* an upload's answer waits for the sandbox; others must not wait behind it */
    sq_node_threads(node, SQ_ROLE_RUNNER, 4);
    sq_node_on_parent(node, certificate_on_parent);
    sq_node_on_peer_up(node, on_peer_up);
    sq_node_on_peer_down(node, on_peer_down);
}

int main(void)
{
    struct registrar *r = &registrar;
    sq_err e = sq_proc_begin("registrar");
    if (!e)
        e = sq_node_open(SQ_ROLE_REGISTRAR, &r->node);
    if (e)
        return 1;
#ifdef SQ_TEST_HOOKS
    int hooks = sq_node_take(r->node, "hooks");
    if (hooks >= 0)
        sq_hooks_map(hooks);
#endif
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->queue_lock, NULL);
    pthread_mutex_init(&r->plan_lock, NULL);
    pthread_mutex_init(&r->key_lock, NULL);
    watch_init(r);
    pthread_cond_init(&r->queue_wake, NULL);
    pthread_cond_init(&r->plan_wake, NULL);
    pthread_cond_init(&r->wait_wake, NULL);
    read_settings(r);
    e = sq_crypt_start();
    if (!e)
        e = sq_identity_start();
    if (!e) {
        int worker = sq_node_take(r->node, "worker");
        worker_measure(r, worker);
        sq_close(&worker);
        if ((e = password_rules_open(r)))
            sq_log(SQ_LOG_failed, SQ_LW("what", "password_list"), SQ_LW("code", sq_err_name(e))); /* `admin config check` says where */
    }
    if (!e)
        e = open_records(r);
    if (e) {
        sq_log(SQ_LOG_failed, SQ_LW("what", "start"), SQ_LW("code", sq_err_name(e)));
        return e == SQ_ECONFIG ? 78 : 1; /* EX_CONFIG: starting again won't help */
    }
    handlers(r->node);
    if (confine_registrar())
        return 1;
    sq_log(SQ_LOG_started, SQ_LN("pid", getpid()), SQ_LN("uid", getuid()), SQ_LW("version", SQ_VERSION));
    if (sq_node_start(r->node, r))
        return 1;
    thread_start(recovery_main, r);
    thread_start(planner_main, r);
    thread_start(eraser_main, r);
    thread_start(deadlines_main, r);
    thread_start(admin_main, r);
    thread_start(mail_main, r);
    thread_start(register_main, r);
    thread_start(webhook_main, r);
    thread_start(syslog_main, r);
    sq_node_serve(r->node, "");
    if (has_recovered(r)) {
        e = record(r, &(struct event){.no = SQ_AUDIT_stopped});
        checkpoint_now(r);
    }
    pthread_mutex_lock(&r->lock); /* nobody is in the middle of anything */
    sq_audit_close(r->log);
    sq_db_close(r->db);
    _exit(0);
}
