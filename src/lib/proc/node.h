/**
 * proc/node - a process among the others: its descriptors, its links, its handlers.
 *
 * A daemon starts with descriptor 3 = its socket to parent. sq_node_open speaks hello and collects what parent hands
 * out (take: descriptors with names, setting: configuration, peer: links) until `go`. The daemon then confines itself
 * and serves: each link has a reader thread and its own few handler threads, so that a slow peer never blocks another,
 * and a handler may simply call other processes and wait. After a peer's restart parent sends a new `peer` socket and
 * calls in flight end with SQ_EDOWN. When parent ends, or says stop, sq_node_serve returns.
 *
 * A peer that breaks the protocol is reported to parent (bad_peer), which ends it; its link is cut.
 */
#ifndef SQ_PROC_NODE_H
#define SQ_PROC_NODE_H

#include "lib/wire/wire.h"

#define SQ_NODE_PARENT_FD 3

struct sq_node;
struct sq_ask; /* one request under way */

/** Handler of one message. It must answer with exactly one of sq_ask_reply/ok/fail/end, unless the message wants no reply. */
typedef void (*sq_on_fn)(void *ctx, struct sq_ask *ask, const struct sq_msg *m);

sq_err sq_node_open(enum sq_role me, struct sq_node **out_node) SQ_MUST_CHECK;

/** sq_node_take - the descriptor that parent named @name: now the caller's; -1 when there is none. */
int sq_node_take(struct sq_node *node, const char *name);
/** sq_node_setting - a configuration value handed out by parent, or NULL. Borrowed, lives as long as @node. */
const char *sq_node_setting(const struct sq_node *node, const char *key);
/** As a number; aborts when parent didn't send it or it isn't one (parent has checked it). */
uint64_t sq_node_setting_u64(const struct sq_node *node, const char *key);

/** sq_node_lost - a set of sq_loss_bit that this process found: logged, and told to parent. Before the first thread. */
void sq_node_lost(struct sq_node *node, uint64_t losses);
/** What all processes have found; registrar is told. */
uint64_t sq_node_losses(const struct sq_node *node);

/** Before serve: who handles @no; how many handler threads the link to @peer has (default 2, at most 32). */
void sq_node_on(struct sq_node *node, enum sq_msg_no no, sq_on_fn on);
void sq_node_threads(struct sq_node *node, enum sq_role peer, unsigned n_thread);
/** Called when the link to @peer came up again after it was down (peer restarted). Runs on a thread of its own. */
void sq_node_on_peer_up(struct sq_node *node, void (*on)(void *ctx, enum sq_role peer));
/** Called when the link to @peer went down, before a new one comes up: it may call other
 *  processes, but must not send on this link, and holds up the next one as long as it takes. */
void sq_node_on_peer_down(struct sq_node *node, void (*on)(void *ctx, enum sq_role peer));
/** Called with what parent says while we serve and node.c has no use for; on the thread of sq_node_serve. */
void sq_node_on_parent(struct sq_node *node, void (*on)(void *ctx, struct sq_packet *pkt, const struct sq_msg *m));
/** Answers requests whose table row says UNSEALED: keeper sets it false while sealed (they get SQ_ESEALED). */
void sq_node_set_unsealed(struct sq_node *node, bool is_unsealed);

/** Start the threads. Call after confining; @ctx goes to every handler. Then calls can be made. */
sq_err sq_node_start(struct sq_node *node, void *ctx) SQ_MUST_CHECK;
/** Tell parent that we serve, then wait until it says stop or is gone. @address: what to show, or "". */
void sq_node_serve(struct sq_node *node, const char *address);

/**
 * sq_node_call - ask @peer and wait for the answer.
 * SQ_OK: *out is the reply, its spans point into @pkt (caller's, from sq_packet_new; sq_packet_done when finished).
 * error_is becomes its code; SQ_EDOWN when the peer is away or went away; SQ_ETIMEOUT. Any thread, any number at once.
 */
sq_err sq_node_call(struct sq_node *node, enum sq_role peer, const struct sq_msg *m, unsigned timeout_ms,
                    struct sq_packet *pkt, struct sq_msg *out) SQ_MUST_CHECK;
/** sq_node_do - a call whose answer is `ok`. */
sq_err sq_node_do(struct sq_node *node, enum sq_role peer, const struct sq_msg *m, unsigned timeout_ms) SQ_MUST_CHECK;
/** sq_node_tell - send a message that wants no reply; @peer may be parent. */
sq_err sq_node_tell(struct sq_node *node, enum sq_role peer, const struct sq_msg *m) SQ_MUST_CHECK;

/** sq_node_blame - @peer answers nobody any more: parent ends it, and starts another. */
void sq_node_blame(struct sq_node *node, enum sq_role peer);

/* inside a handler */
enum sq_role sq_ask_from(const struct sq_ask *ask);
/** Counts the sockets to this peer: it grows when the peer was restarted, and an older number is of a peer that is gone. */
uint64_t sq_ask_generation(const struct sq_ask *ask);
void sq_ask_reply(struct sq_ask *ask, const struct sq_msg *m);
void sq_ask_ok(struct sq_ask *ask);
void sq_ask_fail(struct sq_ask *ask, sq_err code);
/** One of the three: the failure @e if there is one, else @m, else (NULL) ok. */
static inline void sq_ask_end(struct sq_ask *ask, sq_err e, const struct sq_msg *m)
{
    if (e)
        sq_ask_fail(ask, e);
    else if (m)
        sq_ask_reply(ask, m);
    else
        sq_ask_ok(ask);
}
/** Take descriptor @fd (from the message) over: else it is closed after the handler. */
void sq_ask_keep_fd(struct sq_ask *ask, int fd);
/** The sender did what its role never may: report and cut. No other answer after this. */
void sq_ask_broke_protocol(struct sq_ask *ask);

#endif
