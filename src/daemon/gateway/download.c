/*
 * Downloads: registrar says whether, what and how long; runner gives a pipe that it fills; bytes pass through unseen.
 * A client that reads slowly fills our socket, then the pipe, and runner waits: nothing is held in memory.
 *
 * Conditions are looked at before anything is revealed: has_range 2 asks for size and tag alone, opens nothing and isn't a
 * reveal in the audit log. If-Match, If-None-Match and If-Range compare with the strong ETag (RFC 9110 §13.1).
 */
#include "daemon/gateway/gateway.h"

#include "lib/core/file.h"

#include <stdio.h>

enum { WHOLE = 0, RANGE = 1, LOOK = 2 }; /* has_range of message download_open */

struct found {
    struct sq_packet *pkt; /* what @is points into */
    struct sq_msg_download_is is;
    char etag[2 + 64 + 1];
};

static sq_err open_download(struct request *r, uint8_t what, uint64_t first, uint64_t last, struct found *out)
{
    char params[SQ_ROUTE_MAX_PARAMS * (SQ_ROUTE_ID_MAX + 1)];
    struct sq_msg is, m = sq_msg_of(download_open, .route = (uint16_t)r->row->route, .token = r->token, .via = r->via,
                                    .address = sq_span_str(r->http->address), .params = request_params(r, params),
                                    .has_range = what, .first = first, .last = last);
    memcpy(m.u.download_open.request_id, r->id, sizeof r->id);
    sq_err e = sq_node_call(r->gw->node, SQ_ROLE_REGISTRAR, &m, GATEWAY_CALL_MS, out->pkt, &is);
    if (e)
        return e;
    out->is = is.u.download_is;
    if (out->is.n_bytes > out->is.total_bytes || out->is.first > out->is.total_bytes - out->is.n_bytes)
        return sq_fail(SQ_EPROTO);
    char hex[65];
    sq_hex(out->is.etag, sizeof out->is.etag, hex);
    snprintf(out->etag, sizeof out->etag, "\"%s\"", hex);
    if (what != LOOK) {
        memcpy(r->ticket, out->is.ticket, sizeof r->ticket);
        r->has_ticket = true;
        r->n_promised = out->is.n_bytes;
    }
    return SQ_OK;
}

static sq_err fetch_pipe(struct request *r, int *out_fd)
{
    struct sq_packet *pkt = sq_packet_new();
    struct sq_msg is, m = sq_msg_bare(stream);
    memcpy(m.u.stream.ticket, r->ticket, sizeof r->ticket);
    sq_err e = pkt ? sq_node_call(r->gw->node, SQ_ROLE_RUNNER, &m, GATEWAY_CALL_MS, pkt, &is) : sq_fail(SQ_ENOMEM);
    if (!e) {
        *out_fd = is.u.stream_is.pipe;
        sq_packet_keep_fd(pkt, *out_fd);
    }
    sq_packet_free(pkt);
    return e;
}

/* Size and tag only: HEAD, or a condition. True when that was the whole answer. */
static bool look_first(struct request *r, struct found *f, bool *has_range)
{
    struct sq_http_request *http = r->http;
    bool is_head = !strcmp(http->method, "HEAD"); /* Range means nothing there */
    if (!is_head && !http->if_match && !http->if_none_match && !(*has_range && http->if_range))
        return false;
    sq_err e = open_download(r, LOOK, 0, 0, f);
    if (e) {
        answer_error(r, e, NULL);
        return true;
    }
    if (http->if_match && !sq_http_etag_matches(http->if_match, f->etag)) {
        answer_error(r, SQ_EPRECONDITION, NULL);
        return true;
    }
    if (sq_http_etag_listed(http->if_none_match, f->etag)) {
        answer_download(r, 304, &f->is, f->etag, -1);
        return true;
    }
    if (is_head) {
        f->is.first = 0;
        f->is.n_bytes = f->is.total_bytes;
        answer_download(r, 200, &f->is, f->etag, -1);
        return true;
    }
    if (http->if_range && strcmp(http->if_range, f->etag) != 0)
        *has_range = false;
    sq_packet_done(f->pkt);
    return false;
}

static void send_bytes_of(struct request *r, struct found *f)
{
    uint64_t first = 0, last = 0;
    bool has_range = sq_http_range(r->http->range, &first, &last);
    if (look_first(r, f, &has_range))
        return;
    sq_err e = open_download(r, has_range ? RANGE : WHOLE, has_range ? first : 0, has_range ? last : 0, f);
    if (e == SQ_ERANGEHDR) {
        sq_packet_done(f->pkt);
        e = open_download(r, LOOK, 0, 0, f);
        if (!e)
            answer_no_range(r, f->is.total_bytes);
    }
    int fd = -1;
    if (!e && !sq_http_is_answered(r->http) && f->is.n_bytes)
        e = fetch_pipe(r, &fd);
    if (e)
        answer_error(r, e, NULL);
    else if (!sq_http_is_answered(r->http))
        answer_download(r, has_range ? 206 : 200, &f->is, f->etag, fd); /* takes fd */
}

void download_end(struct request *r)
{
    struct found f = {.pkt = sq_packet_new()};
    sq_http_deadline(r->http, 3 * GATEWAY_CALL_MS / 1000 + 5);
    if (f.pkt)
        send_bytes_of(r, &f);
    else
        answer_error(r, SQ_ENOMEM, NULL);
    sq_packet_free(f.pkt);
}

void download_drop(struct request *r)
{
    if (!r->has_ticket)
        return;
    uint64_t n_sent = r->http->status / 100 == 2 ? r->http->n_out : 0;
    struct sq_msg m = sq_msg_of(download_end, .n_sent = n_sent, .is_complete = n_sent == r->n_promised);
    memcpy(m.u.download_end.ticket, r->ticket, sizeof r->ticket);
    sq_err e = sq_node_do(r->gw->node, SQ_ROLE_REGISTRAR, &m, GATEWAY_CALL_MS);
    (void)e; /* registrar ends by itself what nobody ended */
    r->has_ticket = false;
}
