/* JSON routes: the body is checked and rewritten here, so that registrar's parser meets well-formed, bounded text only. */
#include "daemon/gateway/gateway.h"

#include "lib/http/http_json.h"

void forward_head(struct request *r)
{
    struct sq_http_request *http = r->http;
    if (!http->content_length)
        return;
    r->is_form = r->row->kind == SQ_KIND_FORM && sq_http_media_is_text(http->content_type, "application/x-www-form-urlencoded");
    if (!r->is_form && !sq_http_media_is_text(http->content_type, "application/json"))
        answer_error(r, SQ_EMEDIA, r->row->kind == SQ_KIND_FORM ? "send Content-Type: application/json, or application/x-www-form-urlencoded" : "send Content-Type: application/json");
    else if (http->content_encoding)
        answer_error(r, SQ_EMEDIA, "send the body as it is: no Content-Encoding is taken here");
    else if (http->content_length != SQ_HTTP_CHUNKED && http->content_length > GATEWAY_BODY_MAX)
        answer_error(r, SQ_ETOOBIG, "a JSON body has at most 49152 bytes");
}

void forward_body(struct request *r, const uint8_t *p, size_t n)
{
    sq_err e = sq_buf_add(&r->body, p, n);
    if (e)
        answer_error(r, r->body.n + n > GATEWAY_BODY_MAX ? SQ_ETOOBIG : e, "a JSON body has at most 49152 bytes");
}

void forward_end(struct request *r)
{
    struct sq_buf body;
    struct sq_packet *pkt = sq_packet_new();
    char params[SQ_ROUTE_MAX_PARAMS * (SQ_ROUTE_ID_MAX + 1)];
    sq_buf_init(&body, GATEWAY_BODY_MAX);
    sq_err e = pkt ? SQ_OK : sq_fail(SQ_ENOMEM);
    if (!e && r->body.n)
        e = r->is_form ? sq_http_form_normal(r->body.p, r->body.n, &body) : sq_http_json_normal(r->body.p, r->body.n, &body);
    struct sq_msg is, m = sq_msg_of(api, .route = (uint16_t)r->row->route, .token = r->token, .via = r->via,
                                    .address = sq_span_str(r->http->address), .params = request_params(r, params),
                                    .query = sq_span_str(r->http->query), .body = sq_span_of(body.p, body.n));
    memcpy(m.u.api.request_id, r->id, sizeof r->id);
    sq_http_deadline(r->http, GATEWAY_CALL_MS / 1000 + 5);
    if (!e)
        e = sq_node_call(r->gw->node, SQ_ROLE_REGISTRAR, &m, GATEWAY_CALL_MS, pkt, &is);
    if (e)
        answer_error(r, e, NULL);
    else
        answer_api(r, &is.u.api_is);
    if (!e && r->token.n && r->row->who != SQ_WHO_ANYONE && is.u.api_is.status < 300)
        limits_known(r->gw->limits, r->http->source, r->token);
    sq_packet_free(pkt);
    sq_buf_done(&body);
}
