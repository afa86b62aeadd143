-- Puts recipients on suppression lists, each once: $1 tenants, $2 addresses, $3 sources, $4 reasons, $5 messages (0: none),
-- $6 who, $7 when, $8 until when (null: until it is taken off). A rule never takes the place of what an operator has said, nor a
-- bounce that of a complaint, while that is in force.
INSERT INTO suppression AS s (tenant_id, address, source, reason, message_id, created_by, created_at, expires_at)
SELECT n.tenant_id, n.address, n.source, n.reason, nullif(n.message_id, 0), n.created_by, n.created_at,
       n.expires_at
FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[],
            $8::timestamptz[])
    AS n (tenant_id, address, source, reason, message_id, created_by, created_at, expires_at)
ORDER BY n.tenant_id, n.address
ON CONFLICT (tenant_id, address) DO UPDATE SET
    source = excluded.source, reason = excluded.reason, message_id = excluded.message_id,
    created_by = excluded.created_by, created_at = excluded.created_at, expires_at = excluded.expires_at
WHERE excluded.source = 'operator'
   OR s.expires_at <= excluded.created_at
   OR s.source <> 'operator' AND (s.source <> 'complaint' OR excluded.source = 'complaint')
RETURNING s.tenant_id
