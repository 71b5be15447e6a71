/*
 * Who may come from where: the rules of the operator's file (core/networks), as parent opened it, at start and when he says that there are
 * new ones. An address that may not come is cut before TLS costs us anything; behind a proxy, whose connection is for others, it is told
 * with 403. New rules that make no sense are refused whole, and the old stay.
 */
#include "daemon/gateway/gateway.h"

#include "lib/core/file.h"
#include "lib/core/log.h"

sq_err admission_open(struct gateway *gw)
{
    struct sq_why why = {.line = 0};
    int fd = sq_node_take(gw->node, "networks");
    pthread_rwlock_init(&gw->networks_lock, NULL);
    if (fd < 0)
        return SQ_OK; /* no rules */
    sq_err e = sq_networks_read_fd(fd, &gw->networks, &why);
    sq_close(&fd);
    if (e)
        sq_log(SQ_LOG_networks, SQ_LW("result", "refused"), SQ_LN("rules", 0), SQ_LN("line", why.line));
    return e;
}

void admission_on_parent(struct gateway *gw, struct sq_packet *pkt, const struct sq_msg *m)
{
    struct sq_networks *nets = NULL, *old = NULL;
    struct sq_why why = {.line = 0};
    int fd = m->u.net_files.file.n ? m->u.net_files.file.fd[0] : -1;
    if (fd >= 0)
        sq_packet_keep_fd(pkt, fd);
    sq_err e = fd < 0 ? SQ_OK : sq_networks_read_fd(fd, &nets, &why);
    sq_close(&fd);
    if (!e) {
        pthread_rwlock_wrlock(&gw->networks_lock);
        old = gw->networks;
        gw->networks = nets;
        pthread_rwlock_unlock(&gw->networks_lock);
        sq_networks_free(old);
    }
    uint32_t n_rule = (uint32_t)sq_networks_count(e ? NULL : nets);
    sq_log(SQ_LOG_networks, SQ_LW("result", e ? "refused" : "taken"), SQ_LN("rules", n_rule), SQ_LN("line", why.line));
    struct sq_msg taken = sq_msg_of(net_taken, .code = (uint16_t)e, .n_rule = n_rule, .line = (uint32_t)why.line, .why = sq_span_str(e ? why.detail : ""));
    sq_err told = sq_node_tell(gw->node, SQ_ROLE_PARENT, &taken);
    (void)told; /* parent is gone, and soon we are */
}

unsigned admission_connect(struct gateway *gw, const struct sq_ip *peer, const char *source)
{
    struct limits_said said = {.has_standing = false};
    pthread_rwlock_rdlock(&gw->networks_lock);
    bool is_proxy = sq_networks_proxy(gw->networks, peer), may = is_proxy || sq_networks_may(gw->networks, peer);
    pthread_rwlock_unlock(&gw->networks_lock);
    if (is_proxy)
        return gw->max_connections; /* its clients are counted one by one, at their heads */
    if (may && !limits_take(gw->limits, SQ_RATE_CONNECT, source, (struct sq_span){0}, &said))
        return gw->max_connections_per_ip;
    limits_refused(gw->limits, source);
    return 0;
}

sq_err admission_client(struct gateway *gw, struct sq_http_request *http, bool *out_may_operate)
{
    struct sq_ip ip;
    pthread_rwlock_rdlock(&gw->networks_lock);
    sq_err e = sq_http_client_of(gw->networks, &http->peer, &http->forwarded, &http->x_forwarded_for, &ip);
    if (!e && !sq_networks_may(gw->networks, &ip))
        e = sq_fail(SQ_ENETWORK);
    *out_may_operate = !e && sq_networks_may_operate(gw->networks, &ip);
    pthread_rwlock_unlock(&gw->networks_lock);
    if (!e || e == SQ_ENETWORK)
        sq_http_is_from(http, &ip);
    return e;
}
