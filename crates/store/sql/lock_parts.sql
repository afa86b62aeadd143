-- The chunks of a body that came before its message, locked so that no sweeper takes them while it is accepted.
SELECT seq FROM body WHERE message_id = $1::bigint AND seq < $2::integer ORDER BY seq FOR KEY SHARE
