-- The chunks of a message that is read and not delivered.
DELETE FROM body WHERE message_id = $1::bigint
