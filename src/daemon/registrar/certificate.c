/*
 * The certificate that is served ends one day: told 21, 7 and 1 days before, and when it has ended, once each, in log and audit log; always in
 * `sequester admin status`. And new files, loaded while the service works: `sequester admin tls reload`.
 */
#include "daemon/registrar/admin.h"

#include <errno.h>
#include <time.h>

#define RELOAD_S 20
#define META "certificate_alarm" /* fingerprint, then the stage that was told last */

static const int stage_days[] = {21, 7, 1, 0};
#define N_STAGE 4u

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_known;
    int64_t not_after_s;
    uint8_t fingerprint[32];
    unsigned n_reload; /* answers of parent so far */
    sq_err code;
    uint32_t found;
} served = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

void on_tls_state(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    (void)ctx;
    pthread_mutex_lock(&served.lock);
    served.is_known = true;
    served.not_after_s = m->u.tls_state.not_after_s > INT64_MAX / 2 ? INT64_MAX / 2 : (int64_t)m->u.tls_state.not_after_s;
    memcpy(served.fingerprint, m->u.tls_state.fingerprint, sizeof served.fingerprint);
    pthread_mutex_unlock(&served.lock);
    sq_ask_ok(ask);
}

void certificate_on_parent(void *ctx, struct sq_packet *pkt, const struct sq_msg *m)
{
    (void)ctx, (void)pkt;
    if (m->no == SQ_MSG_net_reloaded)
        network_on_parent(m);
    if (m->no != SQ_MSG_tls_reloaded)
        return;
    pthread_mutex_lock(&served.lock);
    served.n_reload++;
    served.code = sq_err_from_no(m->u.tls_reloaded.code);
    served.found = m->u.tls_reloaded.found;
    pthread_cond_broadcast(&served.wake);
    pthread_mutex_unlock(&served.lock);
}

/* 0: far away; k: the k-th of stage_days is reached */
static unsigned stage_of(int64_t left_s)
{
    unsigned stage = 0;
    while (stage < N_STAGE && left_s <= (int64_t)stage_days[stage] * SQ_DAY_S)
        stage++;
    return stage;
}

struct alarm {
    uint8_t mark[33];
    int64_t not_after_s, left_s;
    bool is_new;
};

static sq_err tx_alarm(struct tx *tx, void *ctx)
{
    struct alarm *a = ctx;
    struct sq_buf old;
    sq_buf_init(&old, 64);
    sq_err e = sq_db_meta_get(tx->db, META, &old);
    bool is_told = !e && old.n == sizeof a->mark && !memcmp(old.p, a->mark, 32) && old.p[32] >= a->mark[32];
    sq_buf_done(&old);
    if (is_told)
        return SQ_OK;
    a->is_new = true;
    e = sq_db_meta_set(tx->db, META, sq_span_of(a->mark, sizeof a->mark));
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_certificate_ends, .a = (uint64_t)a->not_after_s, .b = (uint64_t)(a->left_s > 0 ? (a->left_s + SQ_DAY_S - 1) / SQ_DAY_S : 0)});
}

void certificate_look(struct registrar *r)
{
    static uint8_t told[33]; /* only deadlines_main comes here; the database remembers it across restarts */
    struct alarm a = {.is_new = false};
    pthread_mutex_lock(&served.lock);
    bool is_known = served.is_known;
    a.not_after_s = served.not_after_s;
    memcpy(a.mark, served.fingerprint, 32);
    pthread_mutex_unlock(&served.lock);
    a.left_s = a.not_after_s - sq_clock_now_s();
    a.mark[32] = (uint8_t)stage_of(a.left_s);
    if (!is_known || !a.mark[32] || !memcmp(told, a.mark, sizeof told))
        return;
    sq_err e = commit(r, tx_alarm, &a);
    if (e)
        return; /* the next turn */
    memcpy(told, a.mark, sizeof told);
    if (a.is_new)
        sq_log(SQ_LOG_certificate_ends, SQ_LN("days", a.left_s > 0 ? (a.left_s + SQ_DAY_S - 1) / SQ_DAY_S : 0), SQ_LN("ends", a.not_after_s));
}

json_t *certificate_status(void)
{
    char hex[65] = "";
    pthread_mutex_lock(&served.lock);
    bool is_known = served.is_known;
    int64_t ends_s = served.not_after_s;
    sq_hex(served.fingerprint, 32, hex);
    pthread_mutex_unlock(&served.lock);
    int64_t left_s = ends_s - sq_clock_now_s();
    const char *state = !is_known ? "unknown" : left_s <= 0 ? "expired" : stage_of(left_s) ? "ends_soon" : "good";
    json_t *j = json_pack("{s:s}", "state", state);
    if (is_known)
        json_object_update_new(j, json_pack("{s:o, s:I, s:s}", "ends", view_time(ends_s), "days_left", (json_int_t)(left_s > 0 ? left_s / SQ_DAY_S : 0), "sha256", hex));
    return j;
}

static json_t *findings_json(uint32_t found)
{
    json_t *list = json_array();
    for (unsigned no = 1; sq_x509_finding(no); no++)
        if (found & SQ_X509_BIT(no))
            json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "code", sq_x509_finding(no)->name, "message", sq_x509_finding(no)->text, "remedy", sq_x509_finding(no)->mend));
    return list;
}

sq_err admin_tls_reload(struct admin *a)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RELOAD_S;
    struct sq_msg m = sq_msg_bare(tls_reload);
    pthread_mutex_lock(&served.lock);
    unsigned before = served.n_reload;
    sq_err e = sq_node_tell(a->r->node, SQ_ROLE_PARENT, &m);
    int waited = 0;
    while (!e && served.n_reload == before && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&served.wake, &served.lock, &until);
    bool is_answered = served.n_reload != before;
    sq_err code = served.code;
    uint32_t found = served.found;
    pthread_mutex_unlock(&served.lock);
    if (e || !is_answered)
        return e ? e : sq_fail(SQ_ETIMEOUT);
    if (code && code != SQ_ECONFIG)
        return code;
    json_t *certificate = certificate_status();
    a->answer = json_pack("{s:b, s:o, s:o}", "taken", !code, "findings", findings_json(found), "certificate", certificate);
    return SQ_OK;
}
