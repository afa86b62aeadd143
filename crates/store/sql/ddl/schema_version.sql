-- Which migrations were applied, and the oldest program (by the newest migration it knows) that each can run beside.
CREATE TABLE IF NOT EXISTS schema_version (
    version        integer     PRIMARY KEY,
    name           text        NOT NULL,
    checksum       bytea       NOT NULL,
    oldest_program integer     NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT now()
)
