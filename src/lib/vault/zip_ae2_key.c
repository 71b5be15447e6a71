#include "lib/vault/zip_ae2.h"

sq_err sq_zip_entry_keys(const void *password, size_t n, const uint8_t salt[SQ_ZIP_SALT_BYTES], struct sq_zip_keys *out_keys)
{
    uint8_t made[66];
    sq_err err = sq_pbkdf2_sha1(password, n, salt, SQ_ZIP_SALT_BYTES, 1000, made, sizeof made);
    if (!err) {
        memcpy(out_keys->salt, salt, SQ_ZIP_SALT_BYTES);
        memcpy(out_keys->aes, made, 32);
        memcpy(out_keys->mac, made + 32, 32);
        memcpy(out_keys->verifier, made + 64, 2);
    }
    sq_wipe(made, sizeof made);
    return err;
}
