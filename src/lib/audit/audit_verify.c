#include "lib/audit/audit_internal.h"

#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The verifier of docs/formats/audit-log.md, section "Verifying", step by step. It trusts nothing but the public key,
 * and shares with the writer only the reading of frames and the tree's arithmetic. */

#define MAX_GAPS 64
#define CHECKPOINTS_MAX_BYTES (1ULL << 30)

struct signed_head {
    uint64_t size;
    uint8_t root[SQ_AUDIT_HASH_BYTES];
};

struct gap {
    uint64_t first, last;
};

struct verifying {
    struct sq_audit_report *r;
    struct signed_head *heads; /* good ones, by size */
    size_t n_head, next_head;
    int tree_fd;               /* -1: no tree file */
    uint64_t n_tree_leaf;
    bool is_tree_over;
    uint8_t tree_node[SQ_TREE_MAX_NODES][SQ_AUDIT_HASH_BYTES];
    struct sq_frontier frontier;
    uint64_t expected;
    uint64_t unsure, differs, node_differs; /* entry numbers; 0: none */
    bool are_roots_over, is_end_unreadable;
    struct gap gap[MAX_GAPS];
    size_t n_gap;
};

static void found(struct verifying *v, enum sq_audit_damage damage, uint64_t entry, uint64_t last, uint64_t signed_size)
{
    struct sq_audit_report *r = v->r;
    if (r->n_finding < SQ_AUDIT_MAX_FINDINGS)
        r->finding[r->n_finding] = (struct sq_audit_finding){damage, entry, last, signed_size};
    r->n_finding++;
}

static void be_unsure(struct verifying *v, uint64_t number)
{
    if (!v->unsure || number < v->unsure)
        v->unsure = number;
}

static uint64_t largest_signed(const struct verifying *v)
{
    return v->n_head ? v->heads[v->n_head - 1].size : 0;
}

/* ---- step 1: checkpoints ---- */

static sq_err add_head(struct verifying *v, const struct sq_note_head *h)
{
    struct signed_head *more = realloc(v->heads, (v->n_head + 1) * sizeof *more);
    if (!more)
        return sq_fail(SQ_ENOMEM);
    v->heads = more;
    size_t i = v->n_head++;
    for (; i > 0 && more[i - 1].size > h->size; i--) /* only a kept note can be out of order */
        more[i] = more[i - 1];
    more[i].size = h->size;
    memcpy(more[i].root, h->root, sizeof h->root);
    return SQ_OK;
}

/* Without that file, or where nothing in it is signed rightly, the key stands alone. */
static sq_err read_keys(int dir_fd, const char *vkey, struct sq_note_keys *out)
{
    struct sq_buf file;
    sq_buf_init(&file, SQ_KEY_CHANGES_MAX_BYTES);
    sq_err e = sq_file_read(dir_fd, "keys", &file);
    if (e == SQ_ENOTFOUND || e == SQ_ETOOBIG) {
        file.n = 0;
        e = SQ_OK;
    }
    if (!e)
        e = sq_note_keys_from(vkey, (const char *)file.p, file.n, out);
    sq_buf_done(&file);
    return e;
}

static sq_err read_checkpoints(struct verifying *v, int dir_fd, const struct sq_note_keys *keys)
{
    struct sq_buf file;
    uint8_t empty[SQ_AUDIT_HASH_BYTES];
    sq_buf_init(&file, CHECKPOINTS_MAX_BYTES);
    sq_err e = sq_audit_root_empty(empty);
    if (!e)
        e = sq_file_read(dir_fd, "checkpoints", &file);
    if (e == SQ_ENOTFOUND)
        e = SQ_OK;
    const char *p = (const char *)file.p;
    uint64_t no = 1;
    for (size_t at = 0, n; !e && at < file.n && (n = sq_checkpoint_record(p + at, file.n - at)) > 0; at += n, no++) {
        struct sq_note_head h;
        bool is_good = sq_note_verify_any(keys, p + at, n - 1, &h) == SQ_OK && h.size >= largest_signed(v)
                       && (h.size || memcmp(h.root, empty, sizeof empty) == 0);
        if (!is_good) {
            found(v, SQ_AUDIT_CHECKPOINT, no, no, 0);
            continue;
        }
        v->r->n_checkpoint++;
        e = add_head(v, &h);
    }
    sq_buf_done(&file);
    return e;
}

/* ---- step 2: segments ---- */

static sq_err tree_nodes(struct verifying *v, uint64_t number, unsigned n, unsigned *out_n)
{
    size_t got = 0;
    *out_n = 0;
    if (v->tree_fd < 0 || number > v->n_tree_leaf)
        return SQ_OK;
    sq_err e = sq_pread_full(v->tree_fd, v->tree_node, (size_t)n * SQ_AUDIT_HASH_BYTES,
                             (off_t)(sq_tree_place(0, number - 1) * SQ_AUDIT_HASH_BYTES), &got);
    *out_n = (unsigned)(got / SQ_AUDIT_HASH_BYTES);
    return e;
}

static sq_err open_tree(struct verifying *v, int dir_fd)
{
    static const uint8_t zero[SQ_AUDIT_HASH_BYTES];
    struct stat st;
    v->tree_fd = openat(dir_fd, "tree", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (v->tree_fd < 0)
        return errno == ENOENT ? SQ_OK : sq_fail(SQ_EIO);
    if (fstat(v->tree_fd, &st) < 0)
        return sq_fail(SQ_EIO);
    v->n_tree_leaf = st.st_size ? sq_tree_leaves((uint64_t)st.st_size / SQ_AUDIT_HASH_BYTES) : 0;
    for (; v->n_tree_leaf; v->n_tree_leaf--) {
        unsigned n = 0;
        sq_err e = tree_nodes(v, v->n_tree_leaf, 1, &n);
        if (e || (n && memcmp(v->tree_node[0], zero, sizeof zero) != 0))
            return e;
    }
    return SQ_OK;
}

static sq_err check_roots(struct verifying *v)
{
    uint64_t size = v->frontier.size;
    uint8_t root[SQ_AUDIT_HASH_BYTES];
    bool have_root = false;
    for (; v->next_head < v->n_head && v->heads[v->next_head].size <= size; v->next_head++) {
        const struct signed_head *h = &v->heads[v->next_head];
        if (h->size < size || v->are_roots_over)
            continue;
        sq_err e = have_root ? SQ_OK : sq_frontier_root(&v->frontier, root);
        if (e)
            return e;
        have_root = true;
        if (memcmp(root, h->root, sizeof root) != 0) {
            uint64_t first = v->differs ? v->differs : v->r->signed_size + 1;
            found(v, SQ_AUDIT_REWRITTEN, first, v->differs ? v->differs : size, size);
            v->are_roots_over = v->is_tree_over = true; /* what follows differs too, and says nothing new */
            v->differs = v->node_differs = 0;
            continue;
        }
        v->r->signed_size = size;
        uint64_t bad = v->differs && (!v->node_differs || v->differs < v->node_differs) ? v->differs : v->node_differs;
        if (bad)
            found(v, SQ_AUDIT_TREE, bad, bad, size);
        v->differs = v->node_differs = 0;
    }
    return SQ_OK;
}

static sq_err join_tree(struct verifying *v, const uint8_t *leaf)
{
    static const uint8_t zero[SQ_AUDIT_HASH_BYTES];
    struct sq_tree_nodes nodes;
    unsigned n = 0;
    if (v->unsure)
        return SQ_OK;
    sq_err e = sq_frontier_add(&v->frontier, leaf, &nodes);
    if (!e && !v->is_tree_over)
        e = tree_nodes(v, v->frontier.size, nodes.n, &n);
    if (e)
        return e;
    if (n == 0 || memcmp(v->tree_node[0], zero, sizeof zero) == 0)
        v->is_tree_over = true;
    if (!v->is_tree_over && !v->differs && memcmp(v->tree_node[0], nodes.hash[0], SQ_AUDIT_HASH_BYTES) != 0)
        v->differs = v->frontier.size;
    else if (!v->is_tree_over && !v->differs && !v->node_differs
             && (n < nodes.n || memcmp(v->tree_node, nodes.hash, (size_t)nodes.n * SQ_AUDIT_HASH_BYTES) != 0))
        v->node_differs = v->frontier.size;
    return check_roots(v);
}

static void open_gap(struct verifying *v, uint64_t first, uint64_t last)
{
    if (v->n_gap == MAX_GAPS)
        found(v, SQ_AUDIT_DROPPED, first, last, 0);
    else
        v->gap[v->n_gap++] = (struct gap){first, last};
    be_unsure(v, first);
}

static void close_gap(struct verifying *v, uint64_t number)
{
    for (size_t i = 0; i < v->n_gap; i++) {
        struct gap *g = &v->gap[i];
        if (number < g->first || number > g->last)
            continue;
        uint64_t last = g->last;
        g->last = number - 1;
        if (number < last && v->n_gap < MAX_GAPS) {
            memmove(g + 2, g + 1, (v->n_gap - i - 1) * sizeof *g);
            g[1] = (struct gap){number + 1, last};
            v->n_gap++;
        }
        return;
    }
}

/* Leaf of an entry whose content and stored hash differ: whichever of the two the tree file knows. */
static sq_err leaf_of_changed(struct verifying *v, const struct sq_frame *f, const uint8_t **out)
{
    unsigned n = 0;
    sq_err e = tree_nodes(v, v->expected, 1, &n);
    *out = !e && n && memcmp(v->tree_node[0], f->leaf, SQ_AUDIT_HASH_BYTES) == 0 ? f->leaf : f->stored;
    return e;
}

static sq_err on_frame(struct verifying *v, const struct sq_frame *f)
{
    struct sq_audit_entry x;
    const uint8_t *leaf = f->leaf;
    if (memcmp(f->leaf, f->stored, sizeof f->leaf) != 0) {
        found(v, SQ_AUDIT_CHANGED, v->expected, v->expected, 0);
        sq_err e = leaf_of_changed(v, f, &leaf);
        if (e)
            return e;
    } else if (sq_audit_entry_decode(f->entry, &x)) {
        found(v, SQ_AUDIT_UNREADABLE, v->expected, v->expected, 0);
    } else {
        v->r->n_entry++;
        if (v->r->n_entry == 1)
            v->r->first_ms = x.time_ms;
        v->r->last_ms = x.time_ms;
        if (x.number < v->expected) {
            found(v, SQ_AUDIT_MOVED, x.number, x.number, 0);
            close_gap(v, x.number);
            be_unsure(v, x.number);
            return SQ_OK;
        }
        if (x.number > v->expected) {
            open_gap(v, v->expected, x.number - 1);
            v->expected = x.number;
        }
    }
    v->expected++;
    return join_tree(v, leaf);
}

static sq_err walk_segment(struct verifying *v, struct sq_seg *seg, bool is_last)
{
    for (;;) {
        struct sq_frame f;
        sq_err e = sq_seg_next(seg, &f);
        if (e || f.status == SQ_FRAME_END)
            return e;
        bool is_whole = f.status == SQ_FRAME_OK && memcmp(f.leaf, f.stored, sizeof f.leaf) == 0;
        if (!is_whole && is_last && v->expected > largest_signed(v) && v->expected > v->n_tree_leaf) {
            v->r->n_torn_bytes = seg->n_bytes - f.at;
            return SQ_OK;
        }
        if (f.status == SQ_FRAME_CUT && is_last)
            return SQ_OK; /* the end of the log: step 3 says what is missing */
        if (f.status != SQ_FRAME_OK) {
            found(v, SQ_AUDIT_UNREADABLE, v->expected, v->expected, 0);
            be_unsure(v, v->expected);
            v->is_end_unreadable = is_last;
            return SQ_OK;
        }
        e = on_frame(v, &f);
        if (e)
            return e;
    }
}

static sq_err walk_log(struct verifying *v, int log_fd)
{
    struct sq_seg_list list;
    sq_err e = sq_seg_list(log_fd, &list);
    if (e)
        return e;
    v->expected = 1;
    e = check_roots(v); /* a checkpoint of size 0 */
    for (size_t i = 0; !e && i < list.n; i++) {
        struct sq_seg seg;
        bool is_last = i + 1 == list.n;
        e = sq_seg_open(log_fd, list.no[i], &seg);
        if (e)
            break;
        if (!seg.is_header_good) {
            if (!is_last || seg.n_bytes > SQ_SEG_HEADER_BYTES)
                found(v, SQ_AUDIT_SEGMENT, v->expected, v->expected, 0);
        } else {
            if (seg.first < v->expected)
                found(v, SQ_AUDIT_SEGMENT, v->expected, v->expected, 0);
            if (seg.first > v->expected) {
                open_gap(v, v->expected, seg.first - 1);
                v->expected = seg.first;
            }
            e = walk_segment(v, &seg, is_last);
        }
        sq_seg_close(&seg);
    }
    sq_seg_list_done(&list);
    return e;
}

/* ---- step 3: the end ---- */

static void check_end(struct verifying *v)
{
    for (size_t i = 0; i < v->n_gap; i++)
        if (v->gap[i].first <= v->gap[i].last)
            found(v, SQ_AUDIT_DROPPED, v->gap[i].first, v->gap[i].last, 0);
    if (v->differs)
        found(v, SQ_AUDIT_REWRITTEN, v->differs, v->differs, 0);
    else if (v->node_differs)
        found(v, SQ_AUDIT_TREE, v->node_differs, v->node_differs, 0);
    if (v->is_end_unreadable)
        return;
    if (largest_signed(v) >= v->expected)
        found(v, SQ_AUDIT_TRUNCATED, v->expected, largest_signed(v), largest_signed(v));
    else if (v->n_tree_leaf >= v->expected)
        found(v, SQ_AUDIT_TRUNCATED, v->expected, v->n_tree_leaf, 0);
}

/* Not one to be believed. What is it then? */
static void look_at_kept(const struct sq_note_keys *keys, const char *vkey, const char *note, struct sq_audit_report *out)
{
    struct sq_note_head head;
    char name[SQ_NOTE_NAME_BYTES];
    size_t n = strlen(note);
    if (sq_note_head_read(note, n, &head) || sq_vkey_decode(vkey, name, NULL, NULL) || strcmp(name, head.origin) != 0)
        return;
    out->kept_size = head.size;
    out->kept_bound = UINT64_MAX;
    for (size_t i = 0; i < keys->n; i++)
        if (!sq_note_verify(keys->key[i].vkey, note, n, &head))
            out->kept_bound = keys->key[i].last_size;
}

sq_err sq_audit_verify(int dir_fd, const char *vkey, const char *kept_note, struct sq_audit_report *out)
{
    struct verifying v = {.r = out, .tree_fd = -1};
    struct sq_note_head kept;
    *out = (struct sq_audit_report){0};
    if (sq_vkey_decode(vkey, NULL, NULL, NULL))
        return sq_fail(SQ_EFIELD);
    struct sq_note_keys *keys = malloc(sizeof *keys);
    sq_err e = keys ? read_keys(dir_fd, vkey, keys) : sq_fail(SQ_ENOMEM);
    if (!e && kept_note && sq_note_verify_any(keys, kept_note, strlen(kept_note), &kept)) {
        look_at_kept(keys, vkey, kept_note, out);
        e = sq_fail(SQ_EFIELD);
    }
    int log_fd = e ? -1 : openat(dir_fd, "log", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (!e)
        e = log_fd < 0 ? sq_fail(sq_err_errno()) : read_checkpoints(&v, dir_fd, keys);
    free(keys);
    if (!e && kept_note)
        e = add_head(&v, &kept);
    if (!e)
        e = open_tree(&v, dir_fd);
    if (!e)
        e = walk_log(&v, log_fd);
    if (!e) {
        check_end(&v);
        e = out->n_finding ? sq_fail(SQ_EAUDIT) : sq_frontier_root(&v.frontier, out->root);
    }
    sq_close(&log_fd);
    sq_close(&v.tree_fd);
    free(v.heads);
    return e;
}

/* ---- in words ---- */

static const char *const damage_names[] = {
    [SQ_AUDIT_CHANGED] = "changed",
    [SQ_AUDIT_DROPPED] = "dropped",
    [SQ_AUDIT_MOVED] = "moved",
    [SQ_AUDIT_REWRITTEN] = "rewritten",
    [SQ_AUDIT_TRUNCATED] = "truncated",
    [SQ_AUDIT_UNREADABLE] = "unreadable",
    [SQ_AUDIT_SEGMENT] = "segment",
    [SQ_AUDIT_CHECKPOINT] = "checkpoint",
    [SQ_AUDIT_TREE] = "tree",
};

const char *sq_audit_damage_name(enum sq_audit_damage damage)
{
    unsigned i = (unsigned)damage;
    return i >= SQ_AUDIT_CHANGED && i <= SQ_AUDIT_TREE ? damage_names[i] : "unknown";
}

sq_err sq_audit_finding_print(const struct sq_audit_finding *finding, struct sq_buf *out)
{
    unsigned long long first = finding->entry, last = finding->last_entry, size = finding->signed_size;
    bool is_range = last > first;
    sq_err e = finding->damage == SQ_AUDIT_CHECKPOINT ? sq_buf_addf(out, "checkpoint %llu: ", first)
               : is_range                             ? sq_buf_addf(out, "entries %llu to %llu: ", first, last)
                                                      : sq_buf_addf(out, "entry %llu: ", first);
    if (e)
        return e;
    switch (finding->damage) {
    case SQ_AUDIT_CHANGED:
        return sq_buf_addf(out, "changed: the content doesn't match the leaf hash stored with it");
    case SQ_AUDIT_DROPPED:
        return sq_buf_addf(out, "dropped: missing between the entries before and after");
    case SQ_AUDIT_MOVED:
        return sq_buf_addf(out, "moved: stands behind a later entry, or a second time");
    case SQ_AUDIT_REWRITTEN:
        if (size)
            return sq_buf_addf(out, "rewritten: doesn't match the tree signed at size %llu", size);
        return sq_buf_addf(out, "rewritten: doesn't match the tree file (not signed yet)");
    case SQ_AUDIT_TRUNCATED:
        if (size)
            return sq_buf_addf(out, "truncated: missing at the end, but the tree was signed at size %llu", size);
        return sq_buf_addf(out, "truncated: missing at the end, but the tree file holds them");
    case SQ_AUDIT_UNREADABLE:
        return sq_buf_addf(out, "unreadable: no entry of the format stands here");
    case SQ_AUDIT_SEGMENT:
        return sq_buf_addf(out, "the segment file that should begin here has a wrong header");
    case SQ_AUDIT_CHECKPOINT:
        return sq_buf_addf(out, "malformed, out of order, or not signed by the key");
    case SQ_AUDIT_TREE:
        return sq_buf_addf(out, "the tree file is damaged; the entries match the tree signed at size %llu", size);
    }
    return sq_buf_addf(out, "unknown damage");
}
