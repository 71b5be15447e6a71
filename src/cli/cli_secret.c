/* Passwords: from a terminal without echo, standard input or a file; held in locked memory that isn't dumped. */
#include "cli/cli.h"

#include "lib/core/file.h"
#include "lib/crypt/crypt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

/* ---- jansson's memory: length in front, so that free can wipe ---- */

static void *json_take(size_t n)
{
    if (n > SIZE_MAX - 16)
        return NULL;
    unsigned char *p = malloc(n + 16);
    if (!p)
        return NULL;
    memcpy(p, &n, sizeof n);
    return p + 16;
}

static void json_give(void *p)
{
    size_t n;
    if (!p)
        return;
    unsigned char *whole = (unsigned char *)p - 16;
    memcpy(&n, whole, sizeof n);
    sq_wipe(whole, n + 16);
    free(whole);
}

void secret_json_start(void)
{
    json_set_alloc_funcs(json_take, json_give);
}

sq_err secret_json_text(const json_t *j, struct sq_buf *out)
{
    size_t n = json_dumpb(j, NULL, 0, JSON_COMPACT);
    sq_err e = n ? sq_buf_reserve(out, n + 1) : sq_fail(SQ_EINTERNAL);
    if (e)
        return e;
    json_dumpb(j, (char *)out->p + out->n, n, JSON_COMPACT);
    out->n += n;
    out->p[out->n] = 0;
    return SQ_OK;
}

/* ---- one secret ---- */

static int take_line(const struct cli *c, const uint8_t *p, size_t n, struct secret *out)
{
    const uint8_t *end = memchr(p, '\n', n);
    n = end ? (size_t)(end - p) : n;
    if (n && p[n - 1] == '\r')
        n--;
    if (!n || n > SECRET_MAX_BYTES || memchr(p, 0, n))
        return out_error(c, SQ_EFIELD, "the password must have 1 to 1024 bytes and no NUL", NULL);
    uint8_t *kept;
    sq_err e = sq_secret_new(SECRET_MAX_BYTES + 1, &kept);
    if (e)
        return out_error(c, e, "can't lock memory for the password", "raise the limit: ulimit -l");
    memcpy(kept, p, n);
    kept[n] = 0;
    secret_done(out);
    out->text = (char *)kept;
    return 0;
}

int secret_set(const struct cli *c, const char *text, struct secret *out)
{
    return take_line(c, (const uint8_t *)text, strlen(text), out);
}

void secret_done(struct secret *s)
{
    sq_secret_free((uint8_t *)s->text, SECRET_MAX_BYTES + 1);
    s->text = NULL;
}

static int from_fd(const struct cli *c, int fd, struct secret *out)
{
    uint8_t *line;
    size_t n = 0;
    sq_err e = sq_secret_new(SECRET_MAX_BYTES + 2, &line);
    if (e)
        return out_error(c, e, "can't lock memory for the password", "raise the limit: ulimit -l");
    /* byte by byte, so that what follows the line stays for whoever reads next */
    for (size_t got = 1; !e && got && n < SECRET_MAX_BYTES + 1 && (!n || line[n - 1] != '\n'); n += got)
        e = sq_read_full(fd, line + n, 1, &got);
    int rc = e ? out_error(c, e, "the password can't be read", NULL) : take_line(c, line, n, out);
    sq_secret_free(line, SECRET_MAX_BYTES + 2);
    return rc;
}

static int from_file(const struct cli *c, const char *path, struct secret *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st)) {
        int rc = out_path_error(c, "the password file can't be opened", path);
        sq_close(&fd);
        return rc;
    }
    if (S_ISREG(st.st_mode) && st.st_mode & 077)
        fprintf(stderr, "sequester: warning: others may read this password file: chmod 600 %s\n", path);
    int rc = from_fd(c, fd, out);
    sq_close(&fd);
    return rc;
}

/* Ctrl-C while nothing is echoed must not leave the terminal so */
static struct termios echo_again;
static int echo_fd = -1;
static const int echo_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

static void on_signal(int no)
{
    tcsetattr(echo_fd, TCSAFLUSH, &echo_again);
    signal(no, SIG_DFL);
    raise(no);
}

static void guard_echo(bool is_on)
{
    for (size_t i = 0; i < sizeof echo_signals / sizeof echo_signals[0]; i++)
        signal(echo_signals[i], is_on ? on_signal : SIG_DFL);
}

static int from_terminal(const struct cli *c, const char *prompt, struct secret *out)
{
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    struct termios old, silent;
    if (tty < 0 || tcgetattr(tty, &old)) {
        sq_close(&tty);
        return cli_misused(
            c, "there is no terminal to ask for the password: use --password-stdin or --password-file FILE");
    }
    silent = echo_again = old;
    echo_fd = tty;
    guard_echo(true);
    silent.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(tty, TCSAFLUSH, &silent);
    dprintf(tty, "%s: ", prompt);
    int rc = from_fd(c, tty, out);
    tcsetattr(tty, TCSAFLUSH, &old);
    guard_echo(false);
    dprintf(tty, "\n");
    sq_close(&tty);
    return rc;
}

static int ask(const struct cli *c, const char *file, const char *prompt, bool is_new, struct secret *out)
{
    if (file)
        return from_file(c, file, out);
    if (c->opt[OPT_password_stdin])
        return from_fd(c, STDIN_FILENO, out);
    int rc = from_terminal(c, prompt, out);
    if (rc || !is_new)
        return rc;
    struct secret again = {NULL};
    rc = from_terminal(c, "Once more", &again);
    if (!rc && strcmp(again.text, out->text))
        rc = out_error(c, SQ_EFIELD, "the two differ", NULL);
    secret_done(&again);
    return rc;
}

int secret_ask(const struct cli *c, const char *prompt, bool is_new, struct secret *out)
{
    if (c->opt[OPT_password_stdin] && c->opt[OPT_password_file])
        return cli_misused(c, "give --password-stdin or --password-file, not both");
    return ask(c, c->opt[OPT_password_file], prompt, is_new, out);
}

int secret_ask_code(const struct cli *c, const char *prompt, struct secret *out)
{
    return ask(c, c->opt[OPT_code_file], prompt, false, out);
}

int secret_ask_new(const struct cli *c, const char *prompt, struct secret *out)
{
    return ask(c, c->opt[OPT_new_password_file], prompt, true, out);
}

int secret_write(const struct cli *c, const char *path, const char *what, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return out_path_error(c, what, path);
    sq_err e = sq_write_all(fd, text, strlen(text));
    if (!e)
        e = sq_fsync(fd);
    sq_close(&fd);
    return e ? out_error(c, e, what, path) : 0;
}
