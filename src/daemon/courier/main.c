/*
 * sequester-courier: what leaves the site.
 *
 * Who I am. The only process that may open a connection. Registrar gives me what is to go: a mail's template, ids and
 * times; a webhook's body; lines for syslog. I write it and bring it to the one mail server, the one webhook and the one
 * collector of the configuration, with their certificates verified.
 *
 * What I hold. A copy of the CA certificates; the password of the mail account and the webhook's key, from descriptors that
 * parent opened. For the time of one mail: an address, which keeper opens for me from what registrar gave me sealed.
 *
 * What I can't do. Read a row, an object, a name of a file or job: I have no socket to storer or runner, and to keeper one
 * message, mail_open. Choose where things go: nothing that I am sent names a host, redirections are not followed. Write a
 * file or run a program: confine.c has every call I may make.
 *
 * If I am captured, the attacker has the network and the secrets above, and sees the addresses and receipts (random ids,
 * digests, times) of mails that are sent meanwhile. If I die, registrar sends again what I had not answered for; a mail that the server had
 * taken already then comes twice, with one Message-ID.
 */
#include "daemon/courier/courier.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "lib/core/log.h"
#include "lib/crypt/crypt.h"
#include "lib/proc/confine.h"

#include <fcntl.h>
#include <netdb.h>
#include <nss.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define CA_MAX_BYTES (8U << 20)
#define SECRET_MAX_BYTES 1024

static struct courier self;

/* all of a descriptor that parent handed over; SQ_ENOTFOUND: none was */
static sq_err take_file(const char *name, size_t max, struct sq_buf *out)
{
    int fd = sq_node_take(self.node, name);
    struct stat st;
    size_t got = 0;
    if (fd < 0)
        return SQ_ENOTFOUND;
    sq_err e = fstat(fd, &st) || st.st_size <= 0 || (size_t)st.st_size > max ? sq_fail(SQ_ECONFIG) : sq_buf_reserve(out, (size_t)st.st_size);
    if (!e)
        e = sq_pread_full(fd, out->p, (size_t)st.st_size, 0, &got);
    out->n = e ? 0 : got;
    sq_close(&fd);
    return e;
}

/* libcurl's TLS wants a file: ours lies in our own directory, and is made anew at each start */
static sq_err place_ca(void)
{
    struct sq_buf pem;
    sq_buf_init(&pem, CA_MAX_BYTES);
    sq_err e = take_file("ca", CA_MAX_BYTES, &pem);
    if (!e) {
        int fd = open("ca.pem", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        e = fd < 0 ? sq_fail(SQ_EIO) : sq_write_all(fd, pem.p, pem.n);
        sq_close(&fd);
        self.has_ca = !e;
    }
    sq_buf_done(&pem);
    return e == SQ_ENOTFOUND ? SQ_OK : e;
}

static sq_err take_password(void)
{
    struct sq_buf text;
    sq_buf_init(&text, SECRET_MAX_BYTES);
    uint8_t *kept;
    sq_err e = take_file("smtp_password", SECRET_MAX_BYTES, &text);
    if (!e) {
        const uint8_t *lf = memchr(text.p, '\n', text.n);
        size_t n = lf ? (size_t)(lf - text.p) : text.n;
        e = n ? sq_secret_new(n + 1, &kept) : sq_fail(SQ_ECONFIG);
        if (!e) {
            memcpy(kept, text.p, n);
            kept[n] = 0;
            self.smtp_password = (char *)kept;
        }
    }
    sq_buf_done(&text);
    return e == SQ_ENOTFOUND ? SQ_OK : e;
}

static sq_err take_hook_key(void)
{
    struct sq_buf text;
    sq_buf_init(&text, SECRET_MAX_BYTES);
    sq_buf_init(&self.hook_key, 64);
    sq_err e = take_file("webhook_secret", SECRET_MAX_BYTES, &text);
    if (!e)
        e = sq_hook_secret((const char *)text.p, text.n, &self.hook_key);
    sq_buf_done(&text);
    if (e == SQ_EFIELD) {
        fprintf(stderr, "sequester: webhook_secret_file: must hold whsec_ and 24 to 64 bytes in base64\n");
        e = SQ_ECONFIG;
    }
    return e == SQ_ENOTFOUND ? SQ_OK : e;
}

static const char *text_of(const char *key)
{
    const char *v = sq_node_setting(self.node, key);
    return v ? v : "";
}

static sq_err read_url(const char *key, struct sq_url *out)
{
    return *text_of(key) ? sq_url_read(text_of(key), out, NULL) : SQ_OK;
}

static sq_err read_settings(void)
{
    self.mail_from = text_of("mail_from");
    self.smtp_user = text_of("smtp_user");
    self.service = *text_of("public_url") ? text_of("public_url") : text_of("origin");
    sq_err e = read_url("smtp_url", &self.smtp);
    if (!e)
        e = read_url("webhook_url", &self.hook);
    if (!e)
        e = read_url("syslog_url", &self.syslog);
    if (!e)
        e = place_ca();
    if (!e)
        e = take_password();
    return e ? e : take_hook_key();
}

static void handlers(struct sq_node *node)
{
    sq_node_on(node, SQ_MSG_mail_send, on_mail_send);
    sq_node_on(node, SQ_MSG_mail_test, on_mail_test);
    sq_node_on(node, SQ_MSG_hook_send, on_hook_send);
    sq_node_on(node, SQ_MSG_syslog_send, on_syslog_send);
    sq_node_threads(node, SQ_ROLE_REGISTRAR, 6); /* a mail server that hangs holds one, not the webhook's or the collector's */
}

int main(void)
{
    sq_err e = sq_proc_begin("courier");
    if (!e)
        e = sq_crypt_start();
    if (!e)
        e = sq_node_open(SQ_ROLE_COURIER, &self.node);
    if (!e)
        sq_log(SQ_LOG_started, SQ_LN("pid", getpid()), SQ_LN("uid", getuid()), SQ_LW("version", SQ_VERSION));
#ifdef SQ_TEST_HOOKS
    int hooks = e ? -1 : sq_node_take(self.node, "hooks");
    if (hooks >= 0)
        sq_hooks_map(hooks);
#endif
    pthread_mutex_init(&self.log.lock, NULL);
    if (!e)
        e = read_settings();
    /* names are resolved by the C library's own code: files, then DNS. Other services would be loaded as programs later,
     * which the list of system calls doesn't allow. */
    if (!e && (__nss_configure_lookup("hosts", "files dns") || curl_global_init(CURL_GLOBAL_DEFAULT)))
        e = sq_fail(SQ_ESYS);
    if (!e) {
        handlers(self.node);
        e = courier_confine();
    }
    if (!e)
        e = sq_node_start(self.node, &self);
    if (e) {
        sq_log(SQ_LOG_stopping, SQ_LW("reason", sq_err_name(e)));
        return 1;
    }
    sq_node_serve(self.node, "");
    _exit(0); /* a send may be under way: registrar sends it again */
}
