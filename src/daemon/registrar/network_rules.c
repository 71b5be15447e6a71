/* `sequester admin network reload`: parent opens the file of rules, gateway takes it or refuses it; here we only wait for what they say. */
#include "daemon/registrar/admin.h"

#include <errno.h>
#include <time.h>

#define RELOAD_S 20

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned n_answer; /* of parent so far */
    sq_err code;
    uint32_t n_rule, line;
    char why[161];
} rules = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

void network_on_parent(const struct sq_msg *m)
{
    pthread_mutex_lock(&rules.lock);
    rules.n_answer++;
    rules.code = sq_err_from_no(m->u.net_reloaded.code);
    rules.n_rule = m->u.net_reloaded.n_rule;
    rules.line = m->u.net_reloaded.line;
    if (sq_span_copy(m->u.net_reloaded.why, rules.why, sizeof rules.why))
        rules.why[0] = 0;
    pthread_cond_broadcast(&rules.wake);
    pthread_mutex_unlock(&rules.lock);
}

sq_err admin_network_reload(struct admin *a)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RELOAD_S;
    struct sq_msg m = sq_msg_bare(net_reload);
    pthread_mutex_lock(&rules.lock);
    unsigned before = rules.n_answer;
    sq_err e = sq_node_tell(a->r->node, SQ_ROLE_PARENT, &m);
    int waited = 0;
    while (!e && rules.n_answer == before && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&rules.wake, &rules.lock, &until);
    if (!e && rules.n_answer == before)
        e = sq_fail(SQ_ETIMEOUT);
    if (!e && rules.code && rules.code != SQ_ECONFIG)
        e = rules.code;
    if (!e)
        a->answer = json_pack("{s:b, s:I, s:I, s:s}", "taken", !rules.code, "rules", (json_int_t)rules.n_rule, "line", (json_int_t)rules.line, "why", rules.why);
    pthread_mutex_unlock(&rules.lock);
    return e;
}
