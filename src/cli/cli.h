/**
 * cli - `sequester`: how people and scripts reach the hub. The same HTTPS API as everybody's, the operator's socket, and
 * what needs no server (decrypt, receipt verify, audit verify, impute).
 *
 * Commands stand in commands.def, options in options.def; parsing, help and docs/cli.md are made from them.
 * What it never does: take a password or token from the command line or the environment, show or log one that wasn't
 * asked for, connect without TLS 1.3 and a verified certificate.
 */
#ifndef SQ_CLI_CLI_H
#define SQ_CLI_CLI_H

#include "lib/core/buf.h"
#include "lib/core/config.h"

#include <jansson.h>
#include <stdio.h>

enum cli_exit { EXIT_DONE = 0,
                EXIT_REFUSED = 1,
                EXIT_USAGE = 2,
                EXIT_UNREACHABLE = 3,
                EXIT_SIGNED_OUT = 4,
                EXIT_DAMAGED = 5 };

enum cli_opt {
#define SQ_OPT(name, letter, value, text) OPT_##name,
#include "cli/options.def"
#undef SQ_OPT
    OPT_COUNT
};

struct cli;
struct cli_command {
    const char *name;
    int (*run)(struct cli *c);
    const char *args;
    int n_least, n_most;
    const char *opts, *exits, *summary, *example;
};

struct cli_option {
    const char *name; /* with underscores */
    char letter;      /* 0: none */
    const char *value, *text;
};

#define CLI_MAX_ARGS 70
struct cli {
    const struct cli_command *command;
    const char *opt[OPT_COUNT]; /* NULL: not given; a switch: "" */
    const char *arg[CLI_MAX_ARGS];
    int n_arg;
    int argc; /* as they came, for what is passed on */
    char **argv;
};

/* ---- cli_args.c ---- */
const struct cli_command *cli_commands(size_t *out_n);
/** cli_parse - fill @c from @argv (kept). 0, or EXIT_USAGE after a message on standard error. @c->command NULL: none was named. */
int cli_parse(struct cli *c, int argc, char **argv);
const struct cli_option *cli_option(size_t opt);
/** The command whose name is a slip or two away from what was typed, or NULL. */
const char *cli_nearest(const char *typed);
/** "--run-dir" */
void cli_option_text(const struct cli_option *o, char out[32]);
bool cli_takes(const struct cli_command *command, size_t opt);
/** The same message for every misuse: what, and where the help is. Returns EXIT_USAGE. */
int cli_misused(const struct cli *c, const char *what, ...) __attribute__((format(printf, 2, 3)));
/** --limit and the like: a whole number within least..most, or EXIT_USAGE. */
int cli_number(const struct cli *c, enum cli_opt opt, long fallback, long least, long most, long *out);

/* ---- cli_help.c: help as text and as docs/cli.md ---- */
/** What commands.def has no room for: a paragraph of details.def, or NULL. */
const char *cli_detail(const struct cli_command *command);
/** The options that are in force for @command, one after another: own ones, or the worker's for what is passed on to it.
 *  cli_option_word() of it is "-o, --out PATH". */
void cli_each_option(const struct cli_command *command, void (*fn)(void *ctx, const struct cli_option *o), void *ctx);
void cli_option_word(const struct cli_option *o, char out[64]);
const char *cli_exit_text(unsigned code);
#define CLI_N_EXIT 6
void cli_help(const struct cli_command *command, FILE *to);
void cli_help_line(const struct cli_command *command, FILE *to); /* name and first sentence */
void cli_help_all(FILE *to);
void cli_help_markdown(FILE *to);

/* ---- cli_man.c: manual pages and completion ---- */
/** Manual page @name: a command ("admin user add"), "sequester", "sequester.ini", "sequester-parent". False: there is none. */
bool cli_man(const char *name, FILE *to);
void cli_bash(FILE *to);

/* ---- cli_out.c: what is printed ---- */
/** The answer as JSON on standard output (with --json), for all commands. */
void out_json(const json_t *j);
/** An error of ours: what, detail, hint. With --json an object {code, message, ...}. Returns the exit code that fits @e. */
int out_error(const struct cli *c, sq_err e, const char *what, const char *detail);
/** What couldn't be done with the file at @path: "what: path: No such file or directory", by errno. Returns EXIT_REFUSED. */
int out_path_error(const struct cli *c, const char *what, const char *path);
/** An error that a server sent as JSON {code, message, hint, line, field, detail, id}. */
void out_server_error(const struct cli *c, const json_t *error);
/** "1.5 GiB" */
void out_bytes(uint64_t n, char text[24]);
/** "3 min 20 s" */
void out_duration(int64_t s, char text[32]);
/** A text from outside without control characters, so that it can't steer a terminal; at most size - 1 bytes. */
void out_clean(const char *in, char *out, size_t size);
/** "[#####     ]  50 %" of @width signs; @total 0: unknown. */
void out_bar(uint64_t done, uint64_t total, unsigned width, char *out, size_t size);
/** seconds left, by the mean rate since @since_ms at @since_done; -1: not known yet. */
int64_t out_estimate_s(uint64_t since_done, uint64_t done, uint64_t total, int64_t since_ms, int64_t now_ms);
/** one line on standard error that overwrites the last one; only when that is a terminal */
void out_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void out_progress_end(void);
const char *out_text(const json_t *object, const char *key); /* "" when it is no text */
const char *out_text_or(const json_t *object, const char *key, const char *none); /* @none when it is empty, or no text */
unsigned long long out_number(const json_t *object, const char *key);
/** How most commands end. Not @rc 0: false. With --json: prints @answer, false. Else true: the caller prints it for people. */
bool out_as_text(const struct cli *c, int rc, const json_t *answer);
/** The same to the end: --json, or @show; @answer is taken. Returns @rc. */
int out_answer(const struct cli *c, int rc, json_t *answer, void (*show)(const json_t *answer));
/** The same where people get one line. */
int out_done(const struct cli *c, int rc, json_t *answer, const char *done);

/* ---- cmd_admin.c ---- */
/** One verb on the operator's socket. @args is taken; *out_answer is the caller's, NULL on failure. @fd: two, or NULL. */
int admin_ask(const struct cli *c, const char *verb, json_t *args, const int fd[2], json_t **out_answer);
/** A whole command of one verb: the answer as JSON or by @show. @args is taken. */
int admin_show(const struct cli *c, const char *verb, json_t *args, void (*show)(const json_t *answer));

/* ---- cmd_key.c ---- */
/** The key slab is locked by shares and some are still wanted: says how many. */
bool key_shares_wanting(const struct cli *c);

/* ---- cli_secret.c ---- */
#define SECRET_MAX_BYTES 1024
struct secret {
    char *text; /* locked and not dumped; NUL-terminated */
};
/** From --password-stdin, --password-file, or a terminal without echo (@is_new: asked twice). 0 or an exit code after a message. */
int secret_ask(const struct cli *c, const char *prompt, bool is_new, struct secret *out);
/** A code of a second factor or of a mail; the new password. From --code-file or --new-password-file, else with --password-stdin the next line of
 *  standard input, else a terminal without echo (a new password twice). */
int secret_ask_code(const struct cli *c, const char *prompt, struct secret *out);
int secret_ask_new(const struct cli *c, const char *prompt, struct secret *out);
/** Secrets that were made for the user, lines of @text: to a new file of mode 0600 at @path; what stands in it is said by @what in messages. */
int secret_write(const struct cli *c, const char *path, const char *what, const char *text);
/** A secret that we got in another way; copies. */
int secret_set(const struct cli *c, const char *text, struct secret *out);
void secret_done(struct secret *s);
/** jansson frees wiped memory from here on: bodies hold passwords and tokens. */
void secret_json_start(void);
/** json_dumps as a buffer that wipes itself. */
sq_err secret_json_text(const json_t *j, struct sq_buf *out) SQ_MUST_CHECK;

/* ---- cli_session.c ---- */
struct session {
    char path[4096];
    json_t *j; /* server, cacert, name, role, token, expires */
};
/** Reads it; a missing file is an empty session. 0 or an exit code after a message. */
int session_open(const struct cli *c, struct session *out);
int session_save(const struct cli *c, struct session *s);
void session_done(struct session *s);

/* ---- cli_http.c ---- */
struct http {
    const struct cli *c;
    void *curl;
    struct session session;
    const char *server, *cacert;
    bool is_token_wanted;
    struct sq_buf body;
    long status;
    long retry_after_s;
    char etag[128];
    uint64_t total_bytes; /* of Content-Range, else of Content-Length */
    const char *expects;  /* codes of refusals that the caller deals with, words: no message is printed for them; NULL for none */
    json_t *refusal;      /* the last of those; NULL when there was none */
};
/** Opens the session and a handle. @is_token_wanted: EXIT_SIGNED_OUT with a message when there is no token. */
int http_open(const struct cli *c, bool is_token_wanted, struct http *out);
void http_close(struct http *h);
/** One request of routes.def. @id, @query, @body may be NULL. On 2xx: 0 and *out_answer (the caller's). Else an exit code,
 *  after a message. GETs wait and ask again when the server is busy or restarting. */
int http_call(struct http *h, unsigned route, const char *id, const char *query, const json_t *body, json_t **out_answer);
/** The code of a refusal that was expected ("ESTEPUP", "authorization_pending"), or "". */
const char *http_refusal(const struct http *h);
/** Open, one call, close. @body is taken. With the session's token where @route wants one. */
int http_once(const struct cli *c, unsigned route, const char *id, const char *query, json_t *body, json_t **out_answer);
/** A whole command: that, and the answer as JSON or by @show. */
int http_show(const struct cli *c, unsigned route, const char *id, const char *query, json_t *body, void (*show)(const json_t *answer));
/** The same where people get one line. */
int http_done(const struct cli *c, unsigned route, const char *id, json_t *body, const char *done);
/** POST one file as multipart/form-data, streamed, with a progress bar. */
int http_upload(struct http *h, unsigned route, const char *path, json_t **out_answer);
/** GET into @path by way of PATH.part, which an interrupted download leaves and the next one goes on with. */
int http_download(struct http *h, unsigned route, const char *id, const char *path, uint64_t *out_bytes);

/* ---- cmd_login.c ---- */
/** A token of an answer into the session file; @name: the account's. 0 or an exit code after a message. */
int login_remember(const struct cli *c, struct http *h, const char *name, const json_t *answer);
/** Password, and a code when the account has a second factor (has_factor): members of @body, which the caller frees. */
int login_prove(const struct cli *c, struct http *h, json_t *body);
/** A call that wants those of the signed-in account: open, login_prove, call, close. @body is taken. */
int login_proven(const struct cli *c, unsigned route, const char *id, json_t *body, json_t **out_answer);
/** The second factor again, for what wants one of the last 15 minutes: a new token in the session. */
int login_step_up(const struct cli *c, struct http *h);

/* ---- cmd_staff.c ---- */
/** admin user add --remote */
int staff_user_add(struct cli *c);

/* ---- cli_qr.c ---- */
/** A QR code of @text in half blocks, for a phone's camera. False: it doesn't fit or there is no memory. */
bool qr_show(const char *text, FILE *to);

/* ---- cli_tls.c ---- */
/** The chain that the server at @url shows, as PEM ended by NUL; not verified, and nothing but a handshake is sent. False: @why. */
bool tls_served(const char *url, struct sq_buf *out_pem, char why[256]);
/** Why the certificate of @url is not trusted, as a sentence's second half. @cacert: file, or "". False: not found out. */
bool tls_why_not(const char *url, const char *cacert, char out[400]);

/* ---- cmd_config.c ---- */
/** Values of @n keys of the sequester.ini at @path, defaults where it doesn't say. 0 or an exit code after a message. */
int config_values(const struct cli *c, const char *path, const char *const key[], size_t n, char (*out)[SQ_CONFIG_MAX_VALUE]);

/* ---- cmd_audit.c ---- */
#define CLI_VKEY_BYTES 256
/** "a,b c" as a JSON list of words; NULL: out of memory or not UTF-8. */
json_t *cli_words(const char *text);
struct sq_note_keys;
/** --vkey KEY; for @FILE its first line, and the keys that follow from it by the changes behind that. 0 or an exit code after a message. */
int cli_vkeys(const struct cli *c, struct sq_note_keys *out);

/* ---- cli_package.c ---- */
/** The check entry's text of package @path, without line end. 0 or an exit code after a message. */
int package_check_text(const struct cli *c, const char *path, const struct secret *password, char out[129]);

/* ---- cli_seal_to.c: results for the holder of a private key ---- */
/** --seal-to: a key, or a file that holds one, checked before anything is sent. Its text and its fingerprint as the server
 *  shows it. 0 or an exit code after a message. */
int seal_to_read(const struct cli *c, char out_key[201], char out_fingerprint[65]);
/** The kind of key that the job's result is sealed to: `age`, `crypt4gh`, or "" when it is claimed with a password. */
const char *seal_to_kind(const json_t *job);
/** How the package is named: "tar.age", "tar.c4gh", "zip". */
const char *seal_to_suffix(const json_t *job);
/** The command that opens the package at @path. */
void seal_to_say_how(const json_t *job, const char *path);

/* ---- the handlers ---- */
#define SQ_CMD(name, handler, args, least, most, opts, exits, summary, example) int handler(struct cli *c);
#include "cli/commands.def"
#undef SQ_CMD

/* ---- cmd_receipt.c ---- */
/** The keys that receipts and attestations are signed with: --vkey, else the server is asked. */
int receipt_keys(struct cli *c, struct sq_note_keys *out);

#endif
