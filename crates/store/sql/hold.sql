-- When deliveries that were never attempted are due: their sender asked for it (RFC 4865).
INSERT INTO retry (delivery_id, next_attempt_at, attempts, recipients, last_outcome)
SELECT d.id, $3::timestamptz, 0, string_to_array(d.recipients, E'\n'), ''
FROM unnest($1::bigint[], $2::text[]) AS d (id, recipients)
