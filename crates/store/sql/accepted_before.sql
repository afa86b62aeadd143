-- What is known of messages accepted before, to be compared with what is submitted again. $2 and $3 bound the times of
-- the ids, which prunes partitions.
SELECT message_id, sender, array_to_string(recipients, E'\n') AS recipients, detail
FROM event
WHERE kind = 1 AND message_id = ANY ($1::bigint[]) AND at BETWEEN $2::timestamptz AND $3::timestamptz
