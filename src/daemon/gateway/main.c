/*
 * gateway: the only process that strangers can speak to.
 *
 * I hold: the listening socket, the TLS key, and while an upload runs, the descriptor of its file and the key of the part
 * that is being sealed: one part at a time, given to me once, wiped when the part closes.
 * I do: TLS 1.3, HTTP, limits of size, rate and time, seal uploads as they arrive, pass streams on.
 * I can't: say who anybody is (a token goes on as it came, registrar decides each time), open a sealed object (no code for
 * it is linked into me, no message gives me the key of a part that exists), open any file or make any socket (one file of
 * counters, limits.c, is mapped before I give that up), run SQL,
 * or read a genotype (bytes of a file are sealed, never looked at).
 * Whoever captures me sees what passes while I am captured, and nothing from before or after.
 *
 * Read on in request.c: what happens to a request, from its head to the line in the log.
 */
#include "daemon/gateway/gateway.h"

#include "lib/core/fault.h"
#include "lib/core/log.h"
#include "lib/crypt/crypt.h"
#include "lib/proc/confine.h"

#include <sys/resource.h>
#include <unistd.h>

/* One descriptor a connection, and two or three more for its upload or download. */
static void allow_descriptors(void)
{
    struct rlimit r;
    if (!getrlimit(RLIMIT_NOFILE, &r) && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max < 65536 ? r.rlim_max : 65536;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static void on_peer_up(void *ctx, enum sq_role peer)
{
    if (peer == SQ_ROLE_REGISTRAR)
        tls_tell(ctx);
}

static void on_parent(void *ctx, struct sq_packet *pkt, const struct sq_msg *m)
{
    if (m->no == SQ_MSG_tls_files)
        tls_on_parent(ctx, pkt, m);
    else if (m->no == SQ_MSG_net_files)
        admission_on_parent(ctx, pkt, m);
}

static sq_err serve(struct gateway *gw, const struct sq_http_config *config, struct tls_files *tls)
{
    struct sq_http *http = NULL;
    sq_err e = sq_node_start(gw->node, gw);
    if (!e)
        e = limits_start(gw->limits);
    if (!e)
        e = sq_http_start(config, &http);
    tls_wipe(tls);
    if (e)
        return e;
    sq_node_serve(gw->node, "");
    sq_http_stop(http);
    return SQ_OK;
}

static sq_err run(void)
{
    static struct gateway gw = {.tls_lock = PTHREAD_MUTEX_INITIALIZER};
    struct tls_files tls = {0};
    sq_err e = sq_node_open(SQ_ROLE_GATEWAY, &gw.node);
    if (e)
        return e;
#ifdef SQ_TEST_HOOKS
    int hooks = sq_node_take(gw.node, "hooks");
    if (hooks >= 0)
        sq_hooks_map(hooks);
#endif
    sq_log(SQ_LOG_started, SQ_LN("pid", getpid()), SQ_LN("uid", getuid()), SQ_LW("version", SQ_VERSION));
    gw.hosts = sq_node_setting(gw.node, "hosts");
    sq_assert(gw.hosts);
    gw.rsa_bits = (unsigned)sq_node_setting_u64(gw.node, "rsa_bits");
    gw.upload_max_bytes = sq_node_setting_u64(gw.node, "upload_max_mib") << 20;
    struct sq_http_config config = {
        .listen_fd = sq_node_take(gw.node, "listen"),
        .max_connections = (unsigned)sq_node_setting_u64(gw.node, "max_connections"),
        .head_s = 10,
        .slice_s = GATEWAY_SLICE_S,
        .idle_s = 60,
        .events = gateway_events,
        .ctx = &gw,
    };
    gw.max_connections = config.max_connections;
    gw.max_connections_per_ip = (unsigned)sq_node_setting_u64(gw.node, "max_connections_per_ip");
    sq_assert(config.listen_fd >= 0);
    allow_descriptors();
    sq_node_on_peer_up(gw.node, on_peer_up);
    sq_node_on_parent(gw.node, on_parent);
    if (!e)
        e = sq_crypt_start();
    if (!e)
        e = limits_new(gw.node, &gw.limits);
    if (!e)
        e = admission_open(&gw);
    if (!e)
        e = tls_read(&gw, &tls);
    config.certificate_pem = (const char *)tls.certificate;
    config.key_pem = (const char *)tls.key;
    if (!e)
        e = sq_http_prepare(&config);
    if (!e)
        e = gateway_confine();
    if (!e)
        e = serve(&gw, &config, &tls);
    tls_wipe(&tls);
    return e;
}

int main(void)
{
    sq_err e = sq_proc_begin("gateway");
    if (!e)
        e = run();
    if (e)
        sq_log(SQ_LOG_failed, SQ_LW("what", "start"), SQ_LW("code", sq_err_name(e)));
    return e ? 1 : 0;
}
