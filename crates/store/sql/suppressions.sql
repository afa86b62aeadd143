-- Who is on lists at $1, after tenant $2 and address $3: of tenant $4 alone, and the address $5 alone, where those are given.
SELECT tenant_id, address, source, reason, message_id, created_by, created_at, expires_at
FROM suppression
WHERE (tenant_id, address) > ($2::integer, $3::text)
  AND ($4::integer IS NULL OR tenant_id = $4::integer)
  AND ($5::text IS NULL OR address = $5::text)
  AND (expires_at IS NULL OR expires_at > $1::timestamptz)
ORDER BY tenant_id, address
LIMIT $6::bigint
