-- Makes a user, or changes one.
INSERT INTO account (name, tenant_id, password_hash, scram_salt, scram_iterations, scram_stored_key, scram_server_key, senders, enabled, changed_at)
VALUES ($1::text, $2::integer, $3::text, $4::bytea, $5::integer, $6::bytea, $7::bytea, $8::text[], $9::boolean, $10::timestamptz)
ON CONFLICT (name) DO UPDATE SET
    tenant_id = excluded.tenant_id, password_hash = excluded.password_hash, scram_salt = excluded.scram_salt,
    scram_iterations = excluded.scram_iterations, scram_stored_key = excluded.scram_stored_key,
    scram_server_key = excluded.scram_server_key, senders = excluded.senders, enabled = excluded.enabled,
    changed_at = excluded.changed_at
