/* Settings of a sheet, by sheet_settings.def. */
#include "lib/demux/sheet_internal.h"

#include "lib/demux/override_cycles.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum kind { COUNT,
            SHARE,
            SWITCH,
            BASES,
            CYCLES,
            BEHAVIOUR,
            FORMAT };
enum scope { ANY,
             RUN };

static const struct setting {
    const char *name, *other;
    enum kind kind;
    size_t at;
    double least, most;
    enum scope scope;
} settings[] = {
#define SQ_SHEET_SETTING(name, other, kind, field, least, most, scope) {#name, #other, kind, offsetof(struct sq_sheet_settings, field), least, most, scope},
#include "lib/demux/sheet_settings.def"
#undef SQ_SHEET_SETTING
};

static const char *const ignored[] = {
#define SQ_SHEET_IGNORED(name) #name,
#include "lib/demux/sheet_ignored.def"
#undef SQ_SHEET_IGNORED
};

static const struct refused {
    const char *name, *harmless, *fix; /* harmless: values with a stroke between them */
} refused[] = {
#define SQ_SHEET_REFUSED(name, harmless, fix) {#name, harmless, fix},
#include "lib/demux/sheet_refused.def"
#undef SQ_SHEET_REFUSED
};

static const struct refused *refused_named(const char *name)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (!strcasecmp(name, refused[i].name))
            return &refused[i];
    return NULL;
}

static void refuse(struct sq_sheet *s, const struct refused *r, const char *value, uint32_t line)
{
    size_t n = strlen(value);
    for (const char *at = r->harmless; *at; at += strcspn(at, "|"), at += *at == '|')
        if (!strncasecmp(at, value, n) && (at[n] == '|' || !at[n]))
            return;
    sq_sheet_problem_add(s, true, line, r->fix, "%s isn't done here.", r->name);
}

static const struct setting *setting_named(const char *name)
{
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (!strcasecmp(name, settings[i].name) || !strcasecmp(name, settings[i].other))
            return &settings[i];
    return NULL;
}

bool sheet_setting_is_column(const char *name)
{
    const struct setting *t = setting_named(name);
    return (t && t->scope == ANY) || refused_named(name);
}

bool sheet_setting_is_ignored(const char *name)
{
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        if (!strcasecmp(name, ignored[i]))
            return true;
    return !strncasecmp(name, "custom_", 7);
}

void sheet_settings_defaults(struct sq_sheet_settings *set)
{
    *set = (struct sq_sheet_settings){.adapter_stringency = 0.9, .min_adapter_overlap = 1, .min_trimmed = 35, .mask_short = 22,
                                      .mismatches = {1, 1}, .is_umi_trimmed = true};
}

bool sheet_bases(char *text, const char *extra)
{
    for (; *text; text++) {
        if (*text >= 'a' && *text <= 'z')
            *text = (char)(*text - 'a' + 'A');
        if (!strchr("ACGTN", *text) && !strchr(extra, *text))
            return false;
    }
    return true;
}

static bool number_of(const char *text, const struct setting *t, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return end != text && !*end && !errno && isfinite(*out) && *out >= t->least && *out <= t->most && !strpbrk(text, "xXpP");
}

static void wrong_value(struct sq_sheet *s, const struct setting *t, uint32_t line)
{
    char fix[160];
    if (t->kind == COUNT)
        snprintf(fix, sizeof fix, "Give a whole number from %.0f to %.0f, or leave the setting out.", t->least, t->most);
    else
        snprintf(fix, sizeof fix, "%s", t->kind == SHARE       ? "Give a number from 0 to 1, such as 0.9."
                                        : t->kind == SWITCH    ? "Give 0 or 1."
                                        : t->kind == BASES     ? "Give bases A, C, G, T or N; several adapters are joined with +."
                                        : t->kind == BEHAVIOUR ? "Give trim or mask."
                                        : t->kind == FORMAT    ? "Give gzip: no other compression is written."
                                                               : "Give a part for each read in order, such as Y151;I8;I8;Y151.");
    sq_sheet_problem_add(s, true, line, fix, "The value of %s isn't understood.", t->name);
}

bool sheet_setting(struct sq_sheet *s, struct sq_sheet_settings *set, const char *name, char *value, uint32_t line, bool is_column)
{
    const struct setting *t = setting_named(name);
    const struct refused *r = refused_named(name);
    if (r && *value && strcasecmp(value, "na"))
        refuse(s, r, value, line);
    if (r)
        return true;
    if (!t || (is_column && t->scope != ANY))
        return false;
    uint8_t *field = (uint8_t *)set + t->at;
    double v = 0;
    bool is_true = !strcmp(value, "1") || !strcasecmp(value, "true"), is_false = !strcmp(value, "0") || !strcasecmp(value, "false"), is_good = true;
    if (!*value || !strcasecmp(value, "na"))
        return true; /* said nothing: the default */
    switch (t->kind) {
    case COUNT:
        is_good = number_of(value, t, &v) && v == floor(v);
        if (is_good)
            memcpy(field, &(uint32_t){(uint32_t)v}, sizeof(uint32_t));
        for (int k = 0; is_good && k < 2; k++)
            set->is_mismatch_said[k] = set->is_mismatch_said[k] || t->at == offsetof(struct sq_sheet_settings, mismatches) + (size_t)k * sizeof(uint32_t);
        break;
    case SHARE:
        is_good = number_of(value, t, &v);
        if (is_good)
            memcpy(field, &v, sizeof v);
        break;
    case SWITCH:
        is_good = is_true || is_false;
        memcpy(field, &is_true, sizeof is_true);
        break;
    case BASES:
        is_good = strlen(value) <= SQ_SHEET_MAX_ADAPTER && sheet_bases(value, "+") && value[0] != '+' && value[strlen(value) - 1] != '+' && !strstr(value, "++");
        if (is_good)
            memcpy(field, &(const char *){value}, sizeof(const char *));
        break;
    case CYCLES:
        is_good = sq_cycles_look_right(value);
        if (is_good)
            memcpy(field, &(const char *){value}, sizeof(const char *));
        set->override_line = line;
        break;
    case BEHAVIOUR:
        is_good = !strcasecmp(value, "trim") || !strcasecmp(value, "mask");
        is_true = !strcasecmp(value, "mask");
        memcpy(field, &is_true, sizeof is_true);
        break;
    case FORMAT:
        is_good = !strcasecmp(value, "gzip");
        break;
    }
    if (!is_good)
        wrong_value(s, t, line);
    return true;
}
