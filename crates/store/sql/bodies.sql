-- Whole bodies, chunk by chunk.
SELECT message_id, data FROM body WHERE message_id = ANY ($1::bigint[]) ORDER BY message_id, seq
