-- What a settlement writes about deliveries that it has locked. $1 to $4 as in finish_delivered.sql, $5 to $13 events,
-- $14 to $18 retries: an opinion replaces another only when it counts more attempts, or as many with fewer recipients
-- left.
WITH done AS (
    DELETE FROM delivery WHERE id = ANY ($1::bigint[])
), cleared AS (
    DELETE FROM retry WHERE delivery_id = ANY ($1::bigint[])
), unheld AS (
    DELETE FROM held WHERE delivery_id = ANY ($1::bigint[])
), emptied AS (
    DELETE FROM body WHERE message_id = ANY ($2::bigint[] || ARRAY(
        SELECT m.message_id
        FROM unnest($3::bigint[], $4::integer[]) AS m (message_id, fanout)
        WHERE (
            SELECT d.id FROM delivery d
            WHERE d.id >= m.message_id AND d.id < m.message_id + m.fanout AND NOT d.id = ANY ($1::bigint[])
            ORDER BY d.id LIMIT 1
        ) IS NULL
    ))
), logged AS (
    INSERT INTO event (at, message_id, delivery_id, tenant_id, kind, attempt, sender, recipients, detail)
    SELECT e.at, e.message_id, nullif(e.delivery_id, 0), e.tenant_id, e.kind, e.attempt, e.sender,
           string_to_array(e.recipients, E'\n'), e.detail
    FROM unnest($5::timestamptz[], $6::bigint[], $7::bigint[], $8::integer[], $9::smallint[], $10::smallint[],
                $11::text[], $12::text[], $13::bytea[])
        AS e (at, message_id, delivery_id, tenant_id, kind, attempt, sender, recipients, detail)
)
INSERT INTO retry AS r (delivery_id, attempts, next_attempt_at, recipients, last_outcome)
SELECT n.delivery_id, n.attempts, n.next_attempt_at, string_to_array(n.recipients, E'\n'), n.last_outcome
FROM unnest($14::bigint[], $15::smallint[], $16::timestamptz[], $17::text[], $18::bytea[])
    AS n (delivery_id, attempts, next_attempt_at, recipients, last_outcome)
ON CONFLICT (delivery_id) DO UPDATE
SET attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at,
    recipients = excluded.recipients, last_outcome = excluded.last_outcome
WHERE r.attempts < excluded.attempts
   OR r.attempts = excluded.attempts AND cardinality(excluded.recipients) < cardinality(r.recipients)
