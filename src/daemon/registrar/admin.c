/*
 * The operator's socket: `sequester admin ...` on the server itself. The kernel says which uid speaks. One message, one
 * answer; each verb is a row of the table below. What he can't do here, in any verb: read a genotype, a result, a key.
 */
#include "daemon/registrar/admin.h"

#include "lib/core/address.h"
#include "lib/core/file.h"
#include "lib/core/promises.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMPORT_MS (3600 * 1000)
#define PANEL_KEPT_S (INT64_C(100) * 365 * SQ_DAY_S)

const char *admin_arg(struct admin *a, const char *key)
{
    const char *s = json_string_value(json_object_get(a->args, key));
    if (!s || !*s) {
        sq_err e = sq_why_set(&a->why, SQ_EFIELD, 0, 0, key, "is missing");
        (void)e;
        return NULL;
    }
    return s;
}

/* ---- verbs ---- */

static sq_err do_unseal(struct admin *a)
{
    const char *passphrase = admin_arg(a, "passphrase");
    if (!passphrase)
        return sq_fail(SQ_EFIELD);
    struct sq_msg m = sq_msg_of(unseal, .passphrase = sq_span_str(passphrase));
    return keeper_do(a->r, &m);
}

static sq_err do_clock_confirm(struct admin *a)
{
    struct sq_msg m = sq_msg_bare(clock_confirm);
    sq_err e = keeper_do(a->r, &m);
    return e ? e : record(a->r, &(struct event){.no = SQ_AUDIT_clock_confirmed, .by = &a->by});
}

/* Every promise that depends on the machine, held or not: promises.def. */
static json_t *promises_json(uint64_t losses)
{
    json_t *all = json_array();
    for (unsigned i = 0; all && i < SQ_PROMISE_COUNT; i++) {
        const struct sq_promise_row *row = sq_promise_row_of((enum sq_promise)i);
        const struct sq_loss_row *loss = sq_loss_row_of(sq_promise_lost((enum sq_promise)i, losses));
        json_t *one = json_pack("{s:s, s:s, s:b}", "promise", row->name, "text", row->text, "held", !loss);
        if (loss && one)
            json_object_update_new(one, json_pack("{s:s, s:s, s:s}", "reason", loss->name, "why", loss->why, "mend", loss->mend));
        json_array_append_new(all, one);
    }
    return all;
}

sq_err admin_status(struct admin *a)
{
    struct registrar *r = a->r;
    bool is_unsealed = false;
    uint64_t signed_size = 0;
    sq_err e = keeper_learn(r, &is_unsealed, &signed_size);
    const char *key = e ? "away" : is_unsealed ? "unsealed" : "sealed";
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_bare(store_state), m;
    sq_err store = sq_node_call(r->node, SQ_ROLE_STORER, &ask, CALL_MS, pkt, &m);
    char filesystem[40] = "";
    if (!store && sq_span_copy(m.u.store_state_is.filesystem, filesystem, sizeof filesystem))
        filesystem[0] = 0;
    int64_t users = 0, active = 0, erasing = 0, failing = 0, damaged = 0;
    uint64_t bytes = 0;
    struct sq_db *db = db_lock(r);
    uint64_t size = sq_audit_size(r->log);
    e = sq_db_user_count(db, 0, &users);
    if (!e)
        e = sq_db_job_count_active(db, NULL, &active);
    if (!e)
        e = sq_db_object_count(db, NULL, SQ_DB_object_state_erasing, &erasing, &bytes);
    if (!e)
        e = sq_db_object_count(db, NULL, SQ_DB_object_state_damaged, &damaged, &bytes);
    if (!e)
        e = sq_db_object_count_erase_failed(db, &failing);
    db_unlock(r);
    const char *state = __atomic_load_n(&r->is_rollback, __ATOMIC_SEQ_CST) ? "rollback" : has_recovered(r) ? "up" : "waiting";
    a->answer = json_pack("{s:s, s:s, s:s, s:{s:I, s:I}, s:I, s:I, s:I, s:I, s:I, s:{s:s, s:I, s:b}}", "version", SQ_VERSION, "state", state, "key_service", key, "audit", "entries",
                          (json_int_t)size, "signed", (json_int_t)signed_size, "users", (json_int_t)users, "active_jobs", (json_int_t)active, "objects_erasing", (json_int_t)erasing,
                          "erase_failed", (json_int_t)failing, "objects_damaged", (json_int_t)damaged, "store", "filesystem", filesystem, "free_bytes", (json_int_t)(store ? 0 : m.u.store_state_is.free_bytes),
                          "overwriting_is_real", store ? 0 : (int)m.u.store_state_is.overwrite_is_real);
    json_object_set_new(a->answer, "promises", promises_json(sq_node_losses(r->node)));
    json_object_set_new(a->answer, "seal_to", json_string(sq_node_setting(r->node, "seal_to")));
    json_object_set_new(a->answer, "admin_sign_in", json_boolean(r->is_admin_sign_in));
    json_object_set_new(a->answer, "courier", notices_status(r));
    json_object_set_new(a->answer, "certificate", certificate_status());
    sq_packet_free(pkt);
    return e;
}

static sq_err do_mail_test(struct admin *a)
{
    const char *to = admin_arg(a, "to");
    sq_err e = to ? sq_mail_check(to, &a->why) : sq_fail(SQ_EFIELD);
    if (!e)
        a->answer = notices_mail_test(a->r, to);
    return e;
}

/* ---- panels ---- */

struct panel_adding {
    struct sq_db_panel row;
    struct sq_db_object object;
    const struct caller *by;
};

struct settled {
    const uint8_t *id;
    const struct object_sum *sum;
};

static sq_err tx_settled(struct tx *tx, void *ctx)
{
    const struct settled *s = ctx;
    return tx_object_live(tx, s->id, no_id, s->sum);
}

static sq_err tx_discard(struct tx *tx, void *ctx)
{
    struct panel_adding *x = ctx;
    return tx_object_erase(tx, x->row.object_id, x->by);
}

/* the operator's file becomes a sealed object of the site */
static sq_err import(struct registrar *r, int source, int kind, uint8_t out_id[ID])
{
    int fd = -1;
    uint8_t task[ID];
    struct task_result t = {.code = SQ_OK};
    sq_err e = id_new(task);
    if (!e)
        e = object_open(r, no_id, kind, sq_clock_now_s() + PANEL_KEPT_S, SQ_ROLE_RUNNER, NULL, out_id, &fd);
    if (!e)
        e = grant(r, task, 1, no_id, IMPORT_MS / 1000, NULL, 0, (const uint8_t(*)[ID])out_id, 1);
    struct sq_msg m = sq_msg_of(task_import, .fence = 1, .source = source, .file = fd);
    memcpy(m.u.task_import.task_id, task, ID);
    memcpy(m.u.task_import.object_id, out_id, ID);
    if (!e)
        e = task_run_and_wait(r, task, &m, IMPORT_MS, &t);
    if (fd >= 0)
        close(fd);
    grant_end(r, task);
    if (!e && t.n_sum != 1)
        e = sq_fail(SQ_EPROTO);
    if (!e)
        e = object_settle(r, out_id, no_id, t.sum[0].sealed_bytes);
    return e ? e : commit(r, tx_settled, &(struct settled){.id = out_id, .sum = &t.sum[0]});
}

/* hg19 and GRCh37 are one build, so are hg38 and GRCh38 */
static bool is_same_build(const char *a, const char *b)
{
    static const char *const same[][2] = {{"hg19", "GRCh37"}, {"hg38", "GRCh38"}};
    for (size_t i = 0; i < 2; i++) {
        bool has_a = !strcasecmp(a, same[i][0]) || !strcasecmp(a, same[i][1]), has_b = !strcasecmp(b, same[i][0]) || !strcasecmp(b, same[i][1]);
        if (has_a && has_b)
            return true;
    }
    return !strcmp(a, b);
}

/* What the panel says of itself. The operator may say the build of a panel that doesn't; he can't say another one. */
static sq_err take_info(struct admin *a, struct sq_db_panel *row, const struct task_result *t)
{
    if (t->build[0] && row->build[0] && !is_same_build(t->build, row->build))
        return sq_why_set(&a->why, SQ_EFIELD, 0, 0, "build", "the panel says that it is of %s", t->build);
    if (!row->build[0])
        snprintf(row->build, sizeof row->build, "%.*s", (int)sizeof row->build - 1, t->build);
    if (!row->build[0])
        return sq_why_set(&a->why, SQ_EFIELD, 0, 0, "build", "the panel doesn't say of which build it is: give it");
    if (!row->populations[0])
        snprintf(row->populations, sizeof row->populations, "%.*s", (int)sizeof row->populations - 1, t->populations);
    snprintf(row->chrom, sizeof row->chrom, "%s", t->chrom);
    row->samples = t->n_sample;
    row->haplotypes = t->n_haplotype;
    row->sites = t->n_site;
    row->first_bp = t->first_bp;
    row->last_bp = t->last_bp;
    return SQ_OK;
}

/* the sandbox reads it whole: is it sound, of which chromosome and build, with how many haplotypes? */
static sq_err inspect(struct admin *a, struct panel_adding *x)
{
    struct registrar *r = a->r;
    struct task_result t;
    uint8_t task[ID], sealed[8];
    int fd = -1;
    sq_err e = id_new(task);
    struct sq_db *db = db_lock(r);
    if (!e)
        e = sq_db_object_get(db, x->row.object_id, &x->object);
    db_unlock(r);
    if (!e)
        e = object_read(r, &x->object, &fd);
    sq_put_be64(sealed, x->object.sealed_bytes);
    struct sq_msg m = sq_msg_of(task_run, .fence = 1, .stage = SQ_STAGE_panel, .objects = {x->row.object_id, 1}, .ports = sq_span_of("\0", 1), .sealed_bytes = sq_span_of(sealed, 8),
                                .files = {.fd = {fd}, .n = 1}, .panel = sq_span_str(x->row.id), .max_samples = r->max_samples, .max_variants = r->max_variants);
    memcpy(m.u.task_run.task_id, task, ID);
    if (!e)
        e = grant(r, task, 1, no_id, IMPORT_MS / 1000, (const uint8_t(*)[ID])x->row.object_id, 1, NULL, 0);
    memset(&t, 0, sizeof t);
    if (!e)
        e = task_run_and_wait(r, task, &m, IMPORT_MS, &t);
    a->why = t.why;
    grant_end(r, task);
    sq_close(&fd);
    return e ? e : take_info(a, &x->row, &t);
}

static sq_err tx_panel(struct tx *tx, void *ctx)
{
    struct panel_adding *x = ctx;
    sq_err e = sq_db_panel_insert(tx->db, &x->row);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_panel_added, .by = x->by, .object = x->row.object_id, .a = x->row.haplotypes, .b = x->row.sites});
}

static sq_err is_good_panel_id(struct admin *a, const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789.-");
    return id[n] || n >= SQ_DB_PANEL_ID_BYTES ? sq_why_set(&a->why, SQ_EFIELD, 0, 0, "id", "must be made of a-z, 0-9, dot and hyphen, at most 63") : SQ_OK;
}

static sq_err do_panel_add(struct admin *a)
{
    struct panel_adding x = {.by = &a->by, .row = {.created_s = sq_clock_now_s()}};
    const char *id = admin_arg(a, "id"), *name = id ? admin_arg(a, "name") : NULL;
    const char *build = json_string_value(json_object_get(a->args, "build")), *populations = json_string_value(json_object_get(a->args, "populations"));
    struct stat st;
    if (!name)
        return sq_fail(SQ_EFIELD);
    if (a->n_fd != 1 || fstat(a->fd[0], &st) < 0 || !S_ISREG(st.st_mode))
        return sq_why_set(&a->why, SQ_EFIELD, 0, 0, "files", "needs the panel's file, and nothing else");
    sq_err e = is_good_panel_id(a, id);
    if (e)
        return e;
    snprintf(x.row.id, sizeof x.row.id, "%s", id);
    snprintf(x.row.name, sizeof x.row.name, "%s", name);
    snprintf(x.row.build, sizeof x.row.build, "%s", build ? build : "");
    snprintf(x.row.populations, sizeof x.row.populations, "%s", populations ? populations : "");
    struct sq_db_panel other;
    struct sq_db *db = db_lock(a->r);
    sq_err found = sq_db_panel_get(db, id, &other);
    db_unlock(a->r);
    if (!found)
        return sq_fail(SQ_EEXISTS);
    e = import(a->r, a->fd[0], SQ_DB_object_kind_panel, x.row.object_id);
    if (!e)
        e = inspect(a, &x);
    if (!e)
        e = commit(a->r, tx_panel, &x);
    if (e) {
        sq_err gone = commit(a->r, tx_discard, &x);
        (void)gone; /* else the sweep finds them */
        erase_wake(a->r);
        return e;
    }
    a->answer = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "id", x.row.id, "build", x.row.build, "populations", x.row.populations, "chromosome", x.row.chrom, "samples",
                          (json_int_t)x.row.samples, "haplotypes", (json_int_t)x.row.haplotypes, "sites", (json_int_t)x.row.sites,
                          "first_bp", (json_int_t)x.row.first_bp, "last_bp", (json_int_t)x.row.last_bp);
    return SQ_OK;
}

static sq_err tx_panel_gone(struct tx *tx, void *ctx)
{
    struct panel_adding *x = ctx;
    sq_err e = sq_db_panel_remove(tx->db, x->row.id, sq_clock_now_s());
    if (!e)
        e = tx_discard(tx, x);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_panel_removed, .by = x->by, .object = x->row.object_id});
}

static sq_err do_panel_remove(struct admin *a)
{
    struct panel_adding x = {.by = &a->by};
    const char *id = admin_arg(a, "id");
    struct sq_db *db = db_lock(a->r);
    sq_err e = id ? sq_db_panel_get(db, id, &x.row) : SQ_EFIELD;
    db_unlock(a->r);
    if (!e)
        e = commit(a->r, tx_panel_gone, &x);
    erase_wake(a->r);
    return e;
}

static sq_err do_check(struct admin *a)
{
    if (json_is_true(json_object_get(a->args, "mend")) && !has_recovered(a->r))
        return sq_why_set(&a->why, SQ_ECONFLICT, 0, 0, "mend", "only a service that is up is mended");
    return admin_check(a->r, a->args, &a->by, &a->answer);
}

static sq_err do_rollback_show(struct admin *a)
{
    return rollback_show(a->r, &a->answer);
}

static sq_err do_rollback_accept(struct admin *a)
{
    return rollback_accept(a->r, a->args, &a->by, &a->why);
}

/* ---- the socket ---- */

static const struct {
    const char *verb;
    sq_err (*run)(struct admin *a);
    bool is_always; /* also before recovery: while sealed, in rollback */
    enum admin_who who;
} verbs[] = {
    {"unseal", do_unseal, true, ADMIN_BY_UID},
    {"clock-confirm", do_clock_confirm, true, ADMIN_BY_UID},
    {"status", admin_status, true, ADMIN_BY_UID},
    {"key-status", admin_key_status, true, ADMIN_BY_UID},
    {"key-rotate", admin_key_rotate, false, ADMIN_BY_SECURITY},
    {"key-replace", admin_key_replace, false, ADMIN_BY_SECURITY},
    {"key-passphrase", admin_key_passphrase, false, ADMIN_BY_SECURITY},
    {"key-split", admin_key_split, false, ADMIN_BY_SECURITY},
    {"user-add", admin_user_add, false, ADMIN_BY_SECURITY},
    {"user-revoke", admin_user_revoke, false, ADMIN_BY_SECURITY},
    {"user-disable", admin_user_disable, false, ADMIN_BY_SECURITY},
    {"panel-add", do_panel_add, false, ADMIN_BY_OPERATOR},
    {"panel-remove", do_panel_remove, false, ADMIN_BY_OPERATOR},
    {"check", do_check, true, ADMIN_BY_UID},
    {"rollback-show", do_rollback_show, true, ADMIN_BY_UID},
    {"rollback-accept", do_rollback_accept, true, ADMIN_BY_UID},
    {"mail-test", do_mail_test, true, ADMIN_BY_UID},
    {"tls-reload", admin_tls_reload, true, ADMIN_BY_UID},
    {"network-reload", admin_network_reload, true, ADMIN_BY_UID},
    {"user-enable", admin_user_enable, false, ADMIN_BY_SECURITY},
    {"user-role", admin_user_role, false, ADMIN_BY_SECURITY},
    {"user-expire", admin_user_expire, false, ADMIN_BY_SECURITY},
    {"user-networks", admin_user_networks, false, ADMIN_BY_SECURITY},
    {"user-factors-reset", admin_user_factors_reset, false, ADMIN_BY_SECURITY},
    {"user-show", admin_user_show, false, ADMIN_BY_UID},
    {"user-list", admin_user_list, false, ADMIN_BY_UID},
    {"sessions-revoke", admin_sessions_revoke, false, ADMIN_BY_SECURITY},
};

static sq_err run_verb(struct admin *a, const struct sq_msg_admin *m)
{
    char verb[33];
    sq_err e = sq_span_copy(m->verb, verb, sizeof verb);
    if (e)
        return e;
    a->args = json_loadb((const char *)m->args.p, m->args.n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(a->args))
        return sq_fail(SQ_EJSON);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].verb, verb))
            continue;
        if (!verbs[i].is_always && !has_recovered(a->r)) {
            bool is_unsealed = false;
            uint64_t size;
            if (__atomic_load_n(&a->r->is_rollback, __ATOMIC_SEQ_CST))
                return sq_fail(SQ_EROLLBACK);
            e = keeper_learn(a->r, &is_unsealed, &size);
            return e ? e : is_unsealed ? SQ_EDOWN : SQ_ESEALED;
        }
        bool is_mending = verbs[i].run == do_check && json_is_true(json_object_get(a->args, "mend"));
        e = admin_sign_in(a, is_mending ? ADMIN_BY_OPERATOR : verbs[i].who, m->session);
        if (!e)
            e = verbs[i].run(a);
        sq_err kept = strcmp(verb, "status") && !__atomic_load_n(&a->r->is_rollback, __ATOMIC_SEQ_CST) ? record(a->r, &(struct event){.no = SQ_AUDIT_admin_action, .result = e, .by = &a->by, .a = i, .b = a->uid_too}) : SQ_OK;
        return e ? e : kept;
    }
    return sq_why_set(&a->why, SQ_EFIELD, 0, 0, "verb", "is not known to this server");
}

static void serve_one(struct registrar *r, int sock)
{
    struct ucred who;
    socklen_t n = sizeof who;
    struct sq_packet *pkt = sq_packet_new();
    struct sq_msg m;
    struct admin a = {.r = r};
    sq_err e = pkt && !getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &who, &n) ? SQ_OK : sq_fail(SQ_ESYS);
    if (!e)
        e = sq_wire_hello(sock, SQ_ROLE_REGISTRAR, SQ_ROLE_ADMIN);
    if (!e)
        e = sq_wire_recv(sock, SQ_ROLE_ADMIN, SQ_ROLE_REGISTRAR, pkt, &m);
    if (!e && m.no == SQ_MSG_admin) {
        a.n_fd = m.u.admin.files.n;
        memcpy(a.fd, m.u.admin.files.fd, sizeof a.fd);
        e = caller_operator(r, who.uid, &a.by);
        if (!e)
            e = run_verb(&a, &m.u.admin);
        if (e) {
            json_decref(a.answer);
            a.answer = view_why(e, &a.why);
        } else if (!a.answer) {
            a.answer = json_object();
        }
        char *text = json_dumps(a.answer, JSON_COMPACT);
        struct sq_msg is = sq_msg_of(admin_is, .code = (uint16_t)e, .body = sq_span_str(text ? text : "{}"));
        sq_err sent = sq_wire_send(sock, SQ_ROLE_REGISTRAR, SQ_ROLE_ADMIN, &is);
        (void)sent; /* an operator who went away */
        json_malloc_t take;
        json_free_t give;
        json_get_alloc_funcs(&take, &give);
        give(text);
        json_decref(a.answer);
        json_decref(a.args);
    }
    sq_packet_free(pkt);
    close(sock);
}

struct visit {
    struct registrar *r;
    int sock;
};

static void *visit_main(void *arg_)
{
    struct visit v = *(struct visit *)arg_;
    free(arg_);
    serve_one(v.r, v.sock);
    return NULL;
}

void *admin_main(void *arg_)
{
    struct registrar *r = arg_;
    for (;;) {
        int sock = accept4(r->admin_fd, NULL, NULL, SOCK_CLOEXEC);
        if (sock < 0) {
            usleep(100000);
            continue;
        }
        struct timeval limit = {.tv_sec = 30};
        setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        struct visit *v = malloc(sizeof *v);
        pthread_t t;
        if (v) {
            *v = (struct visit){r, sock};
            if (!pthread_create(&t, NULL, visit_main, v)) {
                pthread_detach(t);
                continue;
            }
            free(v);
        }
        close(sock);
    }
    return NULL;
}
