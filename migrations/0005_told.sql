-- When the sender of a delivery was told that it is late.
--
-- Why: senders are told on time (RFC 3461 NOTIFY=DELAY), whether or not an attempt ends then, and once, whatever is
-- restarted. So it has to be written down beside what is known of the attempts.
-- Locks: ALTER TABLE locks `retry` for the moment in which a column without a default is added; no row is rewritten.
-- Beside the version before: it does not know the column, and nothing of it touches it. Where both versions run, the sender
-- of a delivery that an earlier program warned of may be told once more.

ALTER TABLE retry ADD COLUMN told_at timestamptz;
