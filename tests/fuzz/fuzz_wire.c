/* Packets between our processes. What decodes must encode to the very same bytes: there is one spelling of a message.
 * Input: how roles are chosen | number of descriptors | the packet. */
#include "lib/wire/wire.h"

#if defined(__clang__) /* gcc defines the other name, and only it */
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#endif
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* the roles that may send it, so that fields are reached; or, with an odd first byte, any pair */
static void roles(uint8_t how, const uint8_t *packet, size_t n, enum sq_role *from, enum sq_role *to)
{
    const struct sq_msg_row *row = n >= 2 ? sq_msg_row_of(sq_get_le16(packet)) : NULL;
    *from = (how >> 1) % SQ_ROLE_COUNT;
    *to = (how >> 4) % SQ_ROLE_COUNT;
    if (how & 1 || !row)
        return;
    *from = row->from == SQ_ROLE_ANYONE ? SQ_ROLE_KEEPER : row->from;
    *to = row->to == SQ_ROLE_ANYONE ? SQ_ROLE_GATEWAY : row->to;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sq_packet *pkt;
    struct sq_msg m;
    struct sq_buf again;
    struct sq_fds fds = {.n = 0};
    enum sq_role from, to;
    if (!pkt)
        sq_assert(pkt = sq_packet_new());
    if (size < 2 || size - 2 > SQ_WIRE_MAX_BYTES)
        return 0;
    roles(data[0], data + 2, size - 2, &from, &to);
    pkt->n = size - 2;
    pkt->n_fd = data[1] % (SQ_WIRE_MAX_FDS + 1);
    for (uint32_t i = 0; i < pkt->n_fd; i++)
        pkt->fd[i] = (int)(1000 + i); /* numbers only: nothing is opened or closed */
    memcpy(pkt->bytes, data + 2, pkt->n);
    /* a read behind the packet must be seen, though the array goes on */
    ASAN_POISON_MEMORY_REGION(pkt->bytes + pkt->n, sizeof pkt->bytes - pkt->n);
    sq_buf_init(&again, SQ_WIRE_MAX_BYTES + 1);
    if (!sq_wire_decode(from, to, pkt, &m)) {
        sq_assert(sq_wire_encode(from, to, &m, &again, &fds) == SQ_OK);
        sq_assert(again.n == pkt->n && memcmp(again.p, pkt->bytes, again.n) == 0);
        sq_assert(fds.n == pkt->n_fd && memcmp(fds.fd, pkt->fd, fds.n * sizeof fds.fd[0]) == 0);
    }
    sq_buf_done(&again);
    ASAN_UNPOISON_MEMORY_REGION(pkt->bytes, sizeof pkt->bytes);
    return 0;
}
