/* The operator's socket: RUN_DIR/admin.sock. One message, one answer; the kernel tells the server who speaks. */
#include "cli/cli.h"

#include "lib/core/clock.h"
#include "lib/core/config.h"
#include "lib/core/file.h"
#include "lib/wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HELLO_S 15
#define START_MS 15000 /* a server that was just started or unsealed recovers first; it refuses before it begins */
#define ASK_AGAIN (-1)
#define ASK_SIGNED_IN (-2) /* with the session, which isn't shown to a server that doesn't ask for it */

static int join(const struct cli *c, int *out_sock)
{
    char usual[SQ_CONFIG_MAX_VALUE];
    sq_key_fallback(sq_key_row_of("run_dir"), geteuid() == 0, usual);
    const char *dir = c->opt[OPT_run_dir] ? c->opt[OPT_run_dir] : usual;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char detail[300];
    if ((size_t)snprintf(at.sun_path, sizeof at.sun_path, "%s/admin.sock", dir) >= sizeof at.sun_path)
        return cli_misused(c, "--run-dir is too long");
    *out_sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (*out_sock >= 0 && !connect(*out_sock, (struct sockaddr *)&at, sizeof at)) {
        /* parent holds the socket: it takes us also while registrar, who answers, is down */
        struct timeval limit = {.tv_sec = HELLO_S}, none = {.tv_sec = 0};
        setsockopt(*out_sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        sq_err e = sq_wire_hello(*out_sock, SQ_ROLE_ADMIN, SQ_ROLE_REGISTRAR);
        setsockopt(*out_sock, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none); /* a panel can take an hour */
        if (!e)
            return 0;
        if (e == SQ_EPROTO)
            out_error(c, SQ_EDOWN, "the server doesn't speak our language",
                      "program and server must be of the same version");
        else
            out_error(c, SQ_EDOWN, "the server doesn't answer", "it is starting, or fails to: look at its log");
    } else {
        snprintf(detail, sizeof detail, "%s: %s", at.sun_path, strerror(errno));
        out_error(c, SQ_EDOWN,
                  errno == EACCES ? "the operator's socket is not for you" : "the server isn't running here", detail);
        fputs("  hint: --run-dir DIR names the run_dir of its configuration; run as its user or root\n", stderr);
    }
    sq_close(out_sock);
    return EXIT_UNREACHABLE;
}

/* The server asks for a session besides (admin_sign_in): the answer names the field. */
static bool wants_session(const json_t *answer, const char *given)
{
    return !*given && !strcmp(out_text(answer, "code"), "EAUTH") && !strcmp(out_text(answer, "field"), "session");
}

static int exchange(const struct cli *c, int sock, const char *verb, const struct sq_buf *args, const char *session, const int fd[2],
                    bool may_wait, json_t **out)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return out_error(c, SQ_ENOMEM, "out of memory", NULL);
    struct sq_msg m = sq_msg_of(admin, .verb = sq_span_str(verb), .args = sq_span_of(args->p, args->n), .session = sq_span_str(session)), is;
    for (size_t i = 0; i < 2 && fd && fd[i] >= 0; i++)
        m.u.admin.files.fd[m.u.admin.files.n++] = fd[i];
    sq_err e = sq_wire_send(sock, SQ_ROLE_ADMIN, SQ_ROLE_REGISTRAR, &m);
    if (!e)
        e = sq_wire_recv(sock, SQ_ROLE_REGISTRAR, SQ_ROLE_ADMIN, pkt, &is);
    int rc = 0;
    json_t *j = NULL;
    if (e || is.no != SQ_MSG_admin_is)
        rc = out_error(c, SQ_EDOWN, "the server gave no answer", "look at its log");
    else
        j = json_loadb((const char *)is.u.admin_is.body.p, is.u.admin_is.body.n, 0, NULL);
    if (!rc && is.u.admin_is.code == SQ_EDOWN && may_wait) {
        rc = ASK_AGAIN;
    } else if (!rc && wants_session(j, session)) {
        rc = ASK_SIGNED_IN;
    } else if (!rc && is.u.admin_is.code) {
        out_server_error(c, j);
        rc = EXIT_REFUSED;
    }
    sq_packet_free(pkt);
    if (rc && rc != ASK_SIGNED_IN)
        json_decref(j);
    else
        *out = j;
    return rc;
}

/* @args is taken; *out_answer is the caller's, NULL on failure */
int admin_ask(const struct cli *c, const char *verb, json_t *args, const int fd[2], json_t **out_answer)
{
    int sock = -1;
    struct sq_buf text;
    struct session signed_in = {.j = NULL};
    const char *session = "";
    sq_buf_init(&text, 8192);
    *out_answer = NULL;
    sq_err e = args ? secret_json_text(args, &text) : SQ_EFIELD;
    json_decref(args);
    int rc = e ? out_error(c, SQ_EFIELD, "the arguments must be UTF-8 and short", NULL) : ASK_AGAIN;
    for (int64_t until = sq_clock_steady_ms() + START_MS; rc == ASK_AGAIN;) {
        bool may_wait = sq_clock_steady_ms() < until;
        rc = join(c, &sock);
        if (!rc)
            rc = exchange(c, sock, verb, &text, session, fd, may_wait, out_answer);
        sq_close(&sock);
        if (rc == ASK_AGAIN)
            usleep(300000);
        if (rc == ASK_SIGNED_IN) {
            json_t *refusal = *out_answer;
            *out_answer = NULL;
            rc = session_open(c, &signed_in);
            session = rc ? "" : out_text(signed_in.j, "token");
            if (!rc && !*session)
                out_server_error(c, refusal);
            rc = rc ? rc : *session ? ASK_AGAIN : EXIT_REFUSED;
            json_decref(refusal);
        }
    }
    session_done(&signed_in);
    sq_buf_done(&text);
    return rc;
}

int admin_show(const struct cli *c, const char *verb, json_t *args, void (*show)(const json_t *answer))
{
    json_t *j;
    int rc = admin_ask(c, verb, args, NULL, &j);
    return out_answer(c, rc, j, show);
}

static int plain(const struct cli *c, const char *verb, json_t *args, const char *done)
{
    json_t *j;
    int rc = admin_ask(c, verb, args, NULL, &j);
    json_object_set_new(j, "success", json_true());
    return out_done(c, rc, j, done);
}

/* What of the promises this machine doesn't let the service hold: each with the reason, and how to have it. */
static void show_promises(const json_t *promises)
{
    size_t i, n_lost = 0;
    const json_t *one;
    json_array_foreach(promises, i, one) n_lost += !json_is_true(json_object_get(one, "held"));
    printf("promises     %zu that depend on the machine, %zu held\n", json_array_size(promises), json_array_size(promises) - n_lost);
    json_array_foreach(promises, i, one)
    {
        if (!json_is_true(json_object_get(one, "held")))
            printf("  not held   %s: %s\n             why: %s\n             to have it: %s\n", out_text(one, "promise"), out_text(one, "text"),
                   out_text(one, "why"), out_text(one, "mend"));
    }
}

static void show_courier(const json_t *courier)
{
    static const char *const channels[] = {"mail", "webhook", "syslog"};
    for (size_t i = 0; i < 3; i++) {
        const json_t *j = json_object_get(courier, channels[i]);
        const char *state = out_text(j, "state"), *error = out_text(j, "last_error"), *oldest = out_text(j, "oldest");
        unsigned long long waiting = out_number(j, json_object_get(j, "behind") ? "behind" : "waiting"), given_up = out_number(j, "given_up");
        printf("%-12s %s", channels[i], !strcmp(state, "off") ? "off: not configured" : state);
        if (waiting)
            printf(", %llu %s", waiting, json_object_get(j, "behind") ? "entries behind" : "waiting");
        if (*oldest)
            printf(", failing since %s", oldest);
        if (given_up)
            printf(", %llu given up", given_up);
        if (*error)
            printf("; last error: %s", error);
        putchar('\n');
    }
}

int cmd_admin_mail_test(struct cli *c)
{
    json_t *j;
    if (!c->opt[OPT_to])
        return cli_misused(c, "which address? --to ADDRESS");
    int rc = admin_ask(c, "mail-test", json_pack("{s:s}", "to", c->opt[OPT_to]), NULL, &j);
    bool is_sent = !rc && json_is_true(json_object_get(j, "sent"));
    if (out_as_text(c, rc, j)) {
        char answer[500];
        out_clean(out_text(j, "answer"), answer, sizeof answer);
        printf("%s: %s\n", is_sent ? "sent" : "not sent", out_text(j, "text"));
        if (*answer)
            printf("the server's side: %s\n", answer);
    }
    json_decref(j);
    return rc ? rc : is_sent ? EXIT_DONE : EXIT_REFUSED;
}

static void show_certificate(const json_t *j)
{
    const char *state = out_text(j, "state");
    if (!strcmp(state, "unknown"))
        puts("certificate  not known: the gateway isn't up");
    else
        printf("certificate  %s, ends %s, %llu days left%s\n", !strcmp(state, "ends_soon") ? "ends soon" : state, out_text(j, "ends"), out_number(j, "days_left"),
               strcmp(state, "good") ? "; get a new one, then: sequester admin tls reload" : "");
}

static void show_status(const json_t *j)
{
    const json_t *audit = json_object_get(j, "audit"), *store = json_object_get(j, "store");
    char space[24];
    out_bytes(out_number(store, "free_bytes"), space);
    printf("version      %s\nstate        %s\nkey service  %s\n"
           "audit log    %llu entries, %llu signed\n"
           "users        %llu\njobs         %llu queued or running\n"
           "objects      %llu being erased, %llu of them fail again and again, %llu damaged\n"
           "store        %s, %s free, overwriting is %s\n",
           out_text(j, "version"), out_text(j, "state"), out_text(j, "key_service"), out_number(audit, "entries"), out_number(audit, "signed"),
           out_number(j, "users"), out_number(j, "active_jobs"), out_number(j, "objects_erasing"), out_number(j, "erase_failed"),
           out_number(j, "objects_damaged"), out_text(store, "filesystem"), space,
           json_is_true(json_object_get(store, "overwriting_is_real")) ? "real" : "not known to be real: erasing rests on destroyed keys");
    printf("results      %s\n", !strcmp(out_text(j, "seal_to"), "required") ? "sealed to keys of users' own alone (seal_to = required)"
                                                                            : "zip under a one-time password, or sealed to a user's own key");
    printf("this socket  %s\n", json_is_true(json_object_get(j, "admin_sign_in")) ? "by uid, and for changes by an officer's session and second factor (admin_sign_in = yes)" : "by uid alone");
    show_promises(json_object_get(j, "promises"));
    show_courier(json_object_get(j, "courier"));
    show_certificate(json_object_get(j, "certificate"));
}

int cmd_admin_status(struct cli *c)
{
    return admin_show(c, "status", json_object(), show_status);
}

static void print_findings(const json_t *j)
{
    const json_t *list = json_object_get(j, "findings"), *x;
    size_t i;
    json_array_foreach(list, i, x)
    {
        const char *job = out_text(x, "job"), *id = *job ? job : out_text(x, "id");
        printf("%s%s%s\n  %s", out_text(x, "code"), *id ? "  " : "", id, out_text(x, "message"));
        if (json_object_get(x, "found"))
            printf(" (found %llu, expected %llu)", out_number(x, "found"), out_number(x, "expected"));
        printf("\n  %s: %s\n", json_is_true(json_object_get(x, "mendable")) ? "--mend" : "by hand", out_text(x, "remedy"));
    }
    if (out_number(j, "total") > json_array_size(list))
        printf("... and %llu more\n", out_number(j, "total") - json_array_size(list));
}

int cmd_admin_check(struct cli *c)
{
    json_t *j = NULL;
    int rc = admin_ask(c, "check", json_pack("{s:b, s:b}", "mend", c->opt[OPT_mend] != NULL, "contents", c->opt[OPT_contents] != NULL), NULL, &j);
    bool is_clean = json_is_true(json_object_get(j, "clean"));
    if (out_as_text(c, rc, j)) {
        const json_t *n = json_object_get(j, "objects"), *audit = json_object_get(j, "audit");
        print_findings(j);
        printf("objects      %llu in use, %llu being written, %llu being erased, %llu erased, %llu damaged\n"
               "keys, files  %llu, %llu\naudit log    %llu entries, %llu signed\n",
               out_number(n, "live"), out_number(n, "opening"), out_number(n, "erasing"), out_number(n, "erased"), out_number(n, "damaged"),
               out_number(j, "keys"), out_number(j, "files"), out_number(audit, "entries"), out_number(audit, "signed"));
        if (c->opt[OPT_contents])
            printf("opened       %llu objects, %llu bytes\n", out_number(json_object_get(j, "opened"), "objects"), out_number(json_object_get(j, "opened"), "bytes"));
        if (c->opt[OPT_mend])
            printf("mended       %llu\n", out_number(j, "mended"));
        if (is_clean)
            puts("clean: database, keys, files and audit log agree");
        else
            printf("findings     %llu\n", out_number(j, "total"));
    }
    json_decref(j);
    return rc ? EXIT_USAGE : is_clean ? EXIT_DONE : EXIT_REFUSED; /* 2: it could not be checked */
}

static void show_rollback(const json_t *j)
{
    if (!json_is_true(json_object_get(j, "rollback"))) {
        puts("no rollback: database and audit log are not older than what was signed");
        return;
    }
    printf("audit log    %llu entries here, %llu signed; %s\ndatabase     wrote entry %llu last\n"
           "unknown      %llu keys and %llu files that this database doesn't know\n"
           "gone         %llu objects that it calls live, but whose key or file is gone\n\n"
           "Best: stop the server, put the newer state_dir/registrar back, start it. Else go on with the older one:\n"
           "  everything that was done since is forgotten, accounts, jobs and results too; whoever kept a newer checkpoint\n"
           "  will see that this log lacks its entries, and the log's next entry says that you decided so.\n"
           "  sequester admin rollback accept --keep --confirm \"%s\"    keeps unknown keys and files for an inquiry\n"
           "  sequester admin rollback accept --erase --confirm \"%s\"   erases them for good\n",
           out_number(j, "log_entries"), out_number(j, "signed"),
           json_is_true(json_object_get(j, "same_tree")) ? "the entries that both have agree" : "IT IS NOT THE LOG THAT WAS SIGNED",
           out_number(j, "database_entry"), out_number(j, "keys_unknown"), out_number(j, "files_unknown"), out_number(j, "objects_gone"),
           out_text(j, "confirm"), out_text(j, "confirm"));
}

int cmd_admin_rollback_show(struct cli *c)
{
    return admin_show(c, "rollback-show", json_object(), show_rollback);
}

int cmd_admin_rollback_accept(struct cli *c)
{
    bool is_keep = c->opt[OPT_keep] != NULL;
    if (is_keep == (c->opt[OPT_erase] != NULL) || !c->opt[OPT_confirm])
        return cli_misused(c, "--confirm TEXT and one of --keep and --erase are needed; sequester admin rollback show explains");
    return plain(c, "rollback-accept", json_pack("{s:s, s:s}", "confirm", c->opt[OPT_confirm], "choice", is_keep ? "keep" : "erase"),
                 "accepted: the server goes on; look at it with sequester admin check");
}

int cmd_admin_unseal(struct cli *c)
{
    struct secret passphrase = {NULL};
    int rc = secret_ask(c, "Passphrase of the key service", c->opt[OPT_new] != NULL, &passphrase);
    json_t *args = rc ? NULL : json_pack("{s:s}", "passphrase", passphrase.text);
    secret_done(&passphrase);
    if (!rc)
        rc = plain(c, "unseal", args, "taken");
    if (!rc && key_shares_wanting(c))
        return 0;
    json_t *j = NULL;
    for (int64_t until = sq_clock_steady_ms() + START_MS; !rc && sq_clock_steady_ms() < until; usleep(200000)) {
        rc = admin_ask(c, "status", json_object(), NULL, &j); /* until it serves, so that what follows finds it up */
        bool is_waiting = !strcmp(out_text(j, "state"), "waiting");
        json_decref(j);
        if (!is_waiting)
            break;
    }
    return rc;
}

int cmd_admin_clock(struct cli *c)
{
    return plain(c, "clock-confirm", json_object(), "confirmed");
}

static void show_user_added(const json_t *j)
{
    printf("%s  %s\n", out_text(j, "id"), out_text(j, "role"));
}

int cmd_admin_user_add(struct cli *c)
{
    struct secret password = {NULL};
    json_t *j = NULL;
    if (c->opt[OPT_remote])
        return staff_user_add(c);
    int rc = secret_ask(c, "Password for the new account", true, &password);
    json_t *args = rc ? NULL
                      : json_pack("{s:s, s:s, s:s}", "name", c->arg[0], "role",
                                  c->opt[OPT_role] ? c->opt[OPT_role] : "user", "password", password.text);
    if (args && c->opt[OPT_mail])
        json_object_set_new(args, "mail", json_string(c->opt[OPT_mail]));
    secret_done(&password);
    if (!rc)
        rc = admin_ask(c, "user-add", args, NULL, &j);
    return out_answer(c, rc, j, show_user_added);
}

/* A VCF is the commonest mistake: it is said before a gigabyte is read. */
static bool is_panel_file(int fd)
{
    static const uint8_t magic[8] = {0x89, 'S', 'Q', 'P', '\r', '\n', 0x1a, '\n'}; /* docs/formats/panel.md */
    uint8_t head[8];
    return pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head && !memcmp(head, magic, sizeof magic);
}

static void show_panel_added(const json_t *j)
{
    printf("%s  %s, chromosome %s, %llu people, %llu haplotypes, %llu sites, %llu to %llu bp, populations %s\n", out_text(j, "id"), out_text(j, "build"),
           out_text(j, "chromosome"), out_number(j, "samples"), out_number(j, "haplotypes"), out_number(j, "sites"), out_number(j, "first_bp"),
           out_number(j, "last_bp"), out_text(j, "populations"));
}

int cmd_admin_panel_add(struct cli *c)
{
    json_t *j = NULL;
    const char *file = c->opt[OPT_panel];
    int fd[2] = {-1, -1}, rc = 0;
    if (!c->opt[OPT_name] || !file)
        return cli_misused(c, "--name and --panel are needed");
    if ((fd[0] = open(file, O_RDONLY | O_CLOEXEC)) < 0)
        return out_error(c, SQ_EIO, file, strerror(errno));
    json_t *args = json_pack("{s:s, s:s}", "id", c->arg[0], "name", c->opt[OPT_name]);
    if (args && c->opt[OPT_build])
        json_object_set_new(args, "build", json_string(c->opt[OPT_build]));
    if (args && c->opt[OPT_populations])
        json_object_set_new(args, "populations", json_string(c->opt[OPT_populations]));
    if (!is_panel_file(fd[0]))
        rc = out_error(c, SQ_EPANEL, file, "this is no panel file (.sqp); make one of a VCF or BCF: sequester panel build");
    if (!rc)
        rc = admin_ask(c, "panel-add", args, fd, &j);
    else
        json_decref(args);
    sq_close(&fd[0]);
    return out_answer(c, rc, j, show_panel_added);
}

int cmd_admin_panel_remove(struct cli *c)
{
    return plain(c, "panel-remove", json_pack("{s:s}", "id", c->arg[0]), "removed");
}
