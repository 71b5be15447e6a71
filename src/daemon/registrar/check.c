/*
 * `sequester admin check`: do database, key slab, store and audit log say the same? Everything is looked at beside the
 * running service, so what is in flight looks wrong for a moment: only what is found in each of several passes is a finding.
 * Mending does what nobody can lose by (findings.def); the rest is explained, and a person decides.
 */
#include "daemon/registrar/findings.h"
#include "daemon/registrar/survey.h"

#include "lib/core/file.h"

#include <stdlib.h>
#include <unistd.h>

#define MAX_PASS 4
#define PASS_MS 1500      /* between two passes: longer than any step of the commit protocol on an idle disk */
#define LATE_S 60         /* deadlines.c comes each second; keeper destroys the key at once */
#define LISTED_MAX 200    /* findings in one answer; all are counted */
#define DOUBTS_MAX 500
#define LOG_PAGE 500      /* entries read at a time, so that the service goes on in between */

enum { NEVER, SAFE };
static const struct {
    const char *name;
    int mend;
    const char *text, *remedy;
} kinds[] = {
#define SQ_FINDING(name, mend, text, remedy) {#name, mend, text, remedy},
#include "daemon/registrar/findings.def"
#undef SQ_FINDING
};

struct finding {
    enum finding_no no;
    uint8_t id[ID];               /* object, upload or task; zero: none */
    char job[SQ_DB_JOB_ID_BYTES]; /* "": none */
    uint64_t a, b;                /* what was found, what should be */
};

struct findings {
    struct finding *p;
    size_t n, cap;
};

/* What the log says of an object, by its first 8 bytes and the rest: open addressing, ids are random. */
struct told {
    uint8_t id[ID];
    uint8_t events; /* bits below; 0: free */
};
enum { TOLD_OPENING = 1, TOLD_CREATED = 2, TOLD_ERASE_STARTED = 4, TOLD_ERASED = 8 }; /* TOLD_BORN: findings.h */

struct check {
    struct registrar *r;
    struct survey s;
    struct accounts accounts;
    struct findings now, kept; /* of this pass; of all passes so far */
    struct told *told;
    size_t n_told, cap_told;
    bool is_told_whole;        /* the log was read to its end */
    uint64_t n_entry, n_signed;
    uint64_t n_state[8];
    uint64_t live_bytes;
    unsigned n_mended;
    bool is_opening;           /* every object is opened, too */
    uint64_t n_opened, opened_bytes;
};

static sq_err findings_add(struct findings *f, enum finding_no no, const uint8_t *id, const char *job, uint64_t a, uint64_t b)
{
    if (f->n == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 64;
        struct finding *p = realloc(f->p, cap * sizeof *p);
        if (!p)
            return sq_fail(SQ_ENOMEM);
        f->p = p;
        f->cap = cap;
    }
    struct finding *x = &f->p[f->n++];
    *x = (struct finding){.no = no, .a = a, .b = b};
    memcpy(x->id, id ? id : no_id, ID);
    snprintf(x->job, sizeof x->job, "%s", job ? job : "");
    return SQ_OK;
}

static sq_err found(struct check *c, enum finding_no no, const uint8_t *id, const char *job, uint64_t a, uint64_t b)
{
    return findings_add(&c->now, no, id, job, a, b);
}

sq_err check_found(struct check *c, enum finding_no no, const uint8_t id[ID])
{
    return found(c, no, id, NULL, 0, 0);
}

static int by_what(const void *a, const void *b)
{
    const struct finding *x = a, *y = b;
    if (x->no != y->no)
        return x->no < y->no ? -1 : 1;
    int d = memcmp(x->id, y->id, ID);
    return d ? d : strcmp(x->job, y->job);
}

/* ---- keys, files, rows ---- */

static sq_err check_live(struct check *c, const struct seen_row *row, const struct seen_slot *slot, const struct seen_file *file)
{
    int64_t now = sq_clock_now_s();
    if (row->not_after_s <= now) /* keeper has destroyed its key by itself */
        return row->not_after_s + LATE_S < now ? found(c, FOUND_overdue, row->id, NULL, (uint64_t)row->not_after_s, 0) : SQ_OK;
    sq_err e = SQ_OK;
    if (!slot)
        e = found(c, FOUND_row_without_slot, row->id, NULL, 0, 0);
    else if (memcmp(slot->owner, row->owner, ID) != 0)
        e = found(c, FOUND_slot_owner, row->id, NULL, 0, 0);
    else if (slot->not_after_s != row->not_after_s)
        e = found(c, FOUND_slot_deadline, row->id, NULL, (uint64_t)slot->not_after_s, (uint64_t)row->not_after_s);
    if (e)
        return e;
    if (!file)
        return found(c, FOUND_row_without_file, row->id, NULL, 0, 0);
    if (memcmp(file->owner, row->owner, ID) != 0)
        return found(c, FOUND_file_owner, row->id, NULL, 0, 0);
    return file->n_bytes != row->sealed_bytes ? found(c, FOUND_length_differs, row->id, NULL, file->n_bytes, row->sealed_bytes) : SQ_OK;
}

static sq_err check_row(struct check *c, const struct seen_row *row)
{
    int64_t now = sq_clock_now_s();
    switch (row->state) {
    case SQ_DB_object_state_live:
        return check_live(c, row, survey_slot(&c->s, row->id), survey_file(&c->s, row->id));
    case SQ_DB_object_state_opening:
        return row->opening_expires_s + LATE_S < now || row->not_after_s + LATE_S < now ? found(c, FOUND_opening_stale, row->id, NULL, 0, 0) : SQ_OK;
    case SQ_DB_object_state_erasing:
        return row->erase_failures ? found(c, FOUND_erase_failing, row->id, NULL, (uint64_t)row->erase_failures, 0) : SQ_OK;
    case SQ_DB_object_state_damaged:
        return found(c, FOUND_damaged, row->id, NULL, 0, 0);
    default:
        return row->has_receipt ? SQ_OK : found(c, FOUND_receipt_missing, row->id, NULL, 0, 0);
    }
}

static bool is_needed(const struct seen_row *row)
{
    return row && row->state != SQ_DB_object_state_erased;
}

static sq_err check_places(struct check *c)
{
    struct survey *s = &c->s;
    sq_err e = survey_take(c->r, s);
    memset(c->n_state, 0, sizeof c->n_state);
    c->live_bytes = 0;
    for (size_t i = 0; i < s->n_row && !e; i++) {
        c->n_state[s->row[i].state & 7]++;
        if (s->row[i].state == SQ_DB_object_state_live)
            c->live_bytes += s->row[i].sealed_bytes;
        e = check_row(c, &s->row[i]);
    }
    for (size_t i = 0; i < s->n_slot && !e; i++) {
        if (!is_needed(survey_row(s, s->slot[i].id)))
            e = found(c, FOUND_slot_without_row, s->slot[i].id, NULL, 0, 0);
        else if (i && !memcmp(s->slot[i].id, s->slot[i - 1].id, ID))
            e = found(c, FOUND_slot_twice, s->slot[i].id, NULL, 0, 0);
    }
    for (size_t i = 0; i < s->n_file && !e; i++)
        if (!is_needed(survey_row(s, s->file[i].id)))
            e = found(c, FOUND_file_without_row, s->file[i].id, NULL, s->file[i].n_bytes, 0);
    if (!e && s->n_slot_damaged)
        e = found(c, FOUND_slots_damaged, NULL, NULL, s->n_slot_damaged, 0);
    return e;
}

/* ---- the log ---- */

static struct told *told_of(struct check *c, const uint8_t id[ID], bool may_add)
{
    size_t mask = c->cap_told - 1;
    for (size_t i = (size_t)sq_get_be64(id) & mask; c->cap_told; i = (i + 1) & mask) {
        struct told *t = &c->told[i];
        if (t->events && !memcmp(t->id, id, ID))
            return t;
        if (!t->events) {
            if (!may_add)
                return NULL;
            memcpy(t->id, id, ID);
            c->n_told++;
            return t;
        }
    }
    return NULL;
}

static sq_err told_room(struct check *c)
{
    if (c->n_told * 2 < c->cap_told)
        return SQ_OK;
    struct told *old = c->told;
    size_t n = c->cap_told, cap = n ? 2 * n : 4096;
    struct told *p = calloc(cap, sizeof *p);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    c->told = p;
    c->cap_told = cap;
    c->n_told = 0;
    for (size_t i = 0; i < n; i++)
        if (old[i].events)
            told_of(c, old[i].id, true)->events = old[i].events;
    free(old);
    return SQ_OK;
}

static sq_err take_entry(void *ctx, const struct sq_audit_entry *entry, struct sq_span bytes)
{
    struct check *c = ctx;
    (void)bytes;
    uint8_t bit = entry->event == SQ_AUDIT_object_opening ? TOLD_OPENING : entry->event == SQ_AUDIT_object_created ? TOLD_CREATED
                  : entry->event == SQ_AUDIT_erase_started ? TOLD_ERASE_STARTED : entry->event == SQ_AUDIT_object_erased ? TOLD_ERASED : 0;
    const uint8_t *who = bit ? entry->object : accounts_told_of(entry);
    if (!who || is_zero(who))
        return SQ_OK;
    sq_err e = told_room(c);
    if (!e)
        told_of(c, who, true)->events |= bit ? bit : TOLD_BORN;
    return e;
}

/* Entries that came since the last pass. Each page holds the lock alone, so that the service goes on in between. */
static sq_err read_log(struct check *c)
{
    struct registrar *r = c->r;
    sq_err e = SQ_OK;
    for (bool is_end = false; !is_end && !e;) {
        pthread_mutex_lock(&r->lock);
        uint64_t size = sq_audit_size(r->log);
        uint64_t n = size > c->n_entry ? size - c->n_entry : 0;
        is_end = n <= LOG_PAGE;
        n = is_end ? n : LOG_PAGE;
        if (n)
            e = sq_audit_read(r->log, c->n_entry + 1, n, take_entry, c);
        pthread_mutex_unlock(&r->lock);
        if (!e)
            c->n_entry += n;
    }
    c->is_told_whole = !e;
    return e == SQ_EAUDIT ? found(c, FOUND_log_damaged, NULL, NULL, c->n_entry + 1, 0) : e;
}

bool check_is_told(struct check *c, const uint8_t id[ID])
{
    const struct told *t = told_of(c, id, false);
    return !c->is_told_whole || (t && (t->events & TOLD_BORN));
}

static sq_err check_told(struct check *c)
{
    sq_err e = accounts_untold(&c->accounts, c);
    for (size_t i = 0; i < c->s.n_row && !e && c->is_told_whole; i++) {
        const struct seen_row *row = &c->s.row[i];
        const struct told *t = told_of(c, row->id, false);
        unsigned has = t ? t->events : 0, owes = TOLD_OPENING;
        if (row->state == SQ_DB_object_state_live || row->state == SQ_DB_object_state_damaged)
            owes |= TOLD_CREATED;
        else if (row->state == SQ_DB_object_state_erasing)
            owes |= TOLD_ERASE_STARTED;
        else if (row->state == SQ_DB_object_state_erased)
            owes |= TOLD_ERASE_STARTED | TOLD_ERASED;
        if ((has & owes) != owes)
            e = found(c, FOUND_event_missing, row->id, NULL, has, owes);
        else if ((has & TOLD_ERASED) && row->state != SQ_DB_object_state_erased && row->state != SQ_DB_object_state_erasing)
            e = found(c, FOUND_event_too_much, row->id, NULL, 0, 0);
    }
    return e;
}

/* Database and log change together under the lock, so they agree whenever it is free. */
static sq_err check_log(struct check *c)
{
    struct registrar *r = c->r;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_bare(keeper_state), m;
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (e) {
        sq_packet_free(pkt);
        return e;
    }
    const struct sq_msg_keeper_state_is *k = &m.u.keeper_state_is;
    uint8_t root[SQ_AUDIT_HASH_BYTES];
    int64_t n_outbox = 0;
    uint64_t last = 0;
    struct sq_db *db = db_lock(r);
    uint64_t size = sq_audit_size(r->log);
    e = sq_db_outbox_count(db, &n_outbox);
    if (!e)
        e = sq_db_outbox_last(db, &last);
    bool is_same = size >= k->tree_size;
    if (is_same && k->tree_size)
        is_same = sq_audit_root_at(r->log, k->tree_size, root) == SQ_OK && !memcmp(root, k->tree_root, sizeof root);
    db_unlock(r);
    c->n_signed = k->tree_size;
    if (!e && n_outbox)
        e = found(c, FOUND_outbox_left, NULL, NULL, (uint64_t)n_outbox, 0);
    if (!e && (last < size || last - size > (uint64_t)n_outbox)) /* what is in the log already may be in the outbox still: a crash, a full disk */
        e = found(c, FOUND_log_number, NULL, NULL, size, last);
    if (!e && !is_same)
        e = found(c, FOUND_log_behind, NULL, NULL, size, k->tree_size);
    sq_packet_free(pkt);
    return e;
}

/* ---- rows among themselves ---- */

static sq_err take_doubt(void *ctx, enum sq_db_doubt doubt, const uint8_t id[ID], const char *job_id)
{
    static const enum finding_no of[] = {
        [SQ_DB_DOUBT_object_unnamed] = FOUND_object_unnamed, [SQ_DB_DOUBT_job_data_left] = FOUND_job_data_left,
        [SQ_DB_DOUBT_upload_data_left] = FOUND_upload_data_left, [SQ_DB_DOUBT_job_idle] = FOUND_job_idle,
        [SQ_DB_DOUBT_upload_idle] = FOUND_upload_idle, [SQ_DB_DOUBT_task_stale] = FOUND_task_stale,
        [SQ_DB_DOUBT_token_of_disabled] = FOUND_token_of_disabled, [SQ_DB_DOUBT_recovery_alone] = FOUND_recovery_alone,
        [SQ_DB_DOUBT_passkey_broken] = FOUND_passkey_broken, [SQ_DB_DOUBT_result_lost] = FOUND_result_lost};
    return found(ctx, of[doubt], id, job_id, 0, 0);
}

static sq_err check_rows(struct check *c)
{
    struct sq_db *db = db_lock(c->r);
    sq_err e = sq_db_doubts(db, DOUBTS_MAX, take_doubt, c);
    db_unlock(c->r);
    return e;
}

/* ---- passes ---- */

static sq_err one_pass(struct check *c)
{
    survey_done(&c->s);
    c->now.n = 0;
    sq_err e = check_places(c);
    accounts_done(&c->accounts);
    if (!e)
        e = accounts_look(c->r, &c->accounts);
    if (!e)
        e = read_log(c); /* after the rows: what they say is in it */
    if (!e)
        e = accounts_compare(c->r, &c->accounts, c); /* by what the log says of them, too */
    if (!e)
        e = check_told(c);
    if (!e)
        e = check_log(c);
    if (!e)
        e = check_rows(c);
    if (!e && c->now.n)
        qsort(c->now.p, c->now.n, sizeof *c->now.p, by_what);
    return e;
}

/* What this pass found too stays. */
static void keep_common(struct check *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->kept.n; i++) {
        const struct finding *x = c->now.n ? bsearch(&c->kept.p[i], c->now.p, c->now.n, sizeof *x, by_what) : NULL;
        if (x)
            c->kept.p[n++] = *x;
    }
    c->kept.n = n;
}

static sq_err all_passes(struct check *c)
{
    sq_err e = one_pass(c);
    c->kept.n = 0;
    if (e || !c->now.n)
        return e;
    struct findings t = c->kept;
    c->kept = c->now;
    c->now = t;
    for (unsigned pass = 1; pass < MAX_PASS && c->kept.n && !e; pass++) {
        usleep(PASS_MS * 1000);
        e = one_pass(c);
        if (!e)
            keep_common(c);
    }
    return e;
}

/* ---- contents ---- */

static bool has_finding(const struct check *c, const uint8_t id[ID])
{
    for (size_t i = 0; i < c->kept.n; i++)
        if (!memcmp(c->kept.p[i].id, id, ID))
            return true;
    return false;
}

/* Each live object is opened, which is an event of the operator's. Once is enough: what was sealed doesn't change. */
static sq_err open_all(struct check *c, const struct caller *by)
{
    sq_err e = record(c->r, &(struct event){.no = SQ_AUDIT_contents_checked, .by = by, .a = c->n_state[SQ_DB_object_state_live], .b = c->live_bytes});
    for (size_t i = 0; i < c->s.n_row && !e; i++) {
        bool is_damaged = false;
        uint64_t n_bytes = 0;
        const struct seen_row *row = &c->s.row[i];
        if (row->state != SQ_DB_object_state_live || has_finding(c, row->id))
            continue;
        e = object_verify(c->r, row->id, &is_damaged, &n_bytes);
        c->n_opened += !e && n_bytes;
        c->opened_bytes += e ? 0 : n_bytes;
        if (!e && is_damaged)
            e = findings_add(&c->kept, FOUND_content_differs, row->id, NULL, 0, 0);
    }
    return e;
}

/* ---- mending ---- */

struct erasing_one {
    const uint8_t *id;
    const struct caller *by;
};

static sq_err tx_erase_one(struct tx *tx, void *ctx)
{
    const struct erasing_one *x = ctx;
    return tx_object_erase(tx, x->id, x->by);
}

static sq_err tx_retry(struct tx *tx, void *ctx)
{
    (void)ctx;
    return sq_db_objects_retry_now(tx->db);
}

static sq_err tx_end_task(struct tx *tx, void *ctx)
{
    struct sq_db_task t;
    int64_t n;
    sq_err e = sq_db_task_get(tx->db, ctx, &t);
    return e ? e : sq_db_task_cancel(tx->db, t.job_id[0] ? t.job_id : NULL, t.job_id[0] ? NULL : t.upload_id, SQ_ECANCELLED, sq_clock_now_ms(), &n);
}

/* Is it still true that no row needs it? The passes were a while ago. */
static bool is_orphan(struct registrar *r, const uint8_t id[ID])
{
    struct sq_db_object row;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_object_get(db, id, &row);
    db_unlock(r);
    return e == SQ_ENOTFOUND || (!e && row.state == SQ_DB_object_state_erased);
}

static sq_err mend_one(struct check *c, const struct finding *f, const struct caller *by)
{
    struct registrar *r = c->r;
    const struct seen_file *file = survey_file(&c->s, f->id);
    uint8_t id[ID];
    memcpy(id, f->id, ID);
    switch (f->no) {
    case FOUND_slot_without_row: return is_orphan(r, id) ? destroy_orphan_slot(r, id) : SQ_OK;
    case FOUND_file_without_row: return file && is_orphan(r, id) ? erase_orphan_file(r, file) : SQ_OK;
    case FOUND_slot_deadline: {
        const struct seen_row *row = survey_row(&c->s, id);
        const struct seen_slot *slot = survey_slot(&c->s, id);
        return row && slot ? agree_deadline(r, row, slot) : SQ_OK;
    }
    case FOUND_row_without_slot: return mark_damaged(r, id, "no_key");
    case FOUND_row_without_file: return mark_damaged(r, id, "no_file");
    case FOUND_length_differs: return mark_damaged(r, id, "length");
    case FOUND_content_differs: return mark_damaged(r, id, "content");
    case FOUND_erase_failing: return commit(r, tx_retry, NULL);
    case FOUND_task_stale: return commit(r, tx_end_task, id);
    case FOUND_outbox_left: return outbox_flush(r);
    case FOUND_owner_without_row:
    case FOUND_row_without_owner:
    case FOUND_factor_unmarked:
    case FOUND_token_of_disabled:
    case FOUND_recovery_alone: return account_mend(r, f->no, id, by);
    default: return commit(r, tx_erase_one, &(struct erasing_one){.id = id, .by = by}); /* overdue, stale, unnamed, left over */
    }
}

static sq_err mend_all(struct check *c, const struct caller *by)
{
    sq_err first = SQ_OK;
    for (size_t i = 0; i < c->kept.n; i++) {
        if (kinds[c->kept.p[i].no].mend != SAFE)
            continue;
        sq_err e = mend_one(c, &c->kept.p[i], by);
        c->n_mended += !e;
        if (!first)
            first = e;
    }
    if (!first && rollback_keeps(c->r))
        first = rollback_kept_goes(c->r);
    erase_wake(c->r);
    plan_wake(c->r);
    if (c->n_mended) {
        sq_err e = record(c->r, &(struct event){.no = SQ_AUDIT_repaired, .by = by, .a = c->n_mended});
        if (!first)
            first = e;
    }
    return first;
}

/* ---- the answer ---- */

static json_t *view_finding(const struct finding *f)
{
    json_t *j = json_pack("{s:s, s:s, s:s, s:b}", "code", kinds[f->no].name, "message", kinds[f->no].text, "remedy", kinds[f->no].remedy, "mendable", kinds[f->no].mend == SAFE);
    if (!is_zero(f->id))
        json_object_set_new(j, "id", view_id(f->id));
    if (f->job[0])
        json_object_set_new(j, "job", json_string(f->job));
    if (f->a || f->b) {
        json_object_set_new(j, "found", json_integer((json_int_t)f->a));
        json_object_set_new(j, "expected", json_integer((json_int_t)f->b));
    }
    return j;
}

static json_t *view_check(const struct check *c)
{
    json_t *list = json_array(), *count = json_object();
    size_t n[N_FINDING] = {0};
    for (size_t i = 0; i < c->kept.n; i++) {
        n[c->kept.p[i].no]++;
        if (i < LISTED_MAX)
            json_array_append_new(list, view_finding(&c->kept.p[i]));
    }
    for (size_t i = 0; i < N_FINDING; i++)
        if (n[i])
            json_object_set_new(count, kinds[i].name, json_integer((json_int_t)n[i]));
    const uint64_t *s = c->n_state;
    return json_pack("{s:b, s:I, s:o, s:o, s:I, s:{s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:I, s:{s:I, s:I}, s:{s:I, s:I}}", "clean", c->kept.n == 0, "total", (json_int_t)c->kept.n,
                     "findings", list, "counts", count, "mended", (json_int_t)c->n_mended,
                     "objects", "live", (json_int_t)s[SQ_DB_object_state_live], "opening", (json_int_t)s[SQ_DB_object_state_opening], "erasing",
                     (json_int_t)s[SQ_DB_object_state_erasing], "erased", (json_int_t)s[SQ_DB_object_state_erased], "damaged", (json_int_t)s[SQ_DB_object_state_damaged],
                     "keys", (json_int_t)c->s.n_slot, "files", (json_int_t)c->s.n_file, "live_bytes", (json_int_t)c->live_bytes,
                     "audit", "entries", (json_int_t)c->n_entry, "signed", (json_int_t)c->n_signed,
                     "opened", "objects", (json_int_t)c->n_opened, "bytes", (json_int_t)c->opened_bytes);
}

sq_err admin_check(struct registrar *r, const json_t *args, const struct caller *by, json_t **out)
{
    struct check *c = calloc(1, sizeof *c);
    if (!c)
        return sq_fail(SQ_ENOMEM);
    c->r = r;
    sq_err e = all_passes(c);
    if (!e && json_is_true(json_object_get(args, "contents")))
        e = open_all(c, by);
    if (!e && json_is_true(json_object_get(args, "mend")) && c->kept.n) {
        e = mend_all(c, by);
        if (!e) /* what is left now */
            e = all_passes(c);
    }
    if (!e)
        *out = view_check(c);
    survey_done(&c->s);
    accounts_done(&c->accounts);
    free(c->now.p);
    free(c->kept.p);
    free(c->told);
    free(c);
    return e;
}
