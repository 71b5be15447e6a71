/**
 * core/err - the error codes of the project and how they are born.
 *
 * Everything that can fail returns `sq_err`; results go through `out_` parameters, untouched on failure.
 * An error is born once, in `return sq_fail(SQ_EFORMAT);`, and passed up unchanged. Codes live in err.def.
 */
#ifndef SQ_CORE_ERR_H
#define SQ_CORE_ERR_H

#include <stdint.h>

typedef enum sq_err {
#define SQ_ERR(name, no, http, text, hint) SQ_##name = (no),
#include "lib/core/err.def"
#undef SQ_ERR
} sq_err;

#define SQ_MUST_CHECK __attribute__((warn_unused_result))

/** Where in a piece of outside data something is wrong. Zero or empty = not known. Carries no data. */
struct sq_why {
    uint64_t line;     /* 1-based line of the text, or record number of a binary file */
    uint32_t column;   /* 1-based column or field number */
    char field[32];    /* name of the field, from our own tables: never from the data */
    char detail[160];  /* one sentence of ours, with numbers at most */
};

/** sq_fail - the one place where errors are born; prints file and line when SQ_TRACE has `err` (debug builds). */
#ifdef SQ_ANALYZER
#define sq_fail(code) (code) /* an analyzer looks into no other file, and would follow paths on which a failure is SQ_OK */
#else
#define sq_fail(code) sq_fail_at((code), __FILE__, __LINE__)
#endif
sq_err sq_fail_at(sq_err code, const char *file, int line);

/** sq_why_set - fill @why (may be NULL) and return @code. @detail is printf-like: numbers of ours, never data. */
sq_err sq_why_set(struct sq_why *why, sq_err code, uint64_t line, uint32_t column, const char *field,
                  const char *detail, ...) __attribute__((format(printf, 6, 7)));

/** Name ("EFORMAT"), text, hint and HTTP status of @code; for an unknown code those of SQ_EINTERNAL. Static strings. */
const char *sq_err_name(sq_err code);
const char *sq_err_text(sq_err code);
const char *sq_err_hint(sq_err code);
int sq_err_http(sq_err code);

/** sq_err_from_no - the code with number @no, or SQ_EINTERNAL: for numbers that come over the wire. */
sq_err sq_err_from_no(uint32_t no);

/** sq_assert - a broken promise of our own. Always on. Prints file and line, then aborts. */
#define sq_assert(cond) ((cond) ? (void)0 : sq_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void sq_assert_failed(const char *cond, const char *file, int line);

#endif
