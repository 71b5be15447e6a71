/*
 * coalescent - haplotypes of one population by the SMC', for benchmarks of imputation.
 *
 *     coalescent N_HAP LENGTH_BP SEED MUTATION_RATE MAP HISTORY MIN_COUNT > haplotypes
 *
 * MAP: lines "bp cM", ascending, from "0 0" on. HISTORY: lines "generations_ago diploid_size", ascending, from 0 on; the size is
 * constant in between. Sites with MIN_COUNT to N_HAP - MIN_COUNT derived haplotypes are written (simulate.h has the format).
 *
 * One genealogy is kept and changed from left to right. After an exponential distance a point of it, uniform over its length, is cut;
 * what hangs below floats up and joins any lineage of the old genealogy, its own former branch included, in which case nothing changed:
 * that is the ' of the SMC', Marjoram and Wall, BMC Genetics 7:16 (2006). Between cuts mutations fall on it as a Poisson process
 * (infinite sites; a place that is taken moves on by one). Lengths of branches lie in a Fenwick tree, so a point is found in O(log n).
 */
#include "simulate.h"
#include <math.h>
#include <string.h>

enum { MOST_KNOTS = 2000000, MOST_EPOCHS = 1000, CUTS_PER_REBUILD = 100000 };

/* ---- random numbers: xoshiro256**, Blackman and Vigna, ACM TOMS 47:36 (2021) ---- */

static uint64_t rng[4];

static uint64_t rotated(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

static uint64_t random_bits(void)
{
    uint64_t result = rotated(rng[1] * 5, 7) * 9, t = rng[1] << 17;
    rng[2] ^= rng[0];
    rng[3] ^= rng[1];
    rng[1] ^= rng[2];
    rng[0] ^= rng[3];
    rng[2] ^= t;
    rng[3] = rotated(rng[3], 45);
    return result;
}

static double random_unit(void) /* 0 < x < 1 */
{
    return ((double)(random_bits() >> 11) + 0.5) * (1.0 / 9007199254740992.0);
}

static double random_exponential(void)
{
    return -log(random_unit());
}

static int32_t random_below(int32_t n)
{
    return (int32_t)(((random_bits() >> 32) * (uint64_t)n) >> 32);
}

/* ---- the population's size: epochs from the present back ---- */

static int n_epoch;
static double epoch_from[MOST_EPOCHS], epoch_size[MOST_EPOCHS]; /* generations ago, diploid individuals */

/* From time t (generations ago) on, spends *exponential at `rate` pairs that coalesce; at most until `limit`. Returns when it stopped. */
static double wait_from(double t, double rate, double limit, double *exponential)
{
    int e = 0;
    while (e + 1 < n_epoch && epoch_from[e + 1] <= t)
        e++;
    for (;; e++) {
        double end = e + 1 < n_epoch ? epoch_from[e + 1] : INFINITY;
        if (end > limit)
            end = limit;
        double most = (end - t) * rate / (2 * epoch_size[e]);
        if (*exponential <= most) {
            t += *exponential * 2 * epoch_size[e] / rate;
            *exponential = 0;
            return t;
        }
        *exponential -= most;
        t = end;
        if (t >= limit)
            return limit;
    }
}

/* ---- the genealogy: leaves are the nodes 0 to n_leaf - 1 ---- */

static int32_t n_leaf, n_node, root;
static double *node_time;           /* generations ago */
static int32_t *parent, *child[2];  /* -1: none */
static double *fenwick;             /* sums of the lengths of the branches above the nodes, from 1 on */
static double *joined;              /* sorted times of all coalescences */
static int32_t n_joined;
static int32_t *stack;              /* scratch of walks, [n_node] */

static void branch_add(int32_t node, double length)
{
    for (int32_t i = node + 1; i <= n_node; i += i & -i)
        fenwick[i] += length;
}

static double tree_length(void)
{
    double sum = 0;
    for (int32_t i = n_node; i; i -= i & -i)
        sum += fenwick[i];
    return sum;
}

static int32_t node_at_length(double length)
{
    int32_t at = 0, step = 1;
    while (step * 2 <= n_node)
        step *= 2;
    for (; step; step >>= 1) {
        if (at + step <= n_node && fenwick[at + step] < length) {
            at += step;
            length -= fenwick[at];
        }
    }
    return at < n_node ? at : n_node - 1;
}

/* Sums of floats drift; this makes them anew. */
static void branches_rebuild(void)
{
    memset(fenwick, 0, ((size_t)n_node + 1) * sizeof *fenwick);
    for (int32_t v = 0; v < n_node; v++)
        if (v != root)
            branch_add(v, node_time[parent[v]] - node_time[v]);
}

static int32_t joined_before(double t)
{
    int32_t low = 0, high = n_joined;
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (joined[middle] < t)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void joined_insert(double t)
{
    int32_t at = joined_before(t);
    memmove(joined + at + 1, joined + at, (size_t)(n_joined - at) * sizeof *joined);
    joined[at] = t;
    n_joined++;
}

static void joined_remove(double t)
{
    int32_t at = joined_before(t);
    n_joined--;
    memmove(joined + at, joined + at + 1, (size_t)(n_joined - at) * sizeof *joined);
}

/* The first genealogy: Kingman's coalescent. */
static void tree_grow(void)
{
    int32_t *active = sim_alloc((size_t)n_leaf, sizeof *active), n_active = n_leaf, next = n_leaf;
    for (int32_t i = 0; i < n_leaf; i++) {
        active[i] = i;
        parent[i] = child[0][i] = child[1][i] = -1;
    }
    double t = 0;
    while (n_active > 1) {
        double exponential = random_exponential();
        t = wait_from(t, 0.5 * n_active * (n_active - 1.0), INFINITY, &exponential);
        int32_t a = random_below(n_active), b = random_below(n_active - 1);
        if (b >= a)
            b++;
        int32_t v = next++, x = active[a], y = active[b];
        node_time[v] = t;
        child[0][v] = x;
        child[1][v] = y;
        parent[x] = parent[y] = v;
        parent[v] = -1;
        joined[n_joined++] = t;
        active[a] = v;
        active[b] = active[--n_active];
    }
    root = active[0];
    free(active);
    branches_rebuild();
}

/* One of the n_lineage branches that exist at time t, uniformly. Many: draw nodes until one fits. Few: walk down from the root. */
static int32_t lineage_at(double t, int32_t n_lineage)
{
    if ((double)n_lineage * n_lineage > 4.0 * n_node) {
        for (;;) {
            int32_t v = random_below(n_node);
            if (v != root && node_time[v] <= t && node_time[parent[v]] > t)
                return v;
        }
    }
    int32_t n_stack = 0, n_seen = 0, wanted = random_below(n_lineage);
    stack[n_stack++] = root;
    while (n_stack) {
        int32_t v = stack[--n_stack];
        if (node_time[v] <= t) {
            if (n_seen++ == wanted)
                return v;
            continue;
        }
        stack[n_stack++] = child[0][v];
        stack[n_stack++] = child[1][v];
    }
    return root;
}

static void replace_child(int32_t of, int32_t old, int32_t new)
{
    child[child[0][of] == old ? 0 : 1][of] = new;
    parent[new] = of;
}

/* Node p, above v, leaves its place between its other child and its own parent. */
static void detach(int32_t v, int32_t p, int32_t sibling)
{
    int32_t above = parent[p];
    branch_add(v, node_time[v] - node_time[p]);
    if (above < 0) {
        branch_add(sibling, node_time[sibling] - node_time[p]);
        root = sibling;
        parent[sibling] = -1;
    } else {
        branch_add(sibling, node_time[above] - node_time[p]);
        branch_add(p, node_time[p] - node_time[above]);
        replace_child(above, p, sibling);
    }
    joined_remove(node_time[p]);
}

/* Node p, above v, takes a place at time t on the branch above u. */
static void attach(int32_t v, int32_t p, int32_t u, double t)
{
    int32_t above = parent[u];
    child[0][p] = v;
    child[1][p] = u;
    node_time[p] = t;
    branch_add(v, t - node_time[v]);
    if (above < 0) {
        root = p;
        parent[p] = -1;
        branch_add(u, t - node_time[u]);
    } else {
        branch_add(u, t - node_time[above]);
        branch_add(p, node_time[above] - t);
        replace_child(above, u, p);
    }
    parent[u] = parent[v] = p;
    joined_insert(t);
}

/* A recombination: one cut, and where the part below it joins again. */
static void tree_recombine(double length)
{
    int32_t v = node_at_length(random_unit() * length);
    if (v == root)
        return;
    double t = node_time[v] + random_unit() * (node_time[parent[v]] - node_time[v]);
    double exponential = random_exponential();
    int32_t i = joined_before(t), n_lineage;
    for (;; i++) { /* the old genealogy has n_leaf - i lineages until its next coalescence; above its root, one */
        n_lineage = i < n_joined ? n_leaf - i : 1;
        double limit = i < n_joined ? joined[i] : INFINITY;
        t = wait_from(t, n_lineage, limit, &exponential);
        if (t < limit)
            break;
    }
    int32_t u = i >= n_joined ? root : lineage_at(t, n_lineage), p = parent[v];
    if (u == v)
        return; /* healed: it joined where it was cut */
    int32_t sibling = child[child[0][p] == v ? 1 : 0][p];
    detach(v, p, sibling);
    attach(v, p, u == p ? sibling : u, t); /* p's own upper branch belongs to the sibling now */
}

/* ---- mutations ---- */

static int32_t min_count, last_pos_bp;
static int32_t *carrier; /* [n_leaf] */
static uint8_t *bits;
static int64_t n_written;

/* The leaves below a node; more than n_leaf - min_count aren't counted to the end. */
static int32_t find_carriers(int32_t node)
{
    int32_t n_stack = 0, n = 0;
    stack[n_stack++] = node;
    while (n_stack && n <= n_leaf - min_count) {
        int32_t v = stack[--n_stack];
        if (v < n_leaf) {
            carrier[n++] = v;
        } else {
            stack[n_stack++] = child[0][v];
            stack[n_stack++] = child[1][v];
        }
    }
    return n;
}

static void mutate(double at_bp, double length_bp, double tree)
{
    int32_t node = node_at_length(random_unit() * tree);
    if (node == root)
        return;
    int32_t n = find_carriers(node);
    if (n < min_count || n > n_leaf - min_count)
        return;
    int32_t pos_bp = (int32_t)at_bp + 1;
    if (pos_bp <= last_pos_bp)
        pos_bp = last_pos_bp + 1;
    if (pos_bp > length_bp)
        return;
    last_pos_bp = pos_bp;
    for (int32_t i = 0; i < n; i++)
        bits[carrier[i] >> 3] = (uint8_t)(bits[carrier[i] >> 3] | 1u << (carrier[i] & 7));
    struct sim_site site = {pos_bp, n};
    sim_must(fwrite(&site, sizeof site, 1, stdout) == 1 && fwrite(bits, 1, sim_bit_bytes(n_leaf), stdout) == sim_bit_bytes(n_leaf), "writing");
    for (int32_t i = 0; i < n; i++)
        bits[carrier[i] >> 3] = 0;
    n_written++;
}

/* ---- the walk along the chromosome ---- */

static double knot_bp[MOST_KNOTS], knot_morgan[MOST_KNOTS];
static int32_t n_knot;

static double bp_of(double morgan, double length_bp)
{
    static int32_t k; /* the walk goes forward only */
    while (k + 1 < n_knot && knot_morgan[k + 1] <= morgan)
        k++;
    if (k + 1 >= n_knot)
        return length_bp;
    double bp = knot_bp[k] + (knot_bp[k + 1] - knot_bp[k]) * (morgan - knot_morgan[k]) / (knot_morgan[k + 1] - knot_morgan[k]);
    return bp > length_bp ? length_bp : bp;
}

static void walk(double length_bp, double mutation_rate)
{
    double morgan = 0, bp = 0;
    for (int64_t n_cut = 1;; n_cut++) {
        double tree = tree_length();
        morgan += random_exponential() / tree;
        double end_bp = bp_of(morgan, length_bp);
        for (double x = bp + random_exponential() / (mutation_rate * tree); x < end_bp; x += random_exponential() / (mutation_rate * tree))
            mutate(x, length_bp, tree);
        bp = end_bp;
        if (bp >= length_bp) {
            fprintf(stderr, "coalescent: %lld cuts, %lld sites\n", (long long)n_cut - 1, (long long)n_written);
            return;
        }
        tree_recombine(tree);
        if (n_cut % CUTS_PER_REBUILD == 0)
            branches_rebuild();
    }
}

static int32_t read_pairs(const char *path, double *first, double *second, int32_t most)
{
    FILE *f = fopen(path, "r");
    sim_must(f != NULL, path);
    int32_t n = 0;
    while (n < most && fscanf(f, "%lf %lf", first + n, second + n) == 2)
        n++;
    fclose(f);
    return n;
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: coalescent N_HAP LENGTH_BP SEED MUTATION_RATE MAP HISTORY MIN_COUNT > haplotypes\n");
        return 2;
    }
    n_leaf = (int32_t)strtol(argv[1], NULL, 10);
    min_count = (int32_t)strtol(argv[7], NULL, 10);
    n_knot = read_pairs(argv[5], knot_bp, knot_morgan, MOST_KNOTS);
    n_epoch = read_pairs(argv[6], epoch_from, epoch_size, MOST_EPOCHS);
    if (n_leaf < 2 || n_leaf > INT32_MAX / 4 || min_count < 1 || n_epoch < 1) {
        fprintf(stderr, "coalescent: needs 2 haplotypes or more, a count of 1 or more, and a history\n");
        return 2;
    }
    for (int32_t k = 0; k < n_knot; k++)
        knot_morgan[k] /= 100;
    uint64_t seed = strtoull(argv[3], NULL, 10);
    for (int i = 0; i < 4; i++)
        rng[i] = sim_splitmix(&seed);
    n_node = 2 * n_leaf - 1;
    node_time = sim_alloc((size_t)n_node, sizeof *node_time);
    parent = sim_alloc((size_t)n_node, sizeof *parent);
    child[0] = sim_alloc((size_t)n_node, sizeof *child[0]);
    child[1] = sim_alloc((size_t)n_node, sizeof *child[1]);
    stack = sim_alloc((size_t)n_node, sizeof *stack);
    fenwick = sim_alloc((size_t)n_node + 1, sizeof *fenwick);
    joined = sim_alloc((size_t)n_leaf + 1, sizeof *joined);
    carrier = sim_alloc((size_t)n_leaf, sizeof *carrier);
    bits = sim_alloc(sim_bit_bytes(n_leaf), 1);
    tree_grow();
    walk(strtod(argv[2], NULL), strtod(argv[4], NULL));
    sim_must(fflush(stdout) == 0, "writing");
    return 0;
}
