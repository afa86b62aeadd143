-- Messages, all of them or none: their accepted events, bodies and deliveries. Any key that is there already fails the
-- statement; `event_accepted_once` is what a second submission of the same message runs into. Returns nothing.
WITH accepted AS (
    INSERT INTO event (at, message_id, tenant_id, kind, attempt, sender, recipients, detail)
    SELECT m.at, m.message_id, m.tenant_id, 1, 0, m.sender, string_to_array(m.recipients, E'\n'), m.detail
    FROM unnest($1::timestamptz[], $2::bigint[], $3::integer[], $4::text[], $5::text[], $6::bytea[])
        AS m (at, message_id, tenant_id, sender, recipients, detail)
), kept AS (
    INSERT INTO body (message_id, seq, data)
    SELECT b.message_id, b.seq, b.data
    FROM unnest($7::bigint[], $8::integer[], $9::bytea[]) AS b (message_id, seq, data)
)
INSERT INTO delivery (id, message_id, expires_at, tenant_id, shard, priority, destination, sender, recipients, options)
SELECT d.id, d.message_id, d.expires_at, d.tenant_id, d.shard, d.priority, d.destination, d.sender,
       string_to_array(d.recipients, E'\n'), d.options
FROM unnest($10::bigint[], $11::bigint[], $12::timestamptz[], $13::integer[], $14::smallint[], $15::smallint[],
            $16::text[], $17::text[], $18::text[], $19::bytea[])
    AS d (id, message_id, expires_at, tenant_id, shard, priority, destination, sender, recipients, options)
