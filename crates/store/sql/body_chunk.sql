-- One chunk of a body.
SELECT data FROM body WHERE message_id = $1::bigint AND seq = $2::integer
