/* HTTPS: TLS 1.3, a verified certificate, no proxy, no redirects. Tokens and passwords stay in headers and bodies. */
#include "cli/cli.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/http/routes.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX_BYTES (4U << 20)
#define PATIENCE_MS 60000 /* how long a GET waits for a busy or restarting server */
#define AGAIN (-1)
#define FETCH_MAX 10      /* tries of a download without one new byte */
#define LOST_MAX 4        /* times in a row that a lost connection is tried again */
#define FALLBACK_SERVER "https://127.0.0.1:8443"

/* ---- open ---- */

int http_open(const struct cli *c, bool is_token_wanted, struct http *out)
{
    *out = (struct http){.c = c, .is_token_wanted = is_token_wanted};
    sq_buf_init(&out->body, ANSWER_MAX_BYTES);
    int rc = session_open(c, &out->session);
    if (rc)
        return rc;
    const char *server = out_text(out->session.j, "server"), *cacert = out_text(out->session.j, "cacert");
    out->server = c->opt[OPT_server] ? c->opt[OPT_server] : *server ? server
                                                                    : FALLBACK_SERVER;
    out->cacert = c->opt[OPT_cacert]                                  ? c->opt[OPT_cacert]
                  : c->opt[OPT_server] && strcmp(out->server, server) ? ""
                                                                      : cacert;
    if (strncmp(out->server, "https://", 8) || strchr(out->server, '@'))
        return cli_misused(c, "the server's address must be like https://hub.example.org:8443");
    if (is_token_wanted && !*out_text(out->session.j, "token")) {
        out_error(c, SQ_EAUTH, "not signed in", "sequester login");
        return EXIT_SIGNED_OUT;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    out->curl = curl_easy_init();
    return out->curl ? 0 : out_error(c, SQ_ENOMEM, "out of memory", NULL);
}

void http_close(struct http *h)
{
    if (h->curl)
        curl_easy_cleanup(h->curl);
    h->curl = NULL;
    json_decref(h->refusal);
    h->refusal = NULL;
    session_done(&h->session);
    sq_buf_done(&h->body);
}

/* ---- one exchange ---- */

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    struct http *h = ctx;
    return sq_buf_add(&h->body, p, size * n) ? 0 : size * n;
}

static bool header_is(const char *line, size_t n, const char *name, const char **out_value, size_t *out_n)
{
    size_t len = strlen(name);
    if (n <= len || strncasecmp(line, name, len) || line[len] != ':')
        return false;
    const char *p = line + len + 1, *end = line + n;
    while (p < end && *p == ' ')
        p++;
    while (end > p && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    *out_value = p;
    *out_n = (size_t)(end - p);
    return true;
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
    struct http *h = ctx;
    const char *v;
    char text[128];
    size_t len, whole = size * n;
    if (whole > 5 && !strncmp(p, "HTTP/", 5)) { /* a new answer begins (100 Continue came before) */
        h->etag[0] = 0;
        h->retry_after_s = 0;
        h->total_bytes = UINT64_MAX;
    }
    if (header_is(p, whole, "ETag", &v, &len) && len < sizeof h->etag) {
        memcpy(h->etag, v, len);
        h->etag[len] = 0;
    } else if (header_is(p, whole, "Retry-After", &v, &len) && len < sizeof text) {
        memcpy(text, v, len);
        text[len] = 0;
        h->retry_after_s = strtol(text, NULL, 10);
    } else if (header_is(p, whole, "Content-Range", &v, &len) && len < sizeof text) {
        memcpy(text, v, len);
        text[len] = 0;
        const char *slash = strchr(text, '/');
        if (slash && slash[1] >= '0' && slash[1] <= '9')
            h->total_bytes = strtoull(slash + 1, NULL, 10);
    } else if (header_is(p, whole, "Content-Length", &v, &len) && len < sizeof text && h->total_bytes == UINT64_MAX) {
        memcpy(text, v, len);
        text[len] = 0;
        h->total_bytes = strtoull(text, NULL, 10);
    }
    return whole;
}

static int unreachable(struct http *h, CURLcode code, const char *reason)
{
    char text[500];
    bool is_tls = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR ||
                  code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM;
    if (code != CURLE_PEER_FAILED_VERIFICATION || !tls_why_not(h->server, h->cacert, text))
        out_clean(*reason ? reason : curl_easy_strerror(code), text, sizeof text);
    out_error(h->c, SQ_EDOWN, is_tls ? "no trusted connection to the server" : "the server can't be reached", text);
    fprintf(stderr, "  hint: server %s%s%s; %s\n", h->server, *h->cacert ? ", CA " : "", h->cacert,
            is_tls ? "name its CA file with --cacert when you sign in" : "is it running? sequester admin status");
    return EXIT_UNREACHABLE;
}

static int set_common(struct http *h, const char *url, struct curl_slist **headers, char *reason)
{
    CURL *curl = h->curl;
    curl_easy_reset(curl);
    reason[0] = 0;
    bool is_good =
        !curl_easy_setopt(curl, CURLOPT_URL, url) && !curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") &&
        !curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3) &&
        !curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) && !curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    /* the CA named is the only one trusted, not one more beside the system's */
    if (*h->cacert)
        is_good = is_good && !curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) &&
                  !curl_easy_setopt(curl, CURLOPT_CAINFO, h->cacert);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* genotypes go straight to the hub: no proxy from the environment */
    curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 20L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "sequester/" SQ_VERSION);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, h);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, h);
    const char *token = h->is_token_wanted ? out_text(h->session.j, "token") : "";
    if (is_good && *token) {
        char line[2200];
        snprintf(line, sizeof line, "Authorization: Bearer %s", token);
        struct curl_slist *more = curl_slist_append(*headers, line);
        sq_wipe(line, sizeof line);
        is_good = more != NULL;
        *headers = more ? more : *headers;
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers);
    sq_buf_clear(&h->body);
    h->status = 0;
    return is_good ? 0 : out_error(h->c, SQ_ESYS, "this libcurl can't do TLS 1.3 as it must", NULL);
}

static void forget(struct curl_slist *headers)
{
    for (struct curl_slist *p = headers; p; p = p->next)
        sq_wipe_str(p->data);
    curl_slist_free_all(headers);
}

static int url_of(const struct http *h, unsigned route, const char *id, const char *query, char *out, size_t size)
{
    const struct sq_route_row *row = sq_route_row_of(route);
    sq_assert(row);
    const char *at = strstr(row->path, "{id}");
    size_t n = strlen(h->server);
    while (n && h->server[n - 1] == '/')
        n--;
    if (at && (!id || !*id || strlen(id) > SQ_ROUTE_ID_MAX ||
               strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != strlen(id)))
        return cli_misused(h->c, "that is no id of this server");
    int len = at ? snprintf(out, size, "%.*s%.*s%s%s", (int)n, h->server, (int)(at - row->path), row->path, id, at + 4)
                 : snprintf(out, size, "%.*s%s", (int)n, h->server, row->path);
    if (len > 0 && query && (size_t)len < size)
        len += snprintf(out + len, size - (size_t)len, "?%s", query);
    return len > 0 && (size_t)len < size ? 0 : cli_misused(h->c, "the server's address is too long");
}

/* as OAuth 2 names it, where it does; else ours */
static const char *code_of(const json_t *j)
{
    return *out_text(j, "error") ? out_text(j, "error") : out_text(j, "code");
}

static bool is_word_of(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = words; n && p && (p = strstr(p, word)); p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return true;
    return false;
}

/* the server said no */
static int refused(struct http *h)
{
    json_t *j = json_loadb((const char *)h->body.p, h->body.n, 0, NULL);
    if (is_word_of(h->expects, code_of(j))) {
        h->refusal = j;
        return EXIT_REFUSED;
    }
    char code[32];
    snprintf(code, sizeof code, "%s", out_text(j, "code"));
    if (*code) {
        out_server_error(h->c, j);
    } else {
        char text[64];
        snprintf(text, sizeof text, "status %ld", h->status);
        out_error(h->c, SQ_EDOWN, "the server's answer isn't one of sequester", text);
    }
    json_decref(j);
    return !strcmp(code, "EAUTH") ? EXIT_SIGNED_OUT : EXIT_REFUSED;
}

const char *http_refusal(const struct http *h)
{
    return code_of(h->refusal);
}

static int answered(struct http *h, json_t **out_answer)
{
    if (h->status < 200 || h->status > 299)
        return refused(h);
    json_t *j = json_loadb((const char *)h->body.p, h->body.n, 0, NULL);
    sq_buf_clear(&h->body);
    if (!json_is_object(j)) {
        json_decref(j);
        return out_error(h->c, SQ_EJSON, "the server's answer isn't one of sequester", NULL);
    }
    if (out_answer)
        *out_answer = j;
    else
        json_decref(j);
    return 0;
}

/* The connection ended under way, as it does when a process of the server is restarted. Never one that was not trusted. */
static bool is_lost(CURLcode code)
{
    return code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_PARTIAL_FILE || code == CURLE_SSL_CONNECT_ERROR;
}

/* busy, or a part restarts: worth another try. A sealed key service is not: that needs a person. */
static bool is_passing(const struct http *h, bool is_login)
{
    if (h->status != 503 && (h->status != 429 || is_login)) /* too many sign-ins: that wait is meant */
        return false;
    json_t *j = json_loadb((const char *)h->body.p, h->body.n, 0, NULL);
    const char *code = out_text(j, "code");
    bool is = !strcmp(code, "EBUSY") || !strcmp(code, "EDOWN") || !strcmp(code, "ETIMEOUT") || !strcmp(code, "EIO");
    json_decref(j);
    return is;
}

int http_call(struct http *h, unsigned route, const char *id, const char *query, const json_t *body,
              json_t **out_answer)
{
    char url[2048], reason[CURL_ERROR_SIZE];
    const char *method = sq_route_row_of(route)->method;
    int rc = url_of(h, route, id, query, url, sizeof url);
    struct sq_buf text;
    json_decref(h->refusal);
    h->refusal = NULL;
    sq_buf_init(&text, 65536);
    if (!rc && body && secret_json_text(body, &text))
        rc = out_error(h->c, SQ_ENOMEM, "out of memory", NULL);
    unsigned n_lost = 0;
    for (int64_t until = sq_clock_steady_ms() + PATIENCE_MS; !rc;) {
        struct curl_slist *headers = body ? curl_slist_append(NULL, "Content-Type: application/json") : NULL;
        rc = set_common(h, url, &headers, reason);
        curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST, method);
        curl_easy_setopt(h->curl, CURLOPT_TIMEOUT, 120L);
        if (body) {
            curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE, (long)text.n);
            curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, text.p);
        } else if (!strcmp(method, "POST")) {
            curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE, 0L);
            curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, "");
        }
        CURLcode code = rc ? CURLE_OK : curl_easy_perform(h->curl);
        forget(headers);
        if (is_lost(code) && !strcmp(method, "GET") && n_lost++ < LOST_MAX) { /* a change may have been made: only the user can say whether to ask again */
            sleep(1);
            continue;
        }
        if (code)
            rc = unreachable(h, code, reason);
        if (rc)
            break;
        curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &h->status);
        /* a second sign-in only makes another token; other changes may have been made already */
        bool is_harmless = !strcmp(method, "GET") || route == SQ_ROUTE_login;
        if (!is_harmless || !is_passing(h, route == SQ_ROUTE_login) || sq_clock_steady_ms() > until) {
            rc = answered(h, out_answer);
            break;
        }
        sleep(h->retry_after_s > 0 && h->retry_after_s < 30 ? (unsigned)h->retry_after_s : 2);
    }
    sq_buf_done(&text);
    return rc;
}

/* ---- all of it ---- */

int http_once(const struct cli *c, unsigned route, const char *id, const char *query, json_t *body, json_t **out_answer)
{
    struct http h;
    int rc = http_open(c, sq_route_row_of(route)->who != SQ_WHO_ANYONE, &h);
    if (!rc)
        rc = http_call(&h, route, id, query, body, out_answer);
    json_decref(body);
    http_close(&h);
    return rc;
}

int http_show(const struct cli *c, unsigned route, const char *id, const char *query, json_t *body, void (*show)(const json_t *answer))
{
    json_t *answer = NULL;
    int rc = http_once(c, route, id, query, body, &answer);
    return out_answer(c, rc, answer, show);
}

int http_done(const struct cli *c, unsigned route, const char *id, json_t *body, const char *done)
{
    json_t *answer = NULL;
    int rc = http_once(c, route, id, NULL, body, &answer);
    return out_done(c, rc, answer, done);
}

/* ---- bulk ---- */

struct transfer {
    const char *what;
    uint64_t before, total; /* bytes that were there already; of the whole */
    bool is_up;
    int64_t start_ms, shown_ms;
    struct http *h;
    int fd; /* of a download */
    sq_err e;
};

static int on_progress(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct transfer *t = ctx;
    int64_t now = sq_clock_steady_ms();
    if (now - t->shown_ms < 200)
        return 0;
    t->shown_ms = now;
    uint64_t done = t->before + (uint64_t)(t->is_up ? up : down),
             total = t->total ? t->total : t->before + (uint64_t)(t->is_up ? up_total : down_total);
    char bar[64], bytes[24], left[32] = "";
    out_bar(done, total, 30, bar, sizeof bar);
    out_bytes(done, bytes);
    int64_t s = out_estimate_s(t->before, done, total, t->start_ms, now);
    if (s >= 0)
        out_duration(s, left);
    out_progress("%s %s %s%s%s", t->what, bar, bytes, *left ? ", left: " : "", left);
    return 0;
}

static void show_transfer(struct http *h, struct transfer *t)
{
    t->start_ms = sq_clock_steady_ms();
    curl_easy_setopt(h->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(h->curl, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_LIMIT, 1L); /* a minute of silence is the end */
    curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_TIME, 120L);
}

int http_upload(struct http *h, unsigned route, const char *path, json_t **out_answer)
{
    char url[2048], reason[CURL_ERROR_SIZE];
    struct stat st;
    int rc = url_of(h, route, NULL, NULL, url, sizeof url);
    if (!rc && (stat(path, &st) || access(path, R_OK)))
        return out_path_error(h->c, "the file can't be read", path);
    if (!rc && !S_ISREG(st.st_mode))
        return out_error(h->c, SQ_EIO, "this is no ordinary file", path);
    struct curl_slist *headers = NULL;
    if (!rc)
        rc = set_common(h, url, &headers, reason);
    curl_mime *mime = rc ? NULL : curl_mime_init(h->curl);
    curl_mimepart *part = mime ? curl_mime_addpart(mime) : NULL;
    if (!rc && (!part || curl_mime_name(part, "file") || curl_mime_filedata(part, path) ||
                curl_mime_type(part, "application/octet-stream") || curl_easy_setopt(h->curl, CURLOPT_MIMEPOST, mime)))
        rc = out_error(h->c, SQ_EIO, "the file can't be read", path);
    struct transfer t = {.what = "upload", .is_up = true};
    if (!rc) {
        show_transfer(h, &t);
        CURLcode code = curl_easy_perform(h->curl);
        curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &h->status);
        out_progress_end();
        /* a server that refuses early may close while we still send: its answer counts */
        rc = code && h->status < 400 ? unreachable(h, code, reason) : answered(h, out_answer);
    }
    curl_mime_free(mime);
    forget(headers);
    return rc;
}

static size_t on_file(char *p, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    long status = 0;
    curl_easy_getinfo(t->h->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299)
        return on_body(p, size, n, t->h);
    if (status == 200 && t->before) { /* the whole file comes: what we have is of another one */
        t->before = 0;
        if (ftruncate(t->fd, 0) || lseek(t->fd, 0, SEEK_SET))
            t->e = sq_err_errno();
    }
    t->total = t->h->total_bytes == UINT64_MAX ? 0 : t->h->total_bytes;
    if (!t->e)
        t->e = sq_write_all(t->fd, p, size * n);
    return t->e ? 0 : size * n;
}

/* the part that an interrupted download left, when its ETag is known: bytes of it, and the ETag */
static uint64_t part_left(int fd, const char *etag_path, char etag[128])
{
    struct sq_buf text;
    sq_buf_init(&text, 127);
    etag[0] = 0;
    if (!sq_file_read(AT_FDCWD, etag_path, &text) && text.n && !memchr(text.p, '\n', text.n) &&
        !memchr(text.p, '\r', text.n)) {
        memcpy(etag, text.p, text.n);
        etag[text.n] = 0;
    }
    sq_buf_done(&text);
    off_t end = *etag == '"' ? lseek(fd, 0, SEEK_END) : 0;
    if (end > 0)
        return (uint64_t)end;
    etag[0] = 0;
    return ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET) ? 0 : 0;
}

static int fetch_once(struct http *h, const char *url, const char *etag_path, struct transfer *t, bool is_last)
{
    char reason[CURL_ERROR_SIZE], etag[128], line[200], range[40];
    struct curl_slist *headers = NULL;
    t->before = part_left(t->fd, etag_path, etag);
    if (t->before) {
        snprintf(line, sizeof line, "If-Range: %s", etag);
        headers = curl_slist_append(NULL, line);
    }
    int rc = set_common(h, url, &headers, reason);
    if (rc) {
        forget(headers);
        return rc;
    }
    snprintf(range, sizeof range, "%llu-", (unsigned long long)t->before);
    if (t->before)
        curl_easy_setopt(h->curl, CURLOPT_RANGE, range);
    curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, on_file);
    curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, t);
    show_transfer(h, t);
    CURLcode code = curl_easy_perform(h->curl);
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &h->status);
    forget(headers);
    out_progress_end();
    if (h->status >= 200 && h->status < 300 &&
        *h->etag) { /* also of a download that broke off: the next one needs it */
        sq_err e = sq_file_write(AT_FDCWD, etag_path, h->etag, strlen(h->etag), 0600);
        (void)e; /* without it the next download begins anew */
    }
    if (t->e)
        return out_error(h->c, t->e, "the file can't be written", sq_err_text(t->e));
    if (!is_last && (is_lost(code) || (!code && is_passing(h, false))))
        return AGAIN;
    if (h->status >= 400)
        return h->status == 416 ? 416 : refused(h);
    return code ? unreachable(h, code, reason) : 0;
}

/* A connection that is cut, or a part that restarts: goes on where it was, as long as bytes come or a few seconds don't help. */
static int fetch(struct http *h, const char *url, const char *etag_path, struct transfer *t)
{
    struct stat before = {.st_size = 0}, after;
    int rc = AGAIN;
    for (unsigned n_vain = 0; rc == AGAIN; n_vain++) {
        if (fstat(t->fd, &before))
            before.st_size = 0;
        rc = fetch_once(h, url, etag_path, t, n_vain >= FETCH_MAX);
        if (rc != AGAIN)
            break;
        if (!fstat(t->fd, &after) && after.st_size > before.st_size)
            n_vain = 0;
        sleep(h->retry_after_s > 0 && h->retry_after_s < 30 ? (unsigned)h->retry_after_s : 1);
    }
    return rc;
}

int http_download(struct http *h, unsigned route, const char *id, const char *path, uint64_t *out_bytes)
{
    char url[2048], part[4200], etag_path[4200];
    int rc = url_of(h, route, id, NULL, url, sizeof url);
    if (rc)
        return rc;
    if (strlen(path) > 4096 || !access(path, F_OK))
        return out_error(h->c, SQ_EEXISTS, "the file is there already; nothing is overwritten", path);
    snprintf(part, sizeof part, "%s.part", path);
    snprintf(etag_path, sizeof etag_path, "%s.part.etag", path);
    struct transfer t = {.what = "download", .h = h};
    t.fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (t.fd < 0)
        return out_error(h->c, SQ_EIO, "the file can't be made", part);
    rc = fetch(h, url, etag_path, &t);
    if (rc == 416) { /* what we have can't be continued */
        rc = ftruncate(t.fd, 0) || (unlink(etag_path) && errno != ENOENT)
                 ? out_error(h->c, SQ_EIO, "the file can't be written", part)
                 : fetch(h, url, etag_path, &t);
        rc = rc == 416 ? refused(h) : rc;
    }
    struct stat st = {.st_size = 0};
    if (!rc && (fstat(t.fd, &st) || (t.total && (uint64_t)st.st_size != t.total)))
        rc = out_error(h->c, SQ_ETRUNCATED, "the download isn't complete",
                       "run the command again: it goes on where this ended");
    if (!rc && (sq_fsync(t.fd) || link(part, path) || unlink(part)))
        rc = out_error(h->c, SQ_EIO, "the file can't be given its name", path);
    if (!rc || (h->status >= 400 && !fstat(t.fd, &st) && !st.st_size)) {
        unlink(etag_path);
        if (rc)
            unlink(part);
    }
    sq_close(&t.fd);
    if (!rc)
        *out_bytes = (uint64_t)st.st_size;
    return rc;
}
