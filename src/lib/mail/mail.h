/**
 * mail - what leaves the site, as bytes: mails from templates, the Standard Webhooks signature, syslog lines.
 *
 * Pure functions: no socket, no file, no policy. A mail is made of a template, ids, times and words of ours, and an address
 * that sq_mail_check let pass; nothing that a person or a file supplied can get into one.
 *
 * Follows RFC 5322 and RFC 2045 (mail), RFC 3834 (Auto-Submitted), Standard Webhooks 1.0.0, RFC 5424 (syslog).
 */
#ifndef SQ_MAIL_MAIL_H
#define SQ_MAIL_MAIL_H

#include "lib/core/buf.h"

#define SQ_MAIL_ID_BYTES 16
#define SQ_MAIL_RECEIPTS_MAX_BYTES (4U << 20) /* what `sequester receipt verify` reads */

enum sq_template {
#define SQ_TEMPLATE(name, no, hook, state, subject, body) SQ_TEMPLATE_##name = (no),
#include "lib/mail/templates.def"
#undef SQ_TEMPLATE
};

enum sq_send_end {
#define SQ_SEND_END(name, no, then, text) SQ_SEND_##name = (no),
#include "lib/mail/ends.def"
#undef SQ_SEND_END
};
enum sq_send_then { SQ_THEN_DONE, SQ_THEN_AGAIN, SQ_THEN_NEVER };
/** What follows from an end, its text and name; an unknown number is as `protocol`. Static. */
enum sq_send_then sq_send_then(unsigned end);
const char *sq_send_text(unsigned end);
const char *sq_send_name(unsigned end);

struct sq_mail {
    enum sq_template no;
    uint8_t id[SQ_MAIL_ID_BYTES]; /* makes the Message-ID: the same for each try, so that a duplicate is known as one */
    const char *from, *to;        /* addresses; checked again here */
    const char *service;          /* public_url, or the site's name */
    const char *job;              /* id of a job or upload; "" for a test */
    int64_t now_s, until_s;       /* Unix; until 0: not known */
    sq_err why;                   /* of a failed job */
    const char *link;             /* the code of a link; NULL: none */
    struct sq_span receipts;      /* signed notes one behind the other; empty: no attachment */
    uint32_t n_receipt;           /* how many of them are attached */
    uint32_t n_receipt_all;       /* how many there are */
};

/** sq_mail_write - the whole message, lines ended by CR LF, appended. SQ_EFIELD when an address or a text isn't fit for it. */
sq_err sq_mail_write(const struct sq_mail *mail, struct sq_buf *out) SQ_MUST_CHECK;

/** The webhook's body for template @no, JSON, appended. SQ_ERANGE: this one has none. */
sq_err sq_hook_body(enum sq_template no, const char *job, int64_t at_s, int64_t until_s, struct sq_buf *out) SQ_MUST_CHECK;
/** "msg_" and the id in hex. */
void sq_hook_id(const uint8_t id[SQ_MAIL_ID_BYTES], char out[40]);
/** Key bytes of "whsec_BASE64" (a line feed may follow), 24..64 of them, appended. SQ_EFIELD. */
sq_err sq_hook_secret(const char *text, size_t n, struct sq_buf *out) SQ_MUST_CHECK;
/** "v1,BASE64" of HMAC-SHA256 over id.timestamp.body, appended. sq_crypt_start() must have run. */
sq_err sq_hook_sign(struct sq_span key, const char *id, int64_t timestamp_s, struct sq_span body, struct sq_buf *out) SQ_MUST_CHECK;

enum sq_syslog_severity { SQ_SYSLOG_WARNING = 4, SQ_SYSLOG_NOTICE = 5, SQ_SYSLOG_INFO = 6 };
/** One RFC 5424 line, facility 13 (log audit), ended by a line feed, appended. @msgid, @text: words and JSON of ours. */
sq_err sq_syslog_line(enum sq_syslog_severity severity, int64_t time_ms, const char *host, const char *msgid, const char *text,
                      struct sq_buf *out) SQ_MUST_CHECK;

#endif
