#include "daemon/keeper/grants.h"

#include "lib/crypt/crypt.h"
#include "lib/identity/otp.h"

#include <stdlib.h>

sq_err keeper_grants_init(struct keeper_grants *g)
{
    pthread_mutex_init(&g->lock, NULL);
    g->grant = calloc(KEEPER_MAX_GRANTS, sizeof *g->grant);
    g->open = calloc(KEEPER_MAX_OPEN, sizeof *g->open);
    return g->grant && g->open ? SQ_OK : sq_fail(SQ_ENOMEM);
}

static void grant_wipe(struct keeper_grant *grant)
{
    sq_secret_free((uint8_t *)grant->password, SQ_OTP_BYTES);
    sq_wipe(grant, sizeof *grant);
}

static void open_wipe(struct keeper_open_object *o)
{
    free(o->given);
    *o = (struct keeper_open_object){0};
}

void keeper_grants_done(struct keeper_grants *g)
{
    for (size_t i = 0; g->grant && i < KEEPER_MAX_GRANTS; i++)
        grant_wipe(&g->grant[i]);
    for (size_t i = 0; g->open && i < KEEPER_MAX_OPEN; i++)
        open_wipe(&g->open[i]);
    free(g->grant);
    free(g->open);
    g->grant = NULL;
    g->open = NULL;
    pthread_mutex_destroy(&g->lock);
}

/* ---- grants ---- */

static struct keeper_grant *find_task(struct keeper_grants *g, const uint8_t *task)
{
    for (size_t i = 0; i < KEEPER_MAX_GRANTS; i++)
        if (g->grant[i].is_used && !memcmp(g->grant[i].task, task, SQ_ID_BYTES))
            return &g->grant[i];
    return NULL;
}

static struct keeper_grant *find_live(struct keeper_grants *g, const uint8_t *task, uint32_t fence, int64_t now_s)
{
    struct keeper_grant *found = find_task(g, task);
    return found && found->fence == fence && now_s < found->expires_s ? found : NULL;
}

static struct keeper_grant *find_free(struct keeper_grants *g, int64_t now_s)
{
    for (size_t i = 0; i < KEEPER_MAX_GRANTS; i++) {
        if (g->grant[i].is_used && now_s >= g->grant[i].expires_s)
            grant_wipe(&g->grant[i]);
        if (!g->grant[i].is_used)
            return &g->grant[i];
    }
    return NULL;
}

static bool is_same(const struct keeper_grant *a, const struct keeper_grant *b)
{
    return a->expires_s == b->expires_s && a->n_read == b->n_read && a->n_write == b->n_write &&
           !memcmp(a->owner, b->owner, SQ_ID_BYTES) && !memcmp(a->reads, b->reads, sizeof a->reads) &&
           !memcmp(a->writes, b->writes, sizeof a->writes);
}

sq_err keeper_grant_put(struct keeper_grants *g, const struct keeper_grant *grant, int64_t now_s)
{
    if (grant->expires_s <= now_s || grant->expires_s - now_s > KEEPER_GRANT_MAX_S)
        return sq_fail(SQ_ERANGE);
    sq_err err = SQ_OK;
    pthread_mutex_lock(&g->lock);
    struct keeper_grant *at = find_task(g, grant->task);
    if (at && (grant->fence < at->fence || (grant->fence == at->fence && !is_same(at, grant)))) {
        err = sq_fail(SQ_EGRANT);
    } else if (!at || grant->fence > at->fence) {
        if (at)
            grant_wipe(at); /* an older fence loses its password too */
        else
            at = find_free(g, now_s);
        if (at) {
            *at = *grant;
            at->is_used = true;
            at->password = NULL;
        } else {
            err = sq_fail(SQ_EBUSY);
        }
    }
    pthread_mutex_unlock(&g->lock);
    return err;
}

void keeper_grant_end(struct keeper_grants *g, const uint8_t *task)
{
    pthread_mutex_lock(&g->lock);
    struct keeper_grant *at = find_task(g, task);
    if (at)
        grant_wipe(at);
    pthread_mutex_unlock(&g->lock);
}

void keeper_grants_expire(struct keeper_grants *g, int64_t now_s)
{
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < KEEPER_MAX_GRANTS; i++)
        if (g->grant[i].is_used && now_s >= g->grant[i].expires_s)
            grant_wipe(&g->grant[i]);
    pthread_mutex_unlock(&g->lock);
}

sq_err keeper_grant_covers(struct keeper_grants *g, const uint8_t *task, uint32_t fence, const uint8_t *object, bool is_write,
                           int64_t now_s, uint8_t out_owner[SQ_ID_BYTES])
{
    bool is_covered = false;
    pthread_mutex_lock(&g->lock);
    const struct keeper_grant *at = find_live(g, task, fence, now_s);
    for (uint32_t i = 0; at && i < (is_write ? at->n_write : at->n_read); i++)
        is_covered |= !memcmp(is_write ? at->writes[i] : at->reads[i], object, SQ_ID_BYTES);
    if (is_covered)
        memcpy(out_owner, at->owner, SQ_ID_BYTES);
    pthread_mutex_unlock(&g->lock);
    return is_covered ? SQ_OK : sq_fail(SQ_EGRANT);
}

/* ---- parts ---- */

static struct keeper_open_object *open_find(struct keeper_grants *g, const uint8_t *object, bool may_make)
{
    struct keeper_open_object *empty = NULL;
    for (size_t i = 0; i < KEEPER_MAX_OPEN; i++) {
        if (g->open[i].is_used && !memcmp(g->open[i].id, object, SQ_ID_BYTES))
            return &g->open[i];
        if (!g->open[i].is_used && !empty)
            empty = &g->open[i];
    }
    if (!may_make || !empty)
        return NULL;
    empty->is_used = true;
    memcpy(empty->id, object, SQ_ID_BYTES);
    return empty;
}

static sq_err open_reserve(struct keeper_open_object *o, uint32_t n_byte)
{
    if (n_byte <= o->n_byte)
        return SQ_OK;
    uint32_t n = o->n_byte ? o->n_byte : 64;
    while (n < n_byte)
        n *= 2;
    uint8_t *given = realloc(o->given, n);
    if (!given)
        return sq_fail(SQ_ENOMEM);
    memset(given + o->n_byte, 0, n - o->n_byte);
    o->given = given;
    o->n_byte = n;
    return SQ_OK;
}

static sq_err take_part(struct keeper_open_object *o, uint32_t part_no)
{
    if (o->is_closing_given)
        return sq_fail(SQ_EGRANT);
    if (part_no == KEEPER_CLOSING_PART) {
        o->is_closing_given = true;
        return SQ_OK;
    }
    sq_err err = open_reserve(o, part_no / 8 + 1);
    if (err)
        return err;
    uint8_t bit = (uint8_t)(1u << (part_no % 8));
    if (o->given[part_no / 8] & bit)
        return sq_fail(SQ_EGRANT);
    o->given[part_no / 8] |= bit;
    return SQ_OK;
}

sq_err keeper_part_take(struct keeper_grants *g, const uint8_t *object, uint32_t part_no)
{
    if (part_no >= KEEPER_MAX_PARTS && part_no != KEEPER_CLOSING_PART)
        return sq_fail(SQ_ERANGE);
    pthread_mutex_lock(&g->lock);
    struct keeper_open_object *o = open_find(g, object, true);
    sq_err err = o ? take_part(o, part_no) : sq_fail(SQ_EBUSY);
    pthread_mutex_unlock(&g->lock);
    return err;
}

void keeper_parts_forget(struct keeper_grants *g, const uint8_t *object)
{
    pthread_mutex_lock(&g->lock);
    struct keeper_open_object *o = open_find(g, object, false);
    if (o)
        open_wipe(o);
    pthread_mutex_unlock(&g->lock);
}

/* ---- one-time passwords ---- */

sq_err keeper_password_make(struct keeper_grants *g, const uint8_t *task, uint32_t fence, int64_t now_s, char *out_password)
{
    uint8_t *password = NULL;
    pthread_mutex_lock(&g->lock);
    struct keeper_grant *at = find_live(g, task, fence, now_s);
    sq_err err = !at ? sq_fail(SQ_EGRANT) : at->password ? sq_fail(SQ_ECONFLICT) : SQ_OK;
    if (!err)
        err = sq_secret_new(SQ_OTP_BYTES, &password);
    if (!err && (err = sq_otp_make((char *)password)))
        sq_secret_free(password, SQ_OTP_BYTES);
    if (!err) {
        at->password = (char *)password;
        memcpy(out_password, password, SQ_OTP_BYTES);
    }
    pthread_mutex_unlock(&g->lock);
    return err;
}

sq_err keeper_password_for_entry(struct keeper_grants *g, const uint8_t *task, uint32_t fence, uint32_t entry_no, int64_t now_s,
                                 char *out_password)
{
    if (entry_no >= KEEPER_MAX_ENTRIES)
        return sq_fail(SQ_ERANGE);
    pthread_mutex_lock(&g->lock);
    struct keeper_grant *at = find_live(g, task, fence, now_s);
    sq_err err = at && at->password && !at->entry_given[entry_no] ? SQ_OK : sq_fail(SQ_EGRANT);
    if (!err) {
        at->entry_given[entry_no] = true;
        memcpy(out_password, at->password, SQ_OTP_BYTES);
    }
    pthread_mutex_unlock(&g->lock);
    return err;
}
