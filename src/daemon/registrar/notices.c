/*
 * What users and the webhook are told: an outbox in the database. A row is put in by the transaction that makes the change
 * (tx_notice), and sent afterwards by a thread of its channel, so that a mail server that is dead, slow or lying delays a
 * mail and nothing else: no job, no deadline, no erasure waits for it.
 *
 * A row is tried until courier says that it was taken over: after 1, 5, 15 minutes, 1 hour, then every 4 hours, for 3 days.
 * A crash between the server's answer and our commit sends it twice, with the same Message-ID (webhook-id); never less than once.
 *
 * Syslog has no rows: the audit log itself is its outbox, and a cursor says how far the collector has it.
 */
#include "daemon/registrar/registrar.h"

#include "lib/core/file.h"
#include "lib/mail/mail.h"
#include "lib/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define TURN_MS 500
#define SEND_MS 150000         /* courier gives up before */
#define TRIED_FOR_S (3 * SQ_DAY_S)
#define REMIND_AHEAD_S (2 * SQ_DAY_S)
#define TOKEN_ENDS_S (7 * SQ_DAY_S)    /* templates.def: "within a week" */
#define ACCOUNT_ENDS_S (14 * SQ_DAY_S) /* "within two weeks" */
#define NOT_YET_S 10           /* the data of an upload is still being overwritten */
#define KEEPER_WAIT_S 30       /* sealed: no try of the mail server's */
#define AFTER_FAILURE_TURNS 10 /* a collector that is down isn't asked each turn */
#define ALARM_S 3600
#define KEPT_S (90 * SQ_DAY_S)
#define MAX_OBJECTS 2048
#define LINES_MAX_BYTES 49152
#define LINE_MAX_BYTES 1024    /* an entry's JSON is shorter: fixed fields and names of ours */
#define LINES_AT_ONCE 256

_Static_assert((int)SQ_DB_notice_kind_job_finished == SQ_TEMPLATE_job_finished && (int)SQ_DB_notice_kind_job_failed == SQ_TEMPLATE_job_failed &&
                   (int)SQ_DB_notice_kind_reminder == SQ_TEMPLATE_reminder && (int)SQ_DB_notice_kind_job_erased == SQ_TEMPLATE_job_erased &&
                   (int)SQ_DB_notice_kind_upload_erased == SQ_TEMPLATE_upload_erased && (int)SQ_DB_notice_kind_job_late == SQ_TEMPLATE_job_late &&
                   (int)SQ_DB_notice_kind_account_verify == SQ_TEMPLATE_account_verify && (int)SQ_DB_notice_kind_account_exists == SQ_TEMPLATE_account_exists &&
                   (int)SQ_DB_notice_kind_password_reset == SQ_TEMPLATE_password_reset && (int)SQ_DB_notice_kind_password_changed == SQ_TEMPLATE_password_changed &&
                   (int)SQ_DB_notice_kind_factor_changed == SQ_TEMPLATE_factor_changed && (int)SQ_DB_notice_kind_mail_changed == SQ_TEMPLATE_mail_changed &&
                   (int)SQ_DB_notice_kind_token_created == SQ_TEMPLATE_token_created && (int)SQ_DB_notice_kind_new_place == SQ_TEMPLATE_new_place &&
                   (int)SQ_DB_notice_kind_attempts == SQ_TEMPLATE_attempts && (int)SQ_DB_notice_kind_token_ending == SQ_TEMPLATE_token_ending &&
                   (int)SQ_DB_notice_kind_account_ending == SQ_TEMPLATE_account_ending && (int)SQ_DB_notice_kind_factors_reset == SQ_TEMPLATE_factors_reset &&
                   (int)SQ_DB_notice_kind_mail_confirm == SQ_TEMPLATE_mail_confirm,
               "kinds of notices are templates");

static const struct channel {
    int no;
    const char *name, *key; /* of the configuration */
    enum sq_audit_event sent, failed, given_up;
} channels[] = {
    {SQ_DB_notice_channel_mail, "mail", "smtp_url", SQ_AUDIT_mail_sent, SQ_AUDIT_mail_failed, SQ_AUDIT_mail_given_up},
    {SQ_DB_notice_channel_webhook, "webhook", "webhook_url", SQ_AUDIT_webhook_sent, SQ_AUDIT_webhook_failed, SQ_AUDIT_webhook_given_up},
};

static bool is_on(const struct registrar *r, const char *key)
{
    const char *url = sq_node_setting(r->node, key);
    return url && *url;
}

/* ---- put in, with the change ---- */

static sq_err insert(struct tx *tx, int channel, int kind, int state, const uint8_t user[ID], const char *job_id, const uint8_t *upload_id)
{
    int64_t now = sq_clock_now_s();
    struct sq_db_notice n = {.channel = channel, .kind = kind, .state = state, .next_s = now, .created_s = now,
                             .ended_s = state == SQ_DB_notice_state_waiting ? 0 : now};
    memcpy(n.user_id, user, ID);
    if (job_id)
        snprintf(n.job_id, sizeof n.job_id, "%s", job_id);
    if (upload_id)
        memcpy(n.upload_id, upload_id, ID);
    sq_err e = id_new(n.id);
    return e ? e : sq_db_notice_insert(tx->db, &n);
}

static bool is_of_account(int kind)
{
    return kind >= SQ_DB_notice_kind_account_verify;
}

/* What concerns the account itself is told in any case. */
static bool wants_mail(const struct sq_db_user *u, int kind)
{
    return u->mail_sealed.n && (u->is_notified || is_of_account(kind)) && !u->is_disabled;
}

static sq_err insert_account(struct tx *tx, int kind, const uint8_t user[ID], const uint8_t *link, const struct sq_db_sealed *to)
{
    int64_t now = sq_clock_now_s();
    struct sq_db_notice n = {.channel = SQ_DB_notice_channel_mail, .kind = kind, .state = SQ_DB_notice_state_waiting, .next_s = now, .created_s = now};
    memcpy(n.user_id, user, ID);
    if (link)
        memcpy(n.link_id, link, ID);
    if (to)
        n.mail_sealed = *to;
    sq_err e = id_new(n.id);
    return e ? e : sq_db_notice_insert(tx->db, &n);
}

sq_err tx_account_notice(struct tx *tx, int kind, const uint8_t user[ID], const uint8_t *link)
{
    struct sq_db_user row;
    sq_err e = sq_db_user_get(tx->db, user, &row);
    if (e || !is_on(tx->r, "smtp_url") || !wants_mail(&row, kind))
        return e;
    return insert_account(tx, kind, user, link, NULL);
}

sq_err tx_account_notice_to(struct tx *tx, int kind, const uint8_t user[ID], const struct sq_db_sealed *to, const uint8_t *link)
{
    return is_on(tx->r, "smtp_url") && to->n ? insert_account(tx, kind, user, link, to) : SQ_OK;
}

sq_err tx_account_notice_daily(struct tx *tx, int kind, const uint8_t user[ID])
{
    int64_t n = 0;
    sq_err e = sq_db_notice_count(tx->db, user, kind, sq_clock_now_s() - SQ_DAY_S, &n);
    return e || n ? e : tx_account_notice(tx, kind, user, NULL);
}

sq_err tx_notice(struct tx *tx, int kind, const uint8_t owner[ID], const char *job_id, const uint8_t *upload_id)
{
    struct sq_db_user user;
    bool is_told = false;
    sq_err e = SQ_OK;
    for (size_t i = 0; i < sizeof channels / sizeof channels[0] && !e; i++) {
        if (!is_on(tx->r, channels[i].key))
            continue;
        if (channels[i].no == SQ_DB_notice_channel_mail) {
            sq_err found = sq_db_user_get(tx->db, owner, &user);
            if (found == SQ_ENOTFOUND || (!found && !wants_mail(&user, kind)))
                continue;
            e = found;
        }
        if (!e)
            e = insert(tx, channels[i].no, kind, SQ_DB_notice_state_waiting, owner, job_id, upload_id);
        is_told = true;
    }
    if (!e && !is_told && kind == SQ_DB_notice_kind_reminder) /* so that it isn't looked at again each turn */
        e = insert(tx, SQ_DB_notice_channel_mail, kind, SQ_DB_notice_state_moot, owner, job_id, upload_id);
    return e;
}

struct to_remind {
    struct sq_db_job job[32];
    size_t n;
};

static sq_err take_job(void *ctx, const struct sq_db_job *job)
{
    struct to_remind *t = ctx;
    t->job[t->n++] = *job;
    return SQ_OK;
}

static sq_err tx_remind(struct tx *tx, void *ctx)
{
    const struct sq_db_job *job = ctx;
    return tx_notice(tx, SQ_DB_notice_kind_reminder, job->owner_id, job->id, NULL);
}

void notices_remind(struct registrar *r)
{
    static struct to_remind t; /* only the thread of the deadlines comes here */
    if (!is_on(r, "smtp_url") && !is_on(r, "webhook_url"))
        return;
    t.n = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_jobs_to_remind(db, sq_clock_now_s(), REMIND_AHEAD_S, 32, take_job, &t);
    db_unlock(r);
    for (size_t i = 0; i < t.n && !e; i++)
        e = commit(r, tx_remind, &t.job[i]);
    if (e)
        sq_log(SQ_LOG_failed, SQ_LW("what", "reminders"), SQ_LW("code", sq_err_name(e)));
}

/* ---- what one signs in with, and its end ---- */

struct to_tell {
    uint8_t user[64][ID];
    size_t n;
    int kind;
};

static sq_err take_token_owner(void *ctx, const struct sq_db_token *row)
{
    struct to_tell *t = ctx;
    for (size_t i = 0; i < t->n; i++)
        if (!memcmp(t->user[i], row->user_id, ID))
            return SQ_OK; /* one mail for all that end this week */
    memcpy(t->user[t->n++], row->user_id, ID);
    return SQ_OK;
}

static sq_err take_user(void *ctx, const struct sq_db_user *row)
{
    struct to_tell *t = ctx;
    memcpy(t->user[t->n++], row->id, ID);
    return SQ_OK;
}

static sq_err tx_tell(struct tx *tx, void *ctx)
{
    const struct to_tell *t = ctx;
    sq_err e = SQ_OK;
    for (size_t i = 0; i < t->n && !e; i++)
        e = tx_account_notice(tx, t->kind, t->user[i], NULL);
    return e;
}

void notices_ending(struct registrar *r)
{
    struct to_tell tokens = {.kind = SQ_DB_notice_kind_token_ending}, users = {.kind = SQ_DB_notice_kind_account_ending};
    int64_t now = sq_clock_now_s();
    if (!is_on(r, "smtp_url"))
        return;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_tokens_ending(db, now, TOKEN_ENDS_S, 64, take_token_owner, &tokens);
    if (!e)
        e = sq_db_users_ending(db, now, ACCOUNT_ENDS_S, 64, take_user, &users);
    db_unlock(r);
    if (!e && tokens.n)
        e = commit(r, tx_tell, &tokens);
    if (!e && users.n)
        e = commit(r, tx_tell, &users);
    if (e)
        sq_log(SQ_LOG_failed, SQ_LW("what", "ending"), SQ_LW("code", sq_err_name(e)));
}

sq_err tx_notices_chores(struct tx *tx)
{
    int64_t n;
    return sq_db_notice_delete_ended(tx->db, sq_clock_now_s() - KEPT_S, &n);
}

/* ---- what goes along ---- */

struct parcel {
    struct sq_db_notice row;
    struct sq_db_user user;
    char id[2 * ID + SQ_DB_JOB_ID_BYTES]; /* of the job or upload, as the owner knows it */
    uint16_t why;
    int64_t until_s;
    uint8_t object[MAX_OBJECTS][ID];
    size_t n_object;
    uint32_t n_receipt, n_receipt_all;
    struct sq_buf receipts;
    struct sq_db_link link;
    int template; /* the row's kind, but where another mail takes its place */
    bool is_moot, is_early;
};

static sq_err take_object(void *ctx, const struct sq_db_object *row)
{
    struct parcel *p = ctx;
    if (row->kind == SQ_DB_object_kind_panel)
        return SQ_OK;
    p->is_early = p->is_early || row->state == SQ_DB_object_state_erasing;
    if (row->erased_s > p->until_s)
        p->until_s = row->erased_s;
    for (size_t i = 0; i < p->n_object; i++)
        if (!memcmp(p->object[i], row->id, ID))
            return SQ_OK;
    p->n_receipt_all++;
    if (row->has_receipt && p->n_object < MAX_OBJECTS)
        memcpy(p->object[p->n_object++], row->id, ID);
    return SQ_OK;
}

static sq_err take_upload_objects(struct sq_db *db, const uint8_t upload_id[ID], struct parcel *p)
{
    struct sq_db_upload u;
    struct sq_db_object row;
    sq_err e = is_zero(upload_id) ? SQ_ENOTFOUND : sq_db_upload_get(db, upload_id, &u);
    if (e)
        return e == SQ_ENOTFOUND ? SQ_OK : e;
    const uint8_t *id[] = {u.object_id, u.ids_object_id, u.genotypes_object_id};
    for (size_t i = 0; i < 3 && !e; i++)
        if (!is_zero(id[i]) && !sq_db_object_get(db, id[i], &row))
            e = take_object(p, &row);
    return e;
}

static sq_err add_receipts(struct sq_db *db, struct parcel *p)
{
    /* the job's own first: it binds the others, also those that find no place */
    sq_err e = p->row.kind == SQ_DB_notice_kind_job_erased ? sq_db_job_receipt(db, p->row.job_id, &p->receipts) : SQ_OK;
    if (e == SQ_ENOTFOUND)
        e = SQ_OK;
    for (size_t i = 0; i < p->n_object && !e; i++) {
        size_t before = p->receipts.n;
        e = sq_db_object_receipt(db, p->object[i], &p->receipts);
        if (e == SQ_ETOOBIG) { /* the others can be had from the service: the mail says so */
            p->receipts.n = before;
            return SQ_OK;
        }
        p->n_receipt += !e;
    }
    return e;
}

static sq_err load_job(struct sq_db *db, struct parcel *p)
{
    struct sq_db_job job;
    sq_err e = sq_db_job_get(db, p->row.job_id, &job);
    if (e) {
        p->is_moot = e == SQ_ENOTFOUND;
        return e == SQ_ENOTFOUND ? SQ_OK : e;
    }
    snprintf(p->id, sizeof p->id, "%s", job.id);
    p->until_s = job.expires_s;
    p->why = (uint16_t)job.why.err;
    bool is_there = job.state == SQ_DB_job_state_done && (job.claim_state != SQ_DB_claim_state_confirmed || job.has_seal_key) && job.expires_s > sq_clock_now_s();
    bool tells_of_result = p->row.kind == SQ_DB_notice_kind_job_finished || p->row.kind == SQ_DB_notice_kind_reminder;
    bool is_at_work = job.state >= SQ_DB_job_state_queued && job.state < SQ_DB_job_state_done;
    p->is_moot = p->is_moot || (p->row.channel == SQ_DB_notice_channel_mail && ((tells_of_result && !is_there) || (p->row.kind == SQ_DB_notice_kind_job_late && !is_at_work)));
    if (p->row.kind != SQ_DB_notice_kind_job_erased)
        return SQ_OK;
    p->until_s = 0;
    e = sq_db_job_objects(db, job.id, take_object, p);
    return e ? e : take_upload_objects(db, job.upload_id, p);
}

static sq_err load_upload(struct sq_db *db, struct parcel *p)
{
    sq_hex(p->row.upload_id, ID, p->id);
    return take_upload_objects(db, p->row.upload_id, p);
}

/* A link that was used, replaced or is too old isn't sent any more. */
static sq_err load_account(struct sq_db *db, struct parcel *p)
{
    struct sq_db_user before;
    sq_err ends = SQ_OK;
    if (p->row.kind == SQ_DB_notice_kind_token_ending)
        ends = sq_db_token_next_end(db, p->row.user_id, sq_clock_now_s(), &p->until_s);
    else if (p->row.kind == SQ_DB_notice_kind_account_ending)
        p->until_s = p->user.expires_s;
    if (p->row.kind == SQ_DB_notice_kind_token_ending || p->row.kind == SQ_DB_notice_kind_account_ending) {
        p->is_moot = p->is_moot || !p->until_s; /* ended by its owner, or prolonged without end */
        return ends;
    }
    if (is_zero(p->row.link_id))
        return SQ_OK;
    sq_err e = sq_db_link_get(db, p->row.link_id, &p->link);
    p->is_moot = p->is_moot || e == SQ_ENOTFOUND || (!e && p->link.expires_s <= sq_clock_now_s());
    if (e)
        return e == SQ_ENOTFOUND ? SQ_OK : e;
    p->until_s = p->link.expires_s;
    if (p->link.kind == SQ_DB_link_kind_mail) /* until here nothing differs, so who asked can't see it: its owner alone is told, and gets no code */
        e = address_may_move(db, p->link.mail_hmac, p->row.user_id, &before);
    if (e == SQ_EEXISTS) {
        p->link = (struct sq_db_link){.kind = 0};
        p->template = SQ_TEMPLATE_account_exists;
        e = SQ_OK;
    }
    return e;
}

/* lock held */
static sq_err load(struct sq_db *db, int channel, struct parcel *p)
{
    sq_err e = sq_db_notice_next(db, channel, sq_clock_now_s(), &p->row);
    if (e)
        return e;
    p->template = p->row.kind;
    if (channel == SQ_DB_notice_channel_mail) {
        sq_err found = sq_db_user_get(db, p->row.user_id, &p->user);
        if (!found && p->row.mail_sealed.n)
            p->user.mail_sealed = p->row.mail_sealed;
        p->is_moot = found == SQ_ENOTFOUND || (!found && !wants_mail(&p->user, p->row.kind));
        e = found == SQ_ENOTFOUND ? SQ_OK : found;
    }
    if (!e)
        e = is_of_account(p->row.kind) ? load_account(db, p) : p->row.job_id[0] ? load_job(db, p) : load_upload(db, p);
    if (!e && !p->is_moot && !p->is_early && channel == SQ_DB_notice_channel_mail)
        e = add_receipts(db, p);
    return e;
}

/* ---- send ---- */

struct sent {
    unsigned end, code;
};

static void ask_courier(struct registrar *r, const struct sq_msg *ask, struct sent *out, char *detail, size_t detail_size)
{
    struct sq_packet *pkt = sq_packet_new();
    struct sq_msg m;
    sq_err e = pkt ? sq_node_call(r->node, SQ_ROLE_COURIER, ask, SEND_MS, pkt, &m) : sq_fail(SQ_ENOMEM);
    *out = (struct sent){.end = e == SQ_EDOWN || e == SQ_ETIMEOUT ? SQ_SEND_away : e == SQ_EFIELD ? SQ_SEND_address : SQ_SEND_internal};
    if (!e)
        *out = (struct sent){.end = m.u.sent_is.end, .code = m.u.sent_is.code};
    if (detail && (e || sq_span_copy(m.u.sent_is.detail, detail, detail_size)))
        *detail = 0;
    sq_packet_free(pkt);
}

static void send_mail(struct registrar *r, const struct parcel *p, struct sent *out)
{
    struct sq_msg m = sq_msg_of(mail_send, .template = (uint8_t)p->template, .sealed = sq_span_of(p->user.mail_sealed.p, p->user.mail_sealed.n),
                                .job = sq_span_str(p->id), .until_s = (uint64_t)p->until_s, .why = p->why, .n_receipt = p->n_receipt,
                                .n_receipt_all = p->n_receipt_all);
    memcpy(m.u.mail_send.notice_id, p->row.id, ID);
    memcpy(m.u.mail_send.owner_id, p->row.user_id, ID);
    if (!is_zero(p->link.id)) {
        memcpy(m.u.mail_send.link_id, p->link.id, ID);
        m.u.mail_send.link_kind = (uint8_t)p->link.kind;
        m.u.mail_send.link_expires_s = (uint64_t)p->link.expires_s;
        m.u.mail_send.link = sq_span_of(p->link.sealed.p, p->link.sealed.n);
    }
    int fd = -1;
    sq_err e = SQ_OK;
    if (p->receipts.n) {
        fd = memfd_create("receipts", MFD_CLOEXEC);
        e = fd < 0 ? sq_fail(SQ_ESYS) : sq_write_all(fd, p->receipts.p, p->receipts.n);
        m.u.mail_send.receipts = (struct sq_fds){.fd = {fd}, .n = 1};
    }
    *out = (struct sent){.end = SQ_SEND_internal};
    if (!e)
        ask_courier(r, &m, out, NULL, 0);
    sq_close(&fd);
}

static void send_hook(struct registrar *r, const struct parcel *p, struct sent *out)
{
    struct sq_buf body;
    sq_buf_init(&body, 4096);
    sq_err e = sq_hook_body((enum sq_template)p->row.kind, p->id, p->row.created_s, p->until_s, &body);
    struct sq_msg m = sq_msg_of(hook_send, .body = sq_span_of(body.p, body.n));
    memcpy(m.u.hook_send.notice_id, p->row.id, ID);
    *out = (struct sent){.end = SQ_SEND_internal};
    if (!e)
        ask_courier(r, &m, out, NULL, 0);
    sq_buf_done(&body);
}

/* ---- what came of it ---- */

static int64_t pause_s(int64_t tries)
{
    static const int64_t pauses[] = {60, 300, 900, 3600, 4 * 3600};
    size_t last = sizeof pauses / sizeof pauses[0] - 1;
    return pauses[tries >= 1 && (size_t)tries <= last ? (size_t)tries - 1 : tries < 1 ? 0 : last];
}

struct outcome {
    const struct sq_db_notice *row;
    const struct channel *channel;
    int state;
    int64_t tries, next_s;
    struct sent sent;
    bool is_counted; /* an attempt was made: it has its event */
};

static sq_err tx_outcome(struct tx *tx, void *ctx)
{
    const struct outcome *o = ctx;
    uint8_t id[ID];
    memcpy(id, o->row->upload_id, ID);
    if (o->row->job_id[0])
        job_audit_id(o->row->job_id, id);
    sq_err e = sq_db_notice_tried(tx->db, o->row->no, o->state, o->tries, o->next_s, o->sent.end, o->sent.code, sq_clock_now_s());
    if (e || !o->is_counted)
        return e;
    bool is_sent = o->state == SQ_DB_notice_state_sent, is_over = o->state == SQ_DB_notice_state_given_up;
    return tx_event(tx, &(struct event){.no = is_sent ? o->channel->sent : is_over ? o->channel->given_up : o->channel->failed,
                                        .subject = o->row->user_id, .object = id, .a = (uint64_t)o->tries, .b = o->sent.code});
}

static struct outcome judge(const struct channel *c, const struct parcel *p, struct sent sent)
{
    int64_t now = sq_clock_now_s();
    struct outcome o = {.row = &p->row, .channel = c, .state = SQ_DB_notice_state_waiting, .tries = p->row.tries, .sent = sent, .is_counted = true};
    if (p->is_moot || p->is_early || sent.end == SQ_SEND_keeper) {
        o.is_counted = false;
        o.state = p->is_moot ? SQ_DB_notice_state_moot : o.state;
        o.next_s = now + (p->is_early ? NOT_YET_S : KEEPER_WAIT_S);
        return o;
    }
    o.tries++;
    o.next_s = now + pause_s(o.tries);
    if (sq_send_then(sent.end) == SQ_THEN_DONE)
        o.state = SQ_DB_notice_state_sent;
    else if (sq_send_then(sent.end) == SQ_THEN_NEVER || o.next_s > p->row.created_s + TRIED_FOR_S)
        o.state = SQ_DB_notice_state_given_up;
    return o;
}

/* Something couldn't be brought for more than an hour: said once an hour. */
static void alarm_if_overdue(struct registrar *r, const struct channel *c, const struct outcome *o, int64_t *last_alarm_s)
{
    struct sq_db_notice_sum sum = {0};
    int64_t now = sq_clock_now_s(), waited_s = now - o->row->created_s;
    if (sq_send_then(o->sent.end) != SQ_THEN_AGAIN || waited_s <= ALARM_S || now - *last_alarm_s < ALARM_S)
        return;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_notice_sum(db, c->no, &sum);
    db_unlock(r);
    (void)e; /* then the number of those that wait isn't known */
    *last_alarm_s = now;
    sq_log(SQ_LOG_send_overdue, SQ_LW("channel", c->name), SQ_LW("end", sq_send_name(o->sent.end)), SQ_LN("waiting", sum.n_waiting), SQ_LN("minutes", waited_s / 60));
}

/* One row. False when there is nothing to do now, or the other side is in trouble. */
static bool one(struct registrar *r, const struct channel *c, struct parcel *p, int64_t *last_alarm_s)
{
    struct sent sent = {.end = 0};
    *p = (struct parcel){.n_object = 0};
    sq_buf_init(&p->receipts, SQ_MAIL_RECEIPTS_MAX_BYTES);
    struct sq_db *db = db_lock(r);
    sq_err e = load(db, c->no, p);
    db_unlock(r);
    bool is_found = !e;
    if (!e && !p->is_moot && !p->is_early) {
        if (c->no == SQ_DB_notice_channel_mail)
            send_mail(r, p, &sent);
        else
            send_hook(r, p, &sent);
        if (sent.end == SQ_SEND_sent)
            e = sq_fault("notice.sent");
    }
    sq_buf_done(&p->receipts);
    struct outcome o = judge(c, p, sent);
    if (is_found && !e)
        e = commit(r, tx_outcome, &o);
    if (e && e != SQ_ENOTFOUND)
        sq_log(SQ_LOG_failed, SQ_LW("what", "notice"), SQ_LW("code", sq_err_name(e)));
    bool is_failed = is_found && o.is_counted && o.state != SQ_DB_notice_state_sent;
    if (is_failed) {
        sq_log(SQ_LOG_send_failed, SQ_LW("channel", c->name), SQ_LID("id", p->row.id, ID), SQ_LW("end", sq_send_name(sent.end)), SQ_LN("code", sent.code),
               SQ_LN("tries", o.tries), SQ_LW("then", o.state == SQ_DB_notice_state_waiting ? "again" : "given_up"));
        alarm_if_overdue(r, c, &o, last_alarm_s);
    }
    return is_found && !e && !is_failed && sent.end != SQ_SEND_keeper;
}

static void *channel_main(struct registrar *r, const struct channel *c)
{
    struct parcel *p = calloc(1, sizeof *p);
    int64_t last_alarm_s = 0;
    sq_assert(p);
    for (;;) {
        usleep(TURN_MS * 1000);
        while (has_recovered(r) && is_on(r, c->key) && one(r, c, p, &last_alarm_s))
            ;
    }
    return NULL;
}

void *mail_main(void *r)
{
    return channel_main(r, &channels[0]);
}

void *webhook_main(void *r)
{
    return channel_main(r, &channels[1]);
}

/* ---- syslog ---- */

struct lines {
    char host[128];
    struct sq_buf text;
    uint64_t last; /* entry */
};

static sq_err add_line(void *ctx, const struct sq_audit_entry *entry, struct sq_span bytes)
{
    (void)bytes;
    struct lines *l = ctx;
    struct sq_buf json;
    if (l->text.n + LINE_MAX_BYTES > LINES_MAX_BYTES)
        return SQ_ETOOBIG; /* the next turn goes on here */
    sq_buf_init(&json, LINE_MAX_BYTES);
    const char *name = sq_audit_event_name(entry->event);
    enum sq_syslog_severity severity = entry->result                                           ? SQ_SYSLOG_WARNING
                                       : sq_audit_event_class(entry->event) == SQ_AUDIT_ERASURE ? SQ_SYSLOG_NOTICE
                                                                                                : SQ_SYSLOG_INFO;
    sq_err e = sq_audit_entry_print(entry, true, &json);
    if (!e)
        e = sq_buf_add(&json, "", 1);
    if (!e)
        e = sq_syslog_line(severity, entry->time_ms, l->host, name ? name : "-", (const char *)json.p, &l->text);
    if (!e)
        l->last = entry->number;
    sq_buf_done(&json);
    return e;
}

static sq_err tx_cursor(struct tx *tx, void *ctx)
{
    return sq_db_meta_set_no(tx->db, SYSLOG_CURSOR_KEY, (int64_t)*(const uint64_t *)ctx);
}

/* Where the collector is; a collector that is new here begins with the next entry. */
static sq_err cursor_get(struct registrar *r, uint64_t *out_cursor, uint64_t *out_size)
{
    int64_t at = 0;
    struct sq_db *db = db_lock(r);
    uint64_t size = sq_audit_size(r->log);
    sq_err e = sq_db_meta_get_no(db, SYSLOG_CURSOR_KEY, &at);
    db_unlock(r);
    *out_cursor = e ? size : (uint64_t)at;
    *out_size = size;
    return e == SQ_ENOTFOUND ? commit(r, tx_cursor, out_cursor) : e;
}

/* True when there is more to send at once. */
static bool syslog_turn(struct registrar *r, unsigned *out_end)
{
    uint64_t at = 0, size = 0;
    struct lines l = {.last = 0};
    struct sent sent;
    *out_end = SQ_SEND_sent;
    sq_err e = cursor_get(r, &at, &size);
    if (e || at >= size)
        return false;
    snprintf(l.host, sizeof l.host, "%.*s", (int)strcspn(r->origin, "/ "), r->origin);
    sq_buf_init(&l.text, LINES_MAX_BYTES);
    db_lock(r);
    e = sq_audit_read(r->log, at + 1, LINES_AT_ONCE, add_line, &l);
    db_unlock(r);
    if (e == SQ_ETOOBIG && l.last)
        e = SQ_OK;
    struct sq_msg m = sq_msg_of(syslog_send, .lines = sq_span_of(l.text.p, l.text.n));
    if (!e && l.last)
        ask_courier(r, &m, &sent, NULL, 0);
    if (!e && l.last)
        *out_end = sent.end;
    if (!e && *out_end == SQ_SEND_sent && l.last)
        e = commit(r, tx_cursor, &l.last);
    sq_buf_done(&l.text);
    if (e)
        sq_log(SQ_LOG_failed, SQ_LW("what", "syslog"), SQ_LW("code", sq_err_name(e)));
    return !e && *out_end == SQ_SEND_sent && l.last && l.last < size;
}

static unsigned syslog_end; /* atomic: how the last batch ended, for the status; 0: none yet */

void *syslog_main(void *arg)
{
    struct registrar *r = arg;
    int64_t last_said_s = 0;
    for (unsigned wait = 0;;) {
        usleep(TURN_MS * 1000);
        if (!has_recovered(r) || !is_on(r, "syslog_url") || (wait && wait--))
            continue;
        unsigned end;
        while (syslog_turn(r, &end))
            ;
        __atomic_store_n(&syslog_end, end, __ATOMIC_SEQ_CST);
        int64_t now = sq_clock_now_s();
        if (end != SQ_SEND_sent) {
            wait = AFTER_FAILURE_TURNS;
            if (now - last_said_s >= ALARM_S)
                sq_log(SQ_LOG_send_failed, SQ_LW("channel", "syslog"), SQ_LW("end", sq_send_name(end)));
            last_said_s = now - last_said_s >= ALARM_S ? now : last_said_s;
        }
    }
    return NULL;
}

/* ---- for people ---- */

static json_t *channel_status(struct registrar *r, const struct channel *c)
{
    struct sq_db_notice_sum s = {0};
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_notice_sum(db, c->no, &s);
    db_unlock(r);
    const char *state = !is_on(r, c->key) ? "off" : e ? "unknown" : s.oldest_s ? "failing" : s.n_waiting ? "sending" : "idle";
    return json_pack("{s:s, s:I, s:o, s:I, s:o, s:I}", "state", state, "waiting", (json_int_t)s.n_waiting, "oldest", s.oldest_s ? view_time(s.oldest_s) : json_null(),
                     "given_up", (json_int_t)s.n_given_up, "last_error", s.last_end ? json_string(sq_send_text((unsigned)s.last_end)) : json_null(), "last_code",
                     (json_int_t)s.last_code);
}

json_t *notices_status(struct registrar *r)
{
    uint64_t at = 0, size = 0;
    bool has_syslog = is_on(r, "syslog_url");
    unsigned end = __atomic_load_n(&syslog_end, __ATOMIC_SEQ_CST);
    sq_err e = SQ_OK;
    if (has_syslog && has_recovered(r))
        e = cursor_get(r, &at, &size);
    bool is_failing = end && end != SQ_SEND_sent;
    const char *state = !has_syslog ? "off" : is_failing ? "failing" : at < size ? "sending" : "idle";
    return json_pack("{s:o, s:o, s:{s:s, s:I, s:o}}", "mail", channel_status(r, &channels[0]), "webhook", channel_status(r, &channels[1]), "syslog", "state", state,
                     "behind", (json_int_t)(e ? 0 : size - at), "last_error", is_failing ? json_string(sq_send_text(end)) : json_null());
}

json_t *notices_mail_test(struct registrar *r, const char *address)
{
    struct sent sent;
    char said[481];
    struct sq_msg m = sq_msg_of(mail_test, .address = sq_span_str(address));
    ask_courier(r, &m, &sent, said, sizeof said);
    return json_pack("{s:b, s:s, s:s, s:I, s:s}", "sent", sent.end == SQ_SEND_sent, "end", sq_send_name(sent.end), "text", sq_send_text(sent.end), "code",
                     (json_int_t)sent.code, "answer", said);
}

static sq_err add_notice(void *ctx, const struct sq_db_notice *n)
{
    if (n->channel != SQ_DB_notice_channel_mail)
        return SQ_OK;
    char upload[2 * ID + 1];
    sq_hex(n->upload_id, ID, upload);
    json_t *j = json_pack("{s:s, s:s, s:s, s:o, s:I, s:o}", "kind", sq_db_name(SQ_DB_notice_kind, n->kind), "about", is_of_account(n->kind) ? "account" : n->job_id[0] ? n->job_id : upload, "state",
                          sq_db_name(SQ_DB_notice_state, n->state), "created", view_time(n->created_s), "tries", (json_int_t)n->tries, "last_error",
                          n->last_end > SQ_SEND_sent ? json_string(sq_send_text(n->last_end)) : json_null());
    return json_array_append_new(ctx, j) ? sq_fail(SQ_ENOMEM) : SQ_OK;
}

json_t *notices_of_user(struct registrar *r, const uint8_t user[ID])
{
    json_t *list = json_array();
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_notice_of_user(db, user, 20, add_notice, list);
    db_unlock(r);
    (void)e; /* what could be read is shown */
    return list;
}
