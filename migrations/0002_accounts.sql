-- Who may log in, which recipients there are, and how often logins failed of late.
--
-- Why: submission (RFC 6409) needs users, and relays need to know recipients; both are asked for by inbound over gRPC and
-- changed by operators. Nothing here is touched by mail on its way.
-- Locks: creates only; nothing that exists is locked.
-- Beside the version before: it does not know these tables and needs none of them.

-- One user. The password is kept as an argon2id hash (PHC string) for mechanisms that show it, and as SCRAM-SHA-256 keys
-- for those that do not; from neither can it be read. `changed_at` tells caches that something is new.
CREATE TABLE account (
    name            text        PRIMARY KEY CHECK (name <> ''),
    tenant_id       integer     NOT NULL DEFAULT 0,
    password_hash   text        NOT NULL,
    scram_salt      bytea       NOT NULL,
    scram_iterations integer    NOT NULL CHECK (scram_iterations > 0),
    scram_stored_key bytea      NOT NULL CHECK (length(scram_stored_key) = 32),
    scram_server_key bytea      NOT NULL CHECK (length(scram_server_key) = 32),
    senders         text[]      NOT NULL,
    enabled         boolean     NOT NULL DEFAULT true,
    changed_at      timestamptz NOT NULL
);

-- Failed logins of one subject (`account:name`, `client:address`) since the window began. Rows whose window is over mean
-- nothing and are swept with the history.
CREATE TABLE login_failure (
    subject      text        PRIMARY KEY,
    failures     integer     NOT NULL,
    window_began timestamptz NOT NULL
) WITH (fillfactor = 50);

-- A recipient (`user@example.com`), or all of a domain (`@example.com`), and who gets its mail: nobody else when empty.
CREATE TABLE address (
    pattern    text        PRIMARY KEY CHECK (pattern LIKE '%@%'),
    targets    text[]      NOT NULL,
    changed_at timestamptz NOT NULL
);

-- Secrets of the installation, made once, the same for all replicas: `login_salt` gives users who do not exist a salt, so
-- that they cannot be told from those who do.
CREATE TABLE secret (
    name  text  PRIMARY KEY,
    value bytea NOT NULL
);

INSERT INTO secret (name, value) VALUES (
    'login_salt', decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')
);
