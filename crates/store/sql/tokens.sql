-- All tokens; there are few.
SELECT name, role, content, digest, created_by, created_at, last_used_at, expires_at FROM token ORDER BY name
