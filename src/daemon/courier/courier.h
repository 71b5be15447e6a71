/* courier - what its files share: where things go, and one handler a message. */
#ifndef SQ_COURIER_COURIER_H
#define SQ_COURIER_COURIER_H

#include "lib/core/address.h"
#include "lib/mail/mail.h"
#include "lib/proc/node.h"

#include <curl/curl.h>
#include <pthread.h>

#ifdef SQ_TEST_HOOKS
#define CONNECT_S 5L
#define SEND_S 8L
#else
#define CONNECT_S 20L
#define SEND_S 120L
#endif
#define KEEPER_MS 15000
#define ANSWER_BYTES 400 /* what is kept of a server's answers, for the operator's test */

struct courier {
    struct sq_node *node;
    struct sq_url smtp, hook, syslog; /* scheme empty: not configured */
    const char *mail_from, *service, *smtp_user;
    char *smtp_password;              /* locked memory; curl keeps a copy of its own while it signs in */
    struct sq_buf hook_key;
    bool has_ca;
    struct {
        pthread_mutex_t lock;         /* lines of one batch stay together */
        CURL *curl;                   /* the connection that is up, or NULL */
    } log;
};

/** How an attempt ended: courier's own word and the server's number; its text only for the operator's test. */
struct ending {
    enum sq_send_end end;
    long code;
    char text[ANSWER_BYTES + 1];
};

/* courier_curl.c */
/** A handle with what goes for every connection of ours: verification, our CA alone, no redirects, no proxy, time limits. NULL: no memory. */
CURL *courier_curl(struct courier *c, const char *protocols, char error[CURL_ERROR_SIZE]);
enum sq_send_end courier_end_of(CURLcode code, long answer);
/** scheme://host:port/path for curl. */
void courier_url(const struct sq_url *u, const char *scheme, unsigned port, const char *path, char out[1024]);
/** Printable ASCII of @in. */
void courier_clean(const char *in, size_t n, char out[ANSWER_BYTES + 1]);
void courier_answer(struct sq_ask *ask, const struct ending *end, bool with_text);

/* courier_mail.c, courier_hook.c, courier_syslog.c */
void on_mail_send(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_mail_test(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_hook_send(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_syslog_send(void *ctx, struct sq_ask *ask, const struct sq_msg *m);

/* confine.c */
sq_err courier_confine(void) SQ_MUST_CHECK;

#endif
