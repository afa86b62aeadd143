-- Operators' tokens.
--
-- Why: one token for all operators says neither who did what nor lets somebody look without being able to delete. A
-- replica reads this table into memory when a token is shown and what it has read is a few seconds old: so a token that
-- is gone here is refused by every replica soon after, and whoever guesses costs the database nothing. Nothing here is
-- touched by mail on its way.
-- Locks: creates only; nothing that exists is locked.
-- Beside the version before: it does not know this table and needs nothing of it; it takes the token of the
-- configuration alone.

-- One token. Of its secret only the SHA-256 is kept: the secret is 256 random bits, which nobody finds by trying, so a
-- slow hash, as passwords need it, would only cost time with every call. `role` says what its bearer may do; `content`
-- that he may read contents without being an admin. `last_used_at` is right to within some minutes.
CREATE TABLE token (
    name         text        PRIMARY KEY CHECK (name <> ''),
    role         text        NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    content      boolean     NOT NULL,
    digest       bytea       NOT NULL CHECK (length(digest) = 32),
    created_by   text        NOT NULL CHECK (created_by <> ''),
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    expires_at   timestamptz
) WITH (fillfactor = 50);
