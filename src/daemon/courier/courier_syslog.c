/*
 * Lines to a syslog collector: datagrams to this machine's own or by UDP (RFC 5426), or octet-counted frames over TCP
 * (RFC 6587 §3.4.1) and TLS (RFC 5425). TLS is libcurl's: CONNECT_ONLY, then bytes.
 *
 * Syslog has no answer. Over TCP and TLS a line counts as sent when the connection took it and the collector hadn't hung
 * up before; what lay in its buffers when it died is lost. UDP and datagrams promise still less.
 */
#include "daemon/courier/courier.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- datagrams ---- */

static int open_local(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof at.sun_path)
        return -1;
    memcpy(at.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int open_udp(const struct sq_url *u, enum sq_send_end *out_end)
{
    char port[8];
    struct addrinfo want = {.ai_socktype = SOCK_DGRAM}, *found = NULL;
    snprintf(port, sizeof port, "%u", u->port ? u->port : 514);
    *out_end = SQ_SEND_resolve;
    if (getaddrinfo(u->host, port, &want, &found))
        return -1;
    *out_end = SQ_SEND_connect;
    int fd = -1;
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

static void send_datagrams(struct courier *c, struct sq_span lines, struct ending *out)
{
    bool is_local = !strcmp(c->syslog.scheme, "unix");
    out->end = SQ_SEND_connect;
    int fd = is_local ? open_local(c->syslog.path) : open_udp(&c->syslog, &out->end);
    if (fd < 0)
        return;
    struct timeval limit = {.tv_sec = SEND_S};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    out->end = SQ_SEND_sent;
    for (const uint8_t *p = lines.p, *end = p + lines.n; p < end && out->end == SQ_SEND_sent;) {
        const uint8_t *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = lf ? (size_t)(lf - p) : (size_t)(end - p);
        if (send(fd, p, n, MSG_NOSIGNAL) < 0)
            out->end = SQ_SEND_connect;
        p += n + 1;
    }
    close(fd);
}

/* ---- streams ---- */

static void hang_up(struct courier *c)
{
    curl_easy_cleanup(c->log.curl);
    c->log.curl = NULL;
}

static void connect_stream(struct courier *c, struct ending *out)
{
    static char reason[CURL_ERROR_SIZE]; /* lives as long as the handle; one at a time, under the lock */
    bool is_tls = !strcmp(c->syslog.scheme, "tls");
    char url[1024];
    out->end = SQ_SEND_internal;
    if (!(c->log.curl = courier_curl(c, "https,http", reason)))
        return;
    courier_url(&c->syslog, is_tls ? "https" : "http", is_tls ? 6514 : 601, "/", url);
    curl_easy_setopt(c->log.curl, CURLOPT_URL, url);
    curl_easy_setopt(c->log.curl, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(c->log.curl, CURLOPT_SSL_ENABLE_ALPN, 0L);
    curl_easy_setopt(c->log.curl, CURLOPT_TCP_KEEPALIVE, 1L);
    out->end = courier_end_of(curl_easy_perform(c->log.curl), 0);
    if (out->end != SQ_SEND_sent)
        hang_up(c);
}

static bool wait_for(CURL *h, short events)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (curl_easy_getinfo(h, CURLINFO_ACTIVESOCKET, &fd) || fd == CURL_SOCKET_BAD)
        return false;
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, (int)SEND_S * 1000) > 0;
}

/* A collector that hung up has sent its end; of what TLS may have sent before it (session tickets) we need not know. */
static bool is_alive(CURL *h)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (curl_easy_getinfo(h, CURLINFO_ACTIVESOCKET, &fd) || fd == CURL_SOCKET_BAD)
        return false;
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 0;
}

static bool send_all(CURL *h, const void *p, size_t n)
{
    const char *at = p;
    while (n) {
        size_t done = 0;
        CURLcode code = curl_easy_send(h, at, n, &done);
        if (code == CURLE_AGAIN) {
            if (!wait_for(h, POLLOUT))
                return false;
            continue;
        }
        if (code)
            return false;
        at += done;
        n -= done;
    }
    return true;
}

static sq_err framed(struct sq_span lines, struct sq_buf *out)
{
    sq_err e = SQ_OK;
    for (const uint8_t *p = lines.p, *end = p + lines.n; p < end && !e;) {
        const uint8_t *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = lf ? (size_t)(lf - p) : (size_t)(end - p);
        e = sq_buf_addf(out, "%zu ", n);
        if (!e)
            e = sq_buf_add(out, p, n);
        p += n + 1;
    }
    return e;
}

static void send_stream(struct courier *c, struct sq_span lines, struct ending *out)
{
    struct sq_buf frames;
    sq_buf_init(&frames, 0);
    out->end = SQ_SEND_sent;
    if (framed(lines, &frames))
        out->end = SQ_SEND_internal;
    if (out->end == SQ_SEND_sent && c->log.curl && !is_alive(c->log.curl))
        hang_up(c);
    if (out->end == SQ_SEND_sent && !c->log.curl)
        connect_stream(c, out);
    if (out->end == SQ_SEND_sent && !send_all(c->log.curl, frames.p, frames.n)) {
        out->end = SQ_SEND_protocol;
        hang_up(c);
    }
    sq_buf_done(&frames);
}

void on_syslog_send(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct courier *c = ctx;
    struct ending end = {.end = SQ_SEND_off};
    struct sq_span lines = m->u.syslog_send.lines;
    pthread_mutex_lock(&c->log.lock);
    if (*c->syslog.scheme && lines.n) {
        bool is_stream = !strcmp(c->syslog.scheme, "tcp") || !strcmp(c->syslog.scheme, "tls");
        if (is_stream)
            send_stream(c, lines, &end);
        else
            send_datagrams(c, lines, &end);
    }
    pthread_mutex_unlock(&c->log.lock);
    courier_answer(ask, &end, false);
}
