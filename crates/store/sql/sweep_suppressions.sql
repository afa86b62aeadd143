-- Sweeps recipients whose time on a list was over at $1.
DELETE FROM suppression WHERE expires_at <= $1::timestamptz
