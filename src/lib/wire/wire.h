/**
 * wire - messages between our processes: one line of messages.def makes the struct, encoder, decoder and the right to send.
 *
 * Carrier: an AF_UNIX SOCK_SEQPACKET socket, one message a packet, descriptors by SCM_RIGHTS.
 * Packet, little-endian: u16 number | u16 0 | u64 call | fields in order. `call` is 0 for a message that wants no
 * reply; a reply carries the call number of its request. Numbers are little-endian; STR and BLOB are u32 length + bytes;
 * IDS is u32 count + 16 bytes each; FD and FDS put u8 counts in the bytes and the descriptors in the ancillary data.
 *
 * What it may touch: the socket it is given. It never allocates from a length that came over the wire: a packet has a
 * fixed maximum. Decoded spans point into the packet. Secrets pass through packets: sq_packet_done wipes.
 */
#ifndef SQ_WIRE_WIRE_H
#define SQ_WIRE_WIRE_H

#include "lib/core/buf.h"

#define SQ_WIRE_MAX_BYTES 65536
#define SQ_WIRE_MAX_FDS 72
#define SQ_ID_BYTES 16

enum sq_role {
    SQ_ROLE_ANYONE = 0,
    SQ_ROLE_PARENT,
    SQ_ROLE_GATEWAY,
    SQ_ROLE_REGISTRAR,
    SQ_ROLE_KEEPER,
    SQ_ROLE_STORER,
    SQ_ROLE_RUNNER,
    SQ_ROLE_JAILER,
    SQ_ROLE_COURIER,
    SQ_ROLE_WORKER,
    SQ_ROLE_ADMIN,
    SQ_ROLE_COUNT
};
const char *sq_role_name(enum sq_role role); /* "gateway" */

enum sq_when { SQ_WHEN_HELLO, SQ_WHEN_ANY, SQ_WHEN_UNSEALED };

struct sq_ids {
    const uint8_t *p; /* n ids of 16 bytes each */
    uint32_t n;
};

struct sq_fds {
    int fd[SQ_WIRE_MAX_FDS];
    uint32_t n;
};

/* ---- one struct a message, one number a message ---- */
#define U8(f) uint8_t f;
#define U16(f) uint16_t f;
#define U32(f) uint32_t f;
#define U64(f) uint64_t f;
#define BYTES(f, len) uint8_t f[len];
#define STR(f, max) struct sq_span f;
#define BLOB(f, max) struct sq_span f;
#define IDS(f, max) struct sq_ids f;
#define FD(f) int f;
#define FDS(f, max) struct sq_fds f;
#define SQ_MSG(name, no, from, to, when, reply, fields) \
    struct sq_msg_##name {                                \
        char unused_;                                       \
        fields                                              \
    };
#include "lib/wire/messages.def"
#undef SQ_MSG
#undef U8
#undef U16
#undef U32
#undef U64
#undef BYTES
#undef STR
#undef BLOB
#undef IDS
#undef FD
#undef FDS

enum sq_msg_no {
#define SQ_MSG(name, no, from, to, when, reply, fields) SQ_MSG_##name = (no),
#include "lib/wire/messages.def"
#undef SQ_MSG
    SQ_MSG_none = 0,
    SQ_MSG_MAX = 240 /* numbers are below this */
};

struct sq_msg {
    enum sq_msg_no no;
    uint64_t call; /* set by links; 0: no reply wanted */
    union {
#define SQ_MSG(name, no, from, to, when, reply, fields) struct sq_msg_##name name;
#include "lib/wire/messages.def"
#undef SQ_MSG
    } u;
};

/** sq_msg_of(part_key, .part_no = 3) - a message to send, as an rvalue; sq_msg_bare(ok) one without fields. */
#define sq_msg_bare(name_) ((struct sq_msg){.no = SQ_MSG_##name_})
#define sq_msg_of(name_, ...) ((struct sq_msg){.no = SQ_MSG_##name_, .u.name_ = {.unused_ = 0, __VA_ARGS__}})

struct sq_msg_row {
    enum sq_msg_no no;
    const char *name;
    enum sq_role from, to;
    enum sq_when when;
    enum sq_msg_no reply;
    const char *fields; /* as written in messages.def, for the protocol page and the attack corpus */
};
/** sq_msg_row_of - the table row of message @no, or NULL. */
const struct sq_msg_row *sq_msg_row_of(unsigned no);
/** sq_msg_table_hash - FNV-1a over the whole table: both ends of a socket compare it. */
uint64_t sq_msg_table_hash(void);

/** A received packet: bytes and descriptors. Descriptors not taken by the reader are closed by sq_packet_done. */
struct sq_packet {
    size_t n;
    uint32_t n_fd, n_fd_used;
    int fd[SQ_WIRE_MAX_FDS];
    uint8_t bytes[SQ_WIRE_MAX_BYTES];
};
struct sq_packet *sq_packet_new(void);        /* NULL when out of memory */
void sq_packet_done(struct sq_packet *pkt);   /* wipes, closes every descriptor still in it; can be used again */
void sq_packet_free(struct sq_packet *pkt);
/** sq_packet_keep_fd - take descriptor @fd out of @pkt: it is now the caller's. */
void sq_packet_keep_fd(struct sq_packet *pkt, int fd);

/** sq_wire_encode - @m as sent from @from to @to. SQ_EPROTO when the table forbids it or a field breaks its maximum. */
sq_err sq_wire_encode(enum sq_role from, enum sq_role to, const struct sq_msg *m, struct sq_buf *out_bytes,
                      struct sq_fds *out_fds) SQ_MUST_CHECK;
/** sq_wire_decode - check sender, receiver, every maximum and that nothing is left over. Spans point into @pkt. */
sq_err sq_wire_decode(enum sq_role from, enum sq_role to, struct sq_packet *pkt, struct sq_msg *out) SQ_MUST_CHECK;

/** Blocking send and receive of one packet. Receive: SQ_EDOWN at the end of the stream. Descriptors sent stay the caller's. */
sq_err sq_wire_send(int sock, enum sq_role from, enum sq_role to, const struct sq_msg *m) SQ_MUST_CHECK;
sq_err sq_wire_recv(int sock, enum sq_role from, enum sq_role to, struct sq_packet *pkt, struct sq_msg *out) SQ_MUST_CHECK;
/** Both ends send hello and check the other's: SQ_EPROTO when tables differ or the role isn't @peer. */
sq_err sq_wire_hello(int sock, enum sq_role me, enum sq_role peer) SQ_MUST_CHECK;

#endif
