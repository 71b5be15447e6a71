-- The schema, version 1. Embedded at build time; PRAGMA user_version says which version a file has.
-- Ids are 16-byte BLOBs, times Unix seconds (_ms: milliseconds), kinds and states the numbers of states.def.
-- *_sealed: sealed by keeper under the owner's key; opaque here.

CREATE TABLE user (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    role INTEGER NOT NULL CHECK (role BETWEEN 1 AND 5),
    name_hmac BLOB NOT NULL UNIQUE CHECK (length(name_hmac) = 32),
    mail_hmac BLOB UNIQUE CHECK (length(mail_hmac) = 32),
    name_sealed BLOB,
    password_sealed BLOB,
    epoch INTEGER NOT NULL,
    created_s INTEGER NOT NULL,
    disabled INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    pending INTEGER NOT NULL CHECK (pending IN (0, 1)),
    expires_s INTEGER,
    last_login_s INTEGER,
    failures INTEGER NOT NULL,
    last_failure_s INTEGER,
    mail_sealed BLOB,
    notify INTEGER NOT NULL CHECK (notify IN (0, 1)),
    workgroup_id BLOB CHECK (length(workgroup_id) = 16),
    networks TEXT NOT NULL -- from where alone it may be used, CIDR with commas between; empty: from anywhere
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    jti BLOB PRIMARY KEY NOT NULL CHECK (length(jti) = 16),
    user_id BLOB NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
    issued_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL,
    used_s INTEGER NOT NULL,
    factor_s INTEGER,
    revoked_s INTEGER,
    scopes INTEGER NOT NULL,
    name_sealed BLOB,
    address_sealed BLOB,
    object_id BLOB CHECK (length(object_id) = 16),
    failures INTEGER NOT NULL, -- wrong passwords in a row by this session or token itself, the last of them at failed_s
    failed_s INTEGER,
    sign_key BLOB,
    break_glass_s INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX token_user ON token (user_id, issued_s);
CREATE INDEX token_expires ON token (expires_s);

-- second factors; of a recovery code, secret_sealed is a keyed hash. counter: the last TOTP step, or a passkey's sign counter. credential: what an
-- authenticator calls a passkey, random bytes of its own
CREATE TABLE factor (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    user_id BLOB NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
    state INTEGER NOT NULL CHECK (state IN (1, 2)),
    secret_sealed BLOB NOT NULL,
    name_sealed BLOB,
    credential BLOB UNIQUE CHECK (length(credential) BETWEEN 1 AND 512),
    counter INTEGER NOT NULL,
    created_s INTEGER NOT NULL,
    used_s INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX factor_user ON factor (user_id, kind);

-- links that were mailed; the secret half is sealed by keeper, and only courier gets to see it
CREATE TABLE link (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    user_id BLOB NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
    sealed BLOB NOT NULL,
    mail_hmac BLOB CHECK (length(mail_hmac) = 32), -- kind 4: the address that the account is to have
    mail_sealed BLOB,
    created_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL,
    CHECK ((kind = 4) = (mail_hmac IS NOT NULL)),
    CHECK ((mail_hmac IS NULL) = (mail_sealed IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX link_user ON link (user_id, kind);
CREATE INDEX link_expires ON link (expires_s);

-- addresses from which an account has signed in: there strangers' failures don't make it wait
CREATE TABLE seen (
    user_id BLOB NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    address_hmac BLOB NOT NULL CHECK (length(address_hmac) = 32),
    last_s INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    last_failure_s INTEGER,
    PRIMARY KEY (user_id, address_hmac)
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_last ON seen (last_s);

-- owner_id names a user or the service itself (panels), so it is no foreign key; deleting a user looks first
CREATE TABLE object (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    owner_id BLOB NOT NULL CHECK (length(owner_id) = 16),
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 13),
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 5),
    created_s INTEGER NOT NULL,
    not_after_s INTEGER NOT NULL,
    opening_expires_s INTEGER,
    plain_bytes INTEGER NOT NULL CHECK (plain_bytes >= 0),
    sealed_bytes INTEGER NOT NULL CHECK (sealed_bytes >= 0),
    sha256 BLOB CHECK (length(sha256) = 32),
    receipt TEXT,
    erased_s INTEGER,
    erase_failures INTEGER NOT NULL DEFAULT 0,
    erase_retry_s INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX object_owner ON object (owner_id, state);
CREATE INDEX object_not_after ON object (state, not_after_s);

CREATE TABLE upload (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    owner_id BLOB NOT NULL CHECK (length(owner_id) = 16),
    object_id BLOB REFERENCES object (id),
    ids_object_id BLOB REFERENCES object (id),
    genotypes_object_id BLOB REFERENCES object (id),
    name_sealed BLOB,
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 5),
    format TEXT NOT NULL,
    samples INTEGER NOT NULL,
    variants INTEGER NOT NULL,
    is_counted INTEGER NOT NULL CHECK (is_counted IN (0, 1)),
    chrom TEXT NOT NULL,
    err INTEGER NOT NULL,
    why_line INTEGER NOT NULL,
    why_column INTEGER NOT NULL,
    why_field TEXT NOT NULL,
    why_detail TEXT NOT NULL,
    created_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL
) STRICT;
CREATE INDEX upload_owner ON upload (owner_id, no);
CREATE INDEX upload_expires ON upload (state, expires_s);
CREATE INDEX upload_object ON upload (object_id);
CREATE INDEX upload_ids_object ON upload (ids_object_id);
CREATE INDEX upload_genotypes_object ON upload (genotypes_object_id);

CREATE TABLE panel (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    build TEXT NOT NULL,
    chrom TEXT NOT NULL,
    object_id BLOB NOT NULL REFERENCES object (id),
    samples INTEGER NOT NULL,
    haplotypes INTEGER NOT NULL,
    sites INTEGER NOT NULL,
    first_bp INTEGER NOT NULL,
    last_bp INTEGER NOT NULL,
    populations TEXT NOT NULL,
    created_s INTEGER NOT NULL,
    removed_s INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX panel_object ON panel (object_id);

CREATE TABLE job (
    id TEXT PRIMARY KEY NOT NULL,
    owner_id BLOB NOT NULL CHECK (length(owner_id) = 16),
    upload_id BLOB REFERENCES upload (id),
    panel_id TEXT NOT NULL REFERENCES panel (id),
    population TEXT NOT NULL,
    mode TEXT NOT NULL,
    phasing TEXT NOT NULL,
    name_sealed BLOB,
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 9),
    err INTEGER NOT NULL,
    why_line INTEGER NOT NULL,
    why_column INTEGER NOT NULL,
    why_field TEXT NOT NULL,
    why_detail TEXT NOT NULL,
    created_s INTEGER NOT NULL,
    started_s INTEGER,
    finished_s INTEGER,
    expires_s INTEGER NOT NULL,
    progress_done INTEGER NOT NULL,
    progress_total INTEGER NOT NULL,
    claim_state INTEGER NOT NULL CHECK (claim_state BETWEEN 1 AND 3),
    claims INTEGER NOT NULL,
    check_sha256 BLOB CHECK (length(check_sha256) = 32),
    seal_kind INTEGER NOT NULL CHECK (seal_kind BETWEEN 0 AND 2),
    seal_key BLOB CHECK (length(seal_key) = 32),
    package_object_id BLOB REFERENCES object (id),
    report_object_id BLOB REFERENCES object (id),
    samples INTEGER NOT NULL,
    variants_in INTEGER NOT NULL,
    variants_kept INTEGER NOT NULL,
    variants_overlap INTEGER NOT NULL,
    variants_out INTEGER NOT NULL,
    n_fence INTEGER NOT NULL,
    late_s INTEGER,
    receipt TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX job_owner ON job (owner_id, id);
CREATE INDEX job_state ON job (state, id);
CREATE INDEX job_upload ON job (upload_id);
CREATE INDEX job_panel ON job (panel_id);
CREATE INDEX job_package_object ON job (package_object_id);
CREATE INDEX job_report_object ON job (report_object_id);

CREATE TABLE job_time (
    no INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    state INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX job_time_job ON job_time (job_id, no);

CREATE TABLE task (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    job_id TEXT REFERENCES job (id) ON DELETE CASCADE,
    upload_id BLOB REFERENCES upload (id) ON DELETE CASCADE,
    stage INTEGER NOT NULL,
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
    fence INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    crashes INTEGER NOT NULL DEFAULT 0,
    misses INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    lost_ms INTEGER,
    created_ms INTEGER NOT NULL,
    started_ms INTEGER,
    ended_ms INTEGER,
    err INTEGER NOT NULL,
    cpu_ms INTEGER NOT NULL,
    peak_kib INTEGER NOT NULL,
    chunk INTEGER NOT NULL CHECK (chunk >= 0),
    from_bp INTEGER NOT NULL CHECK (from_bp >= 0),
    to_bp INTEGER NOT NULL CHECK (to_bp >= 0),
    sites INTEGER NOT NULL CHECK (sites >= 0),
    walls INTEGER NOT NULL,
    worker_sha256 BLOB CHECK (length(worker_sha256) = 32)
) STRICT;
CREATE INDEX task_job ON task (job_id, no);
CREATE INDEX task_upload ON task (upload_id, no);
CREATE INDEX task_state ON task (state, no);

CREATE TABLE task_object (
    task_id BLOB NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    port INTEGER NOT NULL,
    object_id BLOB NOT NULL REFERENCES object (id),
    PRIMARY KEY (task_id, port)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_object_object ON task_object (object_id);

CREATE TABLE result_file (
    job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    plain_bytes INTEGER NOT NULL,
    sha256 BLOB CHECK (length(sha256) = 32),
    PRIMARY KEY (job_id, name)
) STRICT, WITHOUT ROWID;

-- the plaintexts of its objects in order of part, one after another, are the file
CREATE TABLE result_part (
    job_id TEXT NOT NULL,
    name TEXT NOT NULL,
    part INTEGER NOT NULL CHECK (part >= 0),
    object_id BLOB NOT NULL REFERENCES object (id),
    PRIMARY KEY (job_id, name, part),
    FOREIGN KEY (job_id, name) REFERENCES result_file (job_id, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX result_part_object ON result_part (object_id);

-- AUTOINCREMENT: sqlite_sequence remembers the last number ever given, also after the rows are gone
CREATE TABLE outbox (
    no INTEGER PRIMARY KEY AUTOINCREMENT CHECK (no > 0),
    entry BLOB NOT NULL
) STRICT;

CREATE TABLE audit_ref (
    subject_id BLOB NOT NULL CHECK (length(subject_id) = 16),
    no INTEGER NOT NULL,
    object_id BLOB,
    PRIMARY KEY (subject_id, no)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_ref_object ON audit_ref (subject_id, object_id, no);

CREATE TABLE meta (
    key TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL CHECK (length(value) <= 4096)
) STRICT, WITHOUT ROWID;

-- what is to be told to a user or to the webhook, put in with the change that it tells of
CREATE TABLE notice (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    channel INTEGER NOT NULL CHECK (channel IN (1, 2)),
    kind INTEGER NOT NULL CHECK (kind IN (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)),
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
    user_id BLOB NOT NULL CHECK (length(user_id) = 16),
    job_id TEXT,
    upload_id BLOB CHECK (length(upload_id) = 16),
    link_id BLOB CHECK (length(link_id) = 16),
    mail_sealed BLOB, -- an address that the account has no more, or not yet; goes when the mail is sent or given up
    tries INTEGER NOT NULL,
    next_s INTEGER NOT NULL,
    created_s INTEGER NOT NULL,
    ended_s INTEGER,
    last_end INTEGER NOT NULL,
    last_code INTEGER NOT NULL
) STRICT;
CREATE INDEX notice_next ON notice (state, channel, next_s);
CREATE INDEX notice_job ON notice (job_id, kind);
CREATE INDEX notice_user ON notice (user_id);
