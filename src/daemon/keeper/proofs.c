#include "daemon/keeper/proofs.h"

#include "lib/core/clock.h"
#include "lib/crypt/crypt.h"

void keeper_proofs_init(struct keeper_proofs *p)
{
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
}

sq_err keeper_proof_make(struct keeper_proofs *p, const uint8_t *owner, uint8_t means, uint8_t out_id[SQ_ID_BYTES])
{
    uint8_t id[SQ_ID_BYTES];
    sq_err err = sq_random(id, sizeof id);
    if (err)
        return err;
    pthread_mutex_lock(&p->lock);
    struct keeper_proof *at = &p->proof[0];
    for (size_t i = 1; i < KEEPER_MAX_PROOFS; i++)
        if (p->proof[i].until_steady_ms < at->until_steady_ms)
            at = &p->proof[i];
    *at = (struct keeper_proof){.until_steady_ms = sq_clock_steady_ms() + KEEPER_PROOF_MS, .means = means};
    memcpy(at->id, id, sizeof id);
    memcpy(at->owner, owner, SQ_ID_BYTES);
    pthread_mutex_unlock(&p->lock);
    memcpy(out_id, id, sizeof id);
    return SQ_OK;
}

sq_err keeper_proof_take(struct keeper_proofs *p, const uint8_t *id, const uint8_t *owner, uint8_t *out_means)
{
    sq_err err = SQ_EPROOF;
    int64_t now = sq_clock_steady_ms();
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < KEEPER_MAX_PROOFS && err; i++) {
        struct keeper_proof *at = &p->proof[i];
        if (at->until_steady_ms <= now || !sq_equal_ct(at->id, id, SQ_ID_BYTES) || memcmp(at->owner, owner, SQ_ID_BYTES) != 0)
            continue;
        *out_means = at->means;
        sq_wipe(at, sizeof *at);
        err = SQ_OK;
    }
    pthread_mutex_unlock(&p->lock);
    return err ? sq_fail(err) : SQ_OK;
}

sq_err keeper_challenge_make(struct keeper_proofs *p, const uint8_t *owner, const uint8_t *context, enum keeper_purpose purpose, uint8_t out[KEEPER_CHALLENGE_BYTES])
{
    struct keeper_challenge new = {.until_steady_ms = sq_clock_steady_ms() + KEEPER_PROOF_MS, .purpose = purpose};
    sq_err err = sq_random(new.bytes, sizeof new.bytes);
    if (err)
        return err;
    memcpy(new.owner, owner, SQ_ID_BYTES);
    memcpy(new.context, context, SQ_ID_BYTES);
    pthread_mutex_lock(&p->lock);
    struct keeper_challenge *all = p->challenge[purpose == KEEPER_TO_SIGN_IN], *at = &all[0];
    for (size_t i = 1; i < KEEPER_MAX_CHALLENGES; i++)
        if (all[i].until_steady_ms < at->until_steady_ms)
            at = &all[i];
    *at = new;
    pthread_mutex_unlock(&p->lock);
    memcpy(out, new.bytes, sizeof new.bytes);
    return SQ_OK;
}

sq_err keeper_challenge_take(struct keeper_proofs *p, const uint8_t challenge[KEEPER_CHALLENGE_BYTES], const uint8_t *owner, const uint8_t *context, enum keeper_purpose purpose)
{
    struct keeper_challenge found = {.until_steady_ms = 0};
    int64_t now = sq_clock_steady_ms();
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < 2 * KEEPER_MAX_CHALLENGES; i++) {
        struct keeper_challenge *at = &p->challenge[i / KEEPER_MAX_CHALLENGES][i % KEEPER_MAX_CHALLENGES];
        if (!at->until_steady_ms || !sq_equal_ct(at->bytes, challenge, KEEPER_CHALLENGE_BYTES))
            continue;
        found = *at;
        sq_wipe(at, sizeof *at);
    }
    pthread_mutex_unlock(&p->lock);
    bool is_meant = found.until_steady_ms > now && found.purpose == purpose && !memcmp(found.owner, owner, SQ_ID_BYTES) && !memcmp(found.context, context, SQ_ID_BYTES);
    return is_meant ? SQ_OK : sq_fail(SQ_EPASSKEY);
}

sq_err keeper_step_take(struct keeper_proofs *p, const uint8_t *factor, uint64_t step)
{
    sq_err err = SQ_OK;
    pthread_mutex_lock(&p->lock);
    struct keeper_step *at = &p->step[0];
    for (size_t i = 0; i < KEEPER_MAX_STEPS; i++) {
        if (p->step[i].step && !memcmp(p->step[i].factor, factor, SQ_ID_BYTES)) {
            at = &p->step[i];
            err = at->step >= step ? SQ_ECODE : SQ_OK;
            break;
        }
        if (p->step[i].step < at->step)
            at = &p->step[i];
    }
    if (!err) {
        memcpy(at->factor, factor, SQ_ID_BYTES);
        at->step = step;
    }
    pthread_mutex_unlock(&p->lock);
    return err ? sq_fail(err) : SQ_OK;
}
