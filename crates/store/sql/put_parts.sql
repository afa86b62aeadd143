-- Chunks of bodies ahead of their messages. The same upload may be repeated.
INSERT INTO body (message_id, seq, data)
SELECT p.message_id, p.seq, p.data
FROM unnest($1::bigint[], $2::integer[], $3::bytea[]) AS p (message_id, seq, data)
ORDER BY p.message_id, p.seq
ON CONFLICT (message_id, seq) DO NOTHING
