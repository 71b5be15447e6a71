/*
 * Uploads: registrar opens an object before a byte of the body is read (so that 401, 403 and 507 cost the client nothing),
 * each file of the form is sealed as it comes, and when the whole form was there registrar closes them one by one. A form
 * that ends early, or breaks a rule, leaves nothing: what wasn't closed is aborted in upload_drop.
 *
 * Memory: one segment (64 KiB) in the sealer, the ring before it (upload_ahead.c) and libmicrohttpd's buffer, whatever the
 * file's size. A slow disk makes us read more slowly, and TCP tells the client.
 */
#include "daemon/gateway/gateway.h"
#include "daemon/gateway/upload_ahead.h"

#include "lib/core/file.h"
#include "lib/crypt/crypt.h"
#include "lib/http/multipart.h"
#include "lib/vault/vault_seal.h"

#include <stdio.h>
#include <stdlib.h>

#define SLICE_BYTES (64u << 10)

enum file_state { NONE, OPENED, SEALED, CLOSED };

struct file {
    enum file_state state;
    uint8_t upload_id[16], object_id[16];
    char name[SQ_HTTP_FILE_NAME_MAX + 1];
    uint64_t n_bytes, max_bytes;
    struct sq_msg_upload_is room; /* what registrar said; its file is fd */
    int fd;
    struct sq_vault_sealer *sealer;
    struct ahead *ahead; /* feeds the sealer */
    struct sq_vault_sum sum;
    struct gateway *gw; /* for part_key, which may run on the sealer's thread */
};

struct upload {
    struct sq_multipart *form;
    struct file file[GATEWAY_FORM_FILES];
    unsigned n_file;   /* that came; the first is opened before it comes */
    struct file *now;  /* the file whose bytes come, NULL between files */
    uint64_t n_other;  /* bytes of the form's other fields */
    uint64_t next_slice;
    sq_err why;        /* what a client did wrong, for upload_abort */
    const char *detail;
    char no_room[320];
};

/* ---- one file ---- */

/* 507 with numbers: whose limit it is, and who can do something about it. @needed: at least so much. */
static sq_err fail_no_room(struct upload *u, const struct sq_msg_upload_is *room, uint64_t needed)
{
    uint64_t left = room->used_bytes >= room->quota_bytes ? 0 : room->quota_bytes - room->used_bytes;
    if (left <= room->free_bytes)
        snprintf(u->no_room, sizeof u->no_room,
                 "your quota is %llu bytes, %llu of them are used, and this upload needs at least %llu: erase jobs and uploads that you don't need any more, or ask the operator for a larger quota",
                 (unsigned long long)room->quota_bytes, (unsigned long long)room->used_bytes, (unsigned long long)needed);
    else
        snprintf(u->no_room, sizeof u->no_room,
                 "the server's disk is full: %llu bytes are free, and this upload needs at least %llu; it isn't your quota (%llu of %llu bytes used): tell the operator, and send it again later",
                 (unsigned long long)room->free_bytes, (unsigned long long)needed, (unsigned long long)room->used_bytes, (unsigned long long)room->quota_bytes);
    u->detail = u->no_room;
    return sq_fail(SQ_EFULL);
}

/* part_key: a fresh key for one new part, from keeper, straight into locked memory */
static sq_err part_key(void *ctx, uint32_t part_no, uint8_t out_salt[SQ_VAULT_SALT_BYTES], struct sq_key **out_derived)
{
    const struct file *f = ctx;
    struct sq_packet *pkt = sq_packet_new();
    struct sq_msg is, m = sq_msg_of(part_key, .part_no = part_no);
    memcpy(m.u.part_key.object_id, f->object_id, sizeof f->object_id);
    sq_err e = pkt ? sq_node_call(f->gw->node, SQ_ROLE_KEEPER, &m, GATEWAY_CALL_MS, pkt, &is) : sq_fail(SQ_ENOMEM);
    if (!e) {
        e = sq_key_from(is.u.part_key_is.derived_key, out_derived);
        if (!e)
            memcpy(out_salt, is.u.part_key_is.salt, SQ_VAULT_SALT_BYTES);
        sq_wipe(&is, sizeof is);
    }
    sq_packet_free(pkt); /* wipes */
    return e;
}

static sq_err file_open(struct request *r, struct file *f, uint64_t length_hint)
{
    struct sq_packet *pkt = sq_packet_new();
    struct sq_msg is, m = sq_msg_of(upload_open, .token = r->token, .via = r->via, .address = sq_span_str(r->http->address),
                                    .length_hint = length_hint);
    memcpy(m.u.upload_open.request_id, r->id, sizeof r->id);
    sq_err e = pkt ? sq_node_call(r->gw->node, SQ_ROLE_REGISTRAR, &m, GATEWAY_CALL_MS, pkt, &is) : sq_fail(SQ_ENOMEM);
    if (!e && !is.u.upload_is.file.n)
        e = fail_no_room(r->upload, &is.u.upload_is, length_hint ? length_hint : 1);
    if (!e) {
        const struct sq_msg_upload_is *u = &is.u.upload_is;
        f->room = *u;
        memcpy(f->upload_id, u->upload_id, sizeof f->upload_id);
        memcpy(f->object_id, u->object_id, sizeof f->object_id);
        f->max_bytes = u->max_bytes < r->gw->upload_max_bytes ? u->max_bytes : r->gw->upload_max_bytes;
        f->fd = u->file.fd[0];
        sq_packet_keep_fd(pkt, f->fd);
        f->state = OPENED;
    }
    sq_packet_free(pkt);
    return e;
}

static void file_let_go(struct file *f)
{
    ahead_free(f->ahead);
    f->ahead = NULL;
    sq_vault_sealer_free(f->sealer);
    f->sealer = NULL;
    if (f->state == OPENED || f->state == SEALED)
        sq_close(&f->fd);
}

static void file_abort(struct request *r, struct file *f, sq_err why)
{
    file_let_go(f);
    if (f->state == OPENED || f->state == SEALED) {
        struct sq_msg m = sq_msg_of(upload_abort, .code = (uint16_t)why);
        memcpy(m.u.upload_abort.upload_id, f->upload_id, sizeof f->upload_id);
        sq_err e = sq_node_do(r->gw->node, SQ_ROLE_REGISTRAR, &m, GATEWAY_CALL_MS);
        (void)e; /* an upload that nobody closes ends by itself */
    }
    f->state = NONE;
}

/* From here on the upload is registrar's: it is never aborted, whatever becomes of the answer. */
static sq_err file_close(struct request *r, struct file *f, struct sq_packet *pkt, struct sq_msg *out_is)
{
    struct sq_msg m = sq_msg_of(upload_close, .name = sq_span_str(f->name), .n_part = f->sum.n_part,
                                .plain_bytes = f->sum.plain_bytes, .sealed_bytes = f->sum.sealed_bytes);
    memcpy(m.u.upload_close.request_id, r->id, sizeof r->id);
    memcpy(m.u.upload_close.upload_id, f->upload_id, sizeof f->upload_id);
    memcpy(m.u.upload_close.sha256, f->sum.sha256, sizeof f->sum.sha256);
    file_let_go(f);
    f->state = CLOSED;
    return sq_node_call(r->gw->node, SQ_ROLE_REGISTRAR, &m, GATEWAY_CLOSE_MS, pkt, out_is);
}

/* ---- what the form says ---- */

static sq_err wrong(struct request *r, sq_err code, const char *detail)
{
    r->upload->detail = detail;
    return sq_fail(code);
}

static sq_err on_part(void *ctx, const char *name, const char *file_name)
{
    struct request *r = ctx;
    struct upload *u = r->upload;
    u->now = NULL;
    if (strcmp(name, "file") != 0)
        return file_name ? wrong(r, SQ_EFIELD, "the form's file field is named `file`: curl -F \"file=@data.vcf\"") : SQ_OK;
    if (!file_name || !*file_name)
        return wrong(r, SQ_EFIELD, "field `file` must be a file with a name: curl -F \"file=@data.vcf\"");
    if (u->n_file >= GATEWAY_FORM_FILES)
        return wrong(r, SQ_EREQUEST, "a form takes at most 16 files: send the others in another request");
    struct file *f = &u->file[u->n_file];
    sq_err e = f->state == NONE ? file_open(r, f, 0) : SQ_OK; /* the first was opened with the head */
    if (e)
        return e;
    sq_http_file_name(file_name, f->name);
    u->n_file++;
    u->now = f;
    f->gw = r->gw;
    e = sq_vault_sealer_new(f->object_id, f->fd, part_key, f, &f->sealer);
    return e ? e : ahead_new(f->sealer, f->fd, &f->ahead);
}

static sq_err on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct request *r = ctx;
    struct upload *u = r->upload;
    if (!u->now) {
        u->n_other += n;
        return u->n_other > GATEWAY_FORM_BYTES ? wrong(r, SQ_ETOOBIG, "the form's other fields have at most 65536 bytes") : SQ_OK;
    }
    u->now->n_bytes += n;
    if (u->now->n_bytes > u->now->max_bytes) /* the service's limit, or no more room: a chunked body doesn't say its length before */
        return u->now->max_bytes < r->gw->upload_max_bytes ? fail_no_room(u, &u->now->room, u->now->n_bytes) : sq_fail(SQ_ETOOBIG);
    return ahead_add(u->now->ahead, p, n);
}

static sq_err on_part_end(void *ctx)
{
    struct request *r = ctx;
    struct file *f = r->upload->now;
    if (!f)
        return SQ_OK;
    sq_err e = ahead_end(f->ahead);
    if (!e)
        e = sq_vault_seal_close(f->sealer, &f->sum);
    r->upload->now = NULL;
    if (e)
        return e;
    ahead_free(f->ahead);
    f->ahead = NULL;
    sq_vault_sealer_free(f->sealer);
    f->sealer = NULL;
    f->state = SEALED;
    return SQ_OK;
}

/* ---- the request ---- */

static void fail(struct request *r, sq_err e)
{
    if (e == SQ_EFULL && !r->upload->detail) /* a write, or registrar's, that found no room: quotas are looked at before */
        r->upload->detail = "the server's disk is full; it isn't your quota: tell the operator, and send it again later";
    r->upload->why = e;
    answer_error(r, e, r->upload->detail);
}

void upload_head(struct request *r)
{
    static const struct sq_multipart_events events = {on_part, on_data, on_part_end};
    struct sq_http_request *http = r->http;
    char boundary[SQ_HTTP_BOUNDARY_MAX + 1];
    sq_err e = sq_http_boundary(http->content_type, boundary);
    if (e) {
        answer_error(r, e, "send multipart/form-data with a field `file`: curl -F \"file=@data.vcf\"");
        return;
    }
    bool is_chunked = http->content_length == SQ_HTTP_CHUNKED;
    if (!is_chunked && http->content_length > r->gw->upload_max_bytes + GATEWAY_FORM_BYTES) {
        answer_error(r, SQ_ETOOBIG, NULL);
        return;
    }
    r->upload = calloc(1, sizeof *r->upload);
    if (!r->upload) {
        answer_error(r, SQ_ENOMEM, NULL);
        return;
    }
    r->upload->why = SQ_ECANCELLED; /* unless something else is found: the client went away */
    e = sq_multipart_new(boundary, &events, r, &r->upload->form);
    sq_http_deadline(http, GATEWAY_CALL_MS / 1000 + GATEWAY_SLICE_S);
    if (!e)
        e = file_open(r, &r->upload->file[0], is_chunked ? 0 : http->content_length);
    if (e)
        fail(r, e);
    else
        sq_http_deadline(http, GATEWAY_SLICE_S);
}

void upload_body(struct request *r, const uint8_t *p, size_t n)
{
    struct upload *u = r->upload;
    if (r->http->n_in >= u->next_slice) {
        u->next_slice = r->http->n_in + SLICE_BYTES;
        sq_http_deadline(r->http, GATEWAY_SLICE_S + 5); /* and what one wait for our own disk takes */
    }
    sq_err e = sq_multipart_feed(u->form, p, n);
    if (e == SQ_EREQUEST && !u->detail)
        u->detail = "the body is not multipart/form-data with the boundary of its Content-Type";
    if (e)
        fail(r, e);
}

/* One file: registrar's answer as it is. Several: {"success":true,"uploads":[...]}, or the first error. */
static void close_all(struct request *r, struct sq_packet *pkt)
{
    struct upload *u = r->upload;
    struct sq_buf list;
    sq_buf_init(&list, GATEWAY_FORM_FILES * 57344u);
    sq_err e = sq_buf_addf(&list, "{\"success\":true,\"uploads\":[");
    for (unsigned i = 0; i < u->n_file && !e; i++) {
        struct sq_msg is;
        sq_http_deadline(r->http, GATEWAY_CLOSE_MS / 1000 + 5);
        e = file_close(r, &u->file[i], pkt, &is);
        if (e)
            break;
        if (u->n_file == 1 || is.u.api_is.status >= 300) {
            u->why = SQ_ECONFLICT; /* the others of this form go with it */
            answer_api(r, &is.u.api_is);
            goto out;
        }
        e = sq_buf_addf(&list, i ? "," : "");
        if (!e)
            e = sq_buf_add(&list, is.u.api_is.body.p, is.u.api_is.body.n);
    }
    if (!e)
        e = sq_buf_addf(&list, "]}");
    if (e)
        fail(r, e);
    else
        answer_json(r, 201, NULL, 0, NULL, list.p, list.n);
out:
    sq_buf_done(&list);
}

void upload_end(struct request *r)
{
    struct upload *u = r->upload;
    struct sq_packet *pkt = sq_packet_new();
    sq_err e = pkt ? SQ_OK : sq_fail(SQ_ENOMEM);
    if (!e) {
        e = sq_multipart_end(u->form);
        u->detail = e ? "the form ends without its closing boundary" : NULL;
    }
    if (!e && !u->n_file)
        e = wrong(r, SQ_EFIELD, "the form has no field `file`: curl -F \"file=@data.vcf\"");
    if (e)
        fail(r, e);
    else
        close_all(r, pkt);
    sq_packet_free(pkt);
}

void upload_drop(struct request *r)
{
    if (!r->upload)
        return;
    for (unsigned i = 0; i < GATEWAY_FORM_FILES; i++)
        file_abort(r, &r->upload->file[i], r->upload->why);
    sq_multipart_free(r->upload->form);
    sq_wipe(r->upload, sizeof *r->upload);
    free(r->upload);
    r->upload = NULL;
}
