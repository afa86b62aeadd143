-- Sweeps rules whose time was over at $1.
DELETE FROM rule WHERE expires_at <= $1::timestamptz
