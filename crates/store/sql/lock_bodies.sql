-- Locks chunks that look orphaned. What an acceptance under way holds is left alone.
SELECT DISTINCT message_id
FROM (
    SELECT message_id FROM body WHERE message_id = ANY ($1::bigint[]) ORDER BY message_id, seq FOR UPDATE SKIP LOCKED
) AS locked
