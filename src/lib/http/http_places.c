/*
 * Who may connect when there are more clients than places. A source is an address, of IPv6 a /64: whoever has one address of
 * it has them all. A source holds at most its share; when the house is full, the newcomer pushes out the oldest connection that
 * asks nothing of the source that holds most; when all are busy a few are let in to be told so, and the rest are cut before TLS.
 */
#include "lib/http/http_internal.h"

#include "lib/core/clock.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#define SHED_MAX_SOURCE 2 /* of SHED_MAX, of one source */

struct sq_ip http_peer(const struct sockaddr *from)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sq_ip ip = {{0}};
    if (from && from->sa_family == AF_INET6) {
        memcpy(&v6, from, sizeof v6);
        memcpy(ip.b, v6.sin6_addr.s6_addr, sizeof ip.b);
    } else if (from && from->sa_family == AF_INET) {
        memcpy(&v4, from, sizeof v4);
        ip.b[10] = ip.b[11] = 0xff;
        memcpy(ip.b + 12, &v4.sin_addr, 4);
    }
    return ip;
}

/* ---- all below under the lock ---- */

static struct source *source_find(struct deadlines *d, const char *name)
{
    struct source *s = d->sources;
    while (s && strcmp(s->name, name) != 0)
        s = s->next;
    if (!s && (s = calloc(1, sizeof *s))) {
        memcpy(s->name, name, strlen(name) + 1);
        s->next = d->sources;
        d->sources = s;
    }
    return s;
}

static void source_drop(struct deadlines *d, struct source *s)
{
    if (s->n_conn)
        return;
    struct source **at = &d->sources;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s);
}

static void discount(struct conn *c)
{
    struct deadlines *d = c->owner;
    if (c->phase == LEAVING) {
        d->n_leaving--;
    } else if (c->is_shed) {
        d->n_shed--;
        c->source->n_shed--;
    } else {
        d->n_placed--;
        c->source->n_placed--;
    }
}

void place_push_out(struct conn *c)
{
    if (c->phase == LEAVING)
        return;
    discount(c);
    c->phase = LEAVING;
    c->owner->n_leaving++;
    c->due_ms = INT64_MAX;
    shutdown(c->fd, SHUT_RDWR); /* the descriptor stays libmicrohttpd's, whose thread wakes with an end of file */
}

/* Of those only one of a source that holds at least what the newcomer will. The only connection of a source goes after 1 s at
 * the earliest: a handshake takes so long on a busy machine. */
static bool make_room(struct deadlines *d, const struct source *source)
{
    int64_t now = sq_clock_steady_ms();
    struct conn *victim = NULL;
    for (struct conn *c = d->first; c; c = c->next) {
        unsigned n = c->source->n_placed, n_most = victim ? victim->source->n_placed : 0;
        bool may_go = c->phase == ASKS_NOTHING && !c->is_shed && n > source->n_placed && (n > 1 || now - c->since_ms > 1000);
        if (may_go && (n > n_most || (n == n_most && c->since_ms < victim->since_ms)))
            victim = c;
    }
    if (victim)
        place_push_out(victim);
    return victim != NULL;
}

bool place_may_connect(struct deadlines *d, const char *name, unsigned max_source)
{
    struct source *s = source_find(d, name);
    if (!s)
        return false;
    bool has_place = s->n_placed < max_source;
    if (has_place && d->n_placed >= d->max_conn)
        has_place = d->n_leaving < LEAVING_MAX && make_room(d, s);
    bool may = has_place || (d->n_shed < SHED_MAX && s->n_shed < SHED_MAX_SOURCE);
    d->is_next_shed = !has_place;
    source_drop(d, s);
    return may;
}

bool place_take(struct conn *c, const char *name)
{
    struct deadlines *d = c->owner;
    c->source = source_find(d, name);
    if (!c->source)
        return false;
    c->is_shed = d->is_next_shed;
    c->since_ms = sq_clock_steady_ms();
    c->source->n_conn++;
    *(c->is_shed ? &d->n_shed : &d->n_placed) += 1;
    *(c->is_shed ? &c->source->n_shed : &c->source->n_placed) += 1;
    return true;
}

void place_give_back(struct conn *c)
{
    discount(c);
    c->source->n_conn--;
    source_drop(c->owner, c->source);
}
