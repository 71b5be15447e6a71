#include "lib/identity/otp.h"

#include "lib/crypt/crypt.h"

#define MAX_DRAWS 4096 /* each passes with p > 0.1: never reached while the random source works */
#define MAX_REPEATS 3
#define MIN_OF_CLASS 2

const char sq_otp_alphabet[SQ_OTP_ALPHABET_CHARS + 1] = "abcdefghijkmnopqrstuvwxyz" /* 25 */
                                                        "ABCDEFGHJKLMNPQRSTUVWXYZ"  /* 24 */
                                                        "23456789"                  /* 8 */
                                                        "_.:+@-,";                  /* 7 */

static unsigned class_of(char c)
{
    return c >= 'a' && c <= 'z' ? 0 : c >= 'A' && c <= 'Z' ? 1 : c >= '0' && c <= '9' ? 2 : 3;
}

bool sq_otp_is_good(const char *password)
{
    unsigned n_class[4] = {0}, n_repeat = 0;
    for (unsigned i = 0; i < SQ_OTP_CHARS; i++) {
        n_class[class_of(password[i])]++;
        n_repeat += memchr(password, password[i], i) != NULL;
    }
    for (unsigned c = 0; c < 4; c++)
        if (n_class[c] < MIN_OF_CLASS)
            return false;
    return n_repeat <= MAX_REPEATS && class_of(password[0]) <= 1;
}

sq_err sq_otp_make(char out[SQ_OTP_BYTES])
{
    sq_err err = SQ_OK;
    for (unsigned draw = 0; draw < MAX_DRAWS && !err; draw++) {
        err = sq_random(out, SQ_OTP_CHARS);
        for (unsigned i = 0; i < SQ_OTP_CHARS && !err; i++)
            out[i] = sq_otp_alphabet[(unsigned char)out[i] & 63]; /* 256 is a multiple of 64: uniform */
        out[SQ_OTP_CHARS] = 0;
        if (!err && sq_otp_is_good(out))
            return SQ_OK;
    }
    sq_wipe(out, SQ_OTP_BYTES);
    return err ? err : sq_fail(SQ_ECRYPTO);
}
