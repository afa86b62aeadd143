-- Events beside an acceptance, in the order of settle.sql's.
INSERT INTO event (at, message_id, delivery_id, tenant_id, kind, attempt, sender, recipients, detail)
SELECT e.at, e.message_id, nullif(e.delivery_id, 0), e.tenant_id, e.kind, e.attempt, e.sender,
       string_to_array(e.recipients, E'\n'), e.detail
FROM unnest($1::timestamptz[], $2::bigint[], $3::bigint[], $4::integer[], $5::smallint[], $6::smallint[], $7::text[],
            $8::text[], $9::bytea[])
    AS e (at, message_id, delivery_id, tenant_id, kind, attempt, sender, recipients, detail)
