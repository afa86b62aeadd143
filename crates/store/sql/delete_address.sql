-- Forgets a recipient.
DELETE FROM address WHERE pattern = $1::text RETURNING pattern
