-- Ends deliveries without flags: beside the others something is written. Who deletes the row settles it: events of the
-- others are not stored, and neither their retries nor their bodies are touched.
-- $1 all ids; $2 messages with one delivery only, whose body goes with it; $3 and $4 messages with several deliveries
-- and their number, whose body goes when none of the others is left (their ids follow the message's own). Two settlements
-- at the same instant each see the other's delivery and both leave the body to the sweeper.
WITH done AS (
    DELETE FROM delivery WHERE id = ANY ($1::bigint[]) AND flags = 0 RETURNING id, message_id
), cleared AS (
    DELETE FROM retry WHERE delivery_id = ANY (ARRAY(SELECT id FROM done))
), emptied AS (
    DELETE FROM body WHERE message_id = ANY (ARRAY(
        SELECT message_id FROM done WHERE message_id = ANY ($2::bigint[])
    ) || ARRAY(
        SELECT m.message_id
        FROM unnest($3::bigint[], $4::integer[]) AS m (message_id, fanout)
        WHERE (
            SELECT d.id FROM delivery d
            WHERE d.id >= m.message_id AND d.id < m.message_id + m.fanout
              AND NOT d.id = ANY (ARRAY(SELECT id FROM done))
            ORDER BY d.id LIMIT 1
        ) IS NULL
    ))
), logged AS (
    INSERT INTO event (at, message_id, delivery_id, tenant_id, kind, attempt, sender, recipients, detail)
    SELECT e.at, e.message_id, e.delivery_id, e.tenant_id, e.kind, e.attempt, e.sender,
           string_to_array(e.recipients, E'\n'), e.detail
    FROM unnest($5::timestamptz[], $6::bigint[], $7::bigint[], $8::integer[], $9::smallint[], $10::smallint[],
                $11::text[], $12::text[], $13::bytea[])
        AS e (at, message_id, delivery_id, tenant_id, kind, attempt, sender, recipients, detail)
    WHERE e.delivery_id IN (SELECT id FROM done)
)
SELECT id FROM done
