#include "lib/wire/wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

const char *sq_role_name(enum sq_role role)
{
    static const char *const name[SQ_ROLE_COUNT] = {"anyone", "parent", "gateway", "registrar", "keeper", "storer",
                                                    "runner", "jailer", "courier", "worker", "admin"};
    return role < SQ_ROLE_COUNT ? name[role] : "unknown";
}

/* ---- the table ---- */
static const struct sq_msg_row rows[] = {
#define SQ_MSG(name_, no_, from_, to_, when_, reply_, fields_)                                             \
    {SQ_MSG_##name_, #name_, SQ_ROLE_##from_, SQ_ROLE_##to_, SQ_WHEN_##when_, SQ_MSG_##reply_, #fields_},
#include "lib/wire/messages.def"
#undef SQ_MSG
};

#define SQ_MSG(name, no, from, to, when, reply, fields) _Static_assert(no < 240, "SQ_MSG_MAX");
#include "lib/wire/messages.def"
#undef SQ_MSG
_Static_assert(SQ_MSG_MAX == 240, "handlers lie in arrays of this size");

const struct sq_msg_row *sq_msg_row_of(unsigned no)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((unsigned)rows[i].no == no)
            return &rows[i];
    return NULL;
}

static uint64_t fnv(uint64_t h, const char *s)
{
    do
        h = (h ^ (uint8_t)*s) * 0x100000001b3ULL;
    while (*s++);
    return h;
}

uint64_t sq_msg_table_hash(void)
{
    uint64_t h = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char numbers[64];
        snprintf(numbers, sizeof numbers, "%d %d %d %d %d", rows[i].no, rows[i].from, rows[i].to, rows[i].when, rows[i].reply);
        h = fnv(fnv(fnv(h, rows[i].name), numbers), rows[i].fields);
    }
    return h;
}

static bool may_pass(const struct sq_msg_row *row, enum sq_role from, enum sq_role to)
{
    return row && (row->from == SQ_ROLE_ANYONE || row->from == from) && (row->to == SQ_ROLE_ANYONE || row->to == to);
}

/* ---- encoding ---- */
struct enc {
    struct sq_buf *out;
    struct sq_fds *fds;
    sq_err e;
};

static void enc_bytes(struct enc *c, const void *p, size_t n)
{
    if (!c->e)
        c->e = sq_buf_add(c->out, p, n);
}

static void enc_number(struct enc *c, uint64_t v, unsigned n)
{
    uint8_t b[8];
    sq_put_le64(b, v);
    enc_bytes(c, b, n);
}

static void enc_span(struct enc *c, struct sq_span s, size_t max)
{
    if (s.n > max)
        c->e = sq_fail(SQ_EPROTO);
    enc_number(c, s.n, 4);
    enc_bytes(c, s.p, s.n);
}

static bool is_text(struct sq_span s)
{
    for (uint32_t i = 0; i < s.n; i++) {
        uint8_t b = s.p[i];
        if (b < 0x20 || b == 0x7f)
            return false;
        if (b < 0x80)
            continue;
        uint32_t more = b >= 0xf0 && b < 0xf5 ? 3 : b >= 0xe0 && b < 0xf0 ? 2 : b >= 0xc2 && b < 0xe0 ? 1 : 0;
        if (!more || more > s.n - i - 1)
            return false;
        uint8_t second = s.p[i + 1];
        if ((b == 0xe0 && second < 0xa0) || (b == 0xed && second > 0x9f) || (b == 0xf0 && second < 0x90) ||
            (b == 0xf4 && second > 0x8f))
            return false; /* overlong, surrogates, above U+10FFFF (RFC 3629) */
        for (uint32_t k = 1; k <= more; k++)
            if ((s.p[i + k] & 0xc0) != 0x80)
                return false;
        i += more;
    }
    return true;
}

static void enc_text(struct enc *c, struct sq_span s, size_t max)
{
    if (!is_text(s))
        c->e = sq_fail(SQ_EPROTO);
    enc_span(c, s, max);
}

static void enc_ids(struct enc *c, struct sq_ids ids, size_t max)
{
    if (ids.n > max)
        c->e = sq_fail(SQ_EPROTO);
    enc_number(c, ids.n, 4);
    enc_bytes(c, ids.p, (size_t)ids.n * SQ_ID_BYTES);
}

static void enc_fds(struct enc *c, const int *fd, uint32_t n, size_t max)
{
    if (n > max || c->fds->n + n > SQ_WIRE_MAX_FDS) {
        c->e = sq_fail(SQ_EPROTO);
        return;
    }
    enc_number(c, n, 1);
    for (uint32_t i = 0; i < n; i++)
        c->fds->fd[c->fds->n++] = fd[i];
}

#define U8(f) enc_number(c, m->f, 1);
#define U16(f) enc_number(c, m->f, 2);
#define U32(f) enc_number(c, m->f, 4);
#define U64(f) enc_number(c, m->f, 8);
#define BYTES(f, len) enc_bytes(c, m->f, len);
#define STR(f, max) enc_text(c, m->f, max);
#define BLOB(f, max) enc_span(c, m->f, max);
#define IDS(f, max) enc_ids(c, m->f, max);
#define FD(f) enc_fds(c, &m->f, 1, 1);
#define FDS(f, max) enc_fds(c, m->f.fd, m->f.n, max);
#define SQ_MSG(name, no, from, to, when, reply, fields)                        \
    static void enc_##name(struct enc *c, const struct sq_msg_##name *m) \
    {                                                                       \
        (void)c;                                                            \
        (void)m;                                                            \
        fields                                                              \
    }
#include "lib/wire/messages.def"
#undef SQ_MSG
#undef U8
#undef U16
#undef U32
#undef U64
#undef BYTES
#undef STR
#undef BLOB
#undef IDS
#undef FD
#undef FDS

sq_err sq_wire_encode(enum sq_role from, enum sq_role to, const struct sq_msg *m, struct sq_buf *out, struct sq_fds *out_fds)
{
    if (!may_pass(sq_msg_row_of(m->no), from, to))
        return sq_fail(SQ_EPROTO);
    struct enc c = {.out = out, .fds = out_fds};
    out_fds->n = 0;
    enc_number(&c, m->no, 2);
    enc_number(&c, 0, 2);
    enc_number(&c, m->call, 8);
    switch (m->no) {
#define SQ_MSG(name, no, from, to, when, reply, fields) \
    case SQ_MSG_##name:                                   \
        enc_##name(&c, &m->u.name);                       \
        break;
#include "lib/wire/messages.def"
#undef SQ_MSG
    case SQ_MSG_none:
    case SQ_MSG_MAX:
        return sq_fail(SQ_EPROTO);
    }
    if (!c.e && out->n > SQ_WIRE_MAX_BYTES)
        c.e = sq_fail(SQ_EPROTO);
    return c.e;
}

/* ---- decoding ---- */
struct dec {
    struct sq_packet *pkt;
    size_t at;
    sq_err e;
};

static const uint8_t *dec_bytes(struct dec *d, size_t n)
{
    static const uint8_t zero[64];
    if (!d->e && n > d->pkt->n - d->at)
        d->e = sq_fail(SQ_EPROTO);
    if (d->e)
        return zero;
    const uint8_t *p = d->pkt->bytes + d->at;
    d->at += n;
    return p;
}

static uint64_t dec_number(struct dec *d, unsigned n)
{
    uint8_t b[8] = {0};
    memcpy(b, dec_bytes(d, n), n);
    return sq_get_le64(b);
}

static void dec_fixed(struct dec *d, uint8_t *out, size_t n)
{
    const uint8_t *p = dec_bytes(d, n);
    if (!d->e)
        memcpy(out, p, n);
    else
        memset(out, 0, n);
}

static struct sq_span dec_span(struct dec *d, size_t max)
{
    uint32_t n = (uint32_t)dec_number(d, 4);
    if (n > max)
        d->e = sq_fail(SQ_EPROTO);
    const uint8_t *p = dec_bytes(d, d->e ? 0 : n);
    return d->e ? (struct sq_span){0} : (struct sq_span){p, n};
}

static struct sq_span dec_text(struct dec *d, size_t max)
{
    struct sq_span s = dec_span(d, max);
    if (!is_text(s))
        d->e = sq_fail(SQ_EPROTO);
    return s;
}

static struct sq_ids dec_ids(struct dec *d, size_t max)
{
    uint32_t n = (uint32_t)dec_number(d, 4);
    if (n > max)
        d->e = sq_fail(SQ_EPROTO);
    const uint8_t *p = dec_bytes(d, d->e ? 0 : (size_t)n * SQ_ID_BYTES);
    return d->e ? (struct sq_ids){0} : (struct sq_ids){p, n};
}

static uint32_t dec_fds(struct dec *d, int *fd, size_t max, bool is_exactly_one)
{
    uint32_t n = (uint32_t)dec_number(d, 1);
    if (n > max || (is_exactly_one && n != 1) || (!d->e && n > d->pkt->n_fd - d->pkt->n_fd_used))
        d->e = sq_fail(SQ_EPROTO);
    if (d->e)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        fd[i] = d->pkt->fd[d->pkt->n_fd_used++];
    return n;
}

#define U8(f) m->f = (uint8_t)dec_number(d, 1);
#define U16(f) m->f = (uint16_t)dec_number(d, 2);
#define U32(f) m->f = (uint32_t)dec_number(d, 4);
#define U64(f) m->f = dec_number(d, 8);
#define BYTES(f, len) dec_fixed(d, m->f, len);
#define STR(f, max) m->f = dec_text(d, max);
#define BLOB(f, max) m->f = dec_span(d, max);
#define IDS(f, max) m->f = dec_ids(d, max);
#define FD(f) (void)dec_fds(d, &m->f, 1, true);
#define FDS(f, max) m->f.n = dec_fds(d, m->f.fd, max, false);
#define SQ_MSG(name, no, from, to, when, reply, fields)                  \
    static void dec_##name(struct dec *d, struct sq_msg_##name *m) \
    {                                                                 \
        (void)d;                                                      \
        (void)m;                                                      \
        fields                                                        \
    }
#include "lib/wire/messages.def"
#undef SQ_MSG
#undef U8
#undef U16
#undef U32
#undef U64
#undef BYTES
#undef STR
#undef BLOB
#undef IDS
#undef FD
#undef FDS

sq_err sq_wire_decode(enum sq_role from, enum sq_role to, struct sq_packet *pkt, struct sq_msg *out)
{
    struct dec d = {.pkt = pkt};
    struct sq_msg m = {0};
    pkt->n_fd_used = 0;
    unsigned no = (unsigned)dec_number(&d, 2);
    if (dec_number(&d, 2) != 0)
        d.e = sq_fail(SQ_EPROTO);
    m.call = dec_number(&d, 8);
    if (d.e)
        return d.e;
    if (!may_pass(sq_msg_row_of(no), from, to))
        return sq_fail(SQ_EPROTO);
    m.no = (enum sq_msg_no)no;
    switch (m.no) {
#define SQ_MSG(name, no, from, to, when, reply, fields) \
    case SQ_MSG_##name:                                   \
        dec_##name(&d, &m.u.name);                        \
        break;
#include "lib/wire/messages.def"
#undef SQ_MSG
    case SQ_MSG_none:
    case SQ_MSG_MAX:
        return sq_fail(SQ_EPROTO);
    }
    if (!d.e && (d.at != pkt->n || pkt->n_fd_used != pkt->n_fd))
        d.e = sq_fail(SQ_EPROTO); /* something is left over */
    if (d.e)
        return d.e;
    *out = m;
    return SQ_OK;
}

/* ---- packets ---- */
struct sq_packet *sq_packet_new(void)
{
    return calloc(1, sizeof(struct sq_packet));
}

void sq_packet_done(struct sq_packet *pkt)
{
    if (!pkt)
        return;
    for (uint32_t i = 0; i < pkt->n_fd; i++)
        if (pkt->fd[i] >= 0)
            close(pkt->fd[i]);
    sq_wipe(pkt->bytes, pkt->n);
    pkt->n = 0;
    pkt->n_fd = pkt->n_fd_used = 0;
}

void sq_packet_free(struct sq_packet *pkt)
{
    sq_packet_done(pkt);
    free(pkt);
}

void sq_packet_keep_fd(struct sq_packet *pkt, int fd)
{
    for (uint32_t i = 0; i < pkt->n_fd; i++)
        if (pkt->fd[i] == fd)
            pkt->fd[i] = -1;
}

/* ---- sockets ---- */
union control {
    char bytes[CMSG_SPACE(sizeof(int) * SQ_WIRE_MAX_FDS)];
    struct cmsghdr align;
};

sq_err sq_wire_send(int sock, enum sq_role from, enum sq_role to, const struct sq_msg *m)
{
    struct sq_buf bytes;
    struct sq_fds fds = {.n = 0};
    sq_buf_init(&bytes, SQ_WIRE_MAX_BYTES + 1);
    sq_err e = sq_wire_encode(from, to, m, &bytes, &fds);
    if (e)
        goto out;
    union control control;
    memset(&control, 0, sizeof control);
    struct iovec iov = {.iov_base = bytes.p, .iov_len = bytes.n};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fds.n) {
        h.msg_control = control.bytes;
        h.msg_controllen = CMSG_SPACE(sizeof(int) * fds.n);
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * fds.n);
        memcpy(CMSG_DATA(c), fds.fd, sizeof(int) * fds.n);
    }
    ssize_t w;
    do
        w = sendmsg(sock, &h, MSG_NOSIGNAL);
    while (w < 0 && errno == EINTR);
    if (w < 0)
        e = sq_fail(SQ_EDOWN);
    else
        sq_assert((size_t)w == bytes.n);
out:
    sq_buf_done(&bytes);
    return e;
}

static sq_err recv_packet(int sock, struct sq_packet *pkt)
{
    sq_packet_done(pkt);
    union control control;
    struct iovec iov = {.iov_base = pkt->bytes, .iov_len = sizeof pkt->bytes};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t n;
    do
        n = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return SQ_EDOWN; /* the ordinary end of a socket */
    pkt->n = (size_t)n;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        const unsigned char *data = CMSG_DATA(c);
        for (size_t i = 0; i < k; i++) {
            int fd;
            memcpy(&fd, data + i * sizeof fd, sizeof fd);
            if (pkt->n_fd < SQ_WIRE_MAX_FDS)
                pkt->fd[pkt->n_fd++] = fd;
            else
                close(fd);
        }
    }
    if (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        return sq_fail(SQ_EPROTO);
    return SQ_OK;
}

sq_err sq_wire_recv(int sock, enum sq_role from, enum sq_role to, struct sq_packet *pkt, struct sq_msg *out)
{
    sq_err e = recv_packet(sock, pkt);
    if (!e)
        e = sq_wire_decode(from, to, pkt, out);
    return e;
}

sq_err sq_wire_hello(int sock, enum sq_role me, enum sq_role peer)
{
    struct sq_msg mine = sq_msg_of(hello, .table_hash = sq_msg_table_hash(), .role = (uint8_t)me), theirs;
    sq_err e = sq_wire_send(sock, me, peer, &mine);
    if (e)
        return e;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    e = sq_wire_recv(sock, peer, me, pkt, &theirs);
    if (!e && (theirs.no != SQ_MSG_hello || theirs.u.hello.table_hash != mine.u.hello.table_hash || theirs.u.hello.role != peer))
        e = sq_fail(SQ_EPROTO);
    sq_packet_free(pkt);
    return e;
}
