/*
 * Threads, not callbacks: a handler reads as one straight story and simply waits for other processes. Each link has
 * one reader, which either wakes a waiting call or queues a request for the link's own handlers; so a process may wait
 * on keeper in a gateway handler while runner's requests go on. The price is a few stacks, 512 KiB of address space each.
 */
#include "lib/proc/node.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/core/log.h"
#include "lib/core/promises.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_TAKEN 16
#define MAX_SETTING 48
#define MAX_QUEUED 1024
#define STACK_BYTES (512U << 10)

struct waiter {
    uint64_t call;
    enum sq_msg_no expected;
    struct sq_packet *pkt;
    struct sq_msg *out;
    sq_err e;
    bool is_done;
    struct waiter *next;
};

struct sq_ask {
    struct sq_node *node;
    struct link *link;
    uint64_t generation; /* of the socket it came by: an answer goes to that one or nowhere */
    struct sq_packet *pkt;
    struct sq_msg m;
    bool is_answered;
    struct sq_ask *next;
};

struct link {
    struct sq_node *node;
    enum sq_role peer;
    pthread_mutex_t lock; /* guards everything below; never held while sending */
    pthread_mutex_t sending; /* one packet at a time, and the socket stays open meanwhile */
    pthread_cond_t wake_asks, wake_calls;
    int sock;
    uint64_t generation;
    struct waiter *waiters;
    struct sq_ask *first, *last;
    unsigned n_queued, n_thread;
    bool is_used, is_ready; /* ready: hello has been said on the present socket */
};

struct sq_node {
    enum sq_role me;
    struct link link[SQ_ROLE_COUNT];
    sq_on_fn on[SQ_MSG_MAX];
    void (*on_peer_up)(void *, enum sq_role);
    void (*on_peer_down)(void *, enum sq_role);
    void (*on_parent)(void *, struct sq_packet *, const struct sq_msg *);
    void *ctx;
    uint64_t next_call; /* atomic */
    bool is_unsealed;   /* atomic */
    uint64_t losses;    /* atomic */
    bool is_started;
    struct {
        char name[33];
        int fd;
    } taken[MAX_TAKEN];
    size_t n_taken;
    struct {
        char key[65], value[1025];
    } setting[MAX_SETTING];
    size_t n_setting;
};

/* ---- what parent hands out ---- */

static void parent_gone(void)
{
    sq_log(SQ_LOG_stopping, SQ_LW("reason", "parent_gone"));
    _exit(0);
}

static void link_attach(struct sq_node *node, enum sq_role peer, int sock);

static void take_from_parent(struct sq_node *node, struct sq_packet *pkt, const struct sq_msg *m)
{
    switch (m->no) {
    case SQ_MSG_take:
        sq_assert(node->n_taken < MAX_TAKEN);
        sq_assert(!sq_span_copy(m->u.take.name, node->taken[node->n_taken].name, sizeof node->taken[0].name));
        node->taken[node->n_taken++].fd = m->u.take.file;
        sq_packet_keep_fd(pkt, m->u.take.file);
        break;
    case SQ_MSG_setting:
        sq_assert(node->n_setting < MAX_SETTING);
        sq_assert(!sq_span_copy(m->u.setting.key, node->setting[node->n_setting].key, sizeof node->setting[0].key));
        sq_assert(!sq_span_copy(m->u.setting.value, node->setting[node->n_setting].value, sizeof node->setting[0].value));
        node->n_setting++;
        break;
    case SQ_MSG_peer:
        if (m->u.peer.role > SQ_ROLE_PARENT && m->u.peer.role < SQ_ROLE_COUNT) {
            sq_packet_keep_fd(pkt, m->u.peer.socket);
            link_attach(node, (enum sq_role)m->u.peer.role, m->u.peer.socket);
        }
        break;
    case SQ_MSG_losses:
        __atomic_store_n(&node->losses, m->u.losses.losses, __ATOMIC_SEQ_CST);
        break;
    default:
        if (node->is_started && node->on_parent)
            node->on_parent(node->ctx, pkt, m);
        break;
    }
}

sq_err sq_node_open(enum sq_role me, struct sq_node **out_node)
{
    struct sq_node *node = calloc(1, sizeof *node);
    if (!node)
        return sq_fail(SQ_ENOMEM);
    node->me = me;
    node->is_unsealed = true;
    node->next_call = 1;
    for (unsigned r = 0; r < SQ_ROLE_COUNT; r++) {
        struct link *l = &node->link[r];
        l->node = node;
        l->peer = (enum sq_role)r;
        l->sock = -1;
        l->n_thread = 2;
        pthread_mutex_init(&l->lock, NULL);
        pthread_mutex_init(&l->sending, NULL);
        pthread_cond_init(&l->wake_asks, NULL);
        pthread_condattr_t a;
        pthread_condattr_init(&a);
        pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
        pthread_cond_init(&l->wake_calls, &a);
        pthread_condattr_destroy(&a);
    }
    sq_err e = sq_wire_hello(SQ_NODE_PARENT_FD, me, SQ_ROLE_PARENT);
    if (e)
        return e;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg m;
    for (;;) {
        e = sq_wire_recv(SQ_NODE_PARENT_FD, SQ_ROLE_PARENT, me, pkt, &m);
        if (e || m.no == SQ_MSG_go)
            break;
        if (m.no == SQ_MSG_stop)
            _exit(0);
        take_from_parent(node, pkt, &m);
    }
    sq_packet_free(pkt);
    if (!e)
        *out_node = node;
    return e;
}

int sq_node_take(struct sq_node *node, const char *name)
{
    for (size_t i = 0; i < node->n_taken; i++)
        if (!strcmp(node->taken[i].name, name)) {
            int fd = node->taken[i].fd;
            node->taken[i].fd = -1;
            return fd;
        }
    return -1;
}

const char *sq_node_setting(const struct sq_node *node, const char *key)
{
    for (size_t i = 0; i < node->n_setting; i++)
        if (!strcmp(node->setting[i].key, key))
            return node->setting[i].value;
    return NULL;
}

uint64_t sq_node_setting_u64(const struct sq_node *node, const char *key)
{
    const char *s = sq_node_setting(node, key);
    sq_assert(s && *s >= '0' && *s <= '9');
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    sq_assert(!errno && !*end);
    return v;
}

void sq_node_lost(struct sq_node *node, uint64_t losses)
{
    for (unsigned loss = 1; loss < SQ_LOSS_COUNT; loss++)
        if (losses & sq_loss_bit((enum sq_loss)loss))
            sq_log(SQ_LOG_not_held, SQ_LW("promise", sq_promise_row_of(sq_loss_row_of(loss)->promise)->name),
                   SQ_LW("reason", sq_loss_row_of(loss)->name));
    struct sq_msg m = sq_msg_of(lost, .losses = losses);
    if (losses && sq_wire_send(SQ_NODE_PARENT_FD, node->me, SQ_ROLE_PARENT, &m))
        parent_gone();
}

uint64_t sq_node_losses(const struct sq_node *node)
{
    return __atomic_load_n(&node->losses, __ATOMIC_SEQ_CST);
}

void sq_node_on(struct sq_node *node, enum sq_msg_no no, sq_on_fn on)
{
    const struct sq_msg_row *row = sq_msg_row_of(no);
    sq_assert(row && row->to == node->me && !node->is_started);
    node->on[no] = on;
}

void sq_node_threads(struct sq_node *node, enum sq_role peer, unsigned n_thread)
{
    sq_assert(n_thread >= 1 && n_thread <= 32 && !node->is_started);
    node->link[peer].n_thread = n_thread;
}

void sq_node_on_peer_up(struct sq_node *node, void (*on)(void *, enum sq_role))
{
    node->on_peer_up = on;
}

void sq_node_on_peer_down(struct sq_node *node, void (*on)(void *, enum sq_role))
{
    node->on_peer_down = on;
}

void sq_node_on_parent(struct sq_node *node, void (*on)(void *, struct sq_packet *, const struct sq_msg *))
{
    node->on_parent = on;
}

void sq_node_set_unsealed(struct sq_node *node, bool is_unsealed)
{
    __atomic_store_n(&node->is_unsealed, is_unsealed, __ATOMIC_SEQ_CST);
}

/* ---- threads ---- */

static sq_err thread_start(void *(*run)(void *), void *arg)
{
    pthread_attr_t a;
    pthread_t t;
    pthread_attr_init(&a);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&a, STACK_BYTES);
    int r = pthread_create(&t, &a, run, arg);
    pthread_attr_destroy(&a);
    return r ? sq_fail(SQ_ESYS) : SQ_OK;
}

/* send on the present socket of @l, if its generation is still @generation (0: any) */
static sq_err link_send(struct link *l, uint64_t generation, const struct sq_msg *m)
{
    pthread_mutex_lock(&l->sending);
    pthread_mutex_lock(&l->lock);
    int sock = l->sock;
    bool is_it = sock >= 0 && l->is_ready && (!generation || generation == l->generation);
    pthread_mutex_unlock(&l->lock);
    sq_err e = is_it ? sq_wire_send(sock, l->node->me, l->peer, m) : SQ_EDOWN;
    pthread_mutex_unlock(&l->sending);
    return e;
}

static void report_bad_peer(struct sq_node *node, enum sq_role peer, unsigned no, sq_err code)
{
    const struct sq_msg_row *row = sq_msg_row_of(no);
    sq_log(SQ_LOG_peer_broke_protocol, SQ_LW("peer", sq_role_name(peer)), SQ_LW("message", row ? row->name : "unknown"),
           SQ_LW("code", sq_err_name(code)));
    struct sq_msg m = sq_msg_of(bad_peer, .role = (uint8_t)peer, .message_no = (uint16_t)no);
    sq_err e = sq_wire_send(SQ_NODE_PARENT_FD, node->me, SQ_ROLE_PARENT, &m);
    if (e)
        parent_gone();
}

void sq_node_blame(struct sq_node *node, enum sq_role peer)
{
    report_bad_peer(node, peer, 0, SQ_ETIMEOUT);
}

/* ---- asks: requests from a peer ---- */

static void ask_answer(struct sq_ask *ask, const struct sq_msg *m)
{
    sq_assert(!ask->is_answered);
    ask->is_answered = true;
    if (!ask->m.call)
        return;
    struct sq_msg answer = *m;
    answer.call = ask->m.call;
    if (link_send(ask->link, ask->generation, &answer) != SQ_EPROTO)
        return;
    /* a field that the table forbids: the asker must not wait for ever because of it */
    answer = sq_msg_of(error_is, .code = SQ_EINTERNAL);
    answer.call = ask->m.call;
    sq_err e = link_send(ask->link, ask->generation, &answer);
    sq_assert(e != SQ_EPROTO);
}

void sq_ask_reply(struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_row *row = sq_msg_row_of(ask->m.no);
    sq_assert(m->no == SQ_MSG_error_is || m->no == row->reply);
    ask_answer(ask, m);
}

void sq_ask_ok(struct sq_ask *ask)
{
    struct sq_msg m = sq_msg_bare(ok);
    sq_ask_reply(ask, &m);
}

void sq_ask_fail(struct sq_ask *ask, sq_err code)
{
    struct sq_msg m = sq_msg_of(error_is, .code = (uint16_t)code);
    sq_ask_reply(ask, &m);
}

enum sq_role sq_ask_from(const struct sq_ask *ask)
{
    return ask->link->peer;
}

uint64_t sq_ask_generation(const struct sq_ask *ask)
{
    return ask->generation;
}

void sq_ask_keep_fd(struct sq_ask *ask, int fd)
{
    sq_packet_keep_fd(ask->pkt, fd);
}

void sq_ask_broke_protocol(struct sq_ask *ask)
{
    ask->is_answered = true;
    report_bad_peer(ask->node, ask->link->peer, ask->m.no, SQ_EPROTO);
    pthread_mutex_lock(&ask->link->lock);
    if (ask->generation == ask->link->generation && ask->link->sock >= 0)
        shutdown(ask->link->sock, SHUT_RDWR);
    pthread_mutex_unlock(&ask->link->lock);
}

static void ask_free(struct sq_ask *ask)
{
    sq_packet_free(ask->pkt);
    free(ask);
}

static void ask_handle(struct sq_ask *ask)
{
    struct sq_node *node = ask->node;
    const struct sq_msg_row *row = sq_msg_row_of(ask->m.no);
    pthread_mutex_lock(&ask->link->lock);
    bool is_stale = ask->generation != ask->link->generation || ask->link->sock < 0;
    pthread_mutex_unlock(&ask->link->lock);
    if (is_stale) { /* who asked is gone; what he left behind has been ended */
        ask_free(ask);
        return;
    }
    if (row->when == SQ_WHEN_UNSEALED && !__atomic_load_n(&node->is_unsealed, __ATOMIC_SEQ_CST)) {
        sq_ask_fail(ask, SQ_ESEALED);
    } else if (!node->on[ask->m.no]) {
        sq_ask_broke_protocol(ask);
    } else {
        node->on[ask->m.no](node->ctx, ask, &ask->m);
        sq_assert(ask->is_answered || row->reply == SQ_MSG_none);
    }
    ask_free(ask);
}

static void *handler_main(void *arg)
{
    struct link *l = arg;
    for (;;) {
        pthread_mutex_lock(&l->lock);
        while (!l->first)
            pthread_cond_wait(&l->wake_asks, &l->lock);
        struct sq_ask *ask = l->first;
        l->first = ask->next;
        if (!l->first)
            l->last = NULL;
        l->n_queued--;
        pthread_mutex_unlock(&l->lock);
        ask_handle(ask);
    }
    return NULL;
}

static sq_err ask_queue(struct link *l, uint64_t generation, struct sq_packet **pkt, const struct sq_msg *m)
{
    struct sq_ask *ask = calloc(1, sizeof *ask);
    if (!ask)
        return sq_fail(SQ_ENOMEM);
    *ask = (struct sq_ask){.node = l->node, .link = l, .generation = generation, .pkt = *pkt, .m = *m};
    *pkt = NULL;
    pthread_mutex_lock(&l->lock);
    bool is_full = l->n_queued >= MAX_QUEUED;
    if (!is_full) {
        if (l->last)
            l->last->next = ask;
        else
            l->first = ask;
        l->last = ask;
        l->n_queued++;
        pthread_cond_signal(&l->wake_asks);
    }
    pthread_mutex_unlock(&l->lock);
    if (is_full) {
        sq_ask_fail(ask, SQ_EBUSY);
        ask_free(ask);
    }
    return SQ_OK;
}

/* ---- calls: requests to a peer ---- */

/* wakes the waiter of this answer; SQ_EPROTO when nobody asked, or it answers another question */
static sq_err answer_arrived(struct link *l, struct sq_packet *pkt, const struct sq_msg *m)
{
    sq_err e = SQ_OK;
    pthread_mutex_lock(&l->lock);
    struct waiter **at = &l->waiters;
    while (*at && (*at)->call != m->call)
        at = &(*at)->next;
    struct waiter *w = *at;
    if (!w) {
        pthread_mutex_unlock(&l->lock);
        return SQ_OK; /* the call timed out before: its answer is dropped, descriptors and all */
    }
    *at = w->next;
    if (m->no == SQ_MSG_error_is) {
        w->e = sq_err_from_no(m->u.error_is.code);
        if (w->e == SQ_OK)
            w->e = SQ_EINTERNAL;
    } else if (m->no != w->expected) {
        w->e = e = sq_fail(SQ_EPROTO);
    } else {
        sq_packet_done(w->pkt);
        memcpy(w->pkt, pkt, offsetof(struct sq_packet, bytes) + pkt->n); /* descriptors move along */
        sq_wipe(pkt->bytes, pkt->n);
        pkt->n_fd = 0;
        pkt->n = 0;
        e = sq_wire_decode(l->peer, l->node->me, w->pkt, w->out);
        w->e = e;
    }
    w->is_done = true;
    pthread_cond_broadcast(&l->wake_calls);
    pthread_mutex_unlock(&l->lock);
    return e;
}

static void fail_waiters(struct link *l)
{
    pthread_mutex_lock(&l->lock);
    for (struct waiter *w = l->waiters; w; w = w->next) {
        w->e = SQ_EDOWN;
        w->is_done = true;
    }
    l->waiters = NULL;
    pthread_cond_broadcast(&l->wake_calls);
    pthread_mutex_unlock(&l->lock);
}

static bool is_answer(const struct sq_msg *m)
{
    if (m->no == SQ_MSG_error_is || m->no == SQ_MSG_ok)
        return true;
    for (unsigned no = 1; no < SQ_MSG_MAX; no++) {
        const struct sq_msg_row *row = sq_msg_row_of(no);
        if (row && row->reply == m->no)
            return true;
    }
    return false;
}

struct reader {
    struct link *l;
    int sock;
    uint64_t generation;
};

static void *peer_up_main(void *arg)
{
    struct link *l = arg;
    l->node->on_peer_up(l->node->ctx, l->peer);
    return NULL;
}

static void *reader_main(void *arg)
{
    struct reader r = *(struct reader *)arg;
    free(arg);
    struct link *l = r.l;
    struct sq_node *node = l->node;
    struct sq_msg m = {0};
    sq_err e = sq_wire_hello(r.sock, node->me, l->peer);
    if (!e) {
        pthread_mutex_lock(&l->lock);
        l->is_ready = l->generation == r.generation;
        pthread_cond_broadcast(&l->wake_calls);
        pthread_mutex_unlock(&l->lock);
        if (node->on_peer_up)
            e = thread_start(peer_up_main, l);
    }
    struct sq_packet *pkt = NULL;
    while (!e) {
        if (!pkt && !(pkt = sq_packet_new())) {
            e = SQ_ENOMEM;
            break;
        }
        e = sq_wire_recv(r.sock, l->peer, node->me, pkt, &m);
        if (e)
            break;
        if (is_answer(&m))
            e = answer_arrived(l, pkt, &m);
        else if (m.no == SQ_MSG_hello)
            e = sq_fail(SQ_EPROTO);
        else
            e = ask_queue(l, r.generation, &pkt, &m);
    }
    sq_packet_free(pkt);
    if (e == SQ_EPROTO)
        report_bad_peer(node, l->peer, m.no, e);
    /* calls that found the socket and have not yet joined the waiters see the generation change */
    pthread_mutex_lock(&l->sending);
    pthread_mutex_lock(&l->lock);
    bool is_mine = l->generation == r.generation;
    if (is_mine) {
        l->sock = -1;
        l->is_ready = false;
    }
    pthread_mutex_unlock(&l->lock);
    if (is_mine && node->on_peer_down)
        node->on_peer_down(node->ctx, l->peer); /* still holding `sending`: a new link can't come up before it is done */
    pthread_mutex_unlock(&l->sending);
    if (is_mine) {
        fail_waiters(l);
        sq_log(SQ_LOG_link_down, SQ_LW("peer", sq_role_name(l->peer)));
    }
    close(r.sock);
    return NULL;
}

static void link_start_reader(struct link *l)
{
    struct reader *r = calloc(1, sizeof *r);
    sq_assert(r);
    *r = (struct reader){.l = l, .sock = l->sock, .generation = l->generation};
    sq_assert(!thread_start(reader_main, r));
}

static sq_err link_start_handlers(struct link *l)
{
    for (unsigned i = 0; i < l->n_thread; i++) {
        sq_err e = thread_start(handler_main, l);
        if (e)
            return e;
    }
    return SQ_OK;
}

/* a new socket to @peer: the old one, if any, is shut down and its reader ends by itself */
static void link_attach(struct sq_node *node, enum sq_role peer, int sock)
{
    struct link *l = &node->link[peer];
    pthread_mutex_lock(&l->sending);
    pthread_mutex_lock(&l->lock);
    int old = l->sock;
    bool is_first = !l->is_used;
    l->sock = sock;
    l->generation++;
    l->is_used = true;
    l->is_ready = false;
    if (old >= 0)
        shutdown(old, SHUT_RDWR);
    pthread_mutex_unlock(&l->lock);
    if (old >= 0 && node->is_started && node->on_peer_down)
        node->on_peer_down(node->ctx, peer);
    pthread_mutex_unlock(&l->sending);
    if (old >= 0) {
        fail_waiters(l);
        if (!node->is_started)
            close(old);
    }
    if (!node->is_started)
        return;
    if (is_first) /* a peer that parent started after us */
        sq_assert(!link_start_handlers(l));
    link_start_reader(l);
}

sq_err sq_node_call(struct sq_node *node, enum sq_role peer, const struct sq_msg *m, unsigned timeout_ms,
                    struct sq_packet *pkt, struct sq_msg *out)
{
    struct link *l = &node->link[peer];
    const struct sq_msg_row *row = sq_msg_row_of(m->no);
    sq_assert(row && row->reply != SQ_MSG_none && row->to == peer);
    struct sq_msg ask = *m;
    ask.call = __atomic_fetch_add(&node->next_call, 1, __ATOMIC_SEQ_CST);
    struct waiter w = {.call = ask.call, .expected = row->reply, .pkt = pkt, .out = out, .e = SQ_ETIMEOUT};

    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(timeout_ms / 1000);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }

    int r = 0;
    pthread_mutex_lock(&l->lock);
    while (l->sock >= 0 && !l->is_ready && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&l->wake_calls, &l->lock, &until);
    bool is_up = l->sock >= 0 && l->is_ready;
    uint64_t generation = l->generation;
    if (is_up) {
        w.next = l->waiters;
        l->waiters = &w;
    }
    pthread_mutex_unlock(&l->lock);
    if (!is_up)
        return SQ_EDOWN;

    sq_err e = link_send(l, generation, &ask);
    if (e == SQ_EPROTO)
        e = SQ_EREQUEST; /* a text from outside that no message may carry: the caller's request is refused */

    pthread_mutex_lock(&l->lock);
    while (!e && !w.is_done && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&l->wake_calls, &l->lock, &until);
    if (!w.is_done) {
        for (struct waiter **at = &l->waiters; *at; at = &(*at)->next)
            if (*at == &w) {
                *at = w.next;
                break;
            }
    }
    if (!e || w.is_done)
        e = w.e;
    pthread_mutex_unlock(&l->lock);
    return e;
}

sq_err sq_node_do(struct sq_node *node, enum sq_role peer, const struct sq_msg *m, unsigned timeout_ms)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg out;
    sq_err e = sq_node_call(node, peer, m, timeout_ms, pkt, &out);
    sq_packet_free(pkt);
    return e;
}

sq_err sq_node_tell(struct sq_node *node, enum sq_role peer, const struct sq_msg *m)
{
    return peer == SQ_ROLE_PARENT ? sq_wire_send(SQ_NODE_PARENT_FD, node->me, peer, m) : link_send(&node->link[peer], 0, m);
}

/* ---- life ---- */

sq_err sq_node_start(struct sq_node *node, void *ctx)
{
    node->ctx = ctx;
    node->is_started = true;
    for (unsigned r = 0; r < SQ_ROLE_COUNT; r++) {
        struct link *l = &node->link[r];
        if (!l->is_used)
            continue;
        sq_err e = link_start_handlers(l);
        if (e)
            return e;
        link_start_reader(l);
    }
    return SQ_OK;
}

void sq_node_serve(struct sq_node *node, const char *address)
{
    struct sq_msg m = sq_msg_of(serving, .address = sq_span_str(address));
    if (sq_wire_send(SQ_NODE_PARENT_FD, node->me, SQ_ROLE_PARENT, &m))
        parent_gone();
    struct sq_packet *pkt = sq_packet_new();
    sq_assert(pkt);
    for (;;) {
        sq_err e = sq_wire_recv(SQ_NODE_PARENT_FD, SQ_ROLE_PARENT, node->me, pkt, &m);
        if (e)
            parent_gone();
        if (m.no == SQ_MSG_stop)
            break;
        take_from_parent(node, pkt, &m);
    }
    sq_packet_free(pkt);
    sq_log(SQ_LOG_stopping, SQ_LW("reason", "asked"));
}
