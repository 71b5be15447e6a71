/* The listener: who may connect, who must go when there is no room, and the threads' beginning and end. */
#include "lib/http/http_internal.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/http/http_json.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STACK_BYTES (256U << 10)
#define SHED_MAX 16         /* connections beyond the limit that are told so */
#define SHED_MAX_SOURCE 2   /* of one source */
#define LEAVING_MAX 64      /* pushed out, their threads not ended yet */
#define SHED_HEAD_S 3

/* ---- the list of connections, all under the lock ---- */

static struct source *source_find(struct sq_http *http, const char *name)
{
    struct source *s = http->sources;
    while (s && strcmp(s->name, name) != 0)
        s = s->next;
    if (!s && (s = calloc(1, sizeof *s))) {
        memcpy(s->name, name, strlen(name) + 1);
        s->next = http->sources;
        http->sources = s;
    }
    return s;
}

static void source_drop(struct sq_http *http, struct source *s)
{
    if (s->n_conn)
        return;
    struct source **at = &http->sources;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s);
}

/* It gives back what it was counted as. */
static void discount(struct conn *c)
{
    if (c->phase == LEAVING) {
        c->http->n_leaving--;
    } else if (c->is_shed) {
        c->http->n_shed--;
        c->source->n_shed--;
    } else {
        c->http->n_placed--;
        c->source->n_placed--;
    }
}

static void push_out(struct conn *c)
{
    discount(c);
    c->phase = LEAVING;
    c->http->n_leaving++;
    shutdown(c->wire.fd, SHUT_RDWR); /* the descriptor stays its thread's, which wakes with an end of file */
}

/*
 * Room for one more of @source: of the connections that ask nothing, the oldest of the source that holds most, and of
 * those only one that holds at least what the newcomer will. The only connection of a source goes after 1 s at the
 * earliest: a handshake takes so long on a busy machine.
 */
static bool make_room(struct sq_http *http, const struct source *source)
{
    int64_t now = sq_clock_steady_ms();
    struct conn *victim = NULL;
    for (struct conn *c = http->first; c; c = c->next) {
        unsigned n = c->source->n_placed, n_most = victim ? victim->source->n_placed : 0;
        bool may_go = c->phase == ASKS_NOTHING && !c->is_shed && n > source->n_placed && (n > 1 || now - c->since_ms > 1000);
        if (may_go && (n > n_most || (n == n_most && c->since_ms < victim->since_ms)))
            victim = c;
    }
    if (victim)
        push_out(victim);
    return victim != NULL;
}

/* Whether this connection gets a thread, and which kind. */
static bool admit(struct sq_http *http, struct conn *c, const char *name)
{
    struct source *s = source_find(http, name);
    if (!s)
        return false;
    bool has_place = s->n_placed < http->config.max_connections_per_ip;
    if (has_place && http->n_placed >= http->config.max_connections)
        has_place = http->n_leaving < LEAVING_MAX && make_room(http, s);
    if (!has_place && (http->n_shed >= SHED_MAX || s->n_shed >= SHED_MAX_SOURCE)) {
        source_drop(http, s);
        return false;
    }
    c->source = s;
    c->is_shed = !has_place;
    s->n_conn++;
    *(c->is_shed ? &http->n_shed : &http->n_placed) += 1;
    *(c->is_shed ? &s->n_shed : &s->n_placed) += 1;
    c->next = http->first;
    if (c->next)
        c->next->prev = c;
    http->first = c;
    return true;
}

bool conn_phase(struct conn *c, enum phase phase)
{
    pthread_mutex_lock(&c->http->lock);
    bool is_ours = c->phase != LEAVING;
    if (is_ours) {
        c->phase = phase;
        c->since_ms = sq_clock_steady_ms();
    }
    pthread_mutex_unlock(&c->http->lock);
    return is_ours;
}

/* ---- one connection's thread ---- */

static void release(struct credentials *c) /* under the lock */
{
    if (c && --c->n_user == 0)
        credentials_free(c);
}

/* Out of the list first, closed then: whoever shuts connections down never meets a number that is somebody else's by now. */
static void conn_end(struct conn *c)
{
    struct sq_http *http = c->http;
    int fd = c->wire.fd;
    pthread_mutex_lock(&http->lock);
    release(c->credentials);
    discount(c);
    if (c->prev)
        c->prev->next = c->next;
    else
        http->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->source->n_conn--;
    source_drop(http, c->source);
    pthread_mutex_unlock(&http->lock);
    close(fd);
    free(c);
    pthread_mutex_lock(&http->lock); /* stop waits for this: then nothing of ours is touched any more */
    http->n_thread--;
    pthread_cond_signal(&http->ended);
    pthread_mutex_unlock(&http->lock);
}

static void *serve(void *arg)
{
    conn_serve(arg);
    conn_end(arg);
    return NULL;
}

static void source_of(const struct sockaddr_storage *from, char address[64], char source[64])
{
    const struct sockaddr_in *v4 = (const void *)from;
    const struct sockaddr_in6 *v6 = (const void *)from;
    const void *ip = &v4->sin_addr;
    bool is_v6 = from->ss_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
    if (from->ss_family == AF_INET6)
        ip = is_v6 ? v6->sin6_addr.s6_addr : v6->sin6_addr.s6_addr + 12;
    if (!inet_ntop(is_v6 ? AF_INET6 : AF_INET, ip, address, 64))
        address[0] = 0;
    memcpy(source, address, 64);
    if (is_v6) { /* whoever has one address of a /64 has them all */
        struct in6_addr net = v6->sin6_addr;
        memset(net.s6_addr + 8, 0, 8);
        if (inet_ntop(AF_INET6, &net, source, 50))
            memcpy(source + strlen(source), "/64", 4);
    }
}

static void begin(struct sq_http *http, int fd, const struct sockaddr_storage *from)
{
    static const int one = 1;
    struct conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    c->http = http;
    c->wire.fd = fd;
    c->since_ms = sq_clock_steady_ms();
    char source[64];
    source_of(from, c->address, source);
    bool is_ok = http->config.events.on_connect(http->config.ctx, source);
    if (is_ok) {
        pthread_mutex_lock(&http->lock);
        is_ok = admit(http, c, source);
        if (is_ok) {
            c->credentials = http->credentials;
            c->credentials->n_user++;
            http->n_thread++;
        }
        pthread_mutex_unlock(&http->lock);
    }
    if (!is_ok) {
        close(fd);
        free(c);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->wire.left_ms = (int64_t)(c->is_shed ? SHED_HEAD_S : http->config.head_s) * 1000;
    pthread_t thread;
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&a, STACK_BYTES);
    if (pthread_create(&thread, &a, serve, c))
        conn_end(c);
    pthread_attr_destroy(&a);
}

static void *listener(void *arg)
{
    struct sq_http *http = arg;
    struct pollfd p[2] = {{.fd = http->config.listen_fd, .events = POLLIN}, {.fd = http->wake, .events = POLLIN}};
    for (;;) {
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (p[1].revents)
            return NULL;
        struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
        socklen_t n = sizeof from;
        int fd = accept4(http->config.listen_fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            begin(http, fd, &from);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            struct timespec t = {.tv_nsec = 50000000}; /* none left: wait for one to end instead of spinning */
            clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
        }
    }
}

/* ---- start and stop ---- */

sq_err sq_http_prepare(const struct sq_http_config *config)
{
    sq_http_json_start();
    /* One heap, by brk: the heaps of further arenas can't shrink without opening /proc/sys/vm/overcommit_memory (glibc 2.36),
     * which no list of ours allows; and a heap for each of 256 threads would be ours to pay. */
    mallopt(M_ARENA_MAX, 1);
    struct credentials *c = NULL;
    sq_err e = tls_start();
    if (!e)
        e = credentials_new(config->certificate_pem, config->key_pem, &c);
    credentials_free(c);
    return e;
}

sq_err sq_http_start(const struct sq_http_config *config, struct sq_http **out)
{
    struct sq_http *http = calloc(1, sizeof *http);
    if (!http)
        return sq_fail(SQ_ENOMEM);
    http->config = *config;
    pthread_mutex_init(&http->lock, NULL);
    pthread_cond_init(&http->ended, NULL);
    http->wake = eventfd(0, EFD_CLOEXEC);
    int flags = fcntl(config->listen_fd, F_GETFL);
    sq_err e = http->wake < 0 || flags < 0 || fcntl(config->listen_fd, F_SETFL, flags | O_NONBLOCK) < 0 ? sq_fail(SQ_ESYS) : SQ_OK;
    if (!e)
        e = credentials_new(config->certificate_pem, config->key_pem, &http->credentials);
    if (!e && pthread_create(&http->listener, NULL, listener, http))
        e = sq_fail(SQ_ESYS);
    if (e) {
        credentials_free(http->credentials);
        sq_close(&http->wake);
        free(http);
        return e;
    }
    http->config.certificate_pem = http->config.key_pem = NULL; /* GnuTLS has its own */
    *out = http;
    return SQ_OK;
}

sq_err sq_http_certificate(struct sq_http *http, const char *certificate_pem, const char *key_pem)
{
    struct credentials *c = NULL;
    sq_err e = credentials_new(certificate_pem, key_pem, &c);
    if (e)
        return e;
    pthread_mutex_lock(&http->lock);
    release(http->credentials);
    http->credentials = c;
    pthread_mutex_unlock(&http->lock);
    return SQ_OK;
}

void sq_http_stop(struct sq_http *http)
{
    if (!http)
        return;
    uint64_t one = 1;
    ssize_t w = write(http->wake, &one, sizeof one);
    sq_assert(w == sizeof one);
    pthread_join(http->listener, NULL);
    pthread_mutex_lock(&http->lock);
    for (struct conn *c = http->first; c; c = c->next)
        if (c->phase != LEAVING)
            push_out(c);
    while (http->n_thread)
        pthread_cond_wait(&http->ended, &http->lock);
    release(http->credentials);
    pthread_mutex_unlock(&http->lock);
    close(http->config.listen_fd);
    close(http->wake);
    free(http);
}
