-- Recipients accepted within a stretch of time that are not exactly one of: still queued, or over. All in one snapshot.
SELECT a.message_id, r.recipient, s.queued
FROM event a
CROSS JOIN LATERAL unnest(a.recipients) AS r (recipient)
CROSS JOIN LATERAL (
    SELECT
        EXISTS (
            SELECT 1 FROM event f
            WHERE f.message_id = a.message_id AND f.kind <> 1 AND f.kind IN (3, 4, 5, 6)
              AND r.recipient = ANY (f.recipients)
        ) AS over,
        EXISTS (
            SELECT 1
            FROM delivery d
            WHERE d.id >= a.message_id AND d.id < a.message_id + 4096 AND d.message_id = a.message_id
              AND r.recipient = ANY (coalesce(
                    (SELECT t.recipients FROM retry t WHERE t.delivery_id = d.id), d.recipients))
        ) AS queued
    OFFSET 0
) s
WHERE a.kind = 1 AND a.at >= $1::timestamptz AND a.at < $2::timestamptz AND s.over = s.queued
LIMIT $3::bigint
