/* The pieces of lib/demux that need no run: sample sheets, OverrideCycles, barcodes, kernels. */
#include "lib/demux/barcodes.h"
#include "lib/demux/demux_internal.h"
#include "lib/demux/demux_kernels.h"
#include "lib/demux/override_cycles.h"
#include "lib/demux/sample_sheet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t seed = 88172645463325252ULL;
static uint32_t draw(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % below;
}

/* ---- sample sheets ---- */

static struct sq_sheet *sheet_of(const char *text)
{
    struct sq_sheet *s;
    assert_int_equal(sq_sheet_parse(text, strlen(text), &s), SQ_OK);
    return s;
}

static const char v2[] = "[Header]\nFileFormatVersion,2\nRunName,r\nIndexOrientation,Forward\n\n[Reads]\nRead1Cycles,151\n\n"
                         "[BCLConvert_Settings]\nSoftwareVersion,4.2.7\nAdapterRead1,AGATCGG+ctgt\nOverrideCycles,Y151;I8U2;I8;Y151\nBarcodeMismatchesIndex2,0\n"
                         "MaskShortReads,10\n\n[BCLConvert_Data]\nLane,Sample_ID,Sample_Project,Index,Index2,OverrideCycles\n"
                         "1,A,P,ACGTACGT,TTTTCCCC,\n2,B,P,acgtacga,TTTTCCCC,Y151;I8N2;I8;Y151\n3,A,P,ACGTACGT,TTTTCCCC,\n\n[Cloud_Data]\nwhatever,1\n";

static void a_sheet_of_version_2_is_read(void **state)
{
    struct sq_sheet *s = sheet_of(v2);
    assert_int_equal(s->n_error, 0);
    assert_int_equal(s->n_problem, 0);
    assert_int_equal(s->version, 2);
    assert_int_equal(s->index_orientation, 1);
    assert_int_equal(s->n_sample, 3);
    assert_int_equal(s->n_number, 2);
    assert_string_equal(s->sample[0].id, "A");
    assert_int_equal(s->sample[0].number, 1);
    assert_int_equal(s->sample[1].number, 2);
    assert_int_equal(s->sample[2].number, 1);
    assert_int_equal(s->sample[1].lane, 2);
    assert_string_equal(s->sample[1].index[0], "ACGTACGA");
    assert_string_equal(s->sample[1].settings.override_cycles, "Y151;I8N2;I8;Y151");
    assert_string_equal(s->sample[0].settings.override_cycles, "Y151;I8U2;I8;Y151");
    assert_string_equal(s->sample[0].settings.adapter[0], "AGATCGG+CTGT");
    assert_null(s->sample[0].settings.adapter[1]);
    assert_int_equal(s->sample[0].settings.mismatches[0], 1);
    assert_int_equal(s->sample[0].settings.mismatches[1], 0);
    assert_false(s->sample[0].settings.is_mismatch_said[0]);
    assert_true(s->sample[0].settings.is_mismatch_said[1]);
    assert_int_equal(s->sample[0].settings.mask_short, 10);
    assert_int_equal(s->sample[0].line, 18);
    sq_sheet_free(s);
}

static void a_sheet_of_version_1_is_read(void **state)
{
    struct sq_sheet *s = sheet_of("\xef\xbb\xbf[Header],,\r\nIEMFileVersion,4,\r\n\r\n[Reads]\r\n151\r\n[Settings],,\r\nAdapter,CTGTCTCTTATACACATCT,\r\n"
                                  "[Data],,\r\nSample_ID,Sample_Name,index,Description,Sample_Project\r\n"
                                  "S1,\"Name1\",ACGT,\"a, \"\"b\"\"\nsecond line\",\"Pro\"\r\nS2, Name2 ,TGCA,,");
    assert_int_equal(s->n_error, 0);
    assert_int_equal(s->n_problem, 0);
    assert_int_equal(s->version, 1);
    assert_int_equal(s->n_sample, 2);
    assert_string_equal(s->sample[0].name, "Name1");
    assert_string_equal(s->sample[0].project, "Pro");
    assert_string_equal(s->sample[1].name, "Name2");
    assert_string_equal(s->sample[1].index[0], "TGCA");
    assert_int_equal(s->sample[0].line, 10);
    assert_int_equal(s->sample[1].line, 12);
    assert_string_equal(s->sample[0].settings.adapter[1], "CTGTCTCTTATACACATCT");
    sq_sheet_free(s);
}

static bool has_problem(const struct sq_sheet *s, uint32_t line, bool is_error, const char *word)
{
    for (uint32_t i = 0; i < s->n_problem; i++)
        if (s->problem[i].line == line && s->problem[i].is_error == is_error && strstr(s->problem[i].what, word)) {
            assert_true(*s->problem[i].fix);
            return true;
        }
    return false;
}

static void problems_name_line_and_remedy(void **state)
{
    static const struct {
        const char *text, *word;
        uint32_t line;
        bool is_error;
    } row[] = {
        {"", "no section with samples", 0, true},
        {"[Header];\n[Data];\nSample_ID;index\nA;ACGT\n", "not separated by commas", 0, true},
        {"\xff\xfe[\0", "UTF-16", 0, true},
        {"PK\3\4xxxx", "spreadsheet", 0, true},
        {"[Data]\nindex\nACGT\n", "no column Sample_ID", 2, true},
        {"[Data]\nSample_ID,index\nA,ACGX\n", "something else than bases", 3, true},
        {"[Data]\nSample_ID,index\na/b,ACGT\n", "can't be part of a file's name", 3, true},
        {"[Data]\nSample_ID,index\n..,ACGT\n", "can't be part of a file's name", 3, true},
        {"[Data]\nSample_ID,index\nUndetermined,ACGT\n", "Undetermined", 3, true},
        {"[Data]\nSample_ID,index\n,ACGT\n", "no Sample_ID", 3, true},
        {"[Data]\nLane,Sample_ID,index\nx,A,ACGT\n", "Lane isn't a number", 3, true},
        {"[Data]\nLane,Sample_ID,index\n,A,ACGT\n", "no Lane", 3, true},
        {"[Data]\nSample_ID,index,index2\nA,,ACGT\n", "without an index", 3, true},
        {"[Data]\nSample_ID,Sample_Name,index\nA,x,ACGT\nA,y,CCCC\n", "that of line 3", 4, true},
        {"[Settings]\nNonsense,1\n[Data]\nSample_ID\nA\n", "isn't known", 2, false},
        {"[BCLConvert_Settings]\nNonsense,1\n[BCLConvert_Data]\nSample_ID\nA\n", "isn't known", 2, true},
        {"[BCLConvert_Settings]\nMaskShortReads,-1\n[BCLConvert_Data]\nSample_ID\nA\n", "MaskShortReads", 2, true},
        {"[BCLConvert_Settings]\nOverrideCycles,Y1;X2\n[BCLConvert_Data]\nSample_ID\nA\n", "OverrideCycles", 2, true},
        {"[BCLConvert_Settings]\nFastqCompressionFormat,dragen\n[BCLConvert_Data]\nSample_ID\nA\n", "FastqCompressionFormat", 2, true},
        {"[BCLConvert_Settings]\nOverrideReads,Y1:1-151\n[BCLConvert_Data]\nSample_ID\nA\n", "OverrideReads isn't done", 2, true},
        {"[BCLConvert_Settings]\nFindAdaptersWithIndels,true\n[BCLConvert_Data]\nSample_ID\nA\n", "FindAdaptersWithIndels isn't done", 2, true},
        {"[Settings]\nRead1UMILength,8\n[Data]\nSample_ID\nA\n", "Read1UMILength isn't done", 2, true},
        {"[Settings]\nReverseComplement,1\n[Data]\nSample_ID\nA\n", "ReverseComplement isn't done", 2, true},
        {"[BCLConvert_Data]\nSample_ID,OverrideReads\nA,Y151\n", "OverrideReads isn't done", 3, true},
        {"[Header]\nFileFormatVersion,3\n[BCLConvert_Data]\nSample_ID\nA\n", "version", 2, true},
        {"[Data]\nSample_ID,index\nA,\"ACGT\n", "double quote", 3, true},
        {"[Data]\nSample_ID\nA\n[BCLConvert_Data]\nSample_ID\nA\n", "second section", 4, true},
        {"[Data]\nSample_ID,index\nA,ACGT,x\n", "3 fields", 3, false},
        {"[Data]\nSample_ID,index\n", "no samples", 0, false},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        struct sq_sheet *s;
        size_t n = i == 2 ? 4 : strlen(row[i].text);
        assert_int_equal(sq_sheet_parse(row[i].text, n, &s), SQ_OK);
        if (!has_problem(s, row[i].line, row[i].is_error, row[i].word))
            fail_msg("row %zu: not found: %s; first: line %u %s", i, row[i].word, s->n_problem ? s->problem[0].line : 0,
                     s->n_problem ? s->problem[0].what : "none");
        assert_int_equal(s->n_error > 0, row[i].is_error);
        sq_sheet_free(s);
    }
}

static void settings_that_ask_for_nothing_are_fine(void **state)
{
    struct sq_sheet *s = sheet_of("[BCLConvert_Settings]\nFindAdaptersWithIndels,false\nOverrideReads,\nReverseComplement,0\nRead1StartFromCycle,1\n"
                                  "[BCLConvert_Data]\nSample_ID,OverrideReads\nA,\nB,na\n");
    assert_int_equal(s->n_problem, 0);
    sq_sheet_free(s);
    s = sheet_of("[Settings]\nFindAdaptersWithIndels,fal\n[Data]\nSample_ID\nA\n");
    assert_int_equal(s->n_error, 1);
    sq_sheet_free(s);
}

static void cut_and_changed_sheets_do_no_harm(void **state)
{
    size_t n = strlen(v2);
    for (size_t i = 0; i <= n; i++) {
        struct sq_sheet *s;
        char *copy = malloc(n + 1);
        memcpy(copy, v2, n);
        if (i < n)
            copy[i] = ",\"\n[]\r;"[draw(7)];
        assert_int_equal(sq_sheet_parse(copy, i < n && draw(2) ? n : i, &s), SQ_OK);
        free(copy);
        sq_sheet_free(s);
    }
}

/* ---- OverrideCycles ---- */

static const struct sq_cycles_read dual[] = {{151, false, false}, {10, true, false}, {8, true, true}, {151, false, false}};

static void cycles_are_shared_out(void **state)
{
    struct sq_cycles c;
    char wrong[160];
    assert_true(sq_cycles_parse("Y151;I8U2;N1I7;U3N1Y*", dual, 4, &c, wrong));
    assert_int_equal(c.read[0].n_data, 151);
    assert_int_equal(c.read[1].n_index, 8);
    assert_int_equal(c.read[1].n_umi, 2);
    assert_int_equal(c.read[1].span[1].from, 159);
    assert_int_equal(c.read[2].span[1].from, 162);
    assert_int_equal(c.read[3].n_data, 147);
    assert_int_equal(c.read[3].span[2].from, 151 + 10 + 8 + 4);
    assert_true(sq_cycles_parse("R2:Y151; I2:I8; R1:N1Y150; I1:I*", dual, 4, &c, wrong));
    assert_int_equal(c.read[0].n_data, 150);
    assert_int_equal(c.read[1].n_index, 10);
    static const struct {
        const char *text, *word;
    } row[] = {{"Y151;I10;I8", "3 parts"}, {"Y150;I10;I8;Y151", "150 cycles"}, {"Y152;I10;I8;Y151", "152 cycles"}, {"Y151;I10;I8;I151", "no index read"},
               {"Y151;Y10;I8;Y151", "is an index read"}, {"Y*N*;I10;I8;Y151", "more than one"}, {"", "understood"}, {"Y;I10;I8;Y151", "understood"},
               {"R1:Y151;I10;I8;Y151", "all parts have names"}, {"R1:Y151;R1:Y151;I1:I10;I2:I8", "same read"}, {"Z151;I10;I8;Y151", "understood"},
               {"Y99999;I10;I8;Y151", "understood"}, {"U151;I10;I8;Y151", "UMI"}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        assert_false(sq_cycles_parse(row[i].text, dual, 4, &c, wrong));
        if (!strstr(wrong, row[i].word))
            fail_msg("%s: %s", row[i].text, wrong);
    }
}

static void cycles_have_a_default(void **state)
{
    struct sq_cycles c;
    char wrong[160];
    assert_true(sq_cycles_default(dual, 4, (const uint32_t[]){8, UINT32_MAX}, &c, wrong));
    assert_int_equal(c.read[1].n_index, 8);
    assert_int_equal(c.read[1].n_span, 2);
    assert_int_equal(c.read[2].n_index, 8);
    assert_int_equal(c.read[3].span[0].from, 169);
    assert_false(sq_cycles_default(dual, 4, (const uint32_t[]){11, 8}, &c, wrong));
    assert_non_null(strstr(wrong, "11 bases"));
    assert_false(sq_cycles_default(dual, 1, (const uint32_t[]){8, 0}, &c, wrong));
    assert_non_null(strstr(wrong, "no index read"));
}

/* ---- barcodes: against a slow, obvious matcher ---- */

#define MOST_ROWS 40
struct trial {
    uint32_t n, n_base[2];
    char text[MOST_ROWS][2][SQ_BARCODE_MAX + 1];
    struct sq_barcode_row row[MOST_ROWS];
    struct sq_barcode_rule rule;
};

static uint32_t differ(const char *read, const char *sheet, bool is_n_free)
{
    uint32_t d = 0;
    for (; *sheet; read++, sheet++)
        d += *read != *sheet && *sheet != 'N' && !(is_n_free && *read == 'N');
    return d;
}

static int slow_match(const struct trial *t, const char *r1, const char *r2, uint32_t *out_mismatches)
{
    uint32_t best = UINT32_MAX, second = UINT32_MAX, n_found = 0, n_n = 0;
    int at = -1;
    *out_mismatches = 0;
    for (const char *p = r1; *p; p++)
        n_n += *p == 'N';
    for (const char *p = r2; *p; p++)
        n_n += *p == 'N';
    for (uint32_t i = 0; i < t->n; i++) {
        bool is_free = t->rule.is_concatenated;
        uint32_t a = differ(r1, t->row[i].index[0], is_free), b = differ(r2, t->row[i].index[1], is_free), d = a + b;
        if (is_free) {
            second = d < best ? best : d < second ? d : second;
            if (d < best)
                best = d, at = (int)i;
        } else if (a <= t->row[i].mismatches[0] && b <= t->row[i].mismatches[1]) {
            n_found++;
            at = (int)i;
            best = d;
        }
    }
    bool is_match = t->rule.is_concatenated ? at >= 0 && n_n <= t->rule.max_no_call && best <= t->rule.max_mismatch &&
                                                  (second == UINT32_MAX || second - best >= t->rule.min_delta)
                                            : n_found == 1;
    *out_mismatches = is_match ? best : 0;
    return is_match ? at : -1;
}

static void bases_draw(char *out, uint32_t n, const char *from)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = from[draw((uint32_t)strlen(from))];
    out[n] = 0;
}

static void trial_draw(struct trial *t)
{
    *t = (struct trial){.n = 1 + draw(MOST_ROWS), .n_base = {draw(8) ? 4 + draw(draw(3) ? 8 : 39) : 0, 0}};
    t->n_base[1] = t->n_base[0] && draw(3) ? 4 + draw(8) : 0;
    t->rule = (struct sq_barcode_rule){draw(4) == 0, draw(3), 1 + draw(2), draw(3)};
    uint32_t mismatches = draw(3);
    bool has_wild = draw(5) == 0;
    for (uint32_t i = 0; i < t->n; i++)
        for (uint32_t k = 0; k < 2; k++) {
            bases_draw(t->text[i][k], t->n_base[k], has_wild ? "ACGTN" : "ACGT");
            if (i && draw(3) == 0) /* near to another one */
                memcpy(t->text[i][k], t->text[i - 1][k], sizeof t->text[i][k]);
            t->row[i].index[k] = t->text[i][k];
            t->row[i].mismatches[k] = draw(4) ? mismatches : draw(3);
        }
}

static void barcodes_match_as_the_slow_way_says(void **state)
{
    for (int round = 0; round < 600; round++) {
        static struct trial t;
        trial_draw(&t);
        struct sq_barcodes *fast, *scan;
        assert_int_equal(sq_barcodes_new(t.row, t.n, t.n_base, &t.rule, SQ_BARCODE_VARIANTS, &fast), SQ_OK);
        assert_int_equal(sq_barcodes_new(t.row, t.n, t.n_base, &t.rule, 0, &scan), SQ_OK);
        for (int i = 0; i < 300; i++) {
            char read[2][SQ_BARCODE_MAX + 1];
            uint8_t call[2][SQ_BARCODE_MAX];
            struct sq_barcode_key key[2], same;
            uint32_t m, from = draw(t.n);
            for (uint32_t k = 0; k < 2; k++) {
                memcpy(read[k], t.text[from][k], sizeof read[k]);
                for (uint32_t c = draw(4); c && t.n_base[k]; c--)
                    read[k][draw(t.n_base[k])] = "ACGTN"[draw(5)];
                for (uint32_t c = 0; c < t.n_base[k]; c++)
                    call[k][c] = read[k][c] == 'N' ? 0 : (uint8_t)(strchr("ACGT", read[k][c]) - "ACGT" + 4 * (1 + (int)draw(41)));
                key[k] = sq_barcode_key(call[k], t.n_base[k], false);
                same = sq_barcode_key_text(read[k]);
                assert_memory_equal(&key[k], &same, sizeof same);
                char back[SQ_BARCODE_MAX + 1];
                sq_barcode_text(key[k], t.n_base[k], back);
                assert_string_equal(back, read[k]);
            }
            int want = slow_match(&t, read[0], read[1], &m);
            struct sq_barcode_match a = sq_barcodes_match(fast, key[0], key[1]), b = sq_barcodes_match(scan, key[0], key[1]);
            if (a.row != want || b.row != want || a.mismatches != m || b.mismatches != m)
                fail_msg("round %d: %s+%s: row %d, table says %d, scan %d", round, read[0], read[1], want, a.row, b.row);
            assert_int_equal(a.is_exact, want >= 0 && !strcmp(read[0], t.row[want].index[0]) && !strcmp(read[1], t.row[want].index[1]));
        }
        sq_barcodes_free(fast);
        sq_barcodes_free(scan);
    }
}

static void a_reverse_complement_is_one(void **state)
{
    const uint8_t call[5] = {0 + 4 * 30, 1 + 4 * 30, 2 + 4 * 30, 0, 3 + 4 * 30}; /* ACGNT */
    char text[8];
    sq_barcode_text(sq_barcode_key(call, 5, true), 5, text);
    assert_string_equal(text, "ANCGT");
}

static void collisions_need_every_index(void **state)
{
    struct sq_barcode_rule rule = {0};
    uint32_t both[2] = {8, 8}, one[2] = {8, 0}, d[2];
    struct sq_barcode_row a = {{"AAAAAAAA", "CCCCCCCC"}, {1, 1}}, b = {{"AAAAAATT", "CCCCCCCC"}, {1, 1}}, c = {{"AAAAATTT", "CCCCCCCC"}, {1, 1}};
    assert_true(sq_barcodes_collide(&a, &b, both, &rule, false, d));
    assert_int_equal(d[0], 2);
    assert_false(sq_barcodes_collide(&a, &c, both, &rule, false, d));
    assert_true(sq_barcodes_collide(&a, &c, both, &rule, true, d));
    assert_true(sq_barcodes_collide(&a, &b, one, &rule, false, d));
    a.mismatches[0] = b.mismatches[0] = 0;
    assert_false(sq_barcodes_collide(&a, &b, both, &rule, false, d));
}

static void hopped_indexes_are_named(void **state)
{
    struct sq_barcode_rule rule = {0};
    struct sq_barcode_row row[2] = {{{"AAAA", "CCCC"}, {1, 1}}, {{"GGGG", "TTTT"}, {1, 1}}};
    struct sq_barcodes *b;
    assert_int_equal(sq_barcodes_new(row, 2, (const uint32_t[]){4, 4}, &rule, 1000, &b), SQ_OK);
    struct sq_barcode_match m = sq_barcodes_match(b, sq_barcode_key_text("AAAA"), sq_barcode_key_text("TTTC"));
    assert_int_equal(m.row, -1);
    assert_int_equal(m.hop[0], 0);
    assert_int_equal(m.hop[1], 1);
    m = sq_barcodes_match(b, sq_barcode_key_text("AAAA"), sq_barcode_key_text("ACAC"));
    assert_int_equal(m.hop[0], -1);
    sq_barcodes_free(b);
}

/* ---- kernels ---- */

static uint8_t call_draw(bool is_binned)
{
    return draw(20) == 0 ? 0 : (uint8_t)(draw(4) | (is_binned ? (const uint32_t[]){12, 24, 40}[draw(3)] : 1 + draw(63)) << 2);
}

static void kernels_equal_the_plain_ones(void **state)
{
    const struct sq_demux_kernels *plain = sq_demux_kernels_named("scalar"), *fast = sq_demux_kernels_named("avx2");
    const uint8_t quality[4] = {0, 12, 24, 40};
    enum { MOST = 400 };
    if (!fast)
        skip();
    for (size_t n = 0; n <= 200; n++)
        for (int round = 0; round < 4; round++) {
            uint8_t call[MOST] = {0}, a[MOST + 64], b[MOST + 64], adapter[16];
            char base[2][MOST], text[2][MOST];
            struct sq_call_sums sums[2] = {{1, 2, 3}, {1, 2, 3}};
            size_t off = draw(16), k = 1 + draw(16);
            for (size_t i = 0; i < n; i++)
                call[off + i] = call_draw(round < 2);
            memset(a, 0xee, sizeof a);
            memset(b, 0xee, sizeof b);
            size_t got[2] = {plain->pack(call + off, n, quality, a), fast->pack(call + off, n, quality, b)};
            assert_int_equal(got[0], got[1]);
            assert_memory_equal(a, b, (got[0] + 1) / 2);
            assert_int_equal(b[(n + 1) / 2], 0xee);
            plain->sum(call + off, n, &sums[0]);
            fast->sum(call + off, n, &sums[1]);
            assert_memory_equal(&sums[0], &sums[1], sizeof sums[0]);
            plain->text(call + off, n, base[0], text[0], &sums[0]);
            fast->text(call + off, n, base[1], text[1], &sums[1]);
            assert_memory_equal(&sums[0], &sums[1], sizeof sums[0]);
            assert_memory_equal(base[0], base[1], n);
            assert_memory_equal(text[0], text[1], n);
            for (size_t i = 0; i < 16; i++)
                adapter[i] = (uint8_t)draw(5);
            uint32_t bits[2][MOST / 32 + 1];
            uint8_t most[MOST + 64], room[MOST + 128];
            for (size_t i = 0; i < sizeof most; i++)
                most[i] = (uint8_t)draw(round & 1 ? 18 : 3);
            plain->near(call + off, n, adapter, k, most, room, bits[0]);
            fast->near(call + off, n, adapter, k, most, room, bits[1]);
            assert_memory_equal(bits[0], bits[1], (n + 31) / 32 * sizeof **bits);
            if (sq_demux_kernels_named("avx512")) {
                memset(bits[1], 0xee, sizeof bits[1]);
                sq_demux_kernels_named("avx512")->near(call + off, n, adapter, k, most, room, bits[1]);
                assert_memory_equal(bits[0], bits[1], (n + 31) / 32 * sizeof **bits);
                for (size_t i = (n + 31) / 32; i < sizeof bits[1] / sizeof **bits; i++)
                    assert_int_equal(bits[1][i], 0xeeeeeeee);
            }
        }
}

static void letters_are_squeezed_and_repeats_found(void **state)
{
    const struct sq_demux_kernels *plain = sq_demux_kernels_named("scalar"), *fast = sq_demux_kernels_named("avx2");
    enum { MOST = 300 };
    for (uint32_t n = 0; n <= 200; n++)
        for (int round = 0; round < 8; round++) {
            uint8_t letter[MOST + 128], two[2][MOST] = {{0}};
            uint64_t same[2][MOST / 64 + 1];
            uint32_t count[2][4] = {{1, 2, 3, 4}, {1, 2, 3, 4}}, off = 1 + draw(32), bad = round & 1 ? draw(2 * n + 1) : MOST;
            for (size_t i = 0; i < sizeof letter; i++)
                letter[i] = (uint8_t)"ACGTAAAA"[draw(8)];
            if (bad < MOST)
                letter[off + bad] = (uint8_t)"Nacgt@CSQBEFXWP\0"[draw(16)];
            bool is_fine = plain->squeeze(letter + off, n, two[0], count[0]), is_right = true;
            for (uint32_t i = 0; i < n; i++) {
                is_right = is_right && strchr("ACGT", letter[off + i]) && letter[off + i];
                if (is_fine)
                    assert_int_equal("ACTG"[two[0][i / 4] >> 2 * (i % 4) & 3], letter[off + i]);
            }
            assert_int_equal(is_fine, is_right);
            plain->repeats(letter + off, n, same[0]);
            for (uint32_t i = 0; i < n; i++)
                assert_int_equal(same[0][i / 64] >> (i % 64) & 1, letter[off + i] == letter[off + i - 1]);
            if (!fast)
                continue;
            assert_int_equal(fast->squeeze(letter + off, n, two[1], count[1]), is_fine);
            if (is_fine) {
                assert_memory_equal(two[0], two[1], (n + 3) / 4);
                assert_memory_equal(count[0], count[1], sizeof count[0]);
            }
            fast->repeats(letter + off, n, same[1]);
            assert_memory_equal(same[0], same[1], (n + 63) / 64 * sizeof **same);
        }
}

static void transposing_is_exact(void **state)
{
    const struct sq_demux_kernels *k[2] = {sq_demux_kernels_named("scalar"), sq_demux_kernels_named("avx2")};
    for (int round = 0; round < 300; round++) {
        size_t n_row = draw(80), n_column = draw(80), in_stride = n_column + draw(40), out_stride = n_row + draw(40);
        uint8_t *in = malloc(n_row * in_stride + 1), *out[2];
        for (size_t i = 0; i < n_row * in_stride; i++)
            in[i] = (uint8_t)draw(256);
        for (int v = 0; v < 2; v++) {
            out[v] = malloc(n_column * out_stride + 1);
            memset(out[v], 0xee, n_column * out_stride + 1);
            if (k[v])
                k[v]->transpose(in, in_stride, n_row, n_column, out[v], out_stride);
        }
        for (size_t c = 0; c < n_column; c++)
            for (size_t r = 0; r < out_stride; r++)
                assert_int_equal(out[0][c * out_stride + r], r < n_row ? in[r * in_stride + c] : 0xee);
        if (k[1])
            assert_memory_equal(out[0], out[1], n_column * out_stride + 1);
        free(in);
        free(out[0]);
        free(out[1]);
    }
}

/* ---- counts ---- */

static void the_most_frequent_come_first(void **state)
{
    for (int round = 0; round < 60; round++) {
        struct tally t = {0};
        struct tally_entry *all, *top;
        uint32_t n_all, n_top, n_key = 1 + draw(400), most = draw(60);
        for (uint32_t i = 0; i < 600; i++) {
            struct tally_key key = {.w = {draw(n_key), draw(2), 7, draw(2)}, .lane = draw(2), .what = draw(2)};
            assert_int_equal(tally_add(&t, &key, 1 + draw(3)), SQ_OK);
        }
        assert_int_equal(tally_top(&t, 1, 0, UINT32_MAX, &all, &n_all), SQ_OK);
        assert_int_equal(tally_top(&t, 1, 0, most, &top, &n_top), SQ_OK);
        assert_int_equal(n_top, n_all < most ? n_all : most);
        assert_memory_equal(all, top, n_top * sizeof *top);
        uint64_t n_here = 0;
        for (uint64_t i = 0; i <= t.mask; i++)
            n_here += t.slot[i].n && t.slot[i].key.lane == 1 && !t.slot[i].key.what;
        assert_int_equal(n_all, n_here);
        for (uint32_t i = 0; i + 1 < n_all; i++)
            assert_true(all[i].n > all[i + 1].n || (all[i].n == all[i + 1].n && all[i].key.w[0] <= all[i + 1].key.w[0]));
        free(all);
        free(top);
        tally_done(&t);
    }
}

/* ---- pieces ---- */

static void pieces_cover_a_tile_once(void **state)
{
    for (int is_last = 0; is_last < 2; is_last++)
        for (uint64_t n = 0; n <= SQ_RUN_MAX_CLUSTERS; n += n < 1000 ? 1 : n < 3000000 ? 1 + draw(9000)
                                                                                     : n / 2 + draw(1000)) {
            uint32_t n_cluster = (uint32_t)n, n_piece = piece_count(n_cluster, is_last), end = 0, size = 0;
            for (uint32_t i = 0; i < n_piece; i++) {
                uint32_t from = piece_begin(n_cluster, is_last, i), to = piece_begin(n_cluster, is_last, i + 1);
                assert_true(from == end && from % 64 == 0 && to > from && to - from <= SQ_DEMUX_PIECE);
                if (is_last && i) /* never more than the one before */
                    assert_true(to - from <= size);
                end = to;
                size = to - from;
            }
            assert_int_equal(end, n_cluster);
            assert_int_equal(piece_begin(n_cluster, is_last, n_piece + 3), n_cluster);
            if (is_last)
                assert_true(size <= SQ_DEMUX_LEAST); /* what one thread may have to wait for another */
            else
                assert_int_equal(n_piece, (n + SQ_DEMUX_PIECE - 1) / SQ_DEMUX_PIECE);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sheet_of_version_2_is_read),
        cmocka_unit_test(a_sheet_of_version_1_is_read),
        cmocka_unit_test(problems_name_line_and_remedy),
        cmocka_unit_test(settings_that_ask_for_nothing_are_fine),
        cmocka_unit_test(cut_and_changed_sheets_do_no_harm),
        cmocka_unit_test(cycles_are_shared_out),
        cmocka_unit_test(cycles_have_a_default),
        cmocka_unit_test(barcodes_match_as_the_slow_way_says),
        cmocka_unit_test(a_reverse_complement_is_one),
        cmocka_unit_test(collisions_need_every_index),
        cmocka_unit_test(hopped_indexes_are_named),
        cmocka_unit_test(kernels_equal_the_plain_ones),
        cmocka_unit_test(letters_are_squeezed_and_repeats_found),
        cmocka_unit_test(transposing_is_exact),
        cmocka_unit_test(the_most_frequent_come_first),
        cmocka_unit_test(pieces_cover_a_tile_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
