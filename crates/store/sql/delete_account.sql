-- Removes a user.
DELETE FROM account WHERE name = $1::text RETURNING name
