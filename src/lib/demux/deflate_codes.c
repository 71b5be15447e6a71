/* Prefix codes of deflate. RFC 1951; lengths: Huffman 1952 by two queues over sorted counts (van Leeuwen 1976). */
#include "lib/demux/deflate_codes.h"

#include <stdlib.h>

struct leaf {
    uint32_t count, symbol;
};

static int by_count(const void *a, const void *b)
{
    const struct leaf *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? -1 : 1;
    return x->symbol < y->symbol ? -1 : 1;
}

/* How many codes of each length for leaves in ascending order of their counts. @of [2 * n]: parents, then depths. */
static void depths(const struct leaf *leaf, unsigned n, uint32_t *of_length)
{
    uint64_t weight[DEFLATE_N_LIT];
    uint32_t up[2 * DEFLATE_N_LIT], deep[DEFLATE_N_LIT];
    unsigned next_leaf = 0, next_node = 0;
    for (unsigned made = 0; made + 1 < n; made++) { /* nodes come out in ascending order, too: the smaller of two heads is the smallest of all */
        weight[made] = 0;
        for (int k = 0; k < 2; k++)
            if (next_leaf < n && (next_node == made || leaf[next_leaf].count <= weight[next_node])) {
                weight[made] += leaf[next_leaf].count;
                up[next_leaf++] = made;
            } else {
                weight[made] += weight[next_node];
                up[n + next_node++] = made;
            }
    }
    deep[n - 2] = 0;
    for (unsigned i = n - 2; i-- > 0;)
        deep[i] = deep[up[n + i]] + 1;
    for (unsigned i = 0; i < n; i++)
        of_length[deep[up[i]] + 1]++;
}

/* Lengths above @most become @most; that takes more than all of the code's room, so shorter ones give up theirs. */
static void shorten(uint32_t *of_length, unsigned deepest, unsigned most)
{
    uint64_t room = 0;
    for (unsigned i = most + 1; i <= deepest; i++) {
        of_length[most] += of_length[i];
        of_length[i] = 0;
    }
    for (unsigned i = 1; i <= most; i++)
        room += (uint64_t)of_length[i] << (most - i);
    while (room > 1ULL << most) { /* a leaf of length i becomes two of length i + 1: itself and one that was of length most */
        unsigned i = most - 1;
        while (!of_length[i])
            i--;
        of_length[i]--;
        of_length[i + 1] += 2;
        of_length[most]--;
        room--;
    }
}

void deflate_lengths(const uint32_t *count, unsigned n, unsigned most, uint8_t *length)
{
    struct leaf leaf[DEFLATE_N_LIT];
    uint32_t of_length[DEFLATE_N_LIT + 1] = {0};
    unsigned n_leaf = 0;
    for (unsigned i = 0; i < n; i++) {
        length[i] = 0;
        if (count[i])
            leaf[n_leaf++] = (struct leaf){count[i], i};
    }
    for (unsigned i = 0; n_leaf < 2 && i < 2; i++) /* readers differ on codes of one symbol */
        if (!count[i])
            leaf[n_leaf++] = (struct leaf){1, i};
    qsort(leaf, n_leaf, sizeof leaf[0], by_count);
    depths(leaf, n_leaf, of_length);
    shorten(of_length, n_leaf - 1, most);
    unsigned at = n_leaf; /* the most frequent have the shortest */
    for (unsigned i = 1; i <= most; i++)
        for (uint32_t k = 0; k < of_length[i]; k++)
            length[leaf[--at].symbol] = (uint8_t)i;
}

void deflate_codes(const uint8_t *length, unsigned n, uint16_t *code)
{
    uint32_t next[17] = {0}, of_length[16] = {0};
    for (unsigned i = 0; i < n; i++)
        of_length[length[i]]++;
    of_length[0] = 0;
    for (unsigned i = 1; i < 16; i++)
        next[i + 1] = (next[i] + of_length[i]) << 1;
    for (unsigned i = 0; i < n; i++) {
        uint32_t v = length[i] ? next[length[i]]++ : 0, turned = 0;
        for (unsigned k = 0; k < length[i]; k++)
            turned |= (v >> k & 1) << (length[i] - 1 - k);
        code[i] = (uint16_t)turned;
    }
}

static void item(struct deflate_head *h, unsigned what, unsigned more)
{
    h->item[h->n_item] = (uint8_t)what;
    h->more[h->n_item++] = (uint8_t)more;
}

/* The order in which the lengths of the lengths' codes are said */
static const uint8_t said[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
static const uint8_t more_bits[3] = {2, 3, 7};

void deflate_head_make(const uint8_t *lit, const uint8_t *dist, struct deflate_head *h)
{
    uint8_t all[DEFLATE_N_LIT + DEFLATE_N_DIST];
    uint32_t count[19] = {0};
    *h = (struct deflate_head){.n_lit = DEFLATE_N_LIT, .n_dist = DEFLATE_N_DIST, .n_length = 19};
    while (h->n_lit > 257 && !lit[h->n_lit - 1])
        h->n_lit--;
    while (h->n_dist > 1 && !dist[h->n_dist - 1])
        h->n_dist--;
    memcpy(all, lit, h->n_lit);
    memcpy(all + h->n_lit, dist, h->n_dist);
    for (unsigned i = 0, n = h->n_lit + h->n_dist; i < n;) {
        unsigned run = 1;
        while (i + run < n && all[i + run] == all[i])
            run++;
        unsigned left = run;
        if (!all[i]) {
            for (; left >= 11; left -= left < 138 ? left : 138)
                item(h, 18, (left < 138 ? left : 138) - 11);
            if (left >= 3) {
                item(h, 17, left - 3);
                left = 0;
            }
        } else {
            item(h, all[i], 0);
            for (left--; left >= 3; left -= left < 6 ? left : 6)
                item(h, 16, (left < 6 ? left : 6) - 3);
        }
        for (; left; left--)
            item(h, all[i], 0);
        i += run;
    }
    for (unsigned i = 0; i < h->n_item; i++)
        count[h->item[i]]++;
    deflate_lengths(count, 19, 7, h->length);
    while (h->n_length > 4 && !h->length[said[h->n_length - 1]])
        h->n_length--;
    h->n_bit = 3 + 5 + 5 + 4 + 3 * h->n_length;
    for (unsigned i = 0; i < h->n_item; i++)
        h->n_bit += h->length[h->item[i]] + (h->item[i] > 15 ? more_bits[h->item[i] - 16] : 0U);
}

void deflate_head_put(const struct deflate_head *h, struct deflate_bits *b)
{
    uint16_t code[19];
    deflate_codes(h->length, 19, code);
    deflate_put(b, 1 | 2 << 1, 3); /* the last block, with codes of its own */
    deflate_put(b, h->n_lit - 257, 5);
    deflate_put(b, h->n_dist - 1, 5);
    deflate_put(b, h->n_length - 4, 4);
    deflate_flush(b);
    for (unsigned i = 0; i < h->n_length; i++) {
        deflate_put(b, h->length[said[i]], 3);
        deflate_flush(b);
    }
    for (unsigned i = 0; i < h->n_item; i++) {
        deflate_put(b, code[h->item[i]], h->length[h->item[i]]);
        if (h->item[i] > 15)
            deflate_put(b, h->more[i], more_bits[h->item[i] - 16]);
        deflate_flush(b);
    }
}
