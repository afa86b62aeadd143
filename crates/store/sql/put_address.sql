-- Makes a recipient known, or changes who gets its mail.
INSERT INTO address (pattern, targets, changed_at) VALUES ($1::text, $2::text[], $3::timestamptz)
ON CONFLICT (pattern) DO UPDATE SET targets = excluded.targets, changed_at = excluded.changed_at
