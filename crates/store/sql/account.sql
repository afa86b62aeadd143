-- A user, and the failed logins of that account and of the client since the window began.
SELECT a.name, a.tenant_id, a.password_hash, a.scram_salt, a.scram_iterations, a.scram_stored_key, a.scram_server_key,
       a.senders, a.enabled, a.changed_at,
       coalesce((SELECT failures FROM login_failure WHERE subject = 'account:' || $1::text AND window_began > $3::timestamptz), 0) AS account_failures,
       coalesce((SELECT failures FROM login_failure WHERE subject = 'client:' || $2::text AND window_began > $3::timestamptz), 0) AS client_failures
FROM (SELECT 1) AS always
LEFT JOIN LATERAL (SELECT * FROM account WHERE name = $1::text OFFSET 0) a ON true
