-- Ends a rule, and says whether it was in force.
DELETE FROM rule WHERE action = $1::text AND kind = $2::text AND name = $3::text
RETURNING expires_at IS NULL OR expires_at > $4::timestamptz AS in_force
