-- Revokes a token.
DELETE FROM token WHERE name = $1::text RETURNING name
