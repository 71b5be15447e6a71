/*
 * The XML of an instrument through expat. Whatever can make an XML parser reach out or grow is refused at once: a document type (with it
 * every entity but the five built in), depth, and the size of the file, which the reader of files bounds.
 */
#include "lib/runs/runs_internal.h"

#include <expat.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_DEPTH 64
#define MAX_PATH 512
#define MAX_TEXT 256

struct reader {
    const struct run_xml *handlers;
    XML_Parser parser;
    sq_err e;
    bool has_doctype, is_too_deep;
    char path[MAX_PATH];
    size_t n_path, depth;
    size_t start[MAX_DEPTH]; /* n_path before each open element */
    bool has_child;          /* since the last element began */
    char text[MAX_TEXT];
    size_t n_text;
};

static void stop(struct reader *r, sq_err e)
{
    if (!r->e)
        r->e = e;
    XML_StopParser(r->parser, XML_FALSE);
}

static void on_start(void *ctx, const char *name, const char **att)
{
    struct reader *r = ctx;
    size_t n = strlen(name);
    if (r->e)
        return;
    if (r->depth == MAX_DEPTH || r->n_path + n + 2 > MAX_PATH) {
        r->is_too_deep = true;
        stop(r, r->handlers->bad_code);
        return;
    }
    r->start[r->depth++] = r->n_path;
    if (r->n_path)
        r->path[r->n_path++] = '/';
    memcpy(r->path + r->n_path, name, n + 1);
    r->n_path += n;
    r->n_text = 0;
    r->has_child = false;
    sq_err e = r->handlers->element ? r->handlers->element(r->handlers->ctx, r->path, att) : SQ_OK;
    if (e)
        stop(r, e);
}

static void on_text(void *ctx, const char *text, int n)
{
    struct reader *r = ctx;
    for (int i = 0; i < n && r->n_text < MAX_TEXT - 1; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= ' ' || c == 127) {
            if (!r->n_text || r->text[r->n_text - 1] == ' ')
                continue;
            c = ' ';
        }
        r->text[r->n_text++] = (char)c;
    }
}

static void on_end(void *ctx, const char *name)
{
    struct reader *r = ctx;
    (void)name;
    if (r->e || !r->depth)
        return;
    while (r->n_text && r->text[r->n_text - 1] == ' ')
        r->n_text--;
    r->text[r->n_text] = 0;
    if (!r->has_child && r->handlers->text) {
        sq_err e = r->handlers->text(r->handlers->ctx, r->path, r->text);
        if (e) {
            stop(r, e);
            return;
        }
    }
    r->has_child = true;
    r->n_text = 0;
    r->n_path = r->start[--r->depth];
    r->path[r->n_path] = 0;
}

static void on_doctype(void *ctx, const char *name, const char *system, const char *public, int has_subset)
{
    struct reader *r = ctx;
    (void)name, (void)system, (void)public, (void)has_subset;
    r->has_doctype = true;
    stop(r, r->handlers->bad_code);
}

static sq_err explain(struct reader *r, size_t n, struct sq_run_why *why)
{
    enum XML_Error x = XML_GetErrorCode(r->parser);
    unsigned long line = XML_GetCurrentLineNumber(r->parser);
    if (r->has_doctype)
        return run_bad(why, sq_fail(r->handlers->bad_code), "line %lu: a document type (DOCTYPE) isn't accepted", line);
    if (r->is_too_deep)
        return run_bad(why, sq_fail(r->handlers->bad_code), "line %lu: more than %d elements within each other", line, MAX_DEPTH);
    if (r->e) {
        if (why && !why->detail[0])
            return run_bad(why, r->e, "line %lu", line);
        return r->e;
    }
    if (x == XML_ERROR_NO_MEMORY)
        return sq_fail(SQ_ENOMEM);
    if (!n || x == XML_ERROR_NO_ELEMENTS || x == XML_ERROR_UNCLOSED_TOKEN || x == XML_ERROR_PARTIAL_CHAR || x == XML_ERROR_UNCLOSED_CDATA_SECTION)
        return run_bad(why, sq_fail(SQ_ERUNCUT), "line %lu: it ends before its last element is closed", line);
    return run_bad(why, sq_fail(r->handlers->bad_code), "line %lu: this isn't XML (%s)", line, XML_ErrorString(x));
}

sq_err run_xml_read(const void *xml, size_t n, const struct run_xml *handlers, struct sq_run_why *why)
{
    if (n > SQ_RUN_MAX_XML)
        return run_bad(why, sq_fail(handlers->bad_code), "it is larger than %zu bytes", SQ_RUN_MAX_XML);
    struct reader *r = calloc(1, sizeof *r);
    XML_Parser parser = XML_ParserCreate(NULL);
    if (!r || !parser) {
        free(r);
        if (parser)
            XML_ParserFree(parser);
        return sq_fail(SQ_ENOMEM);
    }
    r->handlers = handlers;
    r->parser = parser;
    if (why)
        why->detail[0] = 0;
    XML_SetUserData(parser, r);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
    enum XML_Status status = XML_Parse(parser, xml, (int)n, XML_TRUE);
    sq_err e = status == XML_STATUS_OK && !r->e ? SQ_OK : explain(r, n, why);
    XML_ParserFree(parser);
    free(r);
    return e;
}

bool run_xml_number(const char *text, uint64_t most, uint64_t *out)
{
    uint64_t v = 0;
    size_t n = strspn(text, "0123456789");
    if (!n || n > 18 || text[n])
        return false;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + (uint64_t)(text[i] - '0');
    if (v > most)
        return false;
    *out = v;
    return true;
}
