/*
 * The second layer of the operator's socket, where the site wants one (admin_sign_in): besides the uid, a live session of an operator or security officer
 * whose second factor is as fresh as over HTTPS, looked at with each command. What opens or mends a server to which nobody can sign in goes by the uid alone.
 */
#include "daemon/registrar/admin.h"

static const char here[] = "127.0.0.1"; /* against the networks that an account is bound to: the socket is on this machine */

/* Until the first security officer has a second factor nobody could come in by one. Counted whatever his state is: nobody opens this again by shutting him out. */
static sq_err is_nobody_there(struct registrar *r, bool *out)
{
    int64_t n = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_user_count_proved(db, SQ_DB_role_security, &n);
    db_unlock(r);
    *out = !e && !n;
    return e;
}

static sq_err may(const struct registrar *r, const struct caller *c, enum admin_who who)
{
    static const enum sq_who group[] = {[ADMIN_BY_OPERATOR] = SQ_WHO_OPERATORS, [ADMIN_BY_SECURITY] = SQ_WHO_SECURITY};
    return caller_may(r, c, &(struct sq_route_row){.who = group[who], .needs = SQ_NEEDS_STEP_UP});
}

static const char *why_of(sq_err e, enum admin_who who)
{
    if (e == SQ_EAUTH)
        return "this server asks for your session besides (admin_sign_in = yes): sequester login, then this command again, as the same user";
    if (e == SQ_EDENIED)
        return who == ADMIN_BY_SECURITY ? "this is for a security officer's session (admin_sign_in = yes)" : "this is for an operator's or security officer's session (admin_sign_in = yes)";
    return NULL;
}

sq_err admin_sign_in(struct admin *a, enum admin_who who, struct sq_span session)
{
    bool is_first = false;
    if (who == ADMIN_BY_UID || !a->r->is_admin_sign_in)
        return SQ_OK;
    sq_err e = is_nobody_there(a->r, &is_first);
    if (e || is_first)
        return e;
    struct caller officer;
    e = session.n ? caller_from_token(a->r, session, VIA_HEADER, here, a->by.request, &officer) : sq_fail(SQ_EAUTH);
    if (!e)
        e = may(a->r, &officer, who);
    if (e) {
        const char *why = why_of(e, who);
        return why ? sq_why_set(&a->why, e, 0, 0, "session", "%s", why) : e;
    }
    a->uid_too = (uint64_t)sq_get_be32(a->by.user + 12) + 1;
    a->by = officer;
    return SQ_OK;
}
