-- Which of some recipients ($1 tenants, $2 addresses) are on lists at $3, and why.
SELECT s.tenant_id, s.address, s.source, s.reason
FROM unnest($1::integer[], $2::text[]) AS w (tenant_id, address)
CROSS JOIN LATERAL (
    SELECT s.tenant_id, s.address, s.source, s.reason
    FROM suppression s
    WHERE s.tenant_id = w.tenant_id AND s.address = w.address
      AND (s.expires_at IS NULL OR s.expires_at > $3::timestamptz)
    OFFSET 0
) s
