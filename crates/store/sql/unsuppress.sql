-- Takes a recipient off a list; whether it was there in force at $3.
DELETE FROM suppression WHERE tenant_id = $1::integer AND address = $2::text
RETURNING expires_at IS NULL OR expires_at > $3::timestamptz AS in_force
