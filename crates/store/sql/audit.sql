-- Recipients of at most $5 messages after $1 and up to $2 that are not exactly one of: still queued, or over; $6 of them
-- at the most. All in one snapshot. $3 and $4 are the times of these ids, which prunes partitions. One row for the page at least: how many
-- messages and recipients were looked at, and where it ends. Both names of the index's predicate stand in the query, so
-- the page walks `event_accepted_once`.
WITH page AS MATERIALIZED (
    SELECT message_id, recipients
    FROM event
    WHERE kind = 1 AND message_id > $1::bigint AND message_id <= $2::bigint
      AND at >= $3::timestamptz AND at <= $4::timestamptz
    ORDER BY message_id
    LIMIT $5::bigint
), unaccounted AS (
    SELECT a.message_id, r.recipient, s.queued
    FROM page a
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
    WHERE s.over = s.queued
    LIMIT $6::bigint
)
SELECT p.messages, p.recipients, p.last, u.message_id, u.recipient, u.queued
FROM (
    SELECT count(*) AS messages, coalesce(sum(cardinality(recipients)), 0)::bigint AS recipients,
           coalesce(max(message_id), 0) AS last
    FROM page
) p
LEFT JOIN unaccounted u ON true
